"""Watching a job: the past first, then what comes, to the end; over gRPC, server-sent events and lines."""

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf import json_format

from service import accounts, ledger, watching
from tests.service.doors import seeds
from tests.service.doors.running import refusal_of_rest, refusal_of_rpc, running
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

NO_JOB = "jobs/00000000-0000-4000-8000-000000000000"


@pytest.fixture
def job(doors):
    """A QUEUED job of kim's that is the next to be claimed."""
    token = doors.token("kim")
    yield seeds.add_job(doors.app.database, seeds.add_dataset(doors.app.database, "kim", "penguins"))
    del token
    # The next test's job must be the first of the queue.
    while claim := ledger.claim(doors.app.database, "sweep:1", 60):
        ledger.fail(doors.app.database, claim, "INTERNAL", "the test that queued it is over")


def watch_rpc(doors, job, from_seq=0, token=None, *, stored_only=False):
    request = jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}", from_seq=from_seq, stored_only=stored_only)
    metadata = [("authorization", f"Bearer {token or doors.token('kim')}")]
    return doors.method("JobService.WatchJob")(request, metadata=metadata, timeout=60)


class Stream:
    """A stream of server-sent events or lines, read on a thread."""

    def __init__(self, doors, path, **headers):
        self.lines, self.closed = [], threading.Event()
        every = {"authorization": f"Bearer {doors.token('kim')}"} | headers
        self._thread = threading.Thread(target=self._read, args=(doors, path, every), daemon=True)
        self._thread.start()

    def _read(self, doors, path, headers):
        with doors.http.stream("GET", path, headers=headers, timeout=60) as response:
            self.response = response
            for line in response.iter_lines():
                self.lines.append(line)
        self.closed.set()

    def whole(self):
        assert self.closed.wait(30), f"the stream did not end: {self.lines}"
        return self.lines


def parse_events(lines):
    """(event, id, data) of each server-sent event; comments are left out."""
    events = []
    for block in "\n".join(lines).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            events.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return events


def to_event(data):
    return json_format.ParseDict(data, jobs_pb2.JobEvent())


def test_the_past_is_sent_and_the_stream_ends_with_the_job(doors, job):
    seeds.run(doors.app.database, job)
    events = list(watch_rpc(doors, job))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.WhichOneof("kind") for event in events] == ["state", "state", *["epoch"] * 3, "state"]
    assert events[-1].state.state == jobs_pb2.Job.SUCCEEDED
    figures = {metric.name: metric.value for metric in events[3].epoch.metrics}
    assert (events[3].epoch.epoch, figures["train_loss"]) == (2, 0.5)
    assert figures["val_loss"] != figures["val_loss"]
    assert [event.attempt for event in events] == [0, 1, 1, 1, 1, 1]


def test_all_three_ways_tell_the_same(doors, job):
    seeds.run(doors.app.database, job)
    by_rpc = list(watch_rpc(doors, job))
    events = parse_events(Stream(doors, f"/v1/jobs/{job.id}:watch").whole())
    assert [name for name, _, _ in events] == ["message"] * len(by_rpc) + ["end"]
    assert [seq for _, seq, _ in events[:-1]] == [str(event.seq) for event in by_rpc]
    # NaN differs from itself, so compare what it is written as.
    assert [str(to_event(data)) for _, _, data in events[:-1]] == [str(event) for event in by_rpc]
    lines = Stream(doors, f"/v1/jobs/{job.id}:watch", accept="application/x-ndjson").whole()
    assert [str(to_event(json.loads(line))) for line in lines if line] == [str(event) for event in by_rpc]


@pytest.mark.parametrize("from_seq", [0, 1, 4, 6])
def test_a_watch_goes_on_where_it_is_asked_to(doors, job, from_seq):
    seeds.run(doors.app.database, job)
    expected = list(range(max(from_seq, 1), 7))
    assert [event.seq for event in watch_rpc(doors, job, from_seq)] == expected
    stream = Stream(doors, f"/v1/jobs/{job.id}:watch?from_seq={from_seq}")
    assert [int(seq) for name, seq, _ in parse_events(stream.whole()) if name == "message"] == expected
    # What an EventSource sends when it comes again, with the URL that it began with.
    stream = Stream(doors, f"/v1/jobs/{job.id}:watch", **{"last-event-id": str(max(from_seq, 1) - 1)})
    assert [int(seq) for name, seq, _ in parse_events(stream.whole()) if name == "message"] == expected


