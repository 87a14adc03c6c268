"""The supervisor's end of a zygote: starts it, hands it jobs, signals the trainer it forked, hears how that ended."""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.machine.keeper import how_it_ended, open_log
from service.points import point

# Exit codes of a trainer. Any other one, and any signal, is a crash. LEFT: the job is for a worker of a newer version.
DONE, STOPPED, FENCED, LEFT = 0, 10, 11, 12


@dataclass(frozen=True)
class Exit:
    """How a trainer ended: its exit code, or minus the signal that killed it."""

    returncode: int
    # Set where not the trainer ended first but the zygote, and took it along.
    zygote: bool = False

    @property
    def left(self) -> bool:
        """Whether the trainer left the job, as it was, to a worker of a newer version."""
        return self.returncode == LEFT and not self.zygote

    def told(self) -> str:
        """In words."""
        of = "'s zygote" if self.zygote else ""
        return f"the trainer{of} {how_it_ended(self.returncode)}"


def trainer_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a trainer: no broker URL, for a password stands in it; one thread, which never spins.

    Two threads a job on a busy machine make small jobs 7-58 times slower.
    """
    dropped = ("TRAIND_BROKER_URL", "CELERY_", "_MP_", "FORKED_BY_MULTIPROCESSING")
    kept = {name: value for name, value in environ.items() if not name.startswith(dropped)}
    kept |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MALLOC_ARENA_MAX": "2"}
    # A heap of huge pages has fewer page tables to copy: a fork takes 7 ms instead of 11.
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} | kept


def trainer_log(run_dir: pathlib.Path, slot: str) -> pathlib.Path:
    """Where the trainers of a slot write what they print."""
    return run_dir / f"trainer-{slot}.log"


class Zygote:
    """One warm process that forks a trainer for each job; started again when it died.

    Used by one supervisor, from its main thread: the tie of the zygote follows the thread that started it.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        log: pathlib.Path,
        program: Sequence[str] = (sys.executable, "-m", "worker.trainer"),
    ) -> None:
        """`program` is told this process's id and the descriptor of the reply pipe as its last two arguments."""
        self._program = program
        self._environ = trainer_env(environ)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._replies = -1
        self._unread = b""
        # Whether the process has said that it can fork at once.
        self.warm = False
        self._busy = False
        # The trainer's process and group; known once it is set up, and reserved until the next job is begun.
        self._trainer: int | None = None

    def start(self) -> None:
        """Start the process without waiting until it is warm."""
        self.close()
        self._replies, theirs = os.pipe()
        os.set_blocking(self._replies, False)
        try:
            with open_log(self._log) as log:
                self._process = subprocess.Popen(
                    [*self._program, str(os.getpid()), str(theirs)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=self._environ,
                    start_new_session=True,
                    pass_fds=(theirs,),
                    bufsize=0,
                )
        finally:
            os.close(theirs)

    def revive(self) -> None:
        """Start the process where there is none, or it has died."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def begin(self, job_id: str, attempt: int, worker: str) -> None:
        """Hand a job over. A zygote that is not warm yet takes it when it is; one that died is replaced first."""
        self.revive()
        command = json.dumps({"job": job_id, "attempt": attempt, "worker": worker}).encode() + b"\n"
        self._busy, self._trainer = True, None
        try:
            self._write(command)
        except BrokenPipeError:
            self.start()
            self._write(command)

    def wait(self, seconds: float) -> Exit | None:
        """Wait at most `seconds` for the trainer's end; less where there is none and the zygote becomes warm."""
        until, was_warm = time.monotonic() + seconds, self.warm
        while True:
            left = until - time.monotonic()
            if left < 0 or not select.select([self._replies], [], [], left)[0]:
                return None
            received = os.read(self._replies, 65536)
            if not received:
                return self._died()
            *lines, self._unread = (self._unread + received).split(b"\n")
            for line in lines:
                ended = self._hear(json.loads(line))
                if ended is not None:
                    return ended
            if self.warm and not was_warm and not self._busy:
                return None

    @property
    def begun(self) -> bool:
        """Whether the trainer runs and can be told to stop."""
        return self._trainer is not None

    def terminate(self) -> bool:
        """Ask the trainer to stop after its last checkpoint; False if it does not run yet."""
        if self._trainer is None:
            return False
        self._signal(signal.SIGTERM)
        return True

    def kill(self) -> None:
        """Kill the trainer and all that it started; before it runs, the zygote."""
        if self._trainer is not None:
            self._signal(signal.SIGKILL)
        else:
            self.kill_zygote()

    def kill_zygote(self) -> None:
        """Kill the zygote, which takes the trainer along; the next job gets a new one."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Make sure that nothing of the job runs any more."""
        if self._busy:
            self.kill()
            if self.wait(5.0) is None and self._process is not None:
                self._died()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._died()

    def _hear(self, reply: dict[str, Any]) -> Exit | None:
        if "ready" in reply:
            self.warm = True
        if "pid" in reply:
            self._trainer = int(reply["pid"])
        if "ended" not in reply or not self._busy:
            return None
        # What the trainer started may outlive it in its group; the group's number is still reserved.
        if self._trainer is not None:
            point("C14")
            self._signal(signal.SIGKILL)
        self._busy, self._trainer = False, None
        return Exit(int(reply["ended"]))

    def _died(self) -> Exit:
        assert self._process is not None
        self._process.kill()
        returncode = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        os.close(self._replies)
        self._process, self._replies, self._unread, self.warm = None, -1, b"", False
        self._busy, self._trainer = False, None
        return Exit(returncode, zygote=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._trainer is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._trainer, number)

    def _write(self, command: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command)
