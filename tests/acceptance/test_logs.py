"""A job's log while the api that tells it is killed and comes back: each line once, in order, to every reader.

The test is the job's worker, through the worker's own ledger, so that it says when which line is written.
"""

import asyncio
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

import traind
from service import ledger
from tests import servers
from tests.acceptance import stack as stacks
from tests.clients.traind.conftest import ENDLESS, FLATS
from tests.waiting import wait_until

LONG_S = 600.0


class Api:
    """A server without workers, on a port that it takes again when it comes back."""

    def __init__(self, database_url, broker_url):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.stack = stacks.Stack(database_url, broker_url, TRAIND_GRPC_PORT=str(port))
        self.stack.token = self.stack.run("user", "add", "kim", "--scopes", "read,submit").stdout.strip()
        self.start()
        self.url = self.stack.address["grpc"]
        self.env = self.stack.env | {"TRAIND_URL": self.url, "TRAIND_TOKEN": self.stack.token}

    def start(self):
        self.stack.start("api", "service", "api")
        self.stack.wait_ready()

    def kill(self):
        self.stack.stop("api", signal.SIGKILL)

    def command(self, *words):
        argv = [sys.executable, "-m", "traind", *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def api(request):
    if request.param == "sqlite":
        api = Api(None, None)
        with api.stack:
            yield api
        return
    try:
        redis_url = servers.redis_url()
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database("postgresql") as url:
        api = Api(url, redis_url)
        with api.stack:
            yield api


class Job:
    """A running job whose worker is the test."""

    def __init__(self, api):
        with traind.Client(api.url, token=api.stack.token) as client:
            client.datasets.create(FLATS, name="flats")
            self.id = client.jobs.create(dataset="flats", model="m", train=ENDLESS).id
        self.database = api.stack.database()
        self.claim = ledger.claim(self.database, "test:1", LONG_S)
        assert self.claim.job.id == self.id
        self.lines, self.epochs = [], 0

    def say(self, count, epochs=1):
        """So many lines more, behind each so many epochs."""
        for _ in range(count):
            line = f"줄 {len(self.lines) + 1}"
            ledger.add_log(self.database, self.claim, line)
            first = self.epochs + 1
            self.epochs += epochs
            figures = [ledger.EpochFigures(n, {("train_loss", "train"): 1 / n}) for n in range(first, self.epochs + 1)]
            ledger.publish_epochs(self.database, self.claim, figures, None, 0)
            self.lines.append(line)


@pytest.fixture
def job(api):
    job = Job(api)
    yield job
    job.database.dispose()


class Command:
    """`traind job logs` as a process, its output in files."""

    def __init__(self, api, *words):
        self._out, self._err = (pathlib.Path(api.stack.folder, f"{'-'.join(words)}.{kind}") for kind in ("1", "2"))
        argv = [sys.executable, "-m", "traind", "job", "logs", *words]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(argv, env=api.env, stdout=out, stderr=err)

    @property
    def lines(self):
        return self._out.read_text(encoding="utf-8").splitlines()

    @property
    def told(self):
        return self._err.read_text(encoding="utf-8")

    def end(self):
        return self._process.wait(60)


class Reader:
    """A client of either kind that follows a log on a thread."""

    def __init__(self, api, job_id, kind):
        self.lines, self.breaks = [], []
        self._api, self._job_id = api, job_id
        self._thread = threading.Thread(target=getattr(self, f"_{kind}"), daemon=True)
        self._thread.start()

    def _blocking(self):
        with traind.Client(self._api.url, token=self._api.stack.token) as client:
            for line in client.jobs.logs(f"jobs/{self._job_id}", on_break=self.breaks.append):
                self.lines.append(line)

    def _looped(self):
        async def read():
            async with traind.AsyncClient(self._api.url, token=self._api.stack.token) as client:
                async for line in client.jobs.logs(f"jobs/{self._job_id}", on_break=self.breaks.append):
                    self.lines.append(line)

        asyncio.run(read())

    def end(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), "it still reads, though the job has ended"


def all_have(readers, lines):
    wait_until(lambda: all(reader.lines == lines for reader in readers), f"{len(lines)} lines are read", 60)


@pytest.mark.timeout(300)
def test_without_follow_a_running_job_s_log_ends_where_it_stands(api, job):
    assert api.command("job", "logs", job.id).stdout == ""
    job.say(25, epochs=50)  # 1275 events: the server reads them in three parts.
    for words, expected in (
        ((), job.lines),
        (("--tail", "3"), job.lines[-3:]),
        (("--tail", "0"), []),
        (("--tail", "5000"), job.lines),
    ):
        done = api.command("job", "logs", job.id, *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.splitlines() == expected
    live = Command(api, job.id, "-f", "--tail", "0")
    with traind.Client(api.url, token=api.stack.token) as client:
        # Its stream ends by the server's word, so it ends although the job does not.
        assert list(client.jobs.logs(f"jobs/{job.id}", follow=False)) == job.lines
        assert list(client.jobs.get(f"jobs/{job.id}").logs(follow=False, tail=2)) == job.lines[-2:]
    # What is told after `live` has asked comes; when it asked only the server's process could say.
    wait_until(lambda: job.say(1) or live.lines, "a new line is read", 30, every=0.2)
    began = int(live.lines[0].split()[1])
    assert began > 25
    ledger.succeed(job.database, job.claim, None, metrics={}, best_epoch=0)
    assert live.end() == 0, live.told
    assert live.lines == job.lines[began - 1 :]
    # After the end it is the same with and without.
    for words in ((), ("-f",)):
        done = api.command("job", "logs", job.id, *words, "--tail", "1")
        assert (done.returncode, done.stdout.splitlines()) == (0, job.lines[-1:])


@pytest.mark.timeout(300)
def test_each_line_comes_once_although_the_api_is_killed_twice(api, job):
    readers = [Reader(api, job.id, "blocking"), Reader(api, job.id, "looped"), Command(api, job.id, "-f")]
    job.say(10)
    all_have(readers, job.lines)

    api.kill()
    job.say(10)  # Nobody can tell these before it is back.
    api.start()
    all_have(readers, job.lines)
    late = Command(api, job.id, "-f", "--tail", "3")
    wait_until(lambda: late.lines == job.lines[-3:], "one that comes late has the last lines", 60)

    job.say(5)
    api.kill()
    job.say(15, epochs=50)  # More events than the server reads at once.
    api.start()
    all_have(readers, job.lines)
    wait_until(lambda: late.lines == job.lines[17:], "the late one has what came since", 60)

    ledger.fail(job.database, job.claim, "INVALID_DATA", "열 이름이 틀렸습니다")
    for reader in (*readers, late):
        code = reader.end()
        if isinstance(reader, Command):
            assert code == 3, reader.told
            assert "열 이름이 틀렸습니다" in reader.told
            assert "Traceback" not in reader.told
    all_have(readers, job.lines)
    assert late.lines == job.lines[17:]
    for reader in readers[:2]:
        assert len(reader.breaks) >= 2
    assert readers[2].told.count("the connection broke") >= 2
