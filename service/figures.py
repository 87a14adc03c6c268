"""The figures of a server as Prometheus scrapes them, at /metrics of the HTTP port.

What SQL knows is asked at most every FRESH_S, on a thread that no call needs, and a scrape does not wait for it for
long: it gets the last look then. A database that is away costs a scrape those figures and nothing else.
"""

import asyncio
import platform
import time
from collections.abc import Sequence

from service.app import App
from service.observing import exposition, process
from service.observing.exposition import Family, by_label, counter, gauge
from service.store import figures as figure_store
from service.store.figures import StoredFigures
from traind.version import __version__

FRESH_S = 5.0
# How long a scrape waits for a new look, where there is an old one and where there is none that says something.
PATIENCE_S = 0.25
FIRST_PATIENCE_S = 2.0
# An older look says nothing of now.
OLDEST_S = 60.0


class Figures:
    """The figures of one process. For its event loop."""

    def __init__(self, app: App, *, of_sql: bool = True) -> None:
        """`of_sql`: also what SQL knows, which one process of an installation should tell."""
        self._app = app
        self._of_sql = of_sql
        self._looked: tuple[float, StoredFigures] | None = None
        self._looking: asyncio.Future[StoredFigures] | None = None

    async def page(self) -> bytes:
        """All of them in the format of Prometheus."""
        if self._of_sql:
            await self._look_again()
        app, now = self._app, time.monotonic()
        known = self._looked if self._looked and now - self._looked[0] < OLDEST_S else None
        told = [*app.counts.families(), *_of_cache(app), _of_build(app)]
        for teller in app.tellers:
            told += teller()
        if self._of_sql:
            told.append(gauge("traind_database_up", "Whether the database answered lately.", float(known is not None)))
        if known is not None:
            told += _of_sql(known[1])
        return exposition.encode([*told, *process.families()])

    async def _look_again(self) -> None:
        age_s = time.monotonic() - self._looked[0] if self._looked else OLDEST_S
        if age_s < FRESH_S:
            return
        if self._looking is None:
            self._looking = asyncio.get_running_loop().run_in_executor(None, _look, self._app)
            self._looking.add_done_callback(self._seen)
        await asyncio.wait({self._looking}, timeout=PATIENCE_S if age_s < OLDEST_S else FIRST_PATIENCE_S)

    def _seen(self, looking: "asyncio.Future[StoredFigures]") -> None:
        self._looking = None
        if not looking.cancelled() and looking.exception() is None:
            self._looked = time.monotonic(), looking.result()
        else:
            self._looked = None


def _look(app: App) -> StoredFigures:
    with app.database.read() as connection:
        return figure_store.look(connection)


def _of_build(app: App) -> Family:
    labels = {"version": __version__, "python": platform.python_version(), "database": app.database.kind}
    return Family("traind_build_info", "gauge", "What runs here.", [("", labels, 1)])


def _of_cache(app: App) -> Sequence[Family]:
    tally = app.models.tally()
    return [
        gauge("traind_model_cache_entries", "Models in memory.", tally.entries),
        gauge("traind_model_cache_bytes", "What they are counted as.", tally.used_bytes),
        gauge("traind_model_cache_limit_bytes", "The most that are kept.", tally.limit_bytes),
        counter("traind_model_cache_hits_total", "Predictions by a model that was in memory.", tally.hits),
        counter("traind_model_cache_misses_total", "Predictions for which a model was loaded.", tally.misses),
        counter("traind_model_cache_evictions_total", "Models that left for others.", tally.evictions),
    ]


def _of_sql(stored: StoredFigures) -> Sequence[Family]:
    return [
        by_label("gauge", "traind_jobs", "Jobs by state.", "state", dict(stored.jobs)),
        by_label("gauge", "traind_jobs_failed", "Jobs that FAILED, by reason.", "reason", dict(stored.failures)),
        gauge("traind_queue_waiting", "Jobs that wait for a slot.", stored.waiting),
        gauge("traind_queue_running", "Jobs that hold a slot.", stored.running),
        gauge("traind_queue_oldest_seconds", "Age of the job that waits longest.", round(stored.oldest_s, 3)),
        gauge("traind_workers", "Workers that are alive.", stored.workers),
        gauge("traind_slots", "Slots of workers that are alive.", stored.slots),
        gauge("traind_slots_busy", "Slots that a job holds.", stored.running),
        gauge(
            "traind_job_losses",
            "Workers lost under jobs that have not ended, since their last stored epoch.",
            stored.losses,
        ),
        gauge(
            "traind_job_restarts",
            "How often jobs that have not ended were begun again: after a loss, a pause or a drain.",
            stored.restarts,
        ),
        counter(
            "traind_refused_writes_total",
            "Writes of workers that had lost the job: each changed nothing.",
            stored.refused_writes,
        ),
    ]
