"""Everything the client raises, on one page. Each tells what happened, at which field, and what to do.

    TraindError
      ConfigError (ValueError)              an address, profile or token file cannot be used
      ConnectionFailed (ConnectionError)    the server cannot be reached
        TimedOut (TimeoutError)             it was reached and did not answer in time
      ApiError                              the server refused the call
        InvalidSpec (ValueError)            a field or a table is wrong; the client raises it too, before it sends
        AuthRequired                        no token, or one that is unknown, expired or revoked
        Forbidden                           the token lacks the method's scope
        NotFound (LookupError)              there is no such object that you may see
        Conflict                            the object's state, or a request id, does not allow it
        TooLarge                            file, message or network above the server's limit
        RateLimited                         too many calls at once
        Unavailable                         the server or its database is just not there; come again
        ServerError                         a defect of the server, or its disk
      JobFailed                             a job that was waited for FAILED
      JobCancelled                          a job that was waited for was CANCELLED
      WaitTimeout (TimeoutError)            a job that was waited for goes on

No transport and no message type is needed here: statuses.py makes these of what the server says.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traind.job_view import JobView

SHOWN_VIOLATIONS = 8


@dataclass(frozen=True)
class Violation:
    """One wrong field: its path in the request (`job.train.learn.gradient.epochs`) and what to do."""

    field: str
    description: str


class TraindError(Exception):
    """The root. `str()` has several lines: what happened, `at` which field, the `fix`."""

    def __init__(
        self,
        message: str,
        *,
        fix: str = "",
        field: str = "",
        code: str = "",
        reason: str = "",
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        # What to do, for people.
        self.fix = fix
        # The path of the first wrong field in the request.
        self.field = field or (violations[0].field if violations else "")
        # Name of the google.rpc.Code: `INVALID_ARGUMENT`; empty where no server spoke.
        self.code = code
        # Name of the traind.v1.ErrorReason: `INVALID_FIELD`; empty where no server spoke.
        self.reason = reason
        self.violations = tuple(violations)
        # Every changing part of the message, for programs.
        self.metadata = dict(metadata or {})
        # Seconds after which the call may be sent again; None where that does not help.
        self.retry_after = retry_after
        # By which the server's log tells of the call; empty where no server spoke.
        self.request_id = request_id

    def __str__(self) -> str:
        lines = [self.message]
        if len(self.violations) > 1:
            lines += [_line("at", f"{v.field}: {v.description}") for v in self.violations[:SHOWN_VIOLATIONS]]
            if len(self.violations) > SHOWN_VIOLATIONS:
                lines.append(_line("", f"and {len(self.violations) - SHOWN_VIOLATIONS} more"))
        elif self.field:
            lines.append(_line("at", self.field))
        if self.fix:
            lines.append(_line("fix", self.fix))
        return "\n".join(lines)


def _line(label: str, text: str) -> str:
    """`  fix   text`, with the lines that follow set under the text."""
    return f"  {label:<5} {textwrap.indent(text, ' ' * 8).lstrip()}"


class ConfigError(TraindError, ValueError):
    """An address, a profile or a token file cannot be used."""


class ConnectionFailed(TraindError, ConnectionError):
    """The server cannot be reached."""


class TimedOut(ConnectionFailed, TimeoutError):
    """The call's deadline passed."""


class ApiError(TraindError):
    """The server refused the call."""


class InvalidSpec(ApiError, ValueError):
    """A field of the request, the table, or the model file is wrong."""


class AuthRequired(ApiError):
    """No token came with the call, or one that the server does not take."""


class Forbidden(ApiError):
    """The token lacks the scope that the method needs."""


class NotFound(ApiError, LookupError):
    """There is no such object, or it belongs to somebody else."""


class Conflict(ApiError):
    """What the object is doing, or a request id that came before, does not allow the call."""


class TooLarge(ApiError):
    """A file, a message or a network is above the server's limit."""


class RateLimited(ApiError):
    """Too many calls at once; `retry_after` says when to come again."""


class Unavailable(ApiError):
    """The server is stopping, or its database did not answer; the call can be sent again."""


class ServerError(ApiError):
    """A defect of the server; the message holds an error id."""


class JobEnded(TraindError):
    """A job that was waited for did not end well; `job` is how it ended, a Job or an AsyncJob."""

    def __init__(self, job: JobView, message: str, *, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.job = job


class JobFailed(JobEnded):
    """A job FAILED; `failure_reason` says why: `DIVERGED`, `OUT_OF_MEMORY`, ..."""

    def __init__(self, job: JobView) -> None:
        failure = job.failure
        self.failure_reason = failure.reason if failure else ""
        said = failure.message if failure else "no reason was told"
        findings = [f.message for f in job.findings if f.message and f.message not in said]
        lines = [*findings, f"see it with: traind job show {job.id[:8]}"]
        if self.failure_reason:
            lines.append(f"what that means: traind explain {self.failure_reason}")
        fix = "\n".join(lines)
        super().__init__(job, f"job {job.id[:8]} FAILED ({self.failure_reason}): {said}", fix=fix)


class JobCancelled(JobEnded):
    """A job was CANCELLED."""

    def __init__(self, job: JobView) -> None:
        super().__init__(job, f"job {job.id[:8]} was cancelled at epoch {job.epoch} of {job.epochs}")


class WaitTimeout(TraindError, TimeoutError):
    """A job did not end in the time that was given; it goes on."""
