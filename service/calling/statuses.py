"""A refused call as google.rpc.Status, the one form that both doors send: gRPC in its trailer, REST as JSON."""

import logging
import math
import secrets
from collections.abc import Sequence
from urllib.parse import quote

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships no stubs

from service.calling.observer import request_id
from service.errors import InternalError, InvalidField, TraindError, Violation, shown

DOMAIN = "traind"
MOST_VIOLATIONS = 20
# gRPC clients take 8 KiB of metadata; the status travels in base64 beside the message, which is percent-encoded.
MOST_METADATA_BYTES = 6144
_MOST_MESSAGE_BYTES = 1536
_MOST_TEXT = 400

_log = logging.getLogger(__name__)


def from_error(error: TraindError) -> status_pb2.Status:
    """The status with ErrorInfo, with BadRequest where fields are wrong, with RetryInfo where sending again helps, and
    with RequestInfo, by whose id the log tells of the call.

    At most 20 violations, fewer where they would not fit into a client's metadata.
    """
    violations = list(error.violations[:MOST_VIOLATIONS])
    while True:
        status = _build(error, violations)
        if _metadata_bytes(status) <= MOST_METADATA_BYTES or not violations:
            return status
        violations.pop()


def translate(error: BaseException, method: str) -> TraindError:
    """What the caller is told of an exception: its own words for a TraindError, an error id for a defect of ours.

    The exception is parted from the frames that it went through.
    """
    if isinstance(error, TraindError):
        let_go(error)
        return error
    # The call's own id, so that one search finds everything.
    error_id = request_id() or secrets.token_hex(8)
    # Plain tracebacks only: a local variable could be a token.
    _log.error("internal error %s in %s", error_id, shown(method), exc_info=error)
    let_go(error)
    return InternalError(
        f"the server has a defect; its log tells more under the error id {error_id}", metadata={"error_id": error_id}
    )


def let_go(error: BaseException) -> None:
    """Part an exception, and those that it came of, from their frames.

    Frames hold the request and often the exception itself, and such circles stay in memory until the garbage collector
    comes, which a server that refuses large requests reaches too late.
    """
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]


def wrong_fields(violations: Sequence[Violation]) -> InvalidField:
    """Several wrong fields as one error; the message tells the first and counts the others."""
    first = violations[0]
    message = f"{first.field}: {first.description}"
    if len(violations) > 1:
        message += f"; and {len(violations) - 1} more"
    return InvalidField(message, violations, {"field": first.field, "count": str(len(violations))})


def _build(error: TraindError, violations: list[Violation]) -> status_pb2.Status:
    code = code_pb2.Code.Value(error.code)
    status = status_pb2.Status(code=code, message=_cut_encoded(error.message))
    metadata = {_cut(key, 64): _cut(value, 200) for key, value in list(error.metadata.items())[:16]}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if violations:
        status.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=_cut(v.field, 200), description=_cut(v.description, _MOST_TEXT)
                    )
                    for v in violations
                ]
            )
        )
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if asked := request_id():
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=asked))
    return status


def _metadata_bytes(status: status_pb2.Status) -> int:
    size: int = status.ByteSize()
    return size * 4 // 3 + 4 + len(quote(status.message))


def _cut(text: str, most: int) -> str:
    # Half of a surrogate pair comes in by JSON and cannot go out as UTF-8.
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut_encoded(message: str) -> str:
    """The message, cut where its percent-encoded form, nine bytes for a Hangul syllable, becomes too long."""
    message = _cut(message, _MOST_MESSAGE_BYTES)
    while len(quote(message)) > _MOST_MESSAGE_BYTES:
        message = message[: len(message) * 3 // 4] + "…"
    return message
