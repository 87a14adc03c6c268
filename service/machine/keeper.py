"""Keeps child processes running: starts them tied to this process, starts them again when they die, stops them."""

import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Self

from service.machine.tether import tethered

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
# A child that lived so long is well again: its next death is met with the first pause.
WELL_AFTER_S = 30.0
LARGEST_LOG_BYTES = 8 << 20
_NEW_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass
class Kept:
    """One child process. Started from the main thread only, for its tie follows the thread."""

    name: str
    argv: Sequence[str]
    # None = the parent's stderr.
    log: pathlib.Path | None = None
    env: Mapping[str, str] | None = None
    pass_fds: Sequence[int] = ()
    process: "subprocess.Popen[bytes] | None" = None
    _pause_s: float = FIRST_PAUSE_S
    _started_at: float = 0.0
    _due_at: float = field(default=0.0)

    def start(self) -> None:
        """Start the child in a session of its own, out of reach of the terminal's Ctrl-C."""
        with contextlib.ExitStack() as files:
            log = files.enter_context(open_log(self.log)) if self.log else sys.stderr
            self.process = subprocess.Popen(
                tethered(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
                pass_fds=self.pass_fds,
            )
        self._started_at = time.monotonic()
        self._due_at = 0.0

    def tend(self) -> str | None:
        """Start a dead child again when its pause is over; tell what happened, if something did."""
        now = time.monotonic()
        if self.process is None or self.process.poll() is None:
            return None
        if not self._due_at:
            if now - self._started_at > WELL_AFTER_S:
                self._pause_s = FIRST_PAUSE_S
            self._due_at = now + self._pause_s
            told = f"{self.name} {how_it_ended(self.process.returncode)}; it starts again in {self._pause_s:g} s"
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            return told
        if now >= self._due_at:
            self.start()
        return None

    def send(self, number: signal.Signals) -> None:
        """Signal the child, if it lives. Safe in a signal handler."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def stop(self, deadline: float) -> bool:
        """End the child with SIGTERM, and with SIGKILL at `deadline` (monotonic); tell whether it went by itself."""
        if self.process is None:
            return True
        self.send(signal.SIGTERM)
        try:
            self.process.wait(max(deadline - time.monotonic(), 0.05))
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def kill(self) -> None:
        """End the child and its group at once; what is tied to it follows."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Alarm:
    """Sleeps until a signal or a child's end, and knows whether the process shall stop."""

    def __init__(self, *children: Kept) -> None:
        # SIGTERM is passed on to these at once, even while the main thread waits for a slow server.
        self.children = list(children)
        self.stopping = False
        self.times = 0
        self._read, self._write = os.pipe()

    def __enter__(self) -> Self:
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as something happens."""
        if select.select([self._read], [], [], max(seconds, 0))[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        self.times += 1
        for child in self.children:
            child.send(signal.SIGTERM)


def how_it_ended(returncode: int) -> str:
    """An exit status in words."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def open_log(path: pathlib.Path) -> IO[bytes]:
    """Open a log to append to, readable by its owner only; one that has grown too large is put aside as `.1` first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LARGEST_LOG_BYTES:
            path.replace(path.with_name(path.name + ".1"))
    return path.open("ab", buffering=0) if path.exists() else os.fdopen(os.open(path, _NEW_LOG, 0o600), "ab", 0)
