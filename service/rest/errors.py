"""A refused call as REST sends it: the one place where errors become HTTP statuses and the JSON of AIP-193."""

import math
from http import HTTPStatus

import orjson
from google.protobuf import json_format

from service.calling import statuses
from service.calling.server_version import SERVER_VERSION_BYTES
from service.errors import TokenRejected, TokenRequired, TraindError

# The code's status, except where the reason says more.
BY_CODE = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
BY_REASON = {
    "METHOD_NOT_FOUND": 404,
    "VERB_NOT_ALLOWED": 405,
    "UNSUPPORTED_CONTENT": 415,
    "TOO_LARGE": 413,
    "TOO_MANY_PARAMETERS": 413,
    "HEADERS_TOO_LARGE": 431,
    "DISK_FULL": 507,
}

Headers = list[tuple[bytes, bytes]]


def http_status(error: TraindError) -> int:
    """The HTTP status of an error."""
    return BY_REASON.get(error.reason) or BY_CODE[error.code]


def encode_error(error: TraindError) -> tuple[int, bytes, Headers]:
    """Status, body and headers of the answer: `{"error": {"code", "message", "status", "details"}}`."""
    code = http_status(error)
    status = statuses.from_error(error)
    body = orjson.dumps(
        {
            "error": {
                "code": code,
                "message": status.message,
                "status": error.code,
                "details": [json_format.MessageToDict(detail) for detail in status.details],
            }
        }
    )
    headers: Headers = []
    if isinstance(error, TokenRequired | TokenRejected):
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after_s)).encode()))
    if error.reason == "VERB_NOT_ALLOWED":
        headers.append((b"allow", error.metadata.get("allow", "").encode()))
    return code, body, headers


def raw_response(error: TraindError) -> bytes:
    """The whole answer as bytes, for what is refused before there is a request; the connection then ends."""
    code, body, headers = encode_error(error)
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}".encode(), b"content-type: application/json"]
    lines += [name + b": " + value for name, value in [*headers, SERVER_VERSION_BYTES]]
    lines += [f"content-length: {len(body)}".encode(), b"connection: close", b"", body]
    return b"\r\n".join(lines)
