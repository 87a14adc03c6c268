"""Models that answer, kept in memory: loaded once, bounded in bytes, the least recently used leaves first."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import DataCorrupt, NotFound, PredictionsChanged
from service.modelling import golden
from service.modelling.predictor import Predictor
from service.store import artifacts, models
from service.store.database import Database
from service.store.records import ModelRow

log = logging.getLogger(__name__)

# A loaded model costs its weights and this much for the objects around them (measured: 20-40 KiB for small networks).
OVERHEAD_BYTES = 64 << 10


def load_predictor(database: Database, row: ModelRow) -> Predictor:
    """Weights and fitted preprocessing of a model, out of SQL, if it answers what it answered when it was trained.

    Raises DataCorrupt when a hash does not fit, PredictionsChanged, and NotFound when it was deleted meanwhile.
    """
    with unless_deleted(database, row):
        weights = artifacts.load(database, row.artifact_id)
        predictor = Predictor.from_stored(row.spec_json, row.preprocessing_json, weights)
    with database.read() as connection:
        kept = models.find_golden(connection, row.id)
    if kept is not None and (difference := golden.find_difference(predictor, golden.decode(kept))):
        error = PredictionsChanged(
            f"{row.name} answers otherwise than when it was trained: {difference}; train it again, or run traind "
            f"{row.engine}, which trained it",
            metadata={"resource": row.name, "engine": row.engine, "difference": difference},
        )
        log.error("a model is not served: %s", error)
        raise error
    return predictor


@contextmanager
def unless_deleted(database: Database, row: ModelRow) -> Iterator[None]:
    """Where a version was deleted under a call, tell that, and not what it breaks. Raises NotFound for DataCorrupt."""
    try:
        yield
    except DataCorrupt as broken:
        with database.read() as connection:
            there = models.is_there(connection, row.id)
        if there:
            raise
        raise NotFound(
            f"there is no {row.name} any more: it was deleted meanwhile; list yours with GET /v1/models",
            metadata={"resource": row.name},
        ) from broken


@dataclass(frozen=True)
class CacheTally:
    """What a cache holds, and what became of those that asked since the process began."""

    entries: int
    used_bytes: int
    limit_bytes: int
    hits: int
    misses: int
    evictions: int


class ModelCache:
    """Predictors by model version. Models are immutable, so an entry is never stale."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._kept: OrderedDict[str, tuple[Predictor, int]] = OrderedDict()
        # Calls that load a version just now, and those of these versions that were forgotten since.
        self._loading: Counter[str] = Counter()
        self._forgotten: set[str] = set()
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0

    def peek(self, model_id: str) -> Predictor | None:
        """The predictor of a version if it is in memory."""
        with self._lock:
            kept = self._kept.get(model_id)
            if kept is None:
                return None
            self._kept.move_to_end(model_id)
            self._hits += 1
            return kept[0]

    def get(self, database: Database, row: ModelRow) -> Predictor:
        """The model's predictor, loaded if it is not here. Raises as load_predictor does."""
        with self._lock:
            if row.id in self._kept:
                self._kept.move_to_end(row.id)
                self._hits += 1
                return self._kept[row.id][0]
            self._misses += 1
            self._loading[row.id] += 1
        # Loaded outside the lock: two callers may load the same model, but none waits for another's.
        predictor = None
        try:
            predictor = load_predictor(database, row)
            # Compared with its module once, and by whoever may wait.
            _ = predictor.quick, predictor.signature
        finally:
            self._end_loading(row.id, predictor, row.size_bytes + OVERHEAD_BYTES)
        return predictor

    def forget(self, model_id: str) -> None:
        """Let go of a version that was deleted, also of one that is being loaded."""
        with self._lock:
            if model_id in self._kept:
                self._used -= self._kept.pop(model_id)[1]
            if model_id in self._loading:
                self._forgotten.add(model_id)

    def tally(self) -> CacheTally:
        """How full it is, and how well it works."""
        with self._lock:
            return CacheTally(len(self._kept), self._used, self._limit, self._hits, self._misses, self._evictions)

    def _end_loading(self, model_id: str, predictor: Predictor | None, size: int) -> None:
        with self._lock:
            if predictor is not None and model_id not in self._forgotten:
                self._keep(model_id, predictor, size)
            self._loading[model_id] -= 1
            if not self._loading[model_id]:
                del self._loading[model_id]
                self._forgotten.discard(model_id)

    def _keep(self, model_id: str, predictor: Predictor, size: int) -> None:
        if model_id in self._kept or size > self._limit:
            return
        self._kept[model_id] = (predictor, size)
        self._used += size
        while self._used > self._limit:
            _, (_, freed) = self._kept.popitem(last=False)
            self._used -= freed
            self._evictions += 1

    @property
    def used_bytes(self) -> int:
        """What the kept models are counted as."""
        with self._lock:
            return self._used
