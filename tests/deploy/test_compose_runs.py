"""The commands of the compose file as plain processes: broker with its list of rights, PostgreSQL, server, worker."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest
import redis

from service.machine.broker import find_program
from tests import servers
from tests.acceptance import wire as wires
from tests.acceptance.wire import Wire
from tests.deploy import compose
from tests.deploy.processes import ROOT, Program, environment
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

PASSWORDS = {"TRAIND_DATABASE_PASSWORD": "5fe0c1b2a3d49687", "TRAIND_BROKER_PASSWORD": "1c7d9e0f2b3a4856"}
REFUSED = [
    ["CONFIG", "GET", "*"],
    ["CONFIG", "SET", "dir", "/tmp"],
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["SWAPDB", "0", "1"],
    ["EVAL", "return 1", "0"],
    ["SCRIPT", "FLUSH"],
    ["FUNCTION", "LIST"],
    ["KEYS", "*"],
    ["ACL", "LIST"],
    ["SHUTDOWN"],
    ["REPLICAOF", "10.0.0.7", "6379"],
    ["MIGRATE", "10.0.0.7", "6379", "k", "0", "1"],
    ["MONITOR"],
    ["CLIENT", "KILL", "TYPE", "normal"],
    ["SET", "another", "1"],
    ["SUBSCRIBE", "anything"],
]


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def programs():
    found = {"valkey": find_program(), "redis": shutil.which("redis-server")}
    return {name: pathlib.Path(path) for name, path in found.items() if path}


class Broker:
    """The broker's command of the compose file, on a free port of this machine."""

    def __init__(self, folder, program):
        service = compose.load(PASSWORDS)["services"]["redis"]
        self.port = free_port()
        folder.mkdir()
        name = "valkey-server" if "valkey" in program.name else "redis-server"
        (folder / name).symlink_to(program)
        words = [word.replace("/etc/traind", str(ROOT / "deploy" / "redis")) for word in service["command"]]
        words[words.index("6379")] = str(self.port)
        self.argv = [*words, "--bind", "127.0.0.1"]
        self.env = service["environment"] | {"BROKER_FOLDER": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}
        self.folder = folder

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, env=self.env, stdout=subprocess.DEVNULL)
        wait_until(self.answers, "the broker answers")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def answers(self):
        assert self.process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            # What the health check of the compose file looks for.
            return line.recv(64).startswith(b"-NOAUTH")
        return False

    def client(self, **more):
        return redis.Redis(port=self.port, **more)


@pytest.fixture(params=["valkey", "redis"])
def broker(request, tmp_path):
    if request.param not in programs():
        servers.missing(f"no {request.param}-server is on this machine")
    with Broker(tmp_path / "broker", programs()[request.param]) as made:
        yield made


def user(broker):
    return broker.client(username="traind", password=PASSWORDS["TRAIND_BROKER_PASSWORD"])


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_a_worker_does_not_need_is_refused(broker, words):
    with user(broker) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)


def test_nobody_gets_in_without_the_password_and_it_stands_in_no_argument_and_no_file(broker):
    with broker.client() as nobody, pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()
    with (
        broker.client(username="traind", password="wrong") as guessing,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        guessing.ping()
    password = PASSWORDS["TRAIND_BROKER_PASSWORD"].encode()
    process = pathlib.Path(f"/proc/{broker.process.pid}")
    assert password not in (process / "cmdline").read_bytes()
    written = broker.folder / "users.acl"
    assert password not in written.read_bytes()
    assert written.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("password", "says"), [("", "TRAIND_BROKER_PASSWORD"), ("changeme", "8 characters")])
def test_a_broker_without_a_password_of_some_length_does_not_start(tmp_path, password, says):
    env = {"PATH": os.environ["PATH"], "TRAIND_BROKER_PASSWORD": password, "BROKER_FOLDER": str(tmp_path)}
    script = str(ROOT / "deploy" / "redis" / "start.sh")
    done = subprocess.run(
        ["sh", script, "--port", "0"], env=env, capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.timeout(300)
def test_the_stack_trains_by_the_commands_and_settings_of_the_compose_file(broker, tmp_path, postgresql_url):
    services = compose.load(PASSWORDS)["services"]
    entry = next(line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT"))
    program = [sys.executable, *json.loads(entry.removeprefix("ENTRYPOINT "))[1:]]
    own = {"TRAIND_DATABASE_URL": postgresql_url, "TRAIND_HTTP_PORT": "0", "TRAIND_GRPC_PORT": "0"}

    def settings(name):
        given = services[name]["environment"]
        at = given["TRAIND_BROKER_URL"].replace("@redis:6379/", f"@127.0.0.1:{broker.port}/")
        return given | own | {"TRAIND_BROKER_URL": at}

    def run(name, *words):
        env = environment(tmp_path / "data", **settings(name))
        argv = [*program, *words]
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)

    refused = run("api", *services["api"]["command"])
    assert (refused.returncode, "no user has a token" in refused.stderr) == (2, True)
    token = run("api", "user", "add", "kim").stdout.strip()
    folder = tmp_path / "data"
    with (
        Program(folder, argv=[*program, *services["api"]["command"]], **settings("api")) as api,
        Program(folder, argv=[*program, *services["worker-cpu"]["command"]], **settings("worker-cpu")) as worker,
    ):
        wire = Wire(api.wait_address()["grpc"], token)
        wire.upload("waves", wires.table())
        for name in ("api", "worker-cpu"):
            _, *words = services[name]["healthcheck"]["test"]
            healthy = run(name, *words[3:])
            assert healthy.returncode == 0, healthy.stdout + healthy.stderr
        jobs = [wire.wait(wire.submit(wires.quick()).name, 120) for _ in range(3)]
        assert [job.state for job in jobs] == [jobs_pb2.Job.SUCCEEDED] * 3
        wire.close()
        assert "NOPERM" not in worker.output() + api.output()
        assert "Cannot connect" not in worker.output()
        with user(broker) as client:
            held = {key.decode() for key in client.scan_iter()}
        assert held
        assert all(key.startswith("traind:") for key in held), held
    assert run("api", "health", "api").returncode == 1, "a server that is gone is not healthy"
