"""Models that answer, kept in memory: loaded once, bounded in bytes, the least recently used leaves first."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from service.modelling.predictor import Predictor
from service.store import artifacts
from service.store.database import Database
from service.store.records import ModelRow

# A loaded model costs its weights and this much for the objects around them (measured: 20-40 KiB for small networks).
OVERHEAD_BYTES = 64 << 10
LIMIT_BYTES = 256 << 20


def load_predictor(database: Database, row: ModelRow) -> Predictor:
    """Weights and fitted preprocessing of a model, out of SQL. Raises DataCorrupt when a hash does not fit."""
    weights = artifacts.load(database, row.artifact_id)
    return Predictor.from_stored(row.spec_json, row.preprocessing_json, weights)


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

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._kept: OrderedDict[str, tuple[Predictor, int]] = OrderedDict()
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
        """The model's predictor, loaded if it is not here."""
        with self._lock:
            if row.id in self._kept:
                self._kept.move_to_end(row.id)
                self._hits += 1
                return self._kept[row.id][0]
            self._misses += 1
        # Loaded outside the lock: two callers may load the same model, but none waits for another's.
        predictor = load_predictor(database, row)
        # Compared with its module once, and by whoever may wait.
        _ = predictor.quick, predictor.signature
        self._keep(row.id, predictor, row.size_bytes + OVERHEAD_BYTES)
        return predictor

    def _keep(self, model_id: str, predictor: Predictor, size: int) -> None:
        with self._lock:
            if model_id in self._kept or size > self._limit:
                return
            self._kept[model_id] = (predictor, size)
            self._used += size
            while self._used > self._limit:
                _, (_, freed) = self._kept.popitem(last=False)
                self._used -= freed
                self._evictions += 1

    def tally(self) -> CacheTally:
        """How full it is, and how well it works."""
        with self._lock:
            return CacheTally(len(self._kept), self._used, self._limit, self._hits, self._misses, self._evictions)

    @property
    def used_bytes(self) -> int:
        """What the kept models are counted as."""
        with self._lock:
            return self._used
