"""How large and how long things may be on this server, and how calls are refused."""

import re

from service.calling import methods
from service.rest.docs.contents import REASONS, short
from service.rest.docs.markup import Prose, escape, table
from service.settings import Settings

_REASON = re.compile(r"([A-Z_]+), HTTP (\d{3})\. (.+)", re.DOTALL)


def limits(settings: Settings) -> str:
    """The table of limits, with this server's own."""
    # The door and the server import what makes this page.
    from service.rest.connection import HEAD_DEADLINE_S, MOST_HEAD_BYTES
    from service.rest.door import MOST_CALLS

    rows = [
        ("A message, either way", f"{methods.MOST_MESSAGE_BYTES:,} bytes", "TOO_LARGE"),
        ("A file", f"{settings.max_upload_bytes:,} bytes (<code>TRAIND_MAX_UPLOAD_BYTES</code>)", "TOO_LARGE"),
        (
            "A network",
            f"{settings.max_parameters:,} weights and biases (<code>TRAIND_MAX_PARAMETERS</code>)",
            "TOO_MANY_PARAMETERS",
        ),
        (
            "What a job takes of memory, by its estimate",
            f"{settings.max_job_bytes:,} bytes (<code>TRAIND_MAX_JOB_BYTES</code>)",
            "TOO_MANY_PARAMETERS",
        ),
        (
            "Jobs of one person that wait or are paused",
            f"{settings.max_queued_jobs:,} (<code>TRAIND_MAX_QUEUED_JOBS</code>)",
            "QUEUE_FULL",
        ),
        ("Request line and headers", f"{MOST_HEAD_BYTES:,} bytes, within {HEAD_DEADLINE_S:g} s", "HEADERS_TOO_LARGE"),
        ("Calls at once over REST", f"{MOST_CALLS:,}", "RATE_LIMITED"),
        ("A call that names no deadline", f"{methods.DEFAULT_DEADLINE_S:g} s", "DEADLINE_PASSED"),
        ("The longest deadline that counts", f"{methods.LONGEST_DEADLINE_S:g} s", "DEADLINE_PASSED"),
        ("The wait for the next part of a body", f"{methods.PART_DEADLINE_S:g} s", "DEADLINE_PASSED"),
    ]
    cells = [
        (escape(what), limit, f'<a href="#ErrorReason.{reason}"><code>{reason}</code></a>')
        for what, limit, reason in rows
    ]
    return (
        '<section id="limits"><h2>Limits</h2><p>Uploads, watched jobs and the reading of tables may take as long as '
        'they need. <a href="#ServerService.GetServerInfo">GetServerInfo</a> tells the first three to programs; limits '
        "of single fields stand beside them.</p>"
        f"{table(('What', 'At most', 'Else'), cells, 'Limits')}</section>"
    )


def reasons(comments: dict[str, str], prose: Prose) -> str:
    """The table of reasons, each with an anchor."""
    rows = []
    for value in REASONS.values:
        if not value.number:
            continue
        code, status, said = split_reason(comments.get(f"{REASONS.full_name}.{value.name}", ""))
        anchor = f"{short(REASONS)}.{value.name}"
        # Narrow screens break long names at their underscores.
        shown = value.name.replace("_", "_<wbr>")
        named = f'<code id="{anchor}">{shown}</code> <small>{code.replace("_", "_<wbr>")}</small>'
        rows.append((named, status, prose.line(said)))
    comment = "".join(prose.paragraphs(comments.get(name, "")) for name in (REASONS.file.name, REASONS.full_name))
    return (
        f'<section id="{short(REASONS)}"><h2>Errors</h2>{comment}'
        f"{table(('Reason and code', 'HTTP', 'Means'), rows, 'Reasons of refused calls')}</section>"
    )


def split_reason(comment: str) -> tuple[str, str, str]:
    """`NOT_FOUND, HTTP 404. There is no …` as code, status and sentence. One in another form is all sentence."""
    found = _REASON.fullmatch(comment)
    return (found[1], found[2], found[3]) if found else ("", "", comment)
