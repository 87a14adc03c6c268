"""What the client does when calls fail, against a server that fails as it is told."""

import contextlib
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings

import pytest

import traind
from tests.clients.traind.scripted import refusal, scripted_server
from traind import connections, watching
from traind.aio import watching as aio_watching
from traind.v1 import datasets_pb2, jobs_pb2, uploads_pb2

State = jobs_pb2.Job.State
UNAVAILABLE = refusal("UNAVAILABLE", "DATABASE_UNAVAILABLE", retry_s=0.05)
JOB = jobs_pb2.Job(name=f"jobs/{uuid.uuid4()}", state=State.QUEUED)


@pytest.fixture
def script(make):
    with scripted_server() as (script, url):
        script.make = make
        script.client = make(url, token="trd_ab12cd34_" + "x" * 43)
        yield script
        script.client.close()


def event(seq, state=None):
    found = jobs_pb2.JobEvent(seq=seq, attempt=1)
    if state is None:
        found.epoch.epoch = seq
    else:
        found.state.state = state
    return found


def test_a_job_is_sent_again_under_one_request_id(script):
    script.scripts["CreateJob"] = [UNAVAILABLE, refusal("UNAVAILABLE"), JOB]
    job = script.client.jobs.create(dataset="d", train={"target": "t"})
    assert job.name == JOB.name
    ids = [request.request_id for request in script.requests["CreateJob"]]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert uuid.UUID(ids[0]).version == 4
    script.client.jobs.create(dataset="d", train={"target": "t"})
    assert script.requests["CreateJob"][-1].request_id != ids[0]
    script.client.jobs.create(dataset="d", train={"target": "t"}, request_id="mine")
    assert script.requests["CreateJob"][-1].request_id == "mine"


def test_every_call_has_token_version_and_deadline(script):
    script.scripts["GetJob"] = [JOB]
    script.client.jobs.get(JOB.name)
    metadata = script.metadata[-1]
    assert metadata["authorization"].startswith("Bearer trd_ab12cd34_")
    assert metadata["x-traind-client"] == traind.__version__


def test_retries_are_bounded_and_told(script):
    script.scripts["GetJob"] = [UNAVAILABLE]
    with pytest.raises(traind.Unavailable) as failed:
        script.client.jobs.get("j")
    assert len(script.requests["GetJob"]) == 3
    assert "tried 3 times in" in str(failed.value)
    assert failed.value.retry_after == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED", retry_s=0.01), 3),
        (refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED"), 1),
        (refusal("RESOURCE_EXHAUSTED", "TOO_LARGE"), 1),
        (refusal("INTERNAL", "INTERNAL_ERROR"), 1),
        (refusal("NOT_FOUND", "RESOURCE_NOT_FOUND"), 1),
    ],
)
def test_what_is_tried_again(script, answer, tries):
    script.scripts["GetJob"] = [answer]
    with pytest.raises(traind.ApiError):
        script.client.jobs.get("j")
    assert len(script.requests["GetJob"]) == tries


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_moves_a_job_is_sent_once(script, verb):
    name = f"{verb.capitalize()}Job"
    script.scripts[name] = [UNAVAILABLE]
    with pytest.raises(traind.Unavailable):
        getattr(script.client.jobs, verb)("j")
    assert len(script.requests[name]) == 1


@pytest.mark.alone
def test_a_slow_answer_is_a_timeout(script):
    script.scripts["GetJob"] = [lambda _: time.sleep(1) or JOB]
    client = script.make(f"grpc://{script.client._transport().config.address.target}", timeout=0.2)
    began = time.monotonic()
    with pytest.raises(traind.TimedOut, match=r"no answer from grpc://127.* within 0.2 s"):
        client.jobs.get("j")
    assert time.monotonic() - began < 0.8


