"""The first process of a worker: light, it keeps the others running and sweeps up what they lose.

With a broker the others are a Celery worker with a child for each slot; without one, a process for each slot that looks
for jobs itself. Where the broker is down, or Celery does not take its tickets, jobs must not starve: the guardian sees
jobs waiting beside free slots, and starts such processes for as long as they are needed.
"""

import contextlib
import logging
import signal
import sys
import tempfile
import time

from service.dispatcher import Dispatcher
from service.errors import DatabaseUnavailable
from service.housekeeping_thread import Housekeeper
from service.machine.keeper import Alarm, Kept
from service.presence import Presence
from service.settings import Settings
from service.store.database import Database
from service.tickets import Tickets
from worker.slots import Slots

log = logging.getLogger(__name__)

TEND_S = 0.25
# Celery is back about 6 s after its broker is; jobs that waited so long beside a free slot are starving.
STARVING_S = 10.0
# Processes started for starving jobs leave when there was none for so long.
LEAVE_AFTER_S = 60
# From SIGTERM to the end of everything, jobs handed back.
STOP_S = 8.5


class Guardian:
    """Keeps the processes of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Nameless: places need no cleaning up, whoever is killed.
        self._places = tempfile.TemporaryFile(dir=settings.run_dir)  # noqa: SIM115  # open as long as the process
        self._slots = Slots(self._places.fileno(), settings.slots)
        self._tickets = Tickets(settings) if settings.broker_url else None
        database = Database.of_worker(settings)
        self._presence = Presence(settings, database)
        self._dispatcher = Dispatcher(settings, database, self._tickets, [self._presence.announce])
        self._housekeeper = Housekeeper(settings, database)
        if self._tickets is not None:
            self._kept = [self._process("celery", "celery")]
        else:
            self._kept = [self._process(f"slot {n}", "slot", "--number", str(n)) for n in range(settings.slots)]
        self._helpers: list[Kept] = []
        self._starving_since: float | None = None

    def run(self) -> int:
        """Keep the worker running until SIGTERM or SIGINT; then hand back what runs and end."""
        with Alarm(*self._kept) as alarm:
            for child in self._kept:
                child.start()
            self._dispatcher.start()
            self._housekeeper.start()
            while not alarm.stopping:
                alarm.wait(TEND_S)
                self._tend(alarm)
            self._stop(alarm)
        return 0

    def _stop(self, alarm: Alarm) -> None:
        """Wait until every job is handed back, then end the processes: what waits in them is only for tickets."""
        children = [*self._kept, *self._helpers]
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while not self._slots.close() and time.monotonic() < deadline:
            alarm.wait(0.02)
        if time.monotonic() >= deadline:
            log.warning("a job could not be handed back; its lease will end")
        for child in children:
            child.kill()
        self._dispatcher.stop(timeout_s=0.5)
        self._housekeeper.stop(timeout_s=0.2)
        # Else it counts as alive until its word runs out.
        with contextlib.suppress(DatabaseUnavailable):
            self._presence.leave()

    def _tend(self, alarm: Alarm) -> None:
        if alarm.stopping:
            return
        for child in self._kept:
            told = child.tend()
            if told:
                log.warning(told)
        self._helpers = [helper for helper in self._helpers if helper.process and helper.process.poll() is None]
        if self._starving() and not self._helpers:
            log.warning("jobs wait although slots are free: slots look for jobs themselves for now")
            leave = ["--leave-after", str(LEAVE_AFTER_S)]
            for number in range(self._settings.slots):
                helper = self._process(f"helper {number}", "slot", "--number", str(number), *leave)
                helper.start()
                self._helpers.append(helper)
            alarm.children = [*self._kept, *self._helpers]

    def _starving(self) -> bool:
        """Whether jobs have waited beside a free slot for too long."""
        if self._tickets is None or not self._dispatcher.waiting or not self._slots.free():
            self._starving_since = None
            return False
        if self._starving_since is None:
            self._starving_since = time.monotonic()
        return time.monotonic() - self._starving_since > STARVING_S

    def _process(self, name: str, *arguments: str) -> Kept:
        places = str(self._places.fileno())
        argv = [sys.executable, "-m", "worker", *arguments, "--places", places]
        return Kept(name, argv, pass_fds=[self._places.fileno()])
