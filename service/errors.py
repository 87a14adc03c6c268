"""Every way a call of traind can be refused, on one page: a code, a reason and one sentence each.

The codes are those of google.rpc.Code by name; each transport translates them in exactly one place (rpc/errors.py,
rest/errors.py). The reasons are those of proto/traind/v1/errors.proto.

    TraindError
      InvalidField             a field of the request is wrong; names the field, the limit and the cure
      InvalidTable             the file is no table that can be read; names line, column and value
      InvalidModelFile         the file is no model that this server can take
      MalformedBody            the body is not what the method takes
      TokenRequired            no token came with the call
      TokenRejected            the token is unknown, expired or revoked
      ScopeMissing             the token lacks the method's scope
      NotFound                 there is no such object for this caller
      MethodNotFound           there is no such method or path
      VerbNotAllowed           the path has other HTTP verbs
      UnsupportedContent       content type or compression is not accepted
      RequestIdReused          the request id came before with another body
      DatasetInUse             a job that has not ended uses the data set
      ModelInUse               an alias points to the version
      AliasMoved               the alias is not what the etag tells
      PredictionsChanged       the model answers otherwise than when it was trained
      WrongState               the job's state does not allow the move
      OffsetMismatch           the chunk does not start where the upload stands
      TooLarge                 body, message, file or table above the limit
      TooManyParameters        the network is larger, or the job needs more memory, than the server allows
      HeadersTooLarge          headers or metadata above the limit
      RateLimited              too many calls at once
      QueueFull                as many jobs of the caller wait as may
      DiskFull                 nothing was stored
      DatabaseUnavailable      the database did not answer; the call can be sent again
        ObjectsUnavailable     the object store did not answer; the call can be sent again
      ShuttingDown             the server is stopping; the call can be sent again
      DataCorrupt              stored bytes do not match their hash
      DeadlinePassed           the call's deadline passed
      InternalError            a defect of the server, found again in its log by the error id
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

SHOWN_CHARACTERS = 64  # of a value that came from outside


@dataclass(frozen=True)
class Violation:
    """One wrong field: its path in the request (`job.train.learn.gradient.epochs`) and what to do, for people."""

    field: str
    description: str


@dataclass
class TraindError(Exception):
    """The root; `code` and `reason` are fixed by the class, everything else tells the case."""

    message: str
    violations: Sequence[Violation] = ()
    # Every changing part of the message, for programs.
    metadata: dict[str, str] = field(default_factory=dict)
    # Seconds after which the call may be sent again; only where that helps.
    retry_after_s: float | None = None

    code: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "ERROR_REASON_UNSPECIFIED"

    def __str__(self) -> str:
        return self.message


class InvalidField(TraindError):
    """A field of the request is missing, out of range, or does not fit another one."""

    code, reason = "INVALID_ARGUMENT", "INVALID_FIELD"


class InvalidTable(TraindError):
    """The file is no table that can be read."""

    code, reason = "INVALID_ARGUMENT", "INVALID_TABLE"


@dataclass
class InvalidModelFile(TraindError):
    """The file is no model that this server can take."""

    # What the file is or has, as `has a header of 20 bytes`; the message goes on with the cure.
    what: str = ""

    code, reason = "INVALID_ARGUMENT", "INVALID_MODEL_FILE"


class MalformedBody(TraindError):
    """The body is no JSON, or no JSON of the message that is asked for."""

    code, reason = "INVALID_ARGUMENT", "MALFORMED_BODY"


class TokenRequired(TraindError):
    """No token came with the call."""

    code, reason = "UNAUTHENTICATED", "TOKEN_REQUIRED"


class TokenRejected(TraindError):
    """The token is unknown, expired or revoked."""

    code, reason = "UNAUTHENTICATED", "TOKEN_REJECTED"


class ScopeMissing(TraindError):
    """The token lacks the scope that the method needs."""

    code, reason = "PERMISSION_DENIED", "SCOPE_MISSING"


class NotFound(TraindError):
    """There is no such object, or it belongs to somebody else."""

    code, reason = "NOT_FOUND", "RESOURCE_NOT_FOUND"


class MethodNotFound(TraindError):
    """There is no such method or path."""

    code, reason = "UNIMPLEMENTED", "METHOD_NOT_FOUND"


class VerbNotAllowed(TraindError):
    """The path exists with another HTTP verb."""

    code, reason = "UNIMPLEMENTED", "VERB_NOT_ALLOWED"


class UnsupportedContent(TraindError):
    """The content type or a compressed body is not accepted."""

    code, reason = "UNIMPLEMENTED", "UNSUPPORTED_CONTENT"


class RequestIdReused(TraindError):
    """The request id was used before with another body."""

    code, reason = "ALREADY_EXISTS", "REQUEST_ID_REUSED"


class DatasetInUse(TraindError):
    """A job that has not ended uses the data set."""

    code, reason = "FAILED_PRECONDITION", "DATASET_IN_USE"


class ModelInUse(TraindError):
    """An alias points to the version."""

    code, reason = "FAILED_PRECONDITION", "MODEL_IN_USE"


class AliasMoved(TraindError):
    """The alias is not what the etag tells."""

    code, reason = "ABORTED", "ALIAS_MOVED"


class PredictionsChanged(TraindError):
    """The model answers its golden rows otherwise than when it was trained."""

    code, reason = "FAILED_PRECONDITION", "PREDICTIONS_CHANGED"


class WrongState(TraindError):
    """The job's state does not allow the move."""

    code, reason = "FAILED_PRECONDITION", "WRONG_STATE"


