"""Programs of a checkout as an administrator starts them, each in a data folder of its own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from tests.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_S = 90


def environment(folder, **more):
    """The environment of a program on a data folder, with none of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRAIND_", "AWS_", "PG"))}
    fixed = {
        "TRAIND_DATA_DIR": str(folder),
        "TRAIND_HTTP_PORT": "0",
        "TRAIND_GRPC_PORT": "0",
        "XDG_CONFIG_HOME": str(pathlib.Path(folder) / "config"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients")]),
    }
    return kept | fixed | more


class Program:
    """A program that stays until the end of the `with`; it ends by SIGTERM as a service does."""

    def __init__(self, folder, *words, argv=None, **more):
        self.folder = pathlib.Path(folder)
        self._argv = argv or [sys.executable, "-m", *words]
        self._env = environment(folder, **more)
        self._log = pathlib.Path(tempfile.mkstemp(prefix="traind-program-")[1])

    def __enter__(self):
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._argv,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._log.unlink()

    def output(self):
        return self._log.read_text(errors="replace")

    def wait_address(self):
        """What the server of this folder tells, once it listens."""
        path = self.folder / "run" / "address.json"

        def told():
            assert self.process.poll() is None, self.output()
            return json.loads(path.read_text()) if path.exists() else None

        return wait_until(told, "the server tells its address", READY_S)
