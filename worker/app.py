"""The Celery worker: a parent that takes tickets and forks a child for each slot. Neither imports torch."""

import logging
import mmap
import os
import sys
import warnings

from billiard import current_process
from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning
from kombu import Queue

from service import tickets
from service.observing.tracing import open_tracing
from service.settings import Settings
from service.store.database import Database
from worker.slots import Slots
from worker.supervisor import START_S, Supervisor, worker_name
from worker.tasks import add_tasks
from worker.zygote import Zygote, trainer_log

# A consumer waits for tickets; a silent connection is found dead after this time.
CONSUMER_TIMEOUT_S = 30


def build_app(settings: Settings) -> Celery:
    """The Celery app of a worker, without tasks."""
    app = Celery("traind", broker=settings.broker_url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_queues=[Queue(tickets.queue_of(device)) for device in settings.devices],
        # A ticket is gone once it was taken: the row is the job, and its lease finds lost ones.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        # A broker that goes away must not end a job that has run for hours.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_concurrency=settings.slots,
        # Seconds until a child that has not come up is killed: its zygote is given up before.
        worker_proc_alive_timeout=START_S + 10,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        # Nobody asks workers anything through the broker, so nobody can command them by it.
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=tickets.transport_options(
            settings,
            socket_timeout=CONSUMER_TIMEOUT_S,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=25,
        ),
    )
    return app


class Child:
    """What each forked child has: made after the fork, for neither connection nor zygote may cross it."""

    def __init__(self, settings: Settings, slots: Slots) -> None:
        self._settings = settings
        self._slots = slots
        # Shared by parent and children: the end of a worker is told to its parent only.
        self._stop = mmap.mmap(-1, 1)
        self._supervisor: Supervisor | None = None

    def begin(self) -> None:
        """In a new child, in its main thread: start the zygote, and come up when it is warm.

        Until then Celery gives the child no ticket, which would have to wait although a warm child is free.
        """
        zygote = Zygote(os.environ, trainer_log(self._settings.run_dir, str(current_process().index)))
        zygote.start()
        self._supervisor = Supervisor(
            self._settings,
            Database.of_worker(self._settings),
            zygote,
            self._slots,
            worker=worker_name(),
            stopping=self.stopping,
            tracing=open_tracing(self._settings, "worker"),
        )
        self._supervisor.warm_up()

    def drain(self) -> None:
        """In a child: run the jobs that wait."""
        assert self._supervisor is not None
        self._supervisor.drain()

    def stop(self) -> None:
        """In the parent: let every child stop its trainer and take no more jobs."""
        self._stop[0] = 1

    def stopping(self) -> bool:
        """Whether the worker is being stopped."""
        return self._stop[0] == 1


def run(settings: Settings, slots: Slots) -> None:
    """Take tickets until SIGTERM."""
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    # A line for each ticket would drown what is worth reading.
    logging.getLogger("celery").setLevel(logging.WARNING)
    # Lines are written as the settings say: where somebody else sets up logging, Celery does not. What it says past the
    # logs, in words of its own, goes to this file, if it has one.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    sys.__stdout__ = None  # type: ignore[misc]
    app = build_app(settings)
    child = Child(settings, slots)
    add_tasks(app, child.drain)
    # Receivers are held weakly unless told otherwise.
    signals.worker_process_init.connect(lambda **_: child.begin(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: child.stop(), weak=False)
    lean = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", "--pool", "prefork", "--loglevel", "WARNING", *lean])
