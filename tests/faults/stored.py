"""What stands in the store, read past the product, against what the book says."""

import hashlib
import json
from collections import Counter

from service import ledger
from service.store.records import decode_figures
from tests.faults.book import same

# By how much a time may be off: SQLite counts days in double precision.
NEAR_S = 1e-3

_JOBS = (
    "SELECT id, state, attempt, losses, worker, epoch, best_epoch, failure_reason, model_name, metrics_json, "
    "checkpoint_id, older_checkpoint_id, last_seq, not_before, lease_until, created_at, started_at, ended_at FROM job"
)
_EVENTS = "SELECT job_id, seq, attempt, kind, body_json, time FROM event ORDER BY job_id, seq"
_POINTS = (
    "SELECT m.job_id, s.name, s.split, m.step, m.value FROM metric m "
    "LEFT JOIN series s ON s.job_id = m.job_id AND s.id = m.series_id"
)
_ARTIFACTS = "SELECT id, state, sha256, size_bytes FROM artifact"
_CHUNKS = "SELECT artifact_id, number, data FROM artifact_chunk ORDER BY artifact_id, number"
_REFS = "SELECT holder, artifact_id FROM artifact_ref"
_VERSIONS = "SELECT v.id, v.job_id, v.version, v.artifact_id, v.weights_sha256 FROM model_version v"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def compare(database, book):
    """Every row of every table that a life can write to is as the book says, and there are no others."""
    blobs = _blobs(database)
    events, points = _events(database), _points(database)
    rows = {row[0]: row[1:] for row in database.rows(_JOBS)}
    assert rows.keys() == book.pages.keys(), "jobs are missing, or there are more than were taken"
    assert events.keys() == rows.keys()
    assert points.keys() <= rows.keys()
    held = Counter()
    for job_id, row in rows.items():
        page = book.pages[job_id]
        found, times, checkpoints, last_seq = _page(row, events[job_id], points.get(job_id, {}), blobs)
        wanted = {name: getattr(page, name) for name in found if name != "points"}
        wanted["points"] = {series: told for series, told in page.points.items() if told}
        for name, value in found.items():
            assert same(value, wanted[name]), f"{name} of {job_id} is {value}, must be {wanted[name]}"
        assert last_seq == len(page.events), "the job's row counts other events than there are"
        for name, value in times.items():
            told = getattr(page, name)
            assert (value is None) == (told is None), name
            assert value is None or abs(value - told) < NEAR_S, f"{name} of {job_id} is {value}, must be {told}"
        held.update((f"job:{job_id}", checkpoint) for checkpoint in checkpoints)
    _compare_models(database, book, blobs, held)
    refs = Counter(tuple(row) for row in database.rows(_REFS))
    assert refs == held, "artifacts are held by others than jobs and models say"
    assert {artifact for _, artifact in refs} == blobs.keys(), (
        "an artifact that nobody holds, or none where one is held"
    )


def abandoned(database, now):
    """Ids of what was dropped, or staged by processes that died long ago."""
    staged = database.rows("SELECT id, created_at FROM artifact WHERE state = 'staged'")
    return {artifact for artifact, created in staged if created < now - ledger.STAGED_S - NEAR_S}


def _page(row, events, points, blobs):
    names = ("state", "attempt", "losses", "worker", "epoch", "best", "failure", "model")
    found = dict(zip(names, row, strict=False))
    metrics, newest, older, last_seq, *times = row[len(names) :]
    checkpoints = [one for one in (newest, older) if one is not None]
    assert newest is not None or older is None
    found |= {"figures": decode_figures(metrics), "events": events, "points": points}
    found["kept"] = [blobs.get(one) for one in checkpoints]
    return (
        found,
        dict(zip(("not_before", "lease", "created", "started", "ended"), times, strict=True)),
        checkpoints,
        last_seq,
    )


def _blobs(database):
    """The bytes of each artifact that counts, verified."""
    chunks = {}
    for artifact, number, data in database.rows(_CHUNKS):
        parts = chunks.setdefault(artifact, [])
        assert number == len(parts), "a chunk is missing"
        parts.append(bytes(data))
    blobs = {}
    for artifact, state, digest, size in database.rows(_ARTIFACTS):
        data = b"".join(chunks.pop(artifact, []))
        if state == "staged":
            continue
        assert (len(data), sha256(data)) == (size, digest), "an artifact's bytes are not those that were stored"
        blobs[artifact] = data
    assert not chunks, "chunks of no artifact"
    return blobs


def _events(database):
    found = {}
    for job_id, seq, attempt, kind, body, _ in database.rows(_EVENTS):
        told = found.setdefault(job_id, [])
        assert seq == len(told) + 1, "events are not dense"
        told.append((attempt, kind, _what(kind, json.loads(body))))
    return found


def _what(kind, body):
    if kind == "state":
        return body["state"]
    if kind == "epoch":
        return body["epoch"]
    if kind == "resumed":
        return int(body.get("epoch", 0)), int(body.get("batch", 0)), body.get("rewound", False)
    return body["message"]


def _points(database):
    found = {}
    for job_id, name, split, step, value in database.rows(_POINTS):
        assert name is not None, "a point of no series"
        told = found.setdefault(job_id, {}).setdefault((name, split), {})
        told[step] = float("nan") if value is None else value
    return found


def _compare_models(database, book, blobs, held):
    wanted = {
        job_id: (number, weights) for made in book.models.values() for number, (job_id, weights) in enumerate(made, 1)
    }
    found = {}
    for version, job_id, number, artifact, digest in database.rows(_VERSIONS):
        assert job_id not in found, "two models of one job"
        found[job_id] = number, blobs.get(artifact)
        assert sha256(found[job_id][1] or b"") == digest, "a model has other weights than it says"
        held[f"model:{version}", artifact] += 1
    assert found == wanted, "models are missing, or there are more than were made"
