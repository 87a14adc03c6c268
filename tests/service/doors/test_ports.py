"""Ports and signals of the real process: `python -m service api`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest

from service import accounts
from service.store.database import Database
from tests import servers
from tests.service.doors import seeds
from tests.service.doors.running import refusal_of_rpc, running
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, jobs_pb2_grpc


@contextlib.contextmanager
def process(folder, url, **more):
    """The API in a process of its own, killed at the end if it still runs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
    env |= {
        "TRAIND_DATA_DIR": str(folder),
        "TRAIND_DATABASE_URL": url,
        "TRAIND_HTTP_PORT": "0",
        "TRAIND_GRPC_PORT": "0",
    }
    started = subprocess.Popen(
        [sys.executable, "-m", "service", "api"],
        env=env | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.stdout.close()
        started.wait()


def address(folder, started):
    path = folder / "run" / "address.json"

    def told():
        assert started.poll() is None, started.stdout.read()
        with contextlib.suppress(OSError, ValueError):
            return json.loads(path.read_text())

    return wait_until(told, "the server tells its address", 60, 0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_while_a_job_is_watched(tmp_path, number):
    with servers.fresh_database("sqlite") as url, process(tmp_path, url) as started:
        target = address(tmp_path, started)["grpc"].removeprefix("grpc://")
        database = Database(url)
        accounts.create_user(database, "kim")
        token = accounts.create_token(database, "kim", ["read"])
        job = seeds.add_job(database, seeds.add_dataset(database, "kim", "penguins"))
        database.dispose()
        with grpc.insecure_channel(target) as channel:
            events = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(
                jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}"), metadata=[("authorization", f"Bearer {token}")]
            )
            assert next(events).state.state == jobs_pb2.Job.QUEUED
            began = time.monotonic()
            started.send_signal(number)
            with pytest.raises(grpc.RpcError) as error:
                next(events)
            assert refusal_of_rpc(error.value).reason == "SHUTTING_DOWN"
        assert started.wait(20) == 0
        assert time.monotonic() - began < 10
        log = started.stdout.read()
        assert "Traceback" not in log
        assert token not in log


@pytest.mark.parametrize("variable", ["TRAIND_HTTP_PORT", "TRAIND_GRPC_PORT", "TRAIND_PREDICT_PORT"])
def test_a_second_server_on_a_port_says_which_and_exits_with_2(tmp_path, variable):
    with running("sqlite", tmp_path / "first") as first:
        port = first.http_port if variable == "TRAIND_HTTP_PORT" else first.grpc_port
        with (
            servers.fresh_database("sqlite") as url,
            process(tmp_path / "second", url, **{variable: str(port)}) as second,
        ):
            assert second.wait(60) == 2
            said = second.stdout.read().strip().splitlines()[-1]
            assert said.startswith(f"error: {variable} is {port}:")
            assert not (tmp_path / "second" / "run" / "address.json").exists()
        assert first.rest("GET", "/healthz").status_code == 200


def test_a_host_that_is_not_ours_is_told(tmp_path):
    with servers.fresh_database("sqlite") as url, process(tmp_path, url, TRAIND_HOST="192.0.2.1") as started:
        assert started.wait(60) == 2
        assert "TRAIND_HOST" in started.stdout.read()


def test_nothing_listens_after_a_stop(tmp_path):
    before = threading.active_count()
    with running("sqlite", tmp_path) as doors:
        ports = (doors.grpc_port, doors.http_port)
        doors.stop()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
    wait_until(lambda: threading.active_count() <= before + 1, "the threads of the verbs ended")
