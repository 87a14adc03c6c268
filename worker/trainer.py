"""The zygote, and the fork of it that learns one job.

`python -m worker.trainer PARENT_PID REPLY_FD` imports torch and warms up once, then reads one job a line from stdin and
forks a trainer for each, which costs milliseconds where a new process costs seconds. It answers on a pipe of its own,
never on stdout: {"ready": true}, then for each job {"pid": …} and {"ended": exit code or minus signal}.

The zygote itself never runs a backward pass, a parallel operation or a CUDA call: threads and contexts of those do not
survive a fork. A worker with CUDA therefore gets a fresh process for each job: the fork becomes
`python -m worker.trainer job JSON` (not tried on a GPU).
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from service.errors import DatabaseUnavailable
from service.ledger import Claim
from service.machine import logs
from service.machine.tether import die_with_parent
from service.settings import Settings
from service.store import datasets, jobs
from service.store.database import Database
from service.store.records import DatasetRow, JobRow
from worker.limits import limit_process
from worker.zygote import DONE, FENCED, LEFT, STOPPED

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """What a job finds ready: made by the zygote, without a connection, for none may cross a fork."""

    settings: Settings
    database: Database


class StopFlag:
    """Set by SIGTERM: the job shall stop, asked by the training loop at each batch."""

    def __init__(self) -> None:
        self._set = False
        signal.signal(signal.SIGTERM, self._raise)
        # The Celery child ignores it, and what is ignored stays so over fork and exec.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def __call__(self) -> bool:
        """Whether SIGTERM came."""
        return self._set

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True


def main(argv: list[str]) -> None:
    """Run as a zygote, or as the one job of a fresh process."""
    if argv[0] != "job":
        die_with_parent(int(argv[0]))
    settings = Settings.from_env()
    logs.configure(settings.logs, "%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    ready = Ready(settings, Database.of_worker(settings))
    if argv[0] == "job":
        _leave_compiler_out()
        _learn_and_leave(ready, json.loads(argv[1]))
    if _forks(settings):
        _leave_compiler_out()
        _warm_up(ready)
    _serve(ready, int(argv[1]))


def _forks(settings: Settings) -> bool:
    return "cuda" not in settings.devices


def _leave_compiler_out() -> None:
    from worker.light_torch import leave_compiler_out

    leave_compiler_out()


def _warm_up(ready: Ready) -> None:
    """Pay once for what each job would pay: the imports, the first optimizer, the rest."""
    import torch

    from worker.rehearsal import rehearse, rehearse_statements

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    torch.optim.Adam([weight], lr=1e-3).step()
    rehearse(ready.settings)
    with contextlib.suppress(DatabaseUnavailable):
        _find(ready.database, "")
        rehearse_statements(ready.database)
    ready.database.dispose()
    # Objects that live for ever need not be looked at, nor copied, by the collector of each fork.
    gc.collect()
    gc.freeze()


def _serve(ready: Ready, replies: int) -> None:
    """Fork a trainer for each line of stdin, until stdin ends."""
    _reply(replies, {"ready": True})
    unread = b""
    while received := os.read(0, 65536):  # raw: a buffer would be copied into each fork
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            _serve_one(ready, json.loads(line), replies)


def _serve_one(ready: Ready, command: dict[str, Any], replies: int) -> None:
    zygote_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _begin(ready, command, replies, zygote_pid)
    # Not reaped yet: its number stays reserved, so that no late signal of the supervisor hits another process.
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    killed = ended.si_code != os.CLD_EXITED
    _reply(replies, {"ended": -ended.si_status if killed else ended.si_status})
    select.select([0], [], [])
    os.waitpid(pid, 0)


def _begin(ready: Ready, command: dict[str, Any], replies: int, zygote_pid: int) -> NoReturn:
    """In the fork: a session of its own, tied to the zygote, then the job."""
    try:
        os.setsid()
        die_with_parent(zygote_pid)
        StopFlag()
        _reply(replies, {"pid": os.getpid()})
        os.close(replies)
        # Commands belong to the zygote alone.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if not _forks(ready.settings):
            os.execv(sys.executable, [sys.executable, "-m", "worker.trainer", "job", json.dumps(command)])  # noqa: S606
        _learn_and_leave(ready, command)
    except BaseException:
        log.exception("the trainer did not begin")
    finally:
        os._exit(1)


def _learn_and_leave(ready: Ready, command: dict[str, Any]) -> NoReturn:
    """Learn the job of `command` and leave with the exit code that tells the supervisor how it went."""
    code = 1
    logs.ABOUT.set({"job": command.get("job"), "attempt": command.get("attempt")})
    try:
        code = _learn(ready, command, StopFlag())
    except BaseException:
        # To the supervisor any other exit code is a crash.
        log.exception("job %s failed outside of its run", command.get("job"))
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _learn(ready: Ready, command: dict[str, Any], stop: StopFlag) -> int:
    from worker.run import run_job

    job, dataset = _find(ready.database, command["job"])
    if job is None or job.attempt != command["attempt"]:
        return FENCED
    limit_process(ready.settings, job, dataset)
    _limit_device(ready.settings)
    ended = run_job(ready.settings, ready.database, Claim(job, command["attempt"], command["worker"]), stop)
    return {"done": DONE, "stopped": STOPPED, "fenced": FENCED, "left": LEFT}[ended]


def _limit_device(settings: Settings) -> None:
    """On a GPU a job may take its slot's share of the device's memory (not tried on a GPU)."""
    if "cuda" not in settings.devices:
        return
    import torch

    for device in range(torch.cuda.device_count()):
        torch.cuda.set_per_process_memory_fraction(1 / settings.slots, device)


def _find(database: Database, job_id: str) -> tuple[JobRow | None, DatasetRow | None]:
    with database.read() as connection:
        job = jobs.find_by_id(connection, job_id)
        return job, datasets.find_by_id(connection, job.dataset_id if job else "")


def _reply(replies: int, reply: dict[str, Any]) -> None:
    os.write(replies, json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