def test_nobody_there_is_one_clear_line_soon(monkeypatch, make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("TRAIND_URL", f"grpc://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(traind.ConnectionFailed) as failed:
        make().jobs.get("j")
    assert time.monotonic() - began < 5
    first = str(failed.value).splitlines()[0]
    assert f"no server at grpc://127.0.0.1:{port} (from TRAIND_URL): connection refused" in first


def test_a_host_that_says_nothing_is_given_up(make):
    # The system takes the connection, but nobody speaks on it.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = make(f"grpc://127.0.0.1:{mute.getsockname()[1]}", connect_timeout=1.0)
        began = time.monotonic()
        with pytest.raises(traind.ConnectionFailed, match="no answer to the attempt to connect"):
            client.jobs.get("j")
        assert 0.5 < time.monotonic() - began < 3


def test_a_server_of_something_else_is_told(make):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = other.accept()
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        client = make(f"grpc://127.0.0.1:{other.getsockname()[1]}", max_retries=0)
        with pytest.raises(traind.ConnectionFailed, match="something else answers there, not gRPC"):
            client.jobs.get("j")


def test_watch_goes_on_behind_the_last_event(script):
    script.scripts["WatchJob"] = [
        [event(1, State.QUEUED), event(2, State.RUNNING), refusal("UNAVAILABLE")],
        # A stream that ends without the job's end, one that repeats an event, one cancelled by nobody here.
        [event(3)],
        [event(3), event(4), refusal("CANCELLED")],
        [refusal("UNAVAILABLE", "SHUTTING_DOWN", retry_s=0.01)],
        [event(5), event(6, State.SUCCEEDED)],
    ]
    script.scripts["GetJob"] = [jobs_pb2.Job(state=State.RUNNING)]
    breaks = []
    events = list(script.client.jobs.watch("j", on_break=breaks.append))
    assert [e.seq for e in events] == [1, 2, 3, 4, 5, 6]
    assert [e.kind for e in events] == ["state", "state", "epoch", "epoch", "epoch", "state"]
    assert [request.from_seq for request in script.requests["WatchJob"]] == [1, 3, 4, 5, 5]
    assert len(breaks) == 2


def test_a_server_that_is_away_after_the_last_event_is_waited_for(script):
    away = refusal("UNAVAILABLE")
    script.scripts["WatchJob"] = [[event(1, State.SUCCEEDED)]]
    # More often than a call by itself would be sent again.
    script.scripts["GetJob"] = [*[away] * 4, jobs_pb2.Job(name=JOB.name, state=State.SUCCEEDED, done=True)]
    shown = io.StringIO()
    job = traind.Job(JOB, script.client.jobs)
    assert job.follow(shown).state == "SUCCEEDED"
    assert shown.getvalue().count("the connection broke") == 1
    script.scripts["GetJob"] = [away]
    with pytest.raises(traind.ConnectionFailed):
        script.client.jobs.wait("j", timeout=3)
    script.scripts["GetJob"] = [refusal("NOT_FOUND", "RESOURCE_NOT_FOUND")]
    with pytest.raises(traind.NotFound):
        script.client.jobs.wait("j")


def test_a_server_that_was_there_while_a_job_said_nothing_is_waited_for(script, monkeypatch):
    for module in (watching, aio_watching):
        monkeypatch.setattr(module, "RECONNECT_S", 0.5)
    silent = lambda _: time.sleep(0.7)  # noqa: E731 - a step of the script
    script.scripts["WatchJob"] = [[event(1), silent, refusal("UNAVAILABLE")], [event(2, State.SUCCEEDED)]]
    assert [e.seq for e in script.client.jobs.watch("j")] == [1, 2]
    script.scripts["WatchJob"] = [[event(1), refusal("UNAVAILABLE")], [refusal("UNAVAILABLE")]]
    with pytest.raises(traind.ConnectionFailed):
        list(script.client.jobs.watch("j"))


def test_a_stream_that_ends_as_its_server_does_goes_on(script):
    script.scripts["WatchJob"] = [[event(1, State.RUNNING)], [event(2, State.SUCCEEDED)]]
    script.scripts["GetJob"] = [refusal("UNAVAILABLE")] * 3 + [jobs_pb2.Job(state=State.SUCCEEDED, done=True)]
    assert [e.seq for e in script.client.jobs.watch("j")] == [1, 2]


def test_watch_behind_the_end_is_empty(script):
    script.scripts["WatchJob"] = [[]]
    script.scripts["GetJob"] = [jobs_pb2.Job(state=State.SUCCEEDED, done=True)]
    assert list(script.client.jobs.watch("j", from_seq=99)) == []


def test_watch_of_nothing_is_an_error_at_once(script):
    script.scripts["WatchJob"] = [[refusal("NOT_FOUND", "RESOURCE_NOT_FOUND")]]
    with pytest.raises(traind.NotFound):
        list(script.client.jobs.watch("j"))


def test_a_watch_that_is_left_is_cancelled(script):
    gone = threading.Event()
    heard = lambda context: context.add_callback(gone.set)  # noqa: E731 - a step of the script
    script.scripts["WatchJob"] = [[heard, event(1), lambda _: gone.wait(10)]]
    events = script.client.jobs.watch("j")
    assert next(events).seq == 1
    events.close()
    assert gone.wait(5)


@pytest.mark.alone
def test_wait_that_takes_too_long_leaves_the_job(script):
    script.scripts["WatchJob"] = [[event(1, State.QUEUED), lambda _: time.sleep(1.5)]]
    began = time.monotonic()
    with pytest.raises(traind.WaitTimeout, match=r"has not ended within 0.3 s; it goes on"):
        script.client.jobs.wait("j", timeout=0.3)
    assert time.monotonic() - began < 1.2


def test_wait_tells_how_a_job_failed(script):
    failed = jobs_pb2.Job(name=JOB.name, state=State.FAILED, done=True, epochs=9)
    failed.failure.reason = jobs_pb2.Failure.DIVERGED
    failed.failure.message = "the loss became inf in epoch 3"
    failed.findings.add(message="try lr 0.0004").figures["proposed_lr"] = 0.0004
    script.scripts["WatchJob"] = [[event(1, State.FAILED)]]
    script.scripts["GetJob"] = [failed]
    with pytest.raises(traind.JobFailed) as ended:
        script.client.jobs.wait("j")
    assert ended.value.failure_reason == "DIVERGED"
    assert str(ended.value).splitlines()[:2] == [
        f"job {JOB.name[5:13]} FAILED (DIVERGED): the loss became inf in epoch 3",
        "  fix   try lr 0.0004",
    ]
    assert script.client.jobs.wait("j", raise_on_failure=False).state == "FAILED"


def test_an_upload_goes_on_where_it_broke(script, tmp_path):
    data = bytes(range(256)) * 4096 * 5  # 5 MiB
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    arrived = bytearray()

    def take(limit):
        def write(parts):
            for part in parts[:limit]:
                if part.name:
                    assert part.offset == len(arrived)
                arrived.extend(part.data)
            return refusal("UNAVAILABLE") if limit else uploads_pb2.Upload(offset=len(arrived))

        return write

    script.scripts["CreateUpload"] = [uploads_pb2.Upload(name="uploads/u")]
    script.scripts["WriteUpload"] = [take(2), take(1), take(None)]
    script.scripts["GetUpload"] = [lambda _: uploads_pb2.Upload(name="uploads/u", offset=len(arrived))]
    script.scripts["CreateDataset"] = [datasets_pb2.Dataset(name="datasets/kim.t/versions/1")]
    script.client.datasets.create(file, name="t")
    assert bytes(arrived) == data
    assert max(len(part.data) for parts in script.requests["WriteUpload"] for part in parts) <= 1 << 20
    declared = script.requests["CreateUpload"][0].upload
    assert (declared.size_bytes, declared.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_data_set_whose_answer_was_lost_is_found(script):
    sha256 = hashlib.sha256(b"a\n1\n").hexdigest()
    script.scripts["CreateUpload"] = [uploads_pb2.Upload(name="uploads/u")]
    script.scripts["WriteUpload"] = [uploads_pb2.Upload(offset=4)]
    script.scripts["CreateDataset"] = [refusal("UNAVAILABLE")]
    script.scripts["GetDataset"] = [datasets_pb2.Dataset(name="datasets/kim.t/versions/3", sha256=sha256)]
    assert script.client.datasets.create(b"a\n1\n", name="t").name == "datasets/kim.t/versions/3"
    # Another table under that name is not taken for it: the call is made again.
    made = datasets_pb2.Dataset(name="datasets/kim.t/versions/4")
    script.scripts["CreateDataset"] = [refusal("UNAVAILABLE"), made]
    script.scripts["GetDataset"] = [datasets_pb2.Dataset(sha256="0" * 64)]
    assert script.client.datasets.create(b"a\n1\n", name="t").name == made.name


def test_pages_are_fetched_as_they_are_needed(script):
    first = jobs_pb2.ListJobsResponse(jobs=[JOB, JOB], next_page_token="more")
    script.scripts["ListJobs"] = [first, jobs_pb2.ListJobsResponse(jobs=[JOB])]
    jobs = script.client.jobs.list(["QUEUED"])
    next(jobs)
    assert len(script.requests["ListJobs"]) == 1
    assert len(list(jobs)) == 2
    assert [request.page_token for request in script.requests["ListJobs"]] == ["", "more"]
    assert list(script.requests["ListJobs"][0].states) == [State.QUEUED]


def test_states_and_kinds_of_a_newer_server_do_not_break(script):
    script.scripts["GetJob"] = [jobs_pb2.Job(name="jobs/x", state=77)]
    job = script.client.jobs.get("x")
    assert job.state == "STATE_77"
    assert "STATE_77" in repr(job)
    script.scripts["WatchJob"] = [[jobs_pb2.JobEvent(seq=1), event(2, State.CANCELLED)]]
    assert [e.kind for e in script.client.jobs.watch("x")] == ["unknown", "state"]


FORK = """
import os, sys, traind
client = traind.Client(sys.argv[1])
client.jobs.get("j")
pids = [os.fork() or os._exit(0 if client.jobs.get("j").epoch == 3 else 1) for _ in range(3)]
codes = [os.waitpid(pid, 0)[1] for pid in pids]
print(codes, client.jobs.get("j").epoch)
"""


def test_a_forked_child_has_a_channel_of_its_own(script):
    script.scripts["GetJob"] = [jobs_pb2.Job(epoch=3)]
    url = script.client._transport().config.address.url
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[0] == "[0, 0, 0] 3"


PROXIED = """
import asyncio, sys, traind
kind, url = sys.argv[1:]
try:
    if kind == "sync":
        print(traind.Client(url, timeout=3, max_retries=0).jobs.get("j").epoch)
    else:
        print(asyncio.run(traind.AsyncClient(url, timeout=3, max_retries=0).jobs.get("j")).epoch)
except traind.ConnectionFailed:
    print("not connected")
"""


@contextlib.contextmanager
def web_proxy():
    """Notes what it is asked to connect to, and refuses; yields the notes and its address."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = listener.accept()
                    asked.append(connection.recv(1000).partition(b"\r\n")[0].decode())
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield asked, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_web_proxy_stands_before_a_private_host(kind):
    with scripted_server() as (script, url), web_proxy() as (asked, proxy):
        script.scripts["GetJob"] = [jobs_pb2.Job(epoch=3)]
        names = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        env = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
        env |= dict.fromkeys(names, proxy) | {"GRPC_VERBOSITY": "NONE"}
        said = []
        for target in (url, "grpc://traind.example.org:8081"):
            argv = [sys.executable, "-c", PROXIED, kind, target]
            done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True)
            said.append(done.stdout.strip())
            if target == url:
                assert not asked
        # One that is not private goes through it.
        assert said == ["3", "not connected"]
        assert any("traind.example.org:8081" in line for line in asked)


ASYNC_FORK = """
import asyncio, os, sys, traind
client = traind.AsyncClient(sys.argv[1])
async def ask():
    found = (await client.jobs.get("j")).epoch
    await client.close()
    return found
def child():
    # An event loop does not survive a fork either: a child makes one of its own, or takes the blocking client.
    return 0 if traind.Client(sys.argv[1]).jobs.get("j").epoch == 3 else 1
print(asyncio.run(ask()), asyncio.run(ask()))
pids = [os.fork() or os._exit(child()) for _ in range(3)]
print([os.waitpid(pid, 0)[1] for pid in pids], asyncio.run(ask()))
"""


def test_every_event_loop_has_a_channel_of_its_own_and_a_fork_does_no_harm():
    with scripted_server() as (script, url):
        script.scripts["GetJob"] = [jobs_pb2.Job(epoch=3)]
        argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ASYNC_FORK, url]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.splitlines() == ["3 3", "[0, 0, 0] 3"]


def test_several_jobs_are_waited_for_together(script):
    ends = {"a": State.SUCCEEDED, "b": State.FAILED, "c": State.CANCELLED}
    script.scripts["WatchJob"] = [lambda request: [event(1, ends[request.name])]]
    script.scripts["GetJob"] = [lambda request: jobs_pb2.Job(name=f"jobs/{request.name}", state=ends[request.name])]
    ended = script.client.jobs.wait(["a", "b", "c"], raise_on_failure=False)
    assert [job.state for job in ended] == ["SUCCEEDED", "FAILED", "CANCELLED"]
    assert [job.id for job in script.client.jobs.wait(("a",))] == ["a"]
    with pytest.raises(traind.JobFailed) as failed:
        script.client.jobs.wait(["a", "b", "c"])
    assert failed.value.job.id == "b"
    # All were waited for before the first is told.
    assert [request.name for request in script.requests["WatchJob"]][-3:] == ["a", "b", "c"]
    with pytest.raises(traind.JobCancelled):
        script.client.jobs.wait(["a", "c"])


def test_a_listing_comes_in_pages_and_as_a_frame(script):
    first = jobs_pb2.ListJobsResponse(jobs=[JOB, JOB], next_page_token="more")
    empty = jobs_pb2.ListJobsResponse(next_page_token="still more")
    script.scripts["ListJobs"] = [first, empty, jobs_pb2.ListJobsResponse(jobs=[JOB]), jobs_pb2.ListJobsResponse()]
    jobs = script.client.jobs.list(page_size=2)
    assert jobs.has_next
    assert next(jobs).id == JOB.name[5:]
    assert len(jobs.next_page()) == 1  # what is left of the first
    assert len(jobs.next_page()) == 1  # an empty page is passed over
    assert not jobs.has_next
    assert jobs.next_page() == []
    assert [request.page_size for request in script.requests["ListJobs"]] == [2, 2, 2]
    assert list(script.client.jobs.list()) == []
    script.scripts["ListJobs"] = [first, jobs_pb2.ListJobsResponse(jobs=[JOB])]
    frame = script.client.jobs.list().to_df()
    assert list(frame["id"]) == [JOB.name[5:]] * 3
    assert {"state", "display_name", "epoch", "create_time"} <= set(frame.columns)


@pytest.mark.parametrize("version", ["9.0.0", traind.__version__])
def test_a_server_of_another_age_is_warned_of_once(make, version, monkeypatch):
    monkeypatch.setattr(connections, "_TOLD", set())
    with scripted_server(server_version=version) as (script, url):
        script.scripts["GetJob"] = [JOB]
        with warnings.catch_warnings(record=True) as caught, make(url) as client:
            warnings.simplefilter("always")
            for _ in range(3):
                client.jobs.get("j")
    told = [str(warning.message) for warning in caught]
    assert len(told) == (version == "9.0.0")
    assert all(
        f"this client is traind {traind.__version__}, the server 9.0.0: calls may go wrong" in one for one in told
    )
