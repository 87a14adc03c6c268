"""I1-I19: what must hold after every fault, of the database, the files, the processes and what clients were told."""

import contextlib
import hashlib
import itertools
import json
import re

import grpc
import psutil
from sqlalchemy import text

from service.store.tables import ENDED_STATES
from tests.acceptance import wire as wires
from tests.acceptance.stack import ROOT
from tests.faults import rules
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job
ENDED = wires.ENDED
# Codes of an answer that names no fault of the caller and none of the moment.
UNTOLD = {grpc.StatusCode.UNKNOWN}
# What only the inside of a server knows: paths, code, SQL.
_INSIDE = re.compile(
    r"Traceback|File \"|\bclass '|Errno|/tmp/|\.py\b|sqlite3|psycopg|sqlalchemy|SELECT |UPDATE |" + re.escape(str(ROOT))
)
# Open files of a server or a worker at rest: its database's pool is the most of it.
MOST_FILES = 150


def violations(stack, record, references=None):
    """Everything that does not hold, each as a line that begins with the invariant's number.

    The stack is quiet. `references`: what uninterrupted jobs came to, by their task's JSON (see `digests`).
    """
    database = stack.database()
    try:
        found = of_rows(database, record.acknowledged)
        found += of_blobs(stack, database)
        found += of_results(database, references or {})
        found += of_counts(stack, database) + of_queue(stack, database)
    finally:
        database.dispose()
    found += of_clients(record) + of_leftovers(stack) + of_logs(stack) + of_refusals(record)
    return found + of_strangers(stack.wire_of(stack.other_token), sorted(record.acknowledged)[:3])


def of_rows(database, acknowledged=()):
    """I1-I13."""
    with database.read() as connection:
        return rows_within(connection, acknowledged)


def rows_within(connection, acknowledged=()):
    """I1-I13 within a transaction."""
    asked = dict(rules.RULES)
    if acknowledged:
        asked["I1 an acknowledged job is missing"] = rules.missing(acknowledged)
    return [f"{name}: {tuple(row)}" for name, query in sorted(asked.items()) for row in connection.execute(text(query))]


def of_blobs(stack, database):
    """I14 and I11 of artifacts and of files."""
    with database.read() as connection:
        found = of_artifacts(connection)
        query = text("SELECT sha256 FROM dataset UNION SELECT table_sha256 FROM dataset")
        named = set(connection.execute(query).scalars())
    return found + of_files(stack, named)


def of_artifacts(connection):
    """I14: every artifact is what was stored; one that is still staged may be short."""
    found = []
    for row in connection.execute(text("SELECT id, sha256, size_bytes, state FROM artifact")).all():
        query = text("SELECT data FROM artifact_chunk WHERE artifact_id = :id ORDER BY number")
        data = b"".join(bytes(chunk) for chunk in connection.execute(query, {"id": row.id}).scalars())
        short = row.state == "staged" and len(data) < row.size_bytes
        if not short and (len(data) != row.size_bytes or hashlib.sha256(data).hexdigest() != row.sha256):
            found.append(f"I14 artifact {row.id} is not what was stored")
    return found


def of_files(stack, named):
    """I14: the file of every hash that rows name is there and has it. I11: no row names one of those there are."""
    files = stack.files()
    found = [f"I11 the file {name} belongs to no data set" for name in sorted(files.keys() - named)]
    found += [f"I14 the file {name} of a data set is missing" for name in sorted(named - files.keys())]
    for name in sorted(named & files.keys()):
        if hashlib.sha256(files[name].read_bytes()).hexdigest() != name:
            found.append(f"I14 the file {name} is not what was stored")
    return found


def digests(database):
    """What each job that succeeded came to, as (job id, task, SHA-256 of its weights, of its history)."""
    with database.read() as connection:
        query = text(
            "SELECT j.id, j.task_json, v.weights_sha256 FROM job j JOIN model_version v ON v.job_id = j.id "
            "WHERE j.state = 'SUCCEEDED' ORDER BY j.created_at, j.id"
        )
        return [(*row, _history(connection, row[0])) for row in connection.execute(query).all()]


def _history(connection, job_id):
    query = text(
        "SELECT s.name, m.step, m.value FROM series s JOIN metric m ON m.job_id = s.job_id AND m.series_id = s.id "
        "WHERE s.job_id = :id"
    )
    points = sorted((name, step, repr(value)) for name, step, value in connection.execute(query, {"id": job_id}))
    return hashlib.sha256(json.dumps(points).encode()).hexdigest()


def of_results(database, references):
    """I15: the same bits as a job of the same task that nothing interrupted."""
    return [
        f"I15 {job_id} came to other {what} than the uninterrupted job of its task"
        for job_id, task, *came in digests(database)
        for what, one, wanted in zip(("weights", "figures"), came, references.get(task, came), strict=True)
        if one != wanted
    ]


def of_clients(record):
    """I16: what clients were told never goes back, and watchers saw each event once. I12: one submission, one job."""
    found = [
        f"I12 {key} was answered with {sorted(names)}" for key, names in record.submissions.items() if len(names) > 1
    ]
    for name, events in record.watches:
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            found.append(f"I16 a watcher of {name} saw the events {[event.seq for event in events]}")
        if not events or events[-1].state.state not in ENDED:
            found.append(f"I16 a watcher of {name} did not see its end")
        found += _epochs_seen(name, events)
    for name, reads in record.reads.items():
        for before, after in itertools.pairwise(reads):
            if after[1:] < before[1:] or (before[0] in ENDED and after != before):
                found.append(f"I16 {name} went back from {before} to {after}")
    return found


