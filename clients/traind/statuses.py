"""What the server says when it refuses a call, turned into the errors of errors.py; the only place that does it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped, unused-ignore]  # no stubs

from traind import errors
from traind.errors import TraindError, Violation

if TYPE_CHECKING:
    from google.protobuf.message import Message

_M = TypeVar("_M", bound="Message")

_BY_REASON: dict[str, type[TraindError]] = {
    "INVALID_FIELD": errors.InvalidSpec,
    "MALFORMED_BODY": errors.InvalidSpec,
    "INVALID_TABLE": errors.InvalidSpec,
    "INVALID_MODEL_FILE": errors.InvalidSpec,
    "TOKEN_REQUIRED": errors.AuthRequired,
    "TOKEN_REJECTED": errors.AuthRequired,
    "SCOPE_MISSING": errors.Forbidden,
    "RESOURCE_NOT_FOUND": errors.NotFound,
    "METHOD_NOT_FOUND": errors.ServerError,
    "VERB_NOT_ALLOWED": errors.ServerError,
    "UNSUPPORTED_CONTENT": errors.ServerError,
    "REQUEST_ID_REUSED": errors.Conflict,
    "DATASET_IN_USE": errors.Conflict,
    "MODEL_IN_USE": errors.Conflict,
    "ALIAS_MOVED": errors.Conflict,
    "PREDICTIONS_CHANGED": errors.ServerError,
    "WRONG_STATE": errors.Conflict,
    "OFFSET_MISMATCH": errors.Conflict,
    "TOO_LARGE": errors.TooLarge,
    "TOO_MANY_PARAMETERS": errors.TooLarge,
    "HEADERS_TOO_LARGE": errors.TooLarge,
    "RATE_LIMITED": errors.RateLimited,
    "QUEUE_FULL": errors.RateLimited,
    "DISK_FULL": errors.ServerError,
    "DATABASE_UNAVAILABLE": errors.Unavailable,
    "OBJECTS_UNAVAILABLE": errors.Unavailable,
    "SHUTTING_DOWN": errors.Unavailable,
    "DATA_CORRUPT": errors.ServerError,
    "DEADLINE_PASSED": errors.TimedOut,
    "INTERNAL_ERROR": errors.ServerError,
}

# For answers without a reason: from a proxy, from gRPC itself, or from a newer server with a reason unknown here.
_BY_CODE: dict[str, type[TraindError]] = {
    "INVALID_ARGUMENT": errors.InvalidSpec,
    "OUT_OF_RANGE": errors.InvalidSpec,
    "UNAUTHENTICATED": errors.AuthRequired,
    "PERMISSION_DENIED": errors.Forbidden,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.Conflict,
    "FAILED_PRECONDITION": errors.Conflict,
    "ABORTED": errors.Conflict,
    "RESOURCE_EXHAUSTED": errors.RateLimited,
    "UNAVAILABLE": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.TimedOut,
}

_FIXES = {
    "TOKEN_REQUIRED": "sign in with: traind login; or set TRAIND_TOKEN_FILE to a file that holds your token "
    "(`traind up` keeps both on the machine of the server)",
    "TOKEN_REJECTED": "ask whoever runs the server for another token, or check TRAIND_URL: tokens belong to one server",
    "SCOPE_MISSING": "ask whoever runs the server for a token with that scope",
    "METHOD_NOT_FOUND": "the server is older than this client, or the address is not traind's gRPC port",
    "RATE_LIMITED": "wait a moment, or send fewer calls at once",
    "QUEUE_FULL": "wait until some of your jobs have run, or cancel some: traind job list",
    "DISK_FULL": "tell whoever runs the server; nothing was stored",
    "DATA_CORRUPT": "tell whoever runs the server: what is damaged must be restored from a backup",
    "INTERNAL_ERROR": "tell whoever runs the server; the error id is in its log",
}

_OF_TOKENS = frozenset({"TOKEN_REQUIRED", "TOKEN_REJECTED"})

# A description that speaks of its field without naming it.
_BEGINS = frozenset({"is", "has", "must", "holds", "names"})
_LISTED = re.compile(r"list yours with GET /v1/(datasets|jobs|models)\b")
_LOOKED_AT = re.compile(r"look at it with GET /v1/jobs/([0-9a-f]{8})[0-9a-f-]*")
_COMMANDS = {"datasets": "data", "jobs": "job", "models": "models"}


def decode_status(code: str, message: str, details: bytes | None) -> TraindError:
    """The error of a refused call.

    `code` is the name of the gRPC code, `details` the bytes of the trailer `grpc-status-details-bin`, None where there
    is none.
    """
    status = _status(details)
    info = _detail(status, error_details_pb2.ErrorInfo)
    reason = info.reason if info else ""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, errors.ServerError)
    bad = _detail(status, error_details_pb2.BadRequest)
    violations = [Violation(v.field, v.description) for v in bad.field_violations] if bad else []
    retry = _detail(status, error_details_pb2.RetryInfo)
    request = _detail(status, error_details_pb2.RequestInfo)
    said, fix = _what_and_fix(message or code, violations)
    return kind(
        said,
        # How one comes by a token, and gives it to this client, is better known here than there.
        fix=_FIXES[reason] if reason in _OF_TOKENS else fix or _FIXES.get(reason, ""),
        code=code,
        reason=reason,
        violations=violations,
        metadata=dict(info.metadata) if info else None,
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        request_id=request.request_id if request else "",
    )


def _status(details: bytes | None) -> status_pb2.Status:
    """The status in the trailer; an empty one where it is absent or broken, for the code alone says enough."""
    try:
        return status_pb2.Status.FromString(details or b"")
    except DecodeError:
        return status_pb2.Status()


def _detail(status: status_pb2.Status, kind: type[_M]) -> _M | None:
    for packed in status.details:
        found = kind()
        if packed.Is(found.DESCRIPTOR) and packed.Unpack(found):
            return found
    return None


def _what_and_fix(message: str, violations: list[Violation]) -> tuple[str, str]:
    """One violation reads `is 0; must be 1 or more`: its halves become the first line and the fix."""
    if len(violations) > 1:
        return f"{len(violations)} fields are wrong", ""
    if violations:
        message = violations[0].description or message
    what, _, cure = message.partition("; ")
    if violations and what.partition(" ")[0] in _BEGINS:
        what = f"{violations[0].field.rpartition('.')[2]} {what}"
    if listed := _LISTED.search(cure):
        cure = f"list yours with: traind {_COMMANDS[listed[1]]} list"
    elif seen := _LOOKED_AT.search(cure):
        cure = f"see it with: traind job show {seen[1]}"
    return what, cure