@pytest.mark.parametrize("from_seq", [7, 1000])
def test_a_watch_behind_the_end_ends_at_once(doors, job, from_seq):
    seeds.run(doors.app.database, job)
    assert list(watch_rpc(doors, job, from_seq)) == []
    assert parse_events(Stream(doors, f"/v1/jobs/{job.id}:watch?from_seq={from_seq}").whole()) == [("end", None, {})]


@pytest.mark.parametrize("from_seq", [0, 2, 6, 7, 1000])
def test_what_is_stored_is_sent_alone_where_that_is_asked(doors, job, from_seq, monkeypatch):
    """Also of a job that goes on, and where it takes several reads."""
    monkeypatch.setattr(watching, "BATCH_EVENTS", 2)
    path = f"/v1/jobs/{job.id}:watch?storedOnly=true&fromSeq={from_seq}"
    expected = list(range(max(from_seq, 1), 6))

    def look():
        assert [event.seq for event in watch_rpc(doors, job, from_seq, stored_only=True)] == expected
        events = parse_events(Stream(doors, path).whole())
        assert [int(seq) for name, seq, _ in events if name == "message"] == expected
        assert events[-1] == ("end", None, {})

    seeds.run(doors.app.database, job, before_end=look)
    expected = list(range(max(from_seq, 1), 7))
    look()


def test_news_come_as_they_happen_to_every_watcher(doors, job):
    """Two over gRPC, one of them from behind the end, and one over REST; each sees the job's end by itself."""
    first, late = watch_rpc(doors, job), watch_rpc(doors, job, 1000)
    stream = Stream(doors, f"/v1/jobs/{job.id}:watch")
    assert next(first).state.state == jobs_pb2.Job.QUEUED
    wait_until(lambda: any(line.startswith("data") for line in stream.lines), "the first event came over REST")
    seeds.run(doors.app.database, job, before_end=lambda: wait_until(lambda: "id: 5" in stream.lines, "epoch 3 came"))
    assert [event.seq for event in first] == [2, 3, 4, 5, 6]
    assert list(late) == []
    assert [name for name, _, _ in parse_events(stream.whole())] == ["message"] * 6 + ["end"]


def test_those_who_want_the_same_events_share_a_read(doors, job, monkeypatch):
    """And those who want what is stored now read for themselves, for what is under way may be older than they are."""
    reads, read = [], watching._read

    def slow(app, job_id, from_seq):
        reads.append(from_seq)
        time.sleep(0.5)
        return read(app, job_id, from_seq)

    monkeypatch.setattr(watching, "_read", slow)
    with ThreadPoolExecutor(20) as pool:
        streams = [watch_rpc(doors, job) for _ in range(20)]
        assert [event.seq for event in pool.map(next, streams)] == [1] * 20
        assert reads.count(1) <= 10
        for stream in streams:
            stream.cancel()
        reads.clear()
        streams = [watch_rpc(doors, job, stored_only=True) for _ in range(5)]
        assert [[event.seq for event in events] for events in pool.map(list, streams)] == [[1]] * 5
        assert reads.count(1) == 5


def test_a_look_that_fails_is_not_the_last_one(doors, job, monkeypatch, caplog):
    looked, look = [], watching._look

    def fails_twice(*arguments):
        looked.append(1)
        if len(looked) < 3:
            raise ZeroDivisionError("a defect")
        return look(*arguments)

    monkeypatch.setattr(watching, "_look", fails_twice)
    monkeypatch.setattr(watching, "POLL_AGAIN_S", 0.1)
    stream = watch_rpc(doors, job)
    assert next(stream).seq == 1
    wait_until(lambda: len(looked) > 3, "it looks again")
    seeds.run(doors.app.database, job)
    assert [event.seq for event in stream] == [2, 3, 4, 5, 6]
    assert sum("the poll of watched jobs failed" in record.message for record in caplog.records) == 2


def test_a_failure_is_an_end_with_its_reason(doors, job):
    seeds.run(doors.app.database, job, fail=True)
    last = list(watch_rpc(doors, job))[-1].state
    assert (last.state, last.failure.reason) == (jobs_pb2.Job.FAILED, jobs_pb2.Failure.DIVERGED)


def test_a_pause_is_no_end(doors, job):
    kim = doors.token("kim")
    seen = watch_rpc(doors, job)
    next(seen)
    doors.rpc("JobService.PauseJob", jobs_pb2.PauseJobRequest(name=f"jobs/{job.id}"), kim)
    assert next(seen).state.state == jobs_pb2.Job.PAUSED
    doors.rpc("JobService.CancelJob", jobs_pb2.CancelJobRequest(name=f"jobs/{job.id}"), kim)
    assert [event.state.state for event in seen] == [jobs_pb2.Job.CANCELLED]


