"""`up` and its parts start clean, say what is wrong in one line, and leave nothing behind."""

import contextlib
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import time
import tomllib

import grpc
import psutil
import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.acceptance.stack import PYTHON, ROOT, Stack
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job


@pytest.fixture
def stack():
    """An `up` of this test's own."""
    with stacks.up(TRAIND_SLOTS="1") as stack:
        yield stack


@pytest.fixture(scope="module")
def shared():
    """An `up` that goes on after each test."""
    with stacks.up(TRAIND_SLOTS="1") as stack:
        yield stack


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def test_it_tells_addresses_and_the_token_once_and_keeps_them_private(shared):
    stack = shared
    said = wait_until(lambda: "Ctrl-C" in stack.output("up") and stack.output("up"), "it greets")
    address = stack.address
    assert json.loads((stack.data / "run" / "address.json").read_text()).keys() == {"http", "grpc", "predict", "pid"}
    assert address["http"] in said
    assert address["grpc"] in said
    assert said.count(stack.token) == 1
    assert "Stop with Ctrl-C." in said
    for path in (stack.data, stack.data / "run", stack.data / "tmp", stack.data / "objects"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    profile = stack.folder / "config" / "traind" / "config.toml"
    for path in (profile, stack.data / "run" / "token", stack.data / "traind.db", *(stack.data / "run").glob("*.log")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    default = tomllib.loads(profile.read_text())["profiles"]["default"]
    assert default == {"url": address["grpc"], "http": address["http"], "token": stack.token}


def test_its_parent_is_light(shared):
    maps = psutil.Process(shared.roots["up"].pid).memory_maps()
    loaded = " ".join(file.path for file in maps)
    assert "sqlite" in loaded, "the check sees what is loaded"
    for heavy in ("torch", "cygrpc", "duckdb", "pyarrow"):
        assert heavy not in loaded, heavy


def test_ctrl_c_in_a_terminal_ends_everything_within_ten_seconds_and_a_running_job_goes_on_at_the_next_start():
    with Stack(TRAIND_SLOTS="1") as stack, terminal(stack) as (keys, process):
        wait_until(lambda: stack.address, "the server is ready", 60)
        stack.token = (stack.data / "run" / "token").read_text().strip()
        wire = stack.wire()
        wire.upload("waves", wires.table())
        # Longer than a slow machine takes from its third epoch to Ctrl-C.
        calm = wire.wait(wire.submit(wires.steady(150)).name)
        job = wire.submit(wires.steady(150))
        wire.wait_epoch(job.name, 3)
        tree = psutil.Process(process.pid).children(recursive=True)
        assert len(tree) >= 7
        began = time.monotonic()
        said = press_ctrl_c(keys)
        assert process.wait(15) == 0
        assert time.monotonic() - began < 10
        assert "stopping" in said
        for trouble in ("Traceback", "killed", "KeyboardInterrupt"):
            assert trouble not in said
        assert all(gone(one.pid) for one in tree)
        assert not (stack.data / "run" / "address.json").exists()

        stack.start("up", "service", "up")
        stack.wait_ready()
        wait_until(lambda: "Ctrl-C" in stack.output("up"), "it greets")
        assert stack.token not in stack.output("up"), "the token is shown at the first start only"
        profile = tomllib.loads((stack.folder / "config" / "traind" / "config.toml").read_text())["profiles"]["default"]
        here = stack.address
        assert profile == {"url": here["grpc"], "http": here["http"], "token": stack.token}, "it names the new ports"
        wire = stack.wire()
        wire.wait(job.name)
        assert_whole(wire, job.name, epochs=150, attempts=2)
        hashes = {wire.model(wire.get(name).model_version).weights_sha256 for name in (calm.name, job.name)}
        assert len(hashes) == 1
        with stack.database().read() as connection:
            assert connection.exec_driver_sql("SELECT max(losses) FROM job").scalar() == 0, "a clean stop is no loss"


@contextlib.contextmanager
def terminal(stack):
    """`up` in a terminal of its own; yields the terminal's other side and the process."""
    keys, screen = pty.openpty()
    argv = ["setsid", "--ctty", PYTHON, "-m", "service", "up"]
    with subprocess.Popen(argv, cwd=ROOT, env=stack.env, stdin=screen, stdout=screen, stderr=screen) as process:
        os.close(screen)
        try:
            yield keys, process
        finally:
            process.kill()
            os.close(keys)


def press_ctrl_c(keys):
    """Everything that `up` said before and after."""
    os.write(keys, b"\x03")
    said = b""
    # The other side is gone when `up` is.
    with contextlib.suppress(OSError):
        while chunk := os.read(keys, 4096):
            said += chunk
    return said.decode()


def test_a_watcher_does_not_hold_a_server_that_is_stopped(stack):
    wire = stack.wire()
    wire.upload("waves", wires.table())
    job = wire.submit(wires.endless())
    wire.wait_epoch(job.name)
    request = jobs_pb2.WatchJobRequest(name=job.name)
    stream = wire.jobs.WatchJob(request, metadata=wire.metadata, timeout=60)
    assert next(stream).seq == 1
    assert stack.stop("up", signal.SIGTERM) < 10
    with pytest.raises(grpc.RpcError) as raised:
        list(stream)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    with stack.database().read() as connection:
        assert connection.exec_driver_sql("SELECT state FROM job").scalar() == "QUEUED"


def test_a_second_up_on_the_same_folder_is_refused_in_one_line(shared):
    stack = shared
    done = stack.run("up", check=False)
    assert done.returncode == 2
    [line] = lines_of(done.stderr)
    assert f"process {stack.roots['up'].pid}" in line
    assert "TRAIND_DATA_DIR" in line
    assert stack.address, "the first one does not mind"


def test_children_that_die_are_started_again_and_it_is_said(shared):
    stack = shared
    address = stack.address
    for words, name in ((["service", "api"], "api"), (["-m worker", "-m worker"], "worker"), (["valkey"], "broker")):
        child = stack.processes(*words)[0]
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda name=name: f"{name} was killed by SIGKILL; it starts again" in stack.output("up"), name)
        wait_until(lambda words=words, pid=child.pid: any(p.pid != pid for p in stack.processes(*words)), name, 15)
    stack.wait_back(address["pid"], 30)
    assert (stack.address["grpc"], stack.address["http"]) == (address["grpc"], address["http"]), "where it did before"


def test_all_die_with_a_killed_parent(stack):
    tree = psutil.Process(stack.roots["up"].pid).children(recursive=True)
    stack.roots["up"].kill()
    stack.roots.pop("up").wait()
    wait_until(lambda: all(gone(process.pid) for process in tree), "everything is gone", 3)


@pytest.mark.parametrize(
    ("program", "variable"), [("up", "TRAIND_GRPC_PORT"), ("api", "TRAIND_HTTP_PORT"), ("api", "TRAIND_PREDICT_PORT")]
)
def test_a_taken_port_is_one_line_that_names_its_variable(program, variable):
    with contextlib.closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        with Stack(**{variable: port}) as stack:
            done = stack.run(program, check=False)
            assert done.returncode == 2, done.stderr
            line = lines_of(done.stderr)[-1]
            assert variable in line
            assert port in line
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["up", "api", "worker", "migrate"])
def test_a_setting_that_cannot_be_used_is_one_line(program):
    with Stack(TRAIND_SLOTS="many") as stack:
        done = stack.run(program, check=False)
        assert done.returncode == 2
        [line] = lines_of(done.stderr)
        assert "TRAIND_SLOTS is 'many'" in line


