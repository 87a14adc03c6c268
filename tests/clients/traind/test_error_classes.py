"""Every class of error, raised by a real server or a real lack of one: what it tells, and that its cure cures."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import grpc
import pytest

import traind
from service.watching import MOST_WATCHES_OF_A_USER
from tests.acceptance import stack as stacks
from tests.clients.traind.conftest import ENDLESS, FLATS, INPUTS, Server
from tests.waiting import wait_until
from traind import methods
from traind.v1 import jobs_pb2, jobs_pb2_grpc

SPEC = {
    "inputs": INPUTS,
    "target": "price",
    "network": {"mlp": {"hidden": [4]}},
    "learn": {"gradient": {"epochs": 3}},
    "seed": 7,
}


def raised(kind, call, *arguments, **options):
    """The error that a call must end with: of exactly this class, telling what to do."""
    with pytest.raises(traind.TraindError) as found:
        call(*arguments, **options)
    assert type(found.value) is kind, repr(found.value)
    return found.value


def changed(**learn):
    return SPEC | {"learn": {"gradient": {"epochs": 3} | learn}}


@pytest.fixture(scope="module")
def small():
    """A server that takes little: 1,000 parameters, files of 2,000 bytes."""
    with stacks.split(TRAIND_SLOTS="1", TRAIND_MAX_PARAMETERS="1000", TRAIND_MAX_UPLOAD_BYTES="4000") as stack:
        (stack.data / "run" / "token").write_text(stack.token)
        yield Server(stack, stack.address["grpc"])


@pytest.fixture
def own():
    """A server that a test may break."""
    with stacks.split(TRAIND_SLOTS="1") as stack:
        yield Server(stack, stack.address["grpc"])


def test_invalid_spec_names_field_limit_and_cure(client, flats):
    error = raised(traind.InvalidSpec, client.jobs.create, dataset=flats, model="m", train=changed(epochs=-1))
    assert (error.reason, error.field) == ("INVALID_FIELD", "job.train.learn.gradient.epochs")
    assert "-1" in error.message
    assert error.fix == "must be greater than or equal to 1 and less than or equal to 1000000"
    client.jobs.create(dataset=flats, model="m", train=changed(epochs=1), validate_only=True)
    error = raised(traind.InvalidSpec, client.jobs.create, dataset=flats, model="m", train=SPEC | {"target": ["prize"]})
    assert error.field == "job.train.target[0]"
    assert "price" in str(error)


def test_invalid_spec_names_line_and_column_of_a_table(client):
    error = raised(traind.InvalidSpec, client.datasets.create, b"a,b\n1,2\n3\n", name="ragged")
    assert error.reason == "INVALID_TABLE"
    assert "line 3" in str(error)
    client.datasets.delete(client.datasets.create(b"a,b\n1,2\n3,4\n", name="ragged"))


def test_auth_required_leads_to_a_token(server):
    with traind.Client(server.url, token="") as nobody:
        error = raised(traind.AuthRequired, nobody.datasets.list().__iter__().__next__)
    assert error.reason == "TOKEN_REQUIRED"
    assert "TRAIND_TOKEN_FILE" in error.fix
    command = [sys.executable, "-m", "traind", "data", "list"]
    env = {k: v for k, v in server.env.items() if k != "TRAIND_TOKEN_FILE"}
    assert subprocess.run(command, env=env, capture_output=True, timeout=60, check=False).returncode == 4
    assert subprocess.run(command, env=server.env, capture_output=True, timeout=60, check=False).returncode == 0


def test_auth_required_of_a_wrong_token(server):
    with traind.Client(server.url, token="trd_aaaaaaaa_" + "A" * 43) as stranger:
        error = raised(traind.AuthRequired, stranger.server_info)
    assert error.reason == "TOKEN_REJECTED"
    assert "trd_aaaaaaaa_…" in str(error)
    assert "A" * 10 not in str(error)
    assert "ask whoever runs the server for another token" in error.fix
    assert "TRAIND_URL" in error.fix


def test_forbidden_names_the_scope_that_lacks(server, flats):
    user = server.client().server_info().user

    def with_scopes(scopes):
        token = server.stack.run("user", "token", user, "--scopes", scopes).stdout.strip()
        return traind.Client(server.url, token=token)

    with with_scopes("read") as reader:
        assert reader.datasets.get("flats").row_count == 60
        error = raised(traind.Forbidden, reader.jobs.create, dataset="flats", model="m", train=SPEC)
    assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", "submit")
    assert "token" in error.fix
    with with_scopes(f"read,{error.metadata['scope']}") as writer:
        writer.jobs.create(dataset="flats", model="m", train=SPEC, validate_only=True)


def test_not_found_leads_to_the_list(server, client, flats):
    error = raised(traind.NotFound, client.datasets.get, "falts")
    assert error.reason == "RESOURCE_NOT_FOUND"
    assert "falts" in error.message
    assert isinstance(error, LookupError)
    command = error.fix.removeprefix("list yours with: ").split()
    done = subprocess.run(
        [sys.executable, "-m", *command], env=server.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "flats" in done.stdout


def test_conflict_names_what_stands_in_the_way(client):
    dataset = client.datasets.create({"x": [1, 2, 3], "price": [1.5, 2.5, 3.0]}, name="held")
    job = client.jobs.create(dataset=dataset, model="m", train=ENDLESS | {"inputs": ["x"]})
    error = raised(traind.Conflict, client.datasets.delete, dataset)
    assert (error.reason, error.metadata["job"]) == ("DATASET_IN_USE", job.name)
    assert "cancel them or wait" in error.fix
    client.jobs.cancel(error.metadata["job"])
    wait_until(lambda: client.jobs.get(job.name).done, "the job has ended", 20)
    client.datasets.delete(dataset)
    error = raised(traind.Conflict, client.jobs.resume, job)
    assert (error.reason, error.metadata["state"]) == ("WRONG_STATE", "CANCELLED")
    assert error.fix == f"see it with: traind job show {job.id[:8]}"


def test_conflict_of_a_request_id(client, flats):
    request_id = "123e4567-e89b-42d3-a456-426614174abc"
    client.jobs.create(dataset=flats, model="m", train=SPEC, request_id=request_id)
    error = raised(traind.Conflict, client.jobs.create, dataset=flats, model="n", train=SPEC, request_id=request_id)
    assert error.reason == "REQUEST_ID_REUSED"
    assert "send a new UUID" in error.fix
    client.jobs.create(dataset=flats, model="n", train=SPEC)


def test_too_large_tells_the_limit(small):
    with small.client() as client:
        error = raised(traind.TooLarge, client.datasets.create, {"x": list(range(2000))}, name="long")
        assert error.reason == "TOO_LARGE"
        assert "4,000" in str(error)
        assert "upload fewer rows or columns" in error.fix
        dataset = client.datasets.create({"x": [1, 2, 3], "price": [1.5, 2.5, 3.0]}, name="short")
        spec = {"inputs": ["x"], "target": "price", "split": {"none": {}}, "learn": {"gradient": {"epochs": 1}}}
        wide, narrow = ({"network": {"mlp": {"hidden": [width]}}} for width in (5000, 50))
        error = raised(traind.TooLarge, client.jobs.create, dataset=dataset, model="m", train=spec | wide)
        assert (error.reason, error.metadata["limit"]) == ("TOO_MANY_PARAMETERS", "1000")
        assert "narrower" in error.fix
        assert client.jobs.create(dataset=dataset, model="m", train=spec | narrow).wait(60).state == "SUCCEEDED"


def test_rate_limited_tells_when_to_come_again(server, client, flats):
    """One person watches as many jobs as one may: this one does nothing, so that there is little to send."""
    job = client.jobs.create(dataset=flats, model="m", train=ENDLESS).pause()
    wait_until(lambda: client.jobs.get(job.name).state == "PAUSED", "the job is paused", 20)
    request = jobs_pb2.WatchJobRequest(name=job.name)
    with contextlib.ExitStack() as opened:
        # A connection carries 1,000 calls at most, so there are several.
        apart = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.insecure_channel(server.url.removeprefix("grpc://"), apart) for _ in range(4)]
        for channel in channels:
            opened.callback(channel.close)
        metadata = [("authorization", f"Bearer {server.token}")]
        watches = [jobs_pb2_grpc.JobServiceStub(channel).WatchJob for channel in channels]
        streams = []
        for number in range(MOST_WATCHES_OF_A_USER):
            streams.append(watches[number % 4](request, metadata=metadata))
            next(streams[-1])
        one_more = client.jobs._transport().stream(methods.WATCH_JOB, request, 20)
        error = raised(traind.RateLimited, next, one_more)
        assert (error.reason, error.retry_after) == ("RATE_LIMITED", 10)
        assert error.metadata["limit"] == str(MOST_WATCHES_OF_A_USER)
        assert "end a watch first" in error.fix
        streams[0].cancel()
        wait_until(lambda: _can_watch(client, request), "there is room for one more", 20, every=0.05)
    client.jobs.cancel(job)


def _can_watch(client, request):
    with contextlib.closing(client.jobs._transport().stream(methods.WATCH_JOB, request, 20)) as stream:
        try:
            next(stream)
        except traind.RateLimited:
            return False
        return True


def test_unavailable_while_the_database_does_not_answer(own):
    """Another process holds the file of SQLite for itself."""
    with own.client(max_retries=0) as client:
        client.datasets.create(FLATS, name="flats")
        with contextlib.closing(sqlite3.connect(own.stack.data / "traind.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            error = raised(traind.Unavailable, client.jobs.create, dataset="flats", model="m", train=SPEC)
            other.execute("ROLLBACK")
        assert (error.reason, error.retry_after) == ("DATABASE_UNAVAILABLE", 1)
        assert "send the call again" in error.fix
        assert client.jobs.create(dataset="flats", model="m", train=SPEC).wait(60).state == "SUCCEEDED"


def test_server_error_of_damaged_weights(own):
    with own.client() as client:
        client.datasets.create(FLATS, name="flats")
        client.jobs.create(dataset="flats", model="m", train=SPEC).wait(60)
        with contextlib.closing(sqlite3.connect(own.stack.data / "traind.db")) as store:
            store.execute("CREATE TEMPORARY TABLE kept AS SELECT rowid AS chunk, data FROM artifact_chunk")
            store.execute("UPDATE artifact_chunk SET data = zeroblob(length(data))")
            store.commit()
            error = raised(traind.ServerError, client.predict, "m", FLATS)
            assert (error.reason, error.code) == ("DATA_CORRUPT", "DATA_LOSS")
            assert "SHA-256" in error.message
            assert "restore" in error.fix
            store.execute("UPDATE artifact_chunk SET data = kept.data FROM kept WHERE chunk = artifact_chunk.rowid")
            store.commit()
        assert len(client.predict("m", FLATS)) == 60


def test_connection_failed_says_how_a_server_is_started(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"grpc://127.0.0.1:{taken.getsockname()[1]}"  # Bound, and nobody listens.
        with traind.Client(url, token="trd_x", connect_timeout=1) as client:
            began = time.monotonic()
            error = raised(traind.ConnectionFailed, client.server_info)
    assert time.monotonic() - began < 5
    assert isinstance(error, ConnectionError)
    assert url in error.message
    assert "connection refused" in error.message
    assert "traind up" in error.fix


def test_timed_out_where_the_server_stands_still(own):
    api = next(process for process in own.stack.processes("service api"))
    with own.client(timeout=1.0) as client:
        info = client.server_info()
        os.kill(api.pid, signal.SIGSTOP)
        try:
            error = raised(traind.TimedOut, client.server_info)
        finally:
            os.kill(api.pid, signal.SIGCONT)
        assert isinstance(error, TimeoutError)
        assert "within 1 s" in error.message
        assert "Client(timeout=" in error.fix
    with own.client(timeout=30) as client:
        assert client.server_info().version == info.version


def test_job_failed_proposes_a_rate_that_works(client, flats):
    def spec(lr):
        optimizer = {"gradientDescent": {"lr": lr}}
        return SPEC | {
            "network": {"linear": {}},
            "preprocess": {"scale": "NONE"},
            "learn": {"gradient": {"optimizer": optimizer, "epochs": 50}},
        }

    job = client.jobs.create(dataset=flats, model="m", train=spec(100.0))
    error = raised(traind.JobFailed, job.wait, 60)
    assert error.failure_reason == "DIVERGED"
    assert error.job.state == "FAILED"
    assert f"traind job show {job.id[:8]}" in error.fix
    (finding,) = [one for one in error.job.findings if one.code == "DIVERGED"]
    rate = finding.figures["proposed_lr"]
    assert f"Try {rate:.3g}" in str(error)
    assert client.jobs.create(dataset=flats, model="m", train=spec(rate)).wait(60).state == "SUCCEEDED"


def test_wait_timeout_leaves_the_job_alone_and_job_cancelled_tells_where_it_stood(client, flats):
    job = client.jobs.create(dataset=flats, model="m", train=ENDLESS)
    error = raised(traind.WaitTimeout, job.wait, 0.5)
    assert isinstance(error, TimeoutError)
    assert "it goes on" in error.message
    assert not client.jobs.get(job.name).done
    job.cancel()
    error = raised(traind.JobCancelled, job.wait, 30)
    assert (error.job.state, error.job.name) == ("CANCELLED", job.name)
    assert f"epoch {error.job.epoch} of 1000000" in error.message


def test_config_error_says_what_to_write(server, tmp_path, monkeypatch):
    http = server.stack.address["http"]
    error = raised(traind.ConfigError, traind.Client, http, token=server.token)
    assert isinstance(error, ValueError)
    assert http in error.message
    assert "grpc://127.0.0.1:8081" in error.fix
    monkeypatch.setenv("TRAIND_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text(server.token)
    (tmp_path / "token").chmod(0o644)
    error = raised(traind.ConfigError, lambda: traind.Client(server.url).server_info())
    assert error.fix == f"chmod 600 {tmp_path / 'token'}"
    subprocess.run(error.fix.split(), check=True)
    with traind.Client(server.url) as client:
        assert client.server_info().user
