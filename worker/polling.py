"""A slot without Celery: looks for jobs itself, where there is no broker, or none that delivers tickets."""

import os
import signal
import threading
import time
from types import FrameType

from service.observing.tracing import open_tracing
from service.settings import Settings
from service.store.database import Database
from worker.slots import Slots
from worker.supervisor import Supervisor, worker_name
from worker.zygote import Zygote, trainer_log

LOOK_FOR_JOBS_S = 1.0


def run(settings: Settings, slots: Slots, number: int, leave_after_s: float) -> None:
    """Run jobs of one slot until SIGTERM, or until there was none for `leave_after_s`; 0 = stay."""
    stop = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    zygote = Zygote(os.environ, trainer_log(settings.run_dir, f"p{number}"))
    zygote.start()
    tracing = open_tracing(settings, "worker")
    supervisor = Supervisor(
        settings,
        Database.of_worker(settings),
        zygote,
        slots,
        worker=worker_name(),
        stopping=stop.is_set,
        tracing=tracing,
    )
    busy_at = time.monotonic()
    while not stop.is_set():
        if supervisor.drain():
            busy_at = time.monotonic()
        if leave_after_s and time.monotonic() - busy_at > leave_after_s:
            break
        stop.wait(LOOK_FOR_JOBS_S)
    zygote.close()
    if tracing is not None:
        tracing.close()
