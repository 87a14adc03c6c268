"""What nobody needs any more: found, told, collected. `python -m service housekeeping`, and by itself now and then.

    staged        parts of weights and checkpoints that a worker which died never finished, and what was dropped (the
                  sweep of servers and workers collects these too)
    orphans       weights and checkpoints that no job and no model holds
    checkpoints   of jobs that ended longer ago than TRAIND_KEEP_CHECKPOINTS_S
    uploads       that were not finished within their hour
    scratch       files of processes that are dead
    objects       files of data sets that no data set names
    webhooks      that were delivered or given up longer ago than TRAIND_KEEP_WEBHOOKS_S
    workers       that have been silent for an hour

Rows go before bytes: whoever is killed in between leaves bytes without a row, which the next run finds, and never a row
without bytes. Each thing found is looked at again when it is collected, in the transaction or under the lock in which
it goes, for somebody may have taken it up since. What is under way is told by locks where there are some (uploads,
scratch, objects), and by its age elsewhere.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.data import tmp_files
from service.data.objects import ObjectFolder, StoredObject
from service.errors import TraindError
from service.fencing import STAGED_S
from service.settings import Settings
from service.store import artifacts, datasets, orphans, uploads, webhooks, workers
from service.store.database import Database

log = logging.getLogger(__name__)

EXAMPLES = 3
_JOBS = "jobs/"


@dataclass(frozen=True)
class Item:
    """One thing that can go: its id, its bytes, and the one among whose things it is shown, if not by itself."""

    id: str
    size_bytes: int
    shown: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of thing: how those are found that can go, and how one is collected (False if it may not go after all)."""

    name: str
    find: Callable[[], list[Item]]
    collect: Callable[[Item], bool]


@dataclass(frozen=True)
class Tally:
    """What was found or collected of a kind; `failed` says why it could not be done to the end."""

    kind: str
    count: int
    size_bytes: int
    examples: tuple[str, ...]
    failed: str = ""


