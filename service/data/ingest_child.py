"""The program that reads an uploaded table: limited before it imports a parser, alone with one file.

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
    """Limit this process, read the table, answer."""
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
    with os.fdopen(answer_to, "w", encoding="utf-8") as pipe:
        json.dump(answer, pipe)


def _limit(memory: int, cpu_s: int, file_bytes: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _read(request: dict[str, Any]) -> dict[str, Any]:
    """Scan, detect, write."""
    from service.data.scan import scan

    source = Path(request["source"])
    scanned = scan(source)
    asked = _asked(request["schema"], scanned.names)

    # Imported only now: a bad file is refused sooner.
    from service.data.arrow_file import write_table
    from service.data.detect import detect

    columns = detect(source, scanned, asked)
    write_table(source, scanned, columns, Path(request["table"]))
    kept = _kept([column.categories for column in columns])
    described = [
        {"name": column.name, "type": column.type, "missing": column.missing, "categories": categories}
        for column, categories in zip(columns, kept, strict=True)
    ]
    return {"reason": "", "columns": described, "row_count": scanned.row_count}


def _refusal(error: TraindError) -> dict[str, Any]:
    """An error as it goes through the pipe."""
    violations = [[violation.field, violation.description] for violation in error.violations]
    return {"reason": error.reason, "message": error.message, "violations": violations, "metadata": error.metadata}


def _too_large(memory: int) -> TooLarge:
    return TooLarge(
        f"the table needs more than {memory >> 20:,} MiB of memory to read: upload fewer rows or columns",
        metadata={"limit": str(memory)},
    )


def _asked(schema: list[list[str]], names: tuple[str, ...]) -> dict[str, str]:
    """Types by column name. Raises InvalidField for a column that the table does not have."""
    unknown = [
        Violation(f"source.schema[{i}].name", f"the table has no column {shown(name)}; it has {', '.join(names[:20])}")
        for i, (name, _) in enumerate(schema)
        if name not in names
    ]
    if unknown:
        raise InvalidField(unknown[0].description, unknown[:20], {"field": unknown[0].field})
    return {name: kind for name, kind in schema if kind}


def _kept(categories: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The categories that are told; the table itself holds them all."""
    for limit in (KEPT_CATEGORIES, 100, 20):
        kept = [several[:limit] for several in categories]
        if sum(len(text.encode()) for several in kept for text in several) <= KEPT_CATEGORY_BYTES:
            return kept
    return [() for _ in categories]


if __name__ == "__main__":
    main()
