"""How an installation stands at this moment, for whoever reads why a test waited in vain."""

import contextlib

import psutil

JOBS = "SELECT id, state, attempt, epoch, worker, lease_until - {now}, not_before - {now} FROM job"
UNENDED = " WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED') ORDER BY created_at LIMIT 20"
NOW = {"postgresql": "extract(epoch from clock_timestamp())", "sqlite": "unixepoch('subsec')"}
SESSIONS = (
    "SELECT pid, state, wait_event_type, wait_event, clock_timestamp() - xact_start, clock_timestamp() - state_change, "
    "pg_blocking_pids(pid), left(query, 120) FROM pg_stat_activity WHERE datname = current_database()"
)
LINES = 12


def standing(stack):
    """Jobs that have not ended, who holds the database, every process and whether it is stopped, the last log lines."""
    database = stack.database()
    told = ["jobs (id, state, attempt, epoch, worker, seconds of lease left, seconds to wait):"]
    try:
        with database.read() as connection:
            query = JOBS.format(now=NOW[database.kind]) + UNENDED
            told += [f"  {tuple(row)}" for row in connection.exec_driver_sql(query)]
            if database.kind == "postgresql":
                told.append(
                    "sessions (pid, state, waits for, age of the transaction, age of the state, blocked by, query):"
                )
                told += [f"  {tuple(map(str, row))}" for row in connection.exec_driver_sql(SESSIONS)]
    finally:
        database.dispose()
    told.append("processes:")
    for name, root in stack.roots.items():
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(root.pid)
            told += [f"  {name}: {_process(process)}" for process in [top, *top.children(recursive=True)]]
    for path in sorted([*stack.folder.glob("*.out"), *stack.data.glob("run/*.log")]):
        told += [f"{path.name}:", *(f"  {line}" for line in path.read_text(errors="replace").splitlines()[-LINES:])]
    return "\n".join(told)


def _process(process):
    try:
        return f"{process.pid} of {process.ppid()} {process.status()} {' '.join(process.cmdline())[:100]}"
    except psutil.Error as error:
        return str(error)
