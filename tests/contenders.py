"""Processes that do the same thing to one database at the same moment.

They are started once for all tests, `python -m tests.contenders`, and read what to do line by line: a verb, a URL and
an argument as JSON; each gets ready, says so, waits for the word, does it, and writes what came out.
"""

import atexit
import functools
import json
import os
import subprocess
import sys

CONTENDERS = 4


def contend(verb, url, argument=""):
    """Let four processes at once do `verb`; answers what each of them got."""
    processes = _started()
    for process in processes:
        _say(process, [verb, url, argument])
    for process in processes:
        assert _hear(process) == "ready"
    for process in processes:
        _say(process, "go")
    answers = [_hear(process) for process in processes]
    for answer in answers:
        assert "raised" not in answer, answer["raised"]
    return [answer["got"] for answer in answers]


@functools.cache
def _started():
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.contenders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(CONTENDERS)
    ]
    atexit.register(_stop, processes)
    return processes


def _stop(processes):
    for process in processes:
        process.communicate()  # They end when their input does.


def _say(process, what):
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _hear(process):
    line = process.stdout.readline()
    assert line, f"a contender ended with {process.wait()}"
    return json.loads(line)


def migrate(database, argument):
    database.migrate()
    return "migrated"


def claim_all(database, argument):
    """Claim until the queue is empty; the ids that this process got."""
    from service import ledger

    claimed = []
    while (claim := ledger.claim(database, f"worker {os.getpid()}", 60)) is not None:
        claimed.append(claim.job.id)
    return claimed


def append_events(database, argument):
    """Append 50 events to the job `argument`; their numbers."""
    from service.store import events

    numbers = []
    for _ in range(50):
        with database.write() as connection:
            numbers.append(events.append(connection, argument, 0, "log", '{"message":"x"}'))
    return numbers


def submit(database, argument):
    """Submit with each of 40 request ids, as the verb does: find it or add it; the jobs' ids."""
    from service.store import jobs
    from tests.service.store import rows

    owner_id, dataset_id = argument.split(",")
    answered = []
    for number in range(40):
        with database.write() as connection:
            found = jobs.find_by_request(connection, owner_id, f"request {number}")
            added = found or jobs.add(connection, **rows.job_values(owner_id, dataset_id, f"request {number}"))
            answered.append((added or jobs.find_by_request(connection, owner_id, f"request {number}")).id)
    return answered


def submit_blindly(database, argument):
    """Submit with each of 40 request ids without looking for them before; the jobs' ids, null where one was there."""
    from service.store import jobs
    from tests.service.store import rows

    owner_id, dataset_id = argument.split(",")
    answered = []
    for number in range(40):
        with database.write() as connection:
            added = jobs.add(connection, **rows.job_values(owner_id, dataset_id, f"request {number}"))
            answered.append(added and added.id)
    return answered


def add_versions(database, argument):
    """Add 10 versions to the data set `penguins` of owner `argument`; their numbers."""
    from service.store import users
    from tests.service.store import rows

    owner = users.UserRow(argument, "kim", 0.0)
    return [rows.make_dataset(database, owner, sha256=f"{os.getpid()} {number}").version for number in range(10)]


VERBS = {verb.__name__: verb for verb in (migrate, claim_all, append_events, submit, submit_blindly, add_versions)}


def main():
    import traceback

    from service.store.database import Database

    for line in sys.stdin:
        verb, url, argument = json.loads(line)
        database = Database(url)
        print('"ready"', flush=True)
        sys.stdin.readline()
        try:
            answer = {"got": VERBS[verb](database, argument)}
        except Exception:
            answer = {"raised": traceback.format_exc()}
        database.dispose()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