class OffsetMismatch(TraindError):
    """The chunk does not start where the upload stands."""

    code, reason = "FAILED_PRECONDITION", "OFFSET_MISMATCH"


class TooLarge(TraindError):
    """The body, message, file or table is larger than the limit."""

    code, reason = "RESOURCE_EXHAUSTED", "TOO_LARGE"


class TooManyParameters(TraindError):
    """The network has more parameters, or needs more memory, than the server allows."""

    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_PARAMETERS"


class HeadersTooLarge(TraindError):
    """The headers or the metadata are larger than the limit."""

    code, reason = "RESOURCE_EXHAUSTED", "HEADERS_TOO_LARGE"


class RateLimited(TraindError):
    """Too many calls at once."""

    code, reason = "RESOURCE_EXHAUSTED", "RATE_LIMITED"


class QueueFull(TraindError):
    """As many jobs of the caller wait as may wait at once."""

    code, reason = "RESOURCE_EXHAUSTED", "QUEUE_FULL"


class DiskFull(TraindError):
    """The server's disk is full; nothing was stored."""

    code, reason = "RESOURCE_EXHAUSTED", "DISK_FULL"


class DatabaseUnavailable(TraindError):
    """The database did not answer in time."""

    code, reason = "UNAVAILABLE", "DATABASE_UNAVAILABLE"


class ObjectsUnavailable(DatabaseUnavailable):
    """The object store did not answer in time; to workers it is a part of the database."""

    code, reason = "UNAVAILABLE", "OBJECTS_UNAVAILABLE"


class ShuttingDown(TraindError):
    """The server is stopping."""

    code, reason = "UNAVAILABLE", "SHUTTING_DOWN"


class DataCorrupt(TraindError):
    """Stored bytes do not match their hash."""

    code, reason = "DATA_LOSS", "DATA_CORRUPT"


class DeadlinePassed(TraindError):
    """The call's deadline passed."""

    code, reason = "DEADLINE_EXCEEDED", "DEADLINE_PASSED"


class InternalError(TraindError):
    """A defect of the server."""

    code, reason = "INTERNAL", "INTERNAL_ERROR"


def invalid(field_path: str, description: str) -> InvalidField:
    """One wrong field as an error."""
    return InvalidField(f"{field_path}: {description}", [Violation(field_path, description)], {"field": field_path})


def shown(value: object) -> str:
    """A value from outside as it may stand in a message: quoted, escaped and cut."""
    text = str(value)
    cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    return ascii_controls(cut)


def ascii_controls(text: str) -> str:
    """Text in quotes in which control characters are written as escapes; Hangul and other letters stay."""
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'
