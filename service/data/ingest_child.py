"""The program that reads an uploaded table and computes its profile: limited before it imports a parser, alone with one file.

Called by ingest.py as `python -m service.data.ingest_child FD PARENT_PID MEMORY_BYTES CPU_S FILE_BYTES`, with the
request as JSON on its input; the answer goes as JSON to the pipe FD. It has no environment to speak of, knows no
database and no token, and is believed names, types and counts only.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from service.data.objects import disk_full_refused
from service.errors import InvalidField, TooLarge, TraindError, Violation, shown
from service.machine.tether import die_with_parent

KEPT_CATEGORIES = 1000
# Of all columns together: so much fits into every message that shows a data set.
KEPT_CATEGORY_BYTES = 1 << 20

_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 64


def main() -> None:
    """Limit this process, do what is asked, answer."""
    answer_to, parent, memory, cpu_s, file_bytes = map(int, sys.argv[1:])
    die_with_parent(parent)
    _limit(memory, cpu_s, file_bytes)
    request = json.load(sys.stdin)
    try:
        with disk_full_refused():
            answer = _read(request)
    except TraindError as error:
        answer = _refusal(error)
    except MemoryError:
        answer = _refusal(_too_large(memory))
    # Whole or not at all: what cannot be written must not look like an answer.
    text = json.dumps(answer, allow_nan=False)
    with os.fdopen(answer_to, "w", encoding="utf-8") as pipe:
        pipe.write(text)


def _limit(memory: int, cpu_s: int, file_bytes: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _read(request: dict[str, Any]) -> dict[str, Any]:
    """Read the file and write its table, or take the table that is there; describe it."""
    # Imported only now: they come under the limits.
    if not request["source"]:
        return {"reason": "", "profile": _profile(request)}
    from service.data.reading.formats import Options
    from service.data.reading.opening import open_source

    options = Options(request["format"], request["encoding"], request["delimiter"])
    asked = {name: kind for name, kind in request["schema"] if kind}
    source, kind = open_source(Path(request["source"]), options, asked, Path(request["scratch"]))
    _check_asked(request["schema"], source.names)
    from service.data.arrow_file import write_table

    columns, rows = write_table(source, asked, Path(request["table"]))
    kept = _kept([column.categories for column in columns])
    described = [
        {"name": column.name, "type": column.type, "missing": column.missing, "categories": categories}
        for column, categories in zip(columns, kept, strict=True)
    ]
    # What reading needed is not needed any more, and memory is short.
    del source, columns
    return {"reason": "", "columns": described, "row_count": rows, "format": kind, "profile": _profile(request)}


def _profile(request: dict[str, Any]) -> dict[str, Any]:
    from service.data.profiling.profile import profile_table

    return profile_table(Path(request["table"]), Path(request["scratch"]))


def _refusal(error: TraindError) -> dict[str, Any]:
    """An error as it goes through the pipe."""
    violations = [[violation.field, violation.description] for violation in error.violations]
    return {"reason": error.reason, "message": error.message, "violations": violations, "metadata": error.metadata}


def _too_large(memory: int) -> TooLarge:
    return TooLarge(
        f"the table needs more than {memory >> 20:,} MiB of memory to read: upload fewer rows or columns",
        metadata={"limit": str(memory)},
    )


def _check_asked(schema: list[list[str]], names: tuple[str, ...]) -> None:
    """Raise InvalidField for a column that the table does not have."""
    known = set(names)
    unknown = [
        Violation(f"source.schema[{i}].name", f"the table has no column {shown(name)}; it has {', '.join(names[:20])}")
        for i, (name, _) in enumerate(schema)
        if name not in known
    ]
    if unknown:
        raise InvalidField(unknown[0].description, unknown[:20], {"field": unknown[0].field})


def _kept(categories: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The categories that are told; the table itself holds them all."""
    for limit in (KEPT_CATEGORIES, 100, 20):
        kept = [several[:limit] for several in categories]
        if sum(len(text.encode()) for several in kept for text in several) <= KEPT_CATEGORY_BYTES:
            return kept
    return [() for _ in categories]


if __name__ == "__main__":
    main()
