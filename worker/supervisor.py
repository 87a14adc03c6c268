"""A job's guardian: claims, hands the job to the zygote, renews the lease, passes on a cancel, settles what comes out.

Runs in a Celery child, or in a slot process where there is no broker. It imports no torch.
"""

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service import ledger
from service.errors import TraindError, shown
from service.machine import logs
from service.machine_memory import oom_kills
from service.observing.tracing import Tracing
from service.points import point
from service.settings import Settings
from service.store import events
from service.store.database import Database
from worker import zygote
from worker.heartbeat import Heartbeat, boottime
from worker.refusals import Refusals
from worker.slots import Slots
from worker.zygote import Exit, Zygote

log = logging.getLogger(__name__)

# How often a running job's state is read: a cancel is seen after half of it on average.
LOOK_S = 0.1
# From the request to stop to SIGKILL, and from each further step to the next.
GRACE_S = 2.0
# The same where the trainer is to store a checkpoint before it leaves: a worker hands back within 10 s.
LEAVE_S = 6.0
# A zygote that has not forked by then hangs.
START_S = 120.0
# Starts of the zygote in a row that came to nothing, before a job is claimed in spite of it.
COLD_CAP = 3
# A bound of worker/limits.py that ends a trainer from outside: the reason of its job's failure, and what to tell.
_BOUNDS = {
    -signal.SIGXCPU: (
        "TIME_LIMIT",
        (
            "the job took far more time of the processor than max_seconds allows, without an end of a batch at which "
            "it could stop; use a smaller batch_size, fewer rows or narrower layers, or a larger max_seconds"
        ),
    ),
    -signal.SIGXFSZ: (
        "STORAGE_FULL",
        (
            "a file of the job needs more room than the server's disk has for it; use fewer rows or inputs, or ask the "
            "administrator to make room, then send the job again"
        ),
    ),
}
SETTLED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"})

# Why a trainer was told to leave: the job is cancelled; it is paused, or the worker drains; another worker owns the
# job; the job has ended and the trainer has not; it never began.
Wish = Literal["cancel", "leave", "fenced", "settled", "late"]
_URGENCY: dict[Wish, int] = {"cancel": 1, "fenced": 2}


@dataclass
class _Push:
    """How far a trainer has been pushed to leave."""

    wish: Wish
    step: int = 0
    next_at: float = 0.0


