"""The server as `python -m service api` runs it, in a process of its own whose memory can be measured."""

import json
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import urlsplit

import psutil
import pytest

from service.settings import Settings
from service.store.database import Database
from tests.service.doors.running import Ways
from tests.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
START_S = 60


def environment() -> dict[str, str]:
    """What a process gets that none of this machine's own settings reach."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}


class ApiProcess(Ways):
    """An api process over SQLite on free ports, ended with the block."""

    def __init__(self, folder: pathlib.Path, **env: str) -> None:
        super().__init__()
        self.folder = folder
        self.settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder / "data")})
        self._env = environment() | {
            "TRAIND_DATA_DIR": str(folder / "data"),
            "TRAIND_HTTP_PORT": "0",
            "TRAIND_GRPC_PORT": "0",
            "TRAIND_HOUSEKEEPING_S": "2",
            "OMP_NUM_THREADS": "1",
            **env,
        }

    def __enter__(self):
        with (self.folder / "log").open("ab") as log:
            argv = [sys.executable, "-m", "service", "api"]
            self._process = subprocess.Popen(argv, cwd=ROOT, env=self._env, stdout=log, stderr=log)
        try:
            told = wait_until(self._address, "the server is ready", START_S)
            self.connect(
                Database(self.settings.database_url), *(urlsplit(told[door]).port for door in ("grpc", "http"))
            )
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.disconnect()
        self.database.dispose()
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()

    def log(self) -> str:
        """What the process wrote so far."""
        return (self.folder / "log").read_bytes().decode()

    def cpu_seconds(self) -> float:
        """Seconds that the process, and its children that have ended, were at work."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    def memory(self) -> int:
        """Bytes that the process has for itself; mapped files do not count."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10

    def _address(self):
        assert self._process.poll() is None, f"the server ended: {self.log()}"
        try:
            return json.loads((self.settings.run_dir / "address.json").read_text())
        except (OSError, ValueError):
            return None


@pytest.fixture(scope="package")
def api(tmp_path_factory):
    """One process for all tests that ask for it."""
    quick = {"TRAIND_LEASE_S": "2", "TRAIND_BEAT_S": "0.4", "TRAIND_SWEEP_S": "0.5"}
    with ApiProcess(tmp_path_factory.mktemp("api"), **quick) as process:
        yield process
