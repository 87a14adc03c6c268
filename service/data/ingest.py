"""From an uploaded file to an Arrow table: read in a process of its own, with limits, that knows nothing else."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from service.data.reading.encodings import known_encoding
from service.data.reading.header import known_delimiter
from service.data.tmp_files import scratch_folder, scratch_path
from service.errors import (
    DiskFull,
    InvalidField,
    InvalidTable,
    TooLarge,
    TraindError,
    Violation,
    invalid,
    shown,
)
from service.machine_cores import usable_cores
from traind.v1 import profiles_pb2, tables_pb2

Column = tables_pb2.Column

# Measured: 0.2 GB of address space for a small table, 0.5 GB for 3,000,000 rows, 1.3 GB for 4,096 columns.
MEMORY_BYTES = 2 << 30
# Of each file that the child writes. A cell of one byte, with its comma, becomes at most 9 bytes of Arrow; formats that
# compress have no such rate, and the child itself refuses what becomes larger than 4 GiB.
FILE_BYTES_PER_BYTE = 16
FILE_BYTES = 5 << 30
# Seconds of processor time; a busy machine may take several times as long.
START_S = 120
BYTES_PER_S = 1 << 20
WALL_S_PER_S = 4
# From the end of its pipe to its own.
ENDING_S = 10
ANSWER_BYTES = 16 << 20

_REPO = Path(__file__).parents[2]
# How many tables are read at once: each may use a processor and the memory above.
_READERS = threading.BoundedSemaphore(usable_cores())
_ERRORS: dict[str, type[TraindError]] = {
    error.reason: error for error in (DiskFull, InvalidField, InvalidTable, TooLarge)
}


@dataclass(frozen=True)
class Ingested:
    """A table that was read."""

    columns: tuple[Column, ...]
    row_count: int
    # An Arrow file in `tmp`, the caller's to move or remove.
    table: Path
    # The name of a Dataset.Format.
    format: str
    # Of a CSV file; else empty.
    encoding: str
    # Without the name of a data set.
    profile: profiles_pb2.Profile


def ingest_table(
    source: Path,
    *,
    tmp: Path,
    schema: Sequence[Column] = (),
    format: str = "",  # noqa: A002  # the contract's word
    encoding: str = "",
    delimiter: str = "",
) -> Ingested:
    """Read a table from a file and describe it by figures.

    `schema` names the types that shall stand instead of the detected ones; `format` is the name of a Dataset.Format,
    empty to find it. Raises InvalidTable (line or row, column and value named), TooLarge (cells, columns, line, value,
    memory, time), DiskFull, and InvalidField for `source.schema`, `.format`, `.encoding` and `.delimiter`.
    """
    request: dict[str, Any] = {
        "source": str(source.resolve()),
        "schema": _asked(schema),
        "format": format,
        "encoding": known_encoding(encoding),
        "delimiter": known_delimiter(delimiter),
    }
    with _scratch(tmp) as scratch:
        made = scratch / "table.arrow"
        answer = _ask(scratch, request | {"table": str(made)}, source.stat().st_size)
        columns = tuple(
            Column(
                name=column["name"],
                type=Column.Type.Value(column["type"]),
                missing_count=column["missing"],
                categories=column["categories"],
            )
            for column in answer["columns"]
        )
        profile = _profile(answer)
        table = scratch_path(tmp, ".arrow")
        made.rename(table)
    found = answer["format"]
    known = (request["encoding"] or "UTF-8") if found == "CSV" else ""
    return Ingested(columns, int(answer["row_count"]), table, found, known, profile)


def profile_table(table: Path, *, tmp: Path) -> profiles_pb2.Profile:
    """The profile of a table that was read before, without the name of a data set. Raises TooLarge, DiskFull."""
    with _scratch(tmp) as scratch:
        return _profile(_ask(scratch, {"source": "", "table": str(table.resolve())}, table.stat().st_size))


@contextmanager
def _scratch(tmp: Path) -> Iterator[Path]:
    """A folder for one child, gone afterwards."""
    scratch = scratch_folder(tmp, "ingest")
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _ask(scratch: Path, request: dict[str, Any], size: int) -> dict[str, Any]:
    """What the child answers."""
    (scratch / "request.json").write_text(json.dumps(request | {"scratch": str(scratch)}), encoding="utf-8")
    with _READERS:
        return _run(scratch, size)


def _profile(answer: dict[str, Any]) -> profiles_pb2.Profile:
    return json_format.ParseDict(answer["profile"], profiles_pb2.Profile())


def _asked(schema: Sequence[Column]) -> list[list[str]]:
    """Name and type of each column that the caller described; an empty type where it shall be detected."""
    seen: set[str] = set()
    for i, column in enumerate(schema):
        if column.name in seen:
            raise invalid(f"source.schema[{i}].name", f"{shown(column.name)} stands twice; describe a column once")
        seen.add(column.name)
    return [[column.name, Column.Type.Name(column.type) if column.type else ""] for column in schema]


def _run(scratch: Path, size: int) -> dict[str, Any]:
    """Run the child on `scratch/request.json` and answer what it says, or raise what it found."""
    seconds = START_S + size // BYTES_PER_S
    child, reading = _start(scratch, (MEMORY_BYTES, seconds, FILE_BYTES + FILE_BYTES_PER_BYTE * size))
    try:
        raw = _read_answer(reading, time.monotonic() + WALL_S_PER_S * seconds)
        if raw == b"":
            child.wait(ENDING_S)
    finally:
        os.close(reading)
        child.kill()
        status = child.wait()
    if raw:
        return _understood(json.loads(raw))
    if raw is None or -status == signal.SIGXCPU:
        raise TooLarge(
            f"the table took longer than {seconds} s to read: upload fewer rows or columns",
            metadata={"limit_s": str(seconds)},
        )
    raise _stopped(status, scratch / "stderr")


def _start(scratch: Path, limits: tuple[int, int, int]) -> tuple[subprocess.Popen[bytes], int]:
    """The child, and the end of the pipe on which it will answer."""
    reading, writing = os.pipe()
    arguments = [str(number) for number in (writing, os.getpid(), *limits)]
    try:
        with (scratch / "request.json").open("rb") as request, (scratch / "stderr").open("wb") as complaints:
            child = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "service.data.ingest_child", *arguments],
                stdin=request,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                pass_fds=[writing],
                cwd=scratch,
                env=_environment(),
                start_new_session=True,
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return child, reading


def _environment() -> dict[str, str]:
    """All that the child's environment holds: where the code is, and one thread and little memory for libraries."""
    return {
        "PYTHONPATH": str(_REPO),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1",
        # As a job does (worker/limits.py): whole columns are given back as soon as they are free.
        "MALLOC_MMAP_THRESHOLD_": str(10 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    }


def _read_answer(reading: int, deadline: float) -> bytes | None:
    """Everything that comes until the child closes the pipe; None if it takes too long."""
    parts: list[bytes] = []
    size = 0
    # Not select: a server with a thousand open connections has larger numbers than it takes.
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise TooLarge("the table's description is too large: upload fewer columns")


def _understood(answer: dict[str, Any]) -> dict[str, Any]:
    """The child's answer, or the error that it tells of."""
    reason = answer["reason"]
    if not reason:
        return answer
    violations = [Violation(field, description) for field, description in answer["violations"]]
    raise _ERRORS[reason](answer["message"], violations, answer["metadata"])


def _stopped(status: int, complaints: Path) -> Exception:
    """What to raise when the child ended without an answer."""
    if status < 0:
        name = signal.Signals(-status).name
        return InvalidTable(
            f"the table could not be read: its reader was stopped ({name}); check the file, or upload fewer rows",
            metadata={"signal": name},
        )
    # A defect of ours: the traceback is for the log, callers see an error id.
    return RuntimeError(f"the reader of a table ended with {status}: {complaints.read_text(errors='replace')[-4000:]}")