class Supervisor:
    """Runs the jobs of one slot, one after the other."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        trainer: Zygote,
        slots: Slots,
        *,
        worker: str,
        stopping: Callable[[], bool],
        tracing: Tracing | None = None,
    ) -> None:
        """`worker` is the name that stands in the job's row; `stopping` tells that this worker is being stopped."""
        self._tracing = tracing
        self._settings = settings
        self._database = database
        self._trainer = trainer
        self._slots = slots
        self._worker = worker
        self._stopping = stopping
        self._refusals = Refusals(database)
        # How often in a row the zygote has not got warm.
        self._cold = 0

    def warm_up(self) -> None:
        """Wait until a job could begin at once. Meanwhile one free place less is counted, and none is taken."""
        with self._slots.warming():
            self._warm()

    def drain(self) -> int:
        """Run jobs until none is left, no slot is free, or the worker is being stopped; return how many were run.

        No job is claimed that could not begin at once, and no place taken: both are better left to another slot.
        """
        count = 0
        self._refusals.flush()
        while self._could_begin() and self._run_one():
            count += 1
        return count

    def _run_one(self) -> bool:
        """Claim and run a job in a free place; False if there is no such place, or no job."""
        with self._slots.one() as slot:
            if slot is None:
                return False
            asked_at = boottime()
            try:
                claim = ledger.claim(self._database, self._worker, self._settings.lease_s)
            except TraindError as error:
                log.warning("no job can be claimed: %s", error)
                return False
            if claim is None:
                return False
            with logs.about(job=claim.job.id, attempt=claim.attempt):
                self._trace(claim, asked_at)
            return True

    def _trace(self, claim: ledger.Claim, asked_at: float) -> None:
        """Run a job, in a span where spans are wanted."""
        if self._tracing is None:
            self._run(claim, asked_at)
            return
        with self._tracing.attempt(claim.job.id, claim.attempt, claim.job.kind) as span:
            ended = self._run(claim, asked_at)
            span.set_attribute("traind.ended", ended.told())
            if ended.zygote or ended.returncode not in {zygote.DONE, zygote.STOPPED, zygote.LEFT}:
                span.set_status(self._tracing.failed(ended.told()))
        if self._stopping():
            # Nobody waits for this process much longer.
            self._tracing.flush()

    def _could_begin(self) -> bool:
        """Whether a job waits, and could begin.

        It is claimed all the same where the zygote did not get warm COLD_CAP times and nobody else took it meanwhile:
        its owner is told what is wrong by its losses.
        """
        try:
            waits = ledger.any_waits(self._database)
        except TraindError as error:
            log.warning("no job can be claimed: %s", error)
            return False
        return waits and (self._warm() or self._cold >= COLD_CAP) and not self._stopping()

    def _warm(self) -> bool:
        """Wait until the zygote is warm; False if the worker is being stopped, or it dies or hangs before."""
        if self._stopping():
            return False
        self._trainer.revive()
        late_at = boottime() + START_S
        while not self._trainer.warm:
            ended = self._trainer.wait(LOOK_S)
            if self._stopping():
                return False
            if ended is not None or boottime() > late_at:
                log.warning("no job is taken now: %s", ended.told() if ended else "the trainer's zygote hangs")
                self._trainer.close()
                self._cold += 1
                return False
        self._cold = 0
        return True

    def _run(self, claim: ledger.Claim, asked_at: float) -> Exit:
        log.info("job %s: attempt %d begins", claim.job.id, claim.attempt)
        heartbeat, kills = Heartbeat(self._settings, self._database, claim, asked_at), oom_kills()
        try:
            point("C5")
            self._trainer.begin(claim.job.id, claim.attempt, claim.worker)
            ended, wish = self._watch(heartbeat)
        finally:
            # Whatever flew out of the watch, a time limit of Celery for one: no trainer goes on without its guardian.
            self._trainer.end()
        out_of_memory = ended.returncode == -signal.SIGKILL and wish is None and oom_kills() > kills
        refused = heartbeat.refused + (ended.returncode == zygote.FENCED and not ended.zygote)
        refused += self._settle(claim, heartbeat, ended, wish, out_of_memory=out_of_memory)
        self._refusals.add(claim, refused)
        return ended

    def _watch(self, heartbeat: Heartbeat) -> tuple[Exit, Wish | None]:
        """Wait for the trainer's end, and see to it that it comes when it must."""
        began_at = boottime()
        push: _Push | None = None
        while True:
            ended = self._trainer.wait(LOOK_S)
            if ended is not None:
                return ended, push.wish if push else None
            wish = self._wish(heartbeat, began_at)
            # To be fenced goes before to be stopped, for nothing may be settled then; and a cancel is in a hurry.
            if wish is not None and (push is None or _URGENCY.get(wish, 0) > _URGENCY.get(push.wish, 0)):
                push = _Push(wish)
            if push is not None:
                self._push(push)

    def _wish(self, heartbeat: Heartbeat, began_at: float) -> Wish | None:
        beat = heartbeat.ask()
        if heartbeat.overdue or (beat is not None and beat.fenced):
            return "fenced"
        if beat is not None and beat.state in SETTLED:
            return "settled"
        if beat is not None and beat.state == "CANCELLING":
            return "cancel"
        if self._stopping() or (beat is not None and beat.state == "PAUSING"):
            return "leave"
        if not self._trainer.begun and boottime() - began_at > START_S:
            return "late"
        return None

    def _push(self, push: _Push) -> None:
        """Ask, then kill, then kill the zygote with it, each when the step before did not help in time."""
        now = boottime()
        if now < push.next_at:
            return
        if push.step == 0 and push.wish in {"fenced", "late"}:
            push.step = 1
        push.next_at = now + (LEAVE_S if push.wish == "leave" and push.step == 0 else GRACE_S)
        if push.step == 0:
            point("C15")
            self._trainer.terminate()
        elif push.step == 1:
            self._trainer.kill()
        else:
            self._trainer.kill_zygote()
        push.step += 1

    def _settle(
        self, claim: ledger.Claim, heartbeat: Heartbeat, ended: Exit, wish: Wish | None, *, out_of_memory: bool
    ) -> int:
        """Write down how the attempt ended, unless the trainer did; asks a silent database while the lease lasts.

        Answers 1 if that was refused because the job is another's, else 0.
        """
        if wish in {"fenced", "settled"} or (not ended.zygote and ended.returncode in {zygote.DONE, zygote.FENCED}):
            log.info("job %s: attempt %d is over%s", claim.job.id, claim.attempt, f", {wish}" if wish else "")
            return 0
        stopped = wish in {"cancel", "leave"} or ended.returncode == zygote.STOPPED
        while not heartbeat.overdue:
            try:
                if stopped:
                    state = ledger.settle_stopped(self._database, claim)
                elif ended.left:
                    state = ledger.settle_left(self._database, claim)
                elif ended.returncode in _BOUNDS and not ended.zygote:
                    state = "FAILED"
                    ledger.fail(self._database, claim, *_BOUNDS[ended.returncode])
                else:
                    loss = self._loss(claim, ended, out_of_memory=out_of_memory)
                    state = ledger.lost(self._database, claim, loss, out_of_memory=out_of_memory)
                log.info("job %s: attempt %d is over: %s, %s", claim.job.id, claim.attempt, ended.told(), state)
                return 0
            except ledger.Fenced:
                return 1
            except TraindError as error:
                log.warning("job %s: cannot be settled: %s", claim.job.id, error)
                time.sleep(LOOK_S)
        return 0

    def _loss(self, claim: ledger.Claim, ended: Exit, *, out_of_memory: bool) -> str:
        """How the trainer ended, for the job's owner, and what the job had told last."""
        killed = ", probably by the system because memory ran out" if out_of_memory else ""
        with self._database.read() as connection:
            line = events.last_of_kind(connection, claim.job.id, "log")
        said = f"; its log last said {shown(json.loads(line)['message'])}" if line else ""
        return f"{ended.told()}{killed}{said}"


def worker_name() -> str:
    """The name of this process in a job's row, for people: who runs it."""
    return f"{socket.gethostname()}:{os.getpid()}"