def test_a_stopped_api_takes_its_address_away():
    with Stack() as stack:
        stack.start("api", "service", "api")
        stack.wait_ready()
        assert stack.stop("api") < 10
        assert stack.address is None
        assert not (stack.data / "run" / "address.json").exists()


def test_tokens_of_a_server_that_is_not_there_are_refused():
    """In a folder that nobody meant, a token would be made that no server takes."""
    with Stack() as stack:
        for words in (["list"], ["token", "kim"], ["revoke", "abcdefgh"]):
            done = stack.run("user", *words, check=False)
            assert done.returncode == 2, words
            [line] = lines_of(done.stderr)
            assert f"there is no database {stack.data / 'traind.db'}" in line
            assert "TRAIND_DATA_DIR" in line
        assert not stack.data.exists()


def test_users_and_tokens():
    with Stack() as stack:
        made = stack.run("user", "add", "kim")
        token = made.stdout.strip()
        assert token.startswith("trd_")
        assert f"a new server: {stack.data} " in made.stderr
        assert not stack.run("user", "add", "lee").stderr
        admin = stack.run("user", "token", "kim", "--scopes", "read,admin").stdout.strip()
        told = stack.run("user", "list").stdout
        assert token not in told
        assert f"{token[:12]}_…  predict,read,submit" in told
        assert f"{admin[:12]}_…  admin,read" in told
        assert stack.run("user", "revoke", token[4:12]).returncode == 0
        assert f"{token[:12]}_…  revoked" in stack.run("user", "list").stdout
        for words in (["add", "kim"], ["revoke", "abcdefgh"]):
            done = stack.run("user", *words, check=False)
            assert done.returncode == 2, words
            assert len(lines_of(done.stderr)) == 1
        done = stack.run("user", "token", "kim", "--scopes", "read,fly", check=False)
        assert "fly" in done.stderr


def test_the_doctor_names_what_is_wrong():
    with Stack(TRAIND_BROKER_URL="redis://127.0.0.1:1/0") as stack:
        done = stack.run("doctor", check=False)
        assert done.returncode == 1
        lines = lines_of(done.stdout)
        assert [line[:4] for line in lines].count("BAD ") == 1
        assert "127.0.0.1:1 does not answer" in done.stdout
        for name in ("settings", "database", "broker", "disk", "torch", "ports"):
            assert any(line[5:].startswith(f"{name}:") for line in lines), name


def test_the_doctor_finds_nothing_wrong_where_nothing_is():
    with Stack() as stack:
        assert stack.run("doctor").returncode == 0
