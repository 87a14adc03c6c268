"""A job's guardian: claims, hands the job to the zygote, renews the lease, passes on a cancel, settles what comes out.

Runs in a Celery child, or in a slot process where there is no broker. It imports no torch.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service import ledger
from service.errors import DatabaseUnavailable, TraindError
from service.settings import Settings
from service.store.database import Database
from worker import zygote
from worker.heartbeat import Heartbeat, boottime
from worker.slots import Slots
from worker.zygote import Exit, Zygote

log = logging.getLogger(__name__)

# How often a running job's state is read: a cancel is seen after half of it on average.
LOOK_S = 0.1
# From the request to stop to SIGKILL, and from each further step to the next.
GRACE_S = 2.0
# A zygote that has not forked by then hangs.
START_S = 120.0
SETTLED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"})

# Why a trainer was told to leave: the job's state or a drain asks for it; another worker owns the job; the job has
# ended and the trainer has not; it never began.
Wish = Literal["stop", "fenced", "settled", "late"]


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
    ) -> None:
        """`worker` is the name that stands in the job's row; `stopping` tells that this worker is being stopped."""
        self._settings = settings
        self._database = database
        self._trainer = trainer
        self._slots = slots
        self._worker = worker
        self._stopping = stopping

    def drain(self) -> int:
        """Run jobs until none is left, no slot is free, or the worker is being stopped; return how many were run."""
        count = 0
        with self._slots.one() as slot:
            while slot is not None and not self._stopping():
                asked_at = boottime()
                try:
                    claim = ledger.claim(self._database, self._worker, self._settings.lease_s)
                except DatabaseUnavailable as error:
                    log.warning("no job can be claimed, the database does not answer: %s", error)
                    break
                if claim is None:
                    break
                self._run(claim, asked_at)
                count += 1
        return count

    def _run(self, claim: ledger.Claim, asked_at: float) -> None:
        log.info("job %s: attempt %d begins", claim.job.id, claim.attempt)
        heartbeat = Heartbeat(self._settings, self._database, claim, asked_at)
        try:
            self._trainer.begin(claim.job.id, claim.attempt, claim.worker)
            ended, wish = self._watch(heartbeat)
        finally:
            # Whatever flew out of the watch, a time limit of Celery for one: no trainer goes on without its guardian.
            self._trainer.end()
        self._settle(claim, heartbeat, ended, wish)

    def _watch(self, heartbeat: Heartbeat) -> tuple[Exit, Wish | None]:
        """Wait for the trainer's end, and see to it that it comes when it must."""
        began_at = boottime()
        push: _Push | None = None
        while True:
            ended = self._trainer.wait(LOOK_S)
            if ended is not None:
                return ended, push.wish if push else None
            wish = self._wish(heartbeat, began_at)
            # To be fenced goes before to be stopped: nothing may be settled then.
            if wish is not None and (push is None or (wish == "fenced" and push.wish != "fenced")):
                push = _Push(wish)
            if push is not None:
                self._push(push)

    def _wish(self, heartbeat: Heartbeat, began_at: float) -> Wish | None:
        beat = heartbeat.ask()
        if heartbeat.overdue or (beat is not None and beat.fenced):
            return "fenced"
        if beat is not None and beat.state in SETTLED:
            return "settled"
        if self._stopping() or (beat is not None and beat.state in {"CANCELLING", "PAUSING"}):
            return "stop"
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
        push.next_at = now + GRACE_S
        if push.step == 0:
            self._trainer.terminate()
        elif push.step == 1:
            self._trainer.kill()
        else:
            self._trainer.kill_zygote()
        push.step += 1

    def _settle(self, claim: ledger.Claim, heartbeat: Heartbeat, ended: Exit, wish: Wish | None) -> None:
        """Write down how the attempt ended, unless the trainer did; asks a silent database while the lease lasts."""
        if wish in {"fenced", "settled"} or (not ended.zygote and ended.returncode in {zygote.DONE, zygote.FENCED}):
            log.info("job %s: attempt %d is over%s", claim.job.id, claim.attempt, f", {wish}" if wish else "")
            return
        stopped = wish == "stop" or ended.returncode == zygote.STOPPED
        while not heartbeat.overdue:
            try:
                if stopped:
                    state = ledger.settle_stopped(self._database, claim)
                else:
                    state = ledger.lost(self._database, claim, ended.told())
                log.info("job %s: attempt %d is over: %s, %s", claim.job.id, claim.attempt, ended.told(), state)
                return
            except ledger.Fenced:
                return
            except TraindError as error:
                log.warning("job %s: cannot be settled: %s", claim.job.id, error)
                time.sleep(LOOK_S)


def worker_name() -> str:
    """The name of this process in a job's row, for people: who runs it."""
    return f"{socket.gethostname()}:{os.getpid()}"