def _epochs_seen(name, events):
    """Epochs come as 1, 2, 3, ..., and after they were taken back from there on."""
    stood = 0
    for event in events:
        kind = event.WhichOneof("kind")
        if kind == "resumed" and event.resumed.rewound:
            stood = event.resumed.epoch
        elif kind == "epoch":
            if event.epoch.epoch != stood + 1:
                return [f"I16 a watcher of {name} saw epoch {event.epoch.epoch} after {stood}"]
            stood = event.epoch.epoch
    return []


def of_leftovers(stack):
    """I17: no process, file or socket of a job that is over."""
    found, roots = [], {root.pid for root in stack.roots.values()}
    for process in stack.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            above = {process.pid, *(parent.pid for parent in process.parents())}
            line = " ".join(process.cmdline())
            if not above & roots:
                found.append(f"I17 the process {process.pid} belongs to nobody any more: {line}")
            if process.status() == psutil.STATUS_STOPPED:
                found.append(f"I17 the process {process.pid} is stopped: {line}")
            if process.num_fds() > MOST_FILES:
                found.append(f"I17 the process {process.pid} has {process.num_fds()} files open: {line}")
    found += [f"I17 the trainer {process.pid} outlived its job" for process in stack.trainers()]
    temporary = stack.data / "tmp"
    uploads = _uploads(stack)
    for path in temporary.iterdir() if temporary.exists() else ():
        if path.name.removeprefix("upload-") not in uploads:
            found.append(f"I17 the file {path.name} was left behind")
    return found


def of_counts(stack, database):
    """I18: what is counted equals a recount: bytes of uploads, versions of models."""
    found = []
    for upload_id, received in _uploads(stack).items():
        path = stack.data / "tmp" / f"upload-{upload_id}"
        size = path.stat().st_size if path.exists() else -1
        # After a crash between the two the file is longer; the same bytes come again.
        if size < received:
            found.append(f"I18 upload {upload_id} counts {received} bytes and has {size}")
    with database.read() as connection:
        return found + of_versions(connection)


def of_versions(connection):
    """I18: a model counts the versions that it has."""
    query = text(
        "SELECT m.id FROM model m LEFT JOIN model_version v ON v.model_id = m.id GROUP BY m.id, m.last_version "
        "HAVING COUNT(v.id) <> m.last_version OR MAX(v.version) <> m.last_version"
    )
    return [f"I18 model {row[0]} counts other versions than it has" for row in connection.execute(query)]


def of_queue(stack, database):
    """I18: the queue tells as many jobs as there are."""
    wire = stack.wire_of(stack.token)
    told = wire.call(wire.jobs.ListQueue, jobs_pb2.ListQueueRequest())
    with database.read() as connection:
        return queue_told(told, dict(connection.execute(text("SELECT state, COUNT(*) FROM job GROUP BY state")).all()))


def queue_told(told, counted):
    """I18: an answer of ListQueue beside the rows of each state."""
    held = sum(count for state, count in counted.items() if state not in {"QUEUED", "PAUSED", *ENDED_STATES})
    if (told.queued, told.busy_slots) == (counted.get("QUEUED", 0), held):
        return []
    return [f"I18 the queue tells {told.queued} waiting and {told.busy_slots} held, it has {counted}"]


def of_logs(stack):
    """I19: no token stands in a log."""
    logs = stack.logs()
    tokens = {"kim": stack.token, "lee": stack.other_token}
    return [f"I19 a log holds the token of {user}" for user, token in tokens.items() if token and token in logs]


def of_refusals(record):
    """I19: no error tells of the inside of the server, no answer of anybody else's job."""
    return [
        f"I19 {refusal.user} was told of the inside: {refusal.code.name}: {refusal.text[:200]}"
        for refusal in record.refusals
        # A connection that broke is told by the client's own library.
        if refusal.code is not grpc.StatusCode.UNAVAILABLE and (refusal.code in UNTOLD or _INSIDE.search(refusal.text))
    ]


def of_strangers(wire, names):
    """I19: whoever is not kim finds none of kim's jobs, by no method."""
    found = []
    for name in names:
        for method, request in (
            (wire.jobs.GetJob, jobs_pb2.GetJobRequest(name=name)),
            (wire.jobs.CancelJob, jobs_pb2.CancelJobRequest(name=name)),
            (wire.jobs.GetHistory, jobs_pb2.GetHistoryRequest(name=name)),
        ):
            try:
                wire.call(method, request)
                found.append(f"I19 a stranger was answered {type(request).__name__} of {name}")
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    found.append(f"I19 a stranger was answered {error.code().name} of {name}: {error.details()}")
    listed = wire.call(wire.jobs.ListJobs, jobs_pb2.ListJobsRequest())
    told = wire.call(wire.jobs.ListQueue, jobs_pb2.ListQueueRequest())
    found += [f"I19 a stranger was listed {job.name}" for job in listed.jobs]
    found += [f"I19 a stranger was told {entry.job} of {entry.owner}" for entry in told.entries if entry.job]
    return found


def _uploads(stack):
    database = stack.database()
    try:
        with database.read() as connection:
            return dict(connection.execute(text("SELECT id, received FROM upload")).all())
    finally:
        database.dispose()
