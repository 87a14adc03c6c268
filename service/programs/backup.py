"""`backup`: everything of a server with SQLite in one file, while it runs."""

import datetime as dt
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.data import tmp_files
from service.data.archive import DATABASE, Manifest, Member, object_name, write_archive
from service.data.objects import ObjectFolder, disk_full_refused, hash_file
from service.errors import DataCorrupt
from service.machine.folders import make_folders
from service.programs.embedded import embedded_database
from service.settings import SettingError, Settings
from service.store import snapshots
from service.store.database import Database
from traind.version import __version__

_PART = ".part"

Say = Callable[[str], None]


def back_up(settings: Settings, target: str, say: Say) -> int:
    """Write a backup to a new file, or into a folder under a name of its own.

    Raises SettingError or ValueError for what cannot be used, DataCorrupt naming what is damaged, DiskFull.
    """
    database = embedded_database(settings, "backup")
    Database(settings.database_url).check_there()
    path = _target(target)
    make_folders(settings)
    scratch = tmp_files.scratch_folder(settings.tmp_dir, "scratch")
    try:
        with disk_full_refused():
            schema, hashes = _hold(settings, database, scratch)
            members = [_member(DATABASE, scratch / DATABASE)]
            members += [Member(object_name(name), (scratch / name).stat().st_size, name) for name in hashes]
            manifest = Manifest(schema, __version__, int(time.time()), tuple(members))
            with _new_file(path) as file:
                write_archive(file, manifest, [scratch / DATABASE, *(scratch / name for name in hashes)])
    finally:
        tmp_files.remove(scratch)
    size = sum(member.size_bytes for member in members)
    told = f"the database {database} (schema {schema}) and {len(hashes)} files of data sets"
    say(f"{path}: {told}, {size:,} bytes")
    return 0


def _hold(settings: Settings, database: Path, scratch: Path) -> tuple[str, list[str]]:
    """Copy the database into `scratch`, and hold the objects that it names there by links: nobody can take them away.

    Answers the schema's revision and the objects' hashes.
    """
    objects = ObjectFolder(settings.objects_dir, settings.tmp_dir)
    # Between the copy and the links no data set may be deleted, for the copy would name what is gone.
    with objects.locked():
        snapshots.copy(database, scratch / DATABASE)
        schema = snapshots.revision(scratch / DATABASE)
        if not snapshots.known(schema):
            raise SettingError(f"the database is of a newer traind (schema {schema}): back it up with that version")
        named = snapshots.objects(scratch / DATABASE)
        for sha256, dataset in named.items():
            try:
                _link(objects.path(sha256), scratch / sha256)
            except FileNotFoundError:
                raise _damaged(sha256, dataset, "is gone") from None
    for sha256, dataset in named.items():
        if hash_file(scratch / sha256) != sha256:
            raise _damaged(sha256, dataset, "does not match its SHA-256")
    return schema, sorted(named)


def _damaged(sha256: str, dataset: str, what: str) -> DataCorrupt:
    return DataCorrupt(
        f"the file {sha256} of the data set {dataset} {what}: delete the data set or upload it again, then back up"
    )


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        # Not every file system has links.
        shutil.copyfile(source, target)


def _member(name: str, path: Path) -> Member:
    return Member(name, path.stat().st_size, hash_file(path))


def _target(text: str) -> Path:
    """The file to write. Raises ValueError where there is one, or no folder for it."""
    path = Path(text).expanduser()
    if path.is_dir():
        path /= f"traind-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.tar"
    if path.suffix != ".tar":
        raise ValueError(f"{path} is neither a folder nor the name of a .tar file: make the folder, or add .tar")
    if path.exists():
        raise ValueError(f"{path} is there already: name a new file, or a folder")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}: make it first")
    return path


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is whole and on the disk."""
    _remove_left(path.parent)
    part = path.with_name(f".{path.name}{_PART}")
    with _alone(part, path) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _alone(part: Path, path: Path) -> IO[bytes]:
    """The file under its first name, locked. Raises ValueError where another backup writes it."""
    while True:
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ValueError(f"another backup is being written to {path}: wait for its end") from None
        if os.fstat(file.fileno()).st_nlink:
            return file
        # Another backup took it for left, between the two calls.
        file.close()


def _remove_left(folder: Path) -> None:
    """Remove what killed backups left in the folder."""
    for part in folder.glob(f".traind-*.tar{_PART}"):
        with tmp_files.unheld(part) as free:
            if free:
                part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
