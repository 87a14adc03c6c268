"""`restore`: a server with SQLite out of a backup, into an empty data folder.

Everything is written to `restoring/` first, checked and brought to this version's schema there; then the objects get
their place, and last the database, by a link that fails where there is one meanwhile. A restore that was killed before
that left no server, and the next one begins anew.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from service.data import archive
from service.data.archive import DATABASE, ArchiveRefused, Manifest
from service.data.objects import disk_full_refused
from service.fencing import note_state
from service.machine.folders import make_folders
from service.machine.only_one import only_one, refuse_running_server
from service.programs.backup import sync_folder
from service.programs.embedded import embedded_database
from service.settings import SettingError, Settings
from service.store import moves, snapshots
from service.store.database import Database

STAGE = "restoring"

Say = Callable[[str], None]


def restore(settings: Settings, source: str, say: Say) -> int:
    """Fill the data folder. Raises SettingError or ValueError, with everything as it was, for what cannot be used."""
    database = embedded_database(settings, "restore")
    with _opened(source) as file:
        manifest = archive.read_manifest(file)
        if not snapshots.known(manifest.schema):
            raise ArchiveRefused(
                f"the backup is of a newer traind ({manifest.traind[:40]}, schema {manifest.schema[:40]}): restore it "
                "with that version"
            )
        refuse_running_server(settings)
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_one(settings):
            _refuse_full(settings, database)
            make_folders(settings)
            _refuse_too_large(manifest, settings.data_dir)
            try:
                with disk_full_refused():
                    handed_back = _fill(settings, database, file, manifest)
            finally:
                for stage in _stages(settings, database):
                    shutil.rmtree(stage, ignore_errors=True)
    say(f"{settings.data_dir}: the database and {len(manifest.members) - 1} files of data sets are back")
    if handed_back:
        say(f"{handed_back} jobs that ran when the backup was made wait for a worker, and go on where they were")
    say("tokens are valid as before; start the server")
    return 0


def _opened(source: str) -> IO[bytes]:
    path = Path(source).expanduser()
    try:
        return path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): name the .tar file of a backup") from None


def _stages(settings: Settings, database: Path) -> set[Path]:
    """Where files are put at first: beside their places, for they move there by renaming."""
    return {settings.data_dir / STAGE, database.parent / STAGE}


def _refuse_full(settings: Settings, database: Path) -> None:
    """Raise SettingError where there is something already, but for what a killed restore left."""
    if (settings.data_dir / STAGE).is_dir() and not database.exists():
        shutil.rmtree(settings.objects_dir, ignore_errors=True)
        for stage in _stages(settings, database):
            shutil.rmtree(stage, ignore_errors=True)
    lock = settings.run_dir / "up.lock"
    found = [path for path in settings.data_dir.rglob("*") if not (path.is_dir() and not path.is_symlink())]
    found += [path for path in database.parent.glob(f"{database.name}*") if path not in found]
    for path in sorted(found):
        if path != lock:
            raise SettingError(
                f"TRAIND_DATA_DIR: a restore needs an empty data folder, and there is {path}: move it away, or set "
                "TRAIND_DATA_DIR to a new folder"
            )


def _refuse_too_large(manifest: Manifest, folder: Path) -> None:
    needed, free = sum(member.size_bytes for member in manifest.members), shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"the backup holds {needed:,} bytes and {folder} has room for {free:,}: make room first")


def _fill(settings: Settings, database: Path, file: IO[bytes], manifest: Manifest) -> int:
    """Write, check, upgrade, and give everything its place; answers how many jobs were handed back to the queue."""
    objects, staged = settings.data_dir / STAGE / "objects", database.parent / STAGE / DATABASE
    for folder in (objects, staged.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for member in manifest.members:
        # The list has objects under their hashes only; nothing else of it becomes a path.
        place = staged if member.name == DATABASE else objects / member.sha256[:2] / member.sha256
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with place.open("xb") as target:
            archive.read_member(file, member, manifest.created_at, target)
            _sync(target)
        if member.name != DATABASE:
            sync_folder(place.parent)
    archive.read_end(file)
    handed_back = _make_ready(staged, {member.sha256 for member in manifest.members[1:]})
    sync_folder(objects)
    if database.exists():
        raise _used(settings)
    try:
        # Over the folder of the same name, which is empty.
        objects.rename(settings.objects_dir)
        sync_folder(settings.data_dir)
        _place(staged, database)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
        raise _used(settings) from None
    sync_folder(database.parent)
    return handed_back


def _place(staged: Path, database: Path) -> None:
    """Give the database its name. Raises FileExistsError where another one has it."""
    try:
        database.hardlink_to(staged)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has links.
        if database.exists():
            raise FileExistsError(errno.EEXIST, "is there", str(database)) from None
        staged.rename(database)


def _used(settings: Settings) -> SettingError:
    return SettingError(
        f"TRAIND_DATA_DIR: another program began to use {settings.data_dir} meanwhile: stop it, and restore into a new "
        "folder"
    )


def _make_ready(staged: Path, hashes: set[str]) -> int:
    """Bring the database to this version, and hand back the jobs of workers that are not here."""
    missing = sorted(set(snapshots.objects(staged)) - hashes)
    if missing:
        raise ArchiveRefused(f"the backup is damaged: {archive.object_name(missing[0])} is not in it")
    database = Database(f"sqlite:///{staged}")
    try:
        database.migrate()
        live = snapshots.live_jobs(staged)
        for job_id, attempt in live:
            with database.write() as connection:
                moved = moves.stop(connection, job_id, attempt)
                if moved is not None:
                    note_state(connection, job_id, moved, "restored from a backup")
    finally:
        database.dispose()
    # A copy that nobody has open any more is one file.
    snapshots.fold(staged)
    with staged.open("rb") as file:
        _sync(file)
    return len(live)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
