"""Tickets: hints to workers that a job waits. The SQL row is the job; a ticket may be lost, doubled or late."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from service.settings import Settings

if TYPE_CHECKING:
    import kombu
    from celery import Celery

# The task that a ticket starts. It has no argument: the worker looks for itself what there is to do.
WAKE = "traind.wake"
# A broker that does not answer a publisher within this time counts as gone.
PUBLISH_TIMEOUT_S = 2.0


class BrokerUnavailable(Exception):
    """The broker did not take a ticket. No job is lost by it."""


def queue_of(device: str) -> str:
    """The queue of a kind of device."""
    return {"cpu": "cpu", "cuda": "gpu"}[device]


def transport_options(settings: Settings, **more: Any) -> dict[str, Any]:
    """What both ends must say alike: where the keys of this installation begin in a Redis server that is shared."""
    return {"global_keyprefix": settings.broker_prefix, "visibility_timeout": 3600, **more}


class Tickets:
    """Sends tickets. For one thread; nothing is imported or opened before the first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._celery: Celery | None = None
        self._line: kombu.Connection | None = None

    def send(self, device: str, count: int) -> None:
        """Send `count` tickets; raise BrokerUnavailable within a few seconds if the broker does not take them."""
        with self._translated():
            for _ in range(count):
                # Without expiry, for a worker's clock would judge the sender's. The dispatcher keeps them few, and one
                # that comes late finds nothing to do.
                self._app.send_task(WAKE, queue=queue_of(device), ignore_result=True)

    def waiting(self, device: str) -> int:
        """How many tickets no worker has taken yet; raises BrokerUnavailable."""
        with self._translated():
            if self._line is None:
                self._line = self._app.connection_for_read()
                self._line.ensure_connection(max_retries=1, interval_start=0.1)
            return int(self._line.default_channel.queue_declare(queue_of(device)).message_count)

    def close(self) -> None:
        """Close what is open."""
        if self._line is not None:
            self._line.release()
        if self._celery is not None:
            self._celery.close()
        self._line = self._celery = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn every way a broker can fail into BrokerUnavailable, and connect anew next time."""
        # Imported here, as Celery is: by whom sends tickets.
        from kombu.exceptions import KombuError, OperationalError
        from redis.exceptions import RedisError

        try:
            yield
        except (OperationalError, KombuError, RedisError, OSError) as error:
            self.close()
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error

    @property
    def _app(self) -> "Celery":
        if self._celery is None:
            self._celery = _publisher(self._settings)
        return self._celery


def _publisher(settings: Settings) -> "Celery":
    # Celery costs 40 MB and 0.2 s, which a process that sends no ticket need not pay.
    from celery import Celery

    app = Celery("traind", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1},
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        broker_transport_options=transport_options(
            settings,
            socket_timeout=PUBLISH_TIMEOUT_S,
            socket_connect_timeout=PUBLISH_TIMEOUT_S,
            socket_keepalive=True,
        ),
    )
    return app
