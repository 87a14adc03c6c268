"""The dispatcher: a thread that sends tickets after commits, and sweeps up what got lost."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from service import ledger
from service.errors import TraindError
from service.observing.exposition import Family, counter, gauge
from service.points import point
from service.settings import Settings
from service.store.database import Database
from service.tickets import BrokerUnavailable, Tickets

log = logging.getLogger(__name__)

DEVICE = "cpu"


class Dispatcher:
    """Sends one ticket for each new job, and every `sweep_s` settles lost jobs and sends tickets for those that wait.

    Runs in every server and every worker; two at once do no harm. No failure of broker or database ever leaves it: the
    next sweep tries again.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tickets: Tickets | None,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`tickets` is None where workers look for work themselves; `chores` are done with each sweep."""
        # Jobs that could run and wait, as the last sweep saw them.
        self.waiting = 0
        self._sweeps = self._bad_sweeps = self._lost = self._sent = 0
        self._settings = settings
        self._database = database
        self._tickets = tickets
        self._chores = chores
        self._wake = threading.Event()
        self._guard = threading.Lock()
        self._new = 0
        self._stopping = False
        self._broker_is_gone = False
        # A ticket starts a worker that goes on until no job is left, so more than a few for each slot are of no use,
        # and would pile up while every slot is busy for hours.
        self._most_unread = 4 * settings.slots
        self._unread = 0
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin, with a sweep."""
        self._thread.start()

    def job_queued(self) -> None:
        """Send a ticket soon. Never waits: the caller stands between a commit and its answer."""
        with self._guard:
            self._new += 1
        self._wake.set()

    def families(self) -> list[Family]:
        """What this dispatcher did, for /metrics. Workers have dispatchers of their own, who tell nobody."""
        told = [
            counter("traind_sweeps_total", "Looks of this process for lost and waiting jobs.", self._sweeps),
            counter("traind_sweeps_failed_total", "Those that did not end well.", self._bad_sweeps),
            counter("traind_swept_losses_total", "Lost jobs that this process found; workers look too.", self._lost),
        ]
        if self._tickets is not None:
            told.append(gauge("traind_broker_up", "Whether the broker took the last ticket.", not self._broker_is_gone))
            told.append(counter("traind_tickets_sent_total", "Tickets that it took.", self._sent))
        return told

    def stop(self, timeout_s: float = 3.0) -> None:
        """End the thread; a broker that hangs is not waited for longer than `timeout_s`."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._tickets is not None and not self._thread.is_alive():
            self._tickets.close()

    def _run(self) -> None:
        sweep_at = time.monotonic()
        while not self._stopping:
            if time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + self._settings.sweep_s
            self._wake.wait(max(sweep_at - time.monotonic(), 0))
            self._wake.clear()
            with self._guard:
                count, self._new = self._new, 0
            self._send(count)

    def _sweep(self) -> None:
        self._sweeps += 1
        try:
            found = ledger.reconcile(self._database)
            self.waiting = found.queued
            self._lost += found.expired
            if found.expired:
                log.warning("%d jobs lost their worker", found.expired)
            self._send(found.queued)
            for chore in self._chores:
                chore()
        except TraindError as error:
            self._bad_sweeps += 1
            log.warning("the sweep did not end well, the next one tries again: %s", error)
        except Exception:
            # A defect in one sweep must not end all later ones: jobs would wait for ever.
            self._bad_sweeps += 1
            log.exception("the sweep failed")

    def _send(self, count: int) -> None:
        if self._tickets is None or not count:
            return
        try:
            if self._unread + count > self._most_unread:
                self._unread = self._tickets.waiting(DEVICE)
            count = min(count, self._most_unread - self._unread)
            if count > 0:
                point("C3")
                self._tickets.send(DEVICE, count)
                self._unread += count
                self._sent += count
        except BrokerUnavailable as error:
            if not self._broker_is_gone:
                log.warning("no tickets can be sent; workers find jobs by their own sweep: %s", error)
            self._broker_is_gone = True
        except Exception:
            # As above: the thread goes on.
            log.exception("no tickets were sent, the next sweep sends them")
        else:
            if self._broker_is_gone:
                log.warning("tickets can be sent again")
            self._broker_is_gone = False
