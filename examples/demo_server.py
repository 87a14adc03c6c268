"""The server the demo works with: one that runs already, or one of its own in a scratch folder below .traind."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from demo_report import Report

import traind

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "data"
START_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    client: traind.Client
    # Of REST: `http://127.0.0.1:8080`.
    http: str
    token: str
    # The file that holds the token, as it can be written in a command line; empty where only TRAIND_TOKEN has it.
    token_file: str


def running_server() -> Server | None:
    """The server that TRAIND_URL names; None if it names none."""
    url = os.environ.get("TRAIND_URL")
    if not url:
        return None
    client = traind.Client()
    info = client.server_info()
    host = url.partition("://")[2].rpartition(":")[0] or "127.0.0.1"
    file = os.environ.get("TRAIND_TOKEN_FILE", "")
    token = os.environ.get("TRAIND_TOKEN", "") or (pathlib.Path(file).read_text().strip() if file else "")
    return Server(client, f"http://{host}:{info.http_port}", token, file)


@contextlib.contextmanager
def own_server(report: Report) -> Iterator[Server]:
    """Start everything with `python -m service up`; stop it, and delete its folder, at the end."""
    (ROOT / ".traind").mkdir(mode=0o700, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="demo-", dir=ROOT / ".traind"))
    env = os.environ | {
        "TRAIND_DATA_DIR": str(folder / "data"),
        "TRAIND_HTTP_PORT": "0",
        "TRAIND_GRPC_PORT": "0",
        # The profile of a server that is gone in a minute must not become anybody's.
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    began = time.monotonic()
    log = (folder / "up.log").open("w+", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "up"],
        cwd=ROOT,
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
        # Ctrl-C is for the demo, which then stops the server in order.
        start_new_session=True,
    )
    try:
        server = _wait_until_ready(process, folder)
        report.say(f"traind started in {time.monotonic() - began:.1f} s: {server.http} and {_url(folder)}")
        yield server
        server.client.close()
    finally:
        ended = _stop(process)
        log.close()
        if ended == 0 and sys.exc_info()[0] in {None, KeyboardInterrupt, SystemExit}:
            shutil.rmtree(folder)
        else:
            report.say(f"the server's logs are kept in {folder}")
        with contextlib.suppress(OSError):
            (ROOT / ".traind").rmdir()
    report.say("\nthe server has stopped; nothing stays running")


def _wait_until_ready(process: "subprocess.Popen[bytes]", folder: pathlib.Path) -> Server:
    deadline = time.monotonic() + START_S
    address = folder / "data" / "run" / "address.json"
    token = folder / "data" / "run" / "token"
    while not (address.exists() and token.exists()):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "up.log").read_text(encoding="utf-8").strip()
            raise SystemExit(f"the server did not start:\n{said}")
        time.sleep(0.05)
    told = json.loads(address.read_text(encoding="utf-8"))
    text = token.read_text(encoding="utf-8").strip()
    shown = token.relative_to(pathlib.Path.cwd()) if token.is_relative_to(pathlib.Path.cwd()) else token
    return Server(traind.Client(told["grpc"], token=text), told["http"], text, str(shown))


def _url(folder: pathlib.Path) -> str:
    told = json.loads((folder / "data" / "run" / "address.json").read_text(encoding="utf-8"))
    return str(told["grpc"])


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """As Ctrl-C does; answers the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -1