class House:
    """Everything that is looked after, of one database and one data folder."""

    def __init__(self, settings: Settings, database: Database, objects: ObjectFolder | None) -> None:
        """`objects` is None where only this machine's scratch is looked after: beside a worker."""
        self._settings = settings
        self._database = database
        self._objects = objects

    def kinds(self) -> list[Kind]:
        """In the order in which they are collected."""
        scratch = Kind("scratch", self._find_scratch, self._collect_scratch)
        if self._objects is None:
            return [scratch]
        return [
            Kind("staged", self._find_staged, self._collect_staged),
            Kind("orphans", self._find_orphans, self._collect_orphan),
            Kind("checkpoints", self._find_checkpoints, self._collect_checkpoint),
            Kind("uploads", self._find_uploads, self._collect_upload),
            scratch,
            Kind("objects", self._find_objects, self._collect_object),
            Kind("webhooks", self._find_webhooks, self._collect_webhook),
            Kind("workers", self._find_workers, self._collect_worker),
        ]

    def _find_staged(self) -> list[Item]:
        with self._database.read() as connection:
            return [Item(one.id, one.size_bytes) for one in orphans.staged(connection, STAGED_S)]

    def _collect_staged(self, item: Item) -> bool:
        with self._database.write() as connection:
            dropped = artifacts.drop_abandoned(connection, item.id, STAGED_S)
        return dropped and self._delete(item.id)

    def _find_orphans(self) -> list[Item]:
        with self._database.read() as connection:
            found = orphans.unheld(connection, self._settings.keep_orphans_s)
        return [Item(one.id, one.size_bytes) for one in found]

    def _collect_orphan(self, item: Item) -> bool:
        with self._database.write() as connection:
            dropped = orphans.drop_unheld(connection, item.id)
        return dropped and self._delete(item.id)

    def _find_checkpoints(self) -> list[Item]:
        with self._database.read() as connection:
            found = orphans.old_checkpoints(connection, self._settings.keep_checkpoints_s)
        return [Item(one.artifact_id, one.size_bytes, f"{_JOBS}{one.job_id}") for one in found]

    def _collect_checkpoint(self, item: Item) -> bool:
        job_id = item.shown.removeprefix(_JOBS)
        with self._database.write() as connection:
            dropped = orphans.drop_checkpoint(connection, job_id, item.id, self._settings.keep_checkpoints_s)
        return dropped and self._delete(item.id)

    def _delete(self, artifact_id: str) -> bool:
        artifacts.delete_dropped(self._database, artifact_id)
        return True

    def _find_uploads(self) -> list[Item]:
        with self._database.read() as connection:
            ids = uploads.expired(connection)
        files = {upload_id: tmp_files.upload_path(self._settings.tmp_dir, upload_id) for upload_id in ids}
        return [Item(upload_id, tmp_files.size_of(path)) for upload_id, path in files.items() if _free(path)]

    def _collect_upload(self, item: Item) -> bool:
        path = tmp_files.upload_path(self._settings.tmp_dir, item.id)
        # A data set may be made of it just now, which may take longer than its hour.
        with tmp_files.unheld(path) as free:
            if not free:
                return False
            with self._database.write() as connection:
                gone = uploads.delete_expired(connection, item.id)
            if gone:
                tmp_files.remove(path)
        return gone

    def _find_scratch(self) -> list[Item]:
        tmp = self._settings.tmp_dir
        left = tmp_files.left_behind(tmp)
        # Files before rows: an upload that comes in between then has a row.
        files = tmp_files.upload_files(tmp, self._settings.keep_orphans_s)
        with self._database.read() as connection:
            known = uploads.all_ids(connection)
        left += [path for upload_id, path in files.items() if upload_id not in known and _free(path)]
        return [Item(path.name, tmp_files.size_of(path)) for path in left]

    def _collect_scratch(self, item: Item) -> bool:
        # Names of dead processes, and of uploads without a row, are never used again: no need to look twice.
        tmp_files.remove(self._settings.tmp_dir / item.id)
        return True

    def _find_objects(self) -> list[Item]:
        assert self._objects is not None
        # Files before rows: of a data set that comes in between both are there.
        files = [one for one in self._objects.stored() if self._old(one)]
        with self._database.read() as connection:
            named = datasets.all_objects(connection)
        return [Item(one.sha256, one.size_bytes) for one in files if one.sha256 not in named]

    def _collect_object(self, item: Item) -> bool:
        assert self._objects is not None
        # Whoever makes a data set holds the lock from before its files come until after its row has.
        with self._objects.locked():
            there = self._objects.look(item.id)
            with self._database.read() as connection:
                used = datasets.object_in_use(connection, item.id)
            if there is None or used or not self._old(there):
                return False
            self._objects.delete(item.id)
        return True

    def _old(self, there: StoredObject) -> bool:
        return time.time() - there.modified_at > self._settings.keep_orphans_s

    def _find_webhooks(self) -> list[Item]:
        with self._database.read() as connection:
            found = webhooks.over(connection, self._settings.keep_webhooks_s)
        return [Item(target, 0, f"{_JOBS}{job_id}") for job_id, target in found]

    def _collect_webhook(self, item: Item) -> bool:
        with self._database.write() as connection:
            job_id = item.shown.removeprefix(_JOBS)
            return webhooks.forget(connection, job_id, item.id, self._settings.keep_webhooks_s)

    def _find_workers(self) -> list[Item]:
        with self._database.read() as connection:
            return [Item(name, 0) for name in workers.gone(connection)]

    def _collect_worker(self, item: Item) -> bool:
        with self._database.write() as connection:
            return workers.forget(connection, item.id)


def look(kinds: Sequence[Kind]) -> list[Tally]:
    """What would be collected; changes nothing."""
    return [_each(kind, lambda _: True, lambda: False) for kind in kinds]


def clean(kinds: Sequence[Kind], stopping: Callable[[], bool] = lambda: False) -> list[Tally]:
    """Collect everything that can go, until `stopping` says so; answers what went."""
    return [_each(kind, kind.collect, stopping) for kind in kinds]


def _each(kind: Kind, collect: Callable[[Item], bool], stopping: Callable[[], bool]) -> Tally:
    went: list[Item] = []
    failed = ""
    try:
        for item in kind.find():
            if stopping():
                break
            if collect(item):
                went.append(item)
    except TraindError as error:
        # One kind's trouble, an object store that does not answer for one, keeps no other from being collected.
        log.warning("housekeeping of %s did not end well, the next run goes on: %s", kind.name, error)
        failed = str(error)
    except OSError as error:
        log.warning("housekeeping of %s did not end well, the next run goes on: %s", kind.name, error)
        failed = f"{error.filename}: {error.strerror}"
    names = tuple(dict.fromkeys(item.shown or item.id for item in went))[:EXAMPLES]
    return Tally(kind.name, len(went), sum(item.size_bytes for item in went), names, failed)


def _free(path: Path) -> bool:
    with tmp_files.unheld(path) as free:
        return free
