"""Every reason the contract knows, for a refused call, a failed job, a finding, explained in English and Korean."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped, unused-ignore]  # no stubs

from traind import errors, reasons_en, reasons_ko
from traind.contract_comments import read_comments
from traind.statuses import decode_status
from traind.v1 import errors_pb2, jobs_pb2, tables_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXTS = {"en": reasons_en, "ko": reasons_ko}
LANGUAGES = tuple(_TEXTS)
# Kind -> its enum in the contract.
ENUMS: dict[str, Any] = {
    "error": errors_pb2.ErrorReason,
    "failure": jobs_pb2.Failure.Reason,
    "finding": tables_pb2.Finding.Code,
}
# The comment of an error begins with its codes: `NOT_FOUND, HTTP 404.`
_CODES = re.compile(r"([A-Z_]+), HTTP (\d{3})\. ")


@dataclass(frozen=True)
class Told:
    """A reason in one language."""

    meaning: str
    cause: str
    cure: str


@dataclass(frozen=True)
class Reason:
    """One reason of the contract."""

    kind: str  # `error` of a refused call, `failure` of a job, `finding`
    name: str
    # What the client raises; None for a finding, which is no error.
    raised: type[errors.TraindError] | None
    # Name of the google.rpc.Code and HTTP status of a refused call; else empty and 0.
    code: str = ""
    http: int = 0

    def told(self, language: str) -> Told:
        """The texts in `en` or `ko`."""
        return Told(*texts(self.kind, language)[self.name])


def texts(kind: str, language: str) -> Mapping[str, tuple[str, str, str]]:
    """Meaning, cause and cure of every reason of a kind."""
    found: dict[str, tuple[str, str, str]] = getattr(_TEXTS[language], f"{kind.upper()}S")
    return found


@functools.cache
def every_reason() -> tuple[Reason, ...]:
    """All of them, in the contract's order."""
    return tuple(_reason(kind, name) for kind, enum in ENUMS.items() for name, number in enum.items() if number)


def find_reasons(given: str) -> list[Reason]:
    """Those of a name, however it is written: a DIVERGED job and the finding DIVERGED are two. Raises NotFound."""
    name = re.sub(r"[\s-]+", "_", given.strip()).upper()
    found = [reason for reason in every_reason() if reason.name == name]
    if found:
        return found
    near = difflib.get_close_matches(name, {reason.name for reason in every_reason()}, 3)
    fix = f"did you mean {' or '.join(near)}?" if near else "see all with: traind explain"
    raise errors.NotFound(f"this client knows no reason {given!r}", fix=fix)


def _reason(kind: str, name: str) -> Reason:
    if kind != "error":
        return Reason(kind, name, errors.JobFailed if kind == "failure" else None)
    codes = _CODES.match(read_comments()[f"traind.v1.ErrorReason.{name}"])
    if codes is None:
        raise errors.TraindError(f"the contract tells no codes of {name}")
    status = status_pb2.Status(details=[Packed()])
    status.details[0].Pack(error_details_pb2.ErrorInfo(reason=name))
    raised = type(decode_status(codes[1], "", status.SerializeToString()))
    return Reason(kind, name, raised, codes[1], int(codes[2]))