@pytest.mark.parametrize(
    ("name", "from_seq", "refused"),
    [
        (NO_JOB, 0, ("NOT_FOUND", "RESOURCE_NOT_FOUND")),
        ("jobs/nonsense", 0, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        (NO_JOB, -1, ("INVALID_ARGUMENT", "INVALID_FIELD")),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_is_sent(doors, name, from_seq, refused):
    kim = doors.token("kim")
    with pytest.raises(grpc.RpcError) as error:
        next(
            doors.method("JobService.WatchJob")(
                jobs_pb2.WatchJobRequest(name=name, from_seq=from_seq), metadata=[("authorization", f"Bearer {kim}")]
            )
        )
    by_rpc = refusal_of_rpc(error.value)
    assert (by_rpc.code, by_rpc.reason) == refused
    assert refusal_of_rest(doors.rest("GET", f"/v1/{name}:watch?fromSeq={from_seq}", kim)) == by_rpc


def test_another_s_job_cannot_be_watched(doors, job):
    response = doors.rest("GET", f"/v1/jobs/{job.id}:watch", doors.token("lee"))
    assert refusal_of_rest(response).code == "NOT_FOUND"


def test_a_last_event_id_that_is_none_is_refused(doors, job):
    kim = doors.token("kim")
    response = doors.rest("GET", f"/v1/jobs/{job.id}:watch", kim, headers={"last-event-id": "x; DROP"})
    assert refusal_of_rest(response).violations[0][0] == "from_seq"


def test_a_revoked_token_stops_watching(doors, job):
    """Also one whose watcher has nothing to hear, and within seconds."""
    token = accounts.create_token(doors.app.database, "kim", ["read"])
    stream = watch_rpc(doors, job, token=token)
    next(stream)
    accounts.revoke_token(doors.app.database, token[4:12])
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        next(stream)
    assert time.monotonic() - began < 10
    assert refusal_of_rpc(error.value).reason == "TOKEN_REJECTED"


def test_one_user_cannot_hold_every_watch(doors, job, monkeypatch):
    monkeypatch.setattr(watching, "MOST_WATCHES_OF_A_USER", 1)
    held = watch_rpc(doors, job)
    next(held)
    with pytest.raises(grpc.RpcError) as error:
        next(watch_rpc(doors, job))
    refusal = refusal_of_rpc(error.value)
    assert (refusal.reason, refusal.retry) == ("RATE_LIMITED", True)
    held.cancel()

    def again():
        stream = watch_rpc(doors, job)
        with contextlib.suppress(grpc.RpcError):
            return next(stream) and (stream.cancel() or True)

    wait_until(again, "the place is free again")
    # Over REST a client says nothing; it closes its connection.
    path, headers = f"/v1/jobs/{job.id}:watch", {"authorization": f"Bearer {doors.token('kim')}"}

    def held_over_rest():
        with doors.http.stream("GET", path, headers=headers) as held:
            return held.status_code == 200 and doors.http.get(path, headers=headers).status_code == 429

    wait_until(held_over_rest, "a watch over REST takes the place")
    wait_until(again, "the place is free again")


def test_a_stop_ends_every_watch_with_a_reason(tmp_path):
    """Over gRPC as UNAVAILABLE, over REST as the stream's last event; the whole stop takes less than 10 s."""
    with running("sqlite", tmp_path) as doors:
        doors.token("kim")
        job = seeds.add_job(doors.app.database, seeds.add_dataset(doors.app.database, "kim", "penguins"))
        by_rpc, stream = watch_rpc(doors, job), Stream(doors, f"/v1/jobs/{job.id}:watch")
        next(by_rpc)
        wait_until(lambda: any(line.startswith("data") for line in stream.lines), "the first event came over REST")
        doors.stop(wait=False)
        with pytest.raises(grpc.RpcError) as error:
            next(by_rpc)
        refusal = refusal_of_rpc(error.value)
        assert (refusal.code, refusal.reason, refusal.retry) == ("UNAVAILABLE", "SHUTTING_DOWN", True)
        name, _, data = parse_events(stream.whole())[-1]
        assert (name, data["error"]["code"], data["error"]["status"]) == ("error", 503, "UNAVAILABLE")
        doors.stop()
