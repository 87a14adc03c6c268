"""Backups of a server with SQLite: whole or refused, and restored whole or not at all."""

import hashlib
import io
import json
import os
import random
import shutil
import stat
import tarfile
import threading
from types import SimpleNamespace

import pytest
import sqlalchemy
from alembic import command

from service import datasets, housekeeping, ledger, uploads
from service.data import archive
from service.data.archive import ArchiveRefused
from service.data.objects import ObjectFolder
from service.errors import DataCorrupt
from service.machine.address import write_address
from service.machine.folders import make_folders
from service.machine.only_one import only_one
from service.programs import backup as backups
from service.programs import restore as restores
from service.settings import SettingError, Settings
from service.store import events, moves, snapshots
from service.store.database import Database
from service.store.migrations.upgrade import alembic_config
from service.store.tables import dataset, metadata
from tests.service.apps import create, make_app, make_caller, open_upload, push
from tests.service.dying import killed_at
from tests.service.store.rows import job_of, make_job
from traind.v1 import datasets_pb2

NEWEST = "0005"


def settings_of(folder, **environ):
    return Settings.from_env({"TRAIND_DATA_DIR": str(folder), **environ})


@pytest.fixture(autouse=True)
def _umask():
    """That of all commands of the server."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The data folder of a server: two data sets, a job at work, an open upload; and the ids of user and job."""
    settings = settings_of(tmp_path_factory.mktemp("template") / "data")
    make_folders(settings)
    database = Database(settings.database_url)
    database.migrate()
    app = make_app(database, settings.data_dir)
    kim = make_caller(app, "kim")
    push(app, kim, b"a,b\n1,2\n3,4\n", "first")
    push(app, kim, b"a,b\n5,6\n", "second")
    open_upload(app, kim)
    with database.read() as connection:
        found = connection.execute(sqlalchemy.select(dataset)).first()
    job = make_job(database, SimpleNamespace(id=found.owner_id), SimpleNamespace(id=found.id))
    assert ledger.claim(database, "w1", 3600) is not None
    database.dispose()
    return settings.data_dir, kim, job


@pytest.fixture
def app(template, tmp_path):
    """The parts of a server on a copy of the folder; `kim` and `job` are its user and its job."""
    folder, kim, job = template
    settings = settings_of(shutil.copytree(folder, tmp_path / "data"))
    database = Database(settings.database_url)
    app = make_app(database, settings.data_dir)
    app.__dict__.update(kim=kim, job=job)
    yield app
    database.dispose()


def back_up(app, target):
    said = []
    assert backups.back_up(app.settings, str(target), said.append) == 0
    return said


def restore(folder, source, **environ):
    said = []
    assert restores.restore(settings_of(folder, **environ), str(source), said.append) == 0
    return said


@pytest.fixture
def backup(app, tmp_path):
    path = tmp_path / "b.tar"
    back_up(app, path)
    return path


def rows_of(database):
    with database.read() as connection:
        return {
            name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}"))) for name in metadata.tables
        }


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_in(folder):
    return set(files_below(folder)) <= {"run/up.lock"} if folder.exists() else True


def test_everything_comes_back(app, backup, tmp_path):
    before = rows_of(app.database)
    said = restore(tmp_path / "new", backup)
    settings = settings_of(tmp_path / "new")
    restored = Database(settings.database_url)
    after = rows_of(restored)
    assert before["upload"]
    assert after["upload"] == after["worker"] == []
    for name in set(metadata.tables) - {"upload", "worker", "job", "event"}:
        assert after[name] == before[name], name
    objects = {path.name: path.read_bytes() for path in app.objects.root.glob("??/*")}
    assert {path.name: path.read_bytes() for path in settings.objects_dir.glob("??/*")} == objects
    assert len(objects) == 4
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in settings.data_dir.rglob("*")} == {0}
    assert not list(settings.data_dir.rglob(restores.STAGE))
    assert said[0].endswith("the database and 4 files of data sets are back")
    kim = app.kim
    again = make_app(restored, settings.data_dir)
    row = datasets.find_dataset(again, kim, "first", "name")
    assert datasets.open_table(again, row)
    restored.dispose()


def test_a_job_that_ran_waits_for_a_worker_and_has_lost_none(app, backup, tmp_path):
    with app.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET losses = 2")
    back_up(app, tmp_path / "c.tar")
    said = restore(tmp_path / "new", tmp_path / "c.tar")
    database = Database(settings_of(tmp_path / "new").database_url)
    row = job_of(database, app.job.id)
    assert (row.state, row.attempt) == ("QUEUED", 1)
    with database.read() as connection:
        told = [json.loads(one.body_json) for one in events.list_from(connection, row.id, 1, 100)]
        assert connection.exec_driver_sql("SELECT losses FROM job").scalar() == 2
    assert [one["state"] for one in told] == ["QUEUED", "RUNNING", "QUEUED"]
    assert told[-1]["message"] == "restored from a backup"
    assert said[1].startswith("1 jobs that ran")
    assert ledger.claim(database, "w2", 60).attempt == 2
    database.dispose()


def test_the_archive_is_a_plain_tar_that_only_its_owner_reads(app, backup):
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with tarfile.open(backup, "r:") as tar:
        names = tar.getnames()
        assert all(member.isreg() and member.mode == 0o600 for member in tar)
        told = json.load(tar.extractfile("manifest.json"))
    assert names[:3] == ["manifest.json", "manifest.sha256", "traind.db"]
    assert sorted(names[3:]) == sorted(f"objects/{path.name}" for path in app.objects.root.glob("??/*"))
    assert (told["schema"], told["version"]) == (snapshots.revision(app.database.path), 1)
    assert str(app.settings.data_dir) not in json.dumps(told)
    assert files_below(app.settings.tmp_dir).keys() == {path.name for path in app.settings.tmp_dir.glob("upload-*")}


def test_a_folder_gets_a_file_with_a_name_of_its_own(app, tmp_path):
    (tmp_path / "backups").mkdir()
    [said] = back_up(app, tmp_path / "backups")
    [made] = (tmp_path / "backups").iterdir()
    assert said.startswith(f"{made}: the database {app.settings.data_dir / 'traind.db'} (schema ")
    restore(tmp_path / "new", made)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("b.tar", "is there already"),
        ("b.zip", "neither a folder nor the name of a .tar file"),
        ("no/such/b.tar", "there is no folder"),
    ],
)
def test_a_target_that_cannot_be_is_refused(app, backup, tmp_path, target, words):
    before = backup.read_bytes()
    with pytest.raises(ValueError, match=words):
        back_up(app, tmp_path / target)
    assert backup.read_bytes() == before


def test_an_installation_of_another_kind_is_told_what_to_do(tmp_path):
    postgres = settings_of(tmp_path, TRAIND_DATABASE_URL="postgresql://localhost/traind")
    bucket = settings_of(tmp_path, TRAIND_OBJECT_STORE="s3://lab/traind")
    for run in (backups.back_up, restores.restore):
        with pytest.raises(SettingError, match=r"pg_dump.*docs/operations.md, Backup"):
            run(postgres, str(tmp_path), print)
        with pytest.raises(SettingError, match=r"copy the bucket.*docs/operations.md, Backup"):
            run(bucket, str(tmp_path), print)
    with pytest.raises(SettingError, match="there is no database"):
        backups.back_up(settings_of(tmp_path / "nothing"), str(tmp_path), print)


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("harm", [damage, os.unlink])
def test_a_damaged_object_is_named_and_no_backup_is_made(app, tmp_path, harm):
    row = datasets.find_dataset(app, app.kim, "second", "name")
    harm(app.objects.path(row.table_sha256))
    with pytest.raises(
        DataCorrupt, match=rf"{row.table_sha256} of the data set kim.second version 1 (is gone|does not)"
    ):
        back_up(app, tmp_path / "b.tar")
    assert not list(tmp_path.glob("*.tar*"))
    assert not list(tmp_path.glob(".*"))


def test_a_data_set_that_is_deleted_meanwhile_is_in_it(app, tmp_path, monkeypatch):
    """Deleted between the copy of the database and the writing of the files."""
    write_archive = archive.write_archive

    def after_a_deletion(*arguments):
        datasets.delete_dataset(app, app.kim, datasets_pb2.DeleteDatasetRequest(name="second"))
        assert len(list(app.objects.root.glob("??/*"))) == 2
        write_archive(*arguments)

    monkeypatch.setattr(backups, "write_archive", after_a_deletion)
    back_up(app, tmp_path / "b.tar")
    restore(tmp_path / "new", tmp_path / "b.tar")
    assert len(list((tmp_path / "new" / "objects").glob("??/*"))) == 4


def test_every_byte_of_the_archive_is_checked(backup, tmp_path):
    """One bit is changed in each header and in many other places: always refused, and nothing is left."""
    raw = backup.read_bytes()
    with tarfile.open(backup, "r:") as tar:
        members = tar.getmembers()
    numbers = random.Random(1)
    places = [place for member in members for place in range(member.offset, member.offset_data, 29)]
    places += [member.offset_data + numbers.randrange(max(member.size, 1)) for member in members for _ in range(6)]
    places += [member.offset_data + member.size for member in members if member.size % 512]
    places += [len(raw) - 1, len(raw) - 1024]
    harmed, folder = tmp_path / "harmed.tar", tmp_path / "new"
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << numbers.randrange(8)
        harmed.write_bytes(changed)
        with pytest.raises(ArchiveRefused) as caught:
            restore(folder, harmed)
        inside = [member.name for member in members if member.offset <= place < member.offset_data + member.size]
        assert str(caught.value).startswith(("the backup is damaged: ", "the file is no backup"))
        if inside and not inside[0].startswith("manifest"):
            assert inside[0] in str(caught.value)
        assert nothing_in(folder)
    assert len(places) > 150
    restore(folder, backup)


def test_a_part_of_the_archive_and_more_than_it_are_refused(backup, tmp_path):
    raw = backup.read_bytes()
    other, folder = tmp_path / "other.tar", tmp_path / "new"
    for length in [0, 1, 511, 512, 700, 2000, len(raw) // 2, len(raw) - 1024, len(raw) - 1]:
        other.write_bytes(raw[:length])
        with pytest.raises(ArchiveRefused, match=r"ends before .* does"):
            restore(folder, other)
    other.write_bytes(raw + b"\0")
    with pytest.raises(ArchiveRefused, match="more follows"):
        restore(folder, other)
    assert nothing_in(folder)


def crafted(path, members, told=None, *, listed=None, kind=tarfile.REGTYPE, created_at=5, **changes):
    """An archive that is consistent in itself, of members that no backup has."""
    listed = listed or [
        {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members
    ]
    values = {"format": "traind-backup", "version": 1, "schema": NEWEST, "traind": "9", "created_at": created_at}
    raw = told if told is not None else json.dumps(values | {"members": listed} | changes).encode()
    with path.open("wb") as file:
        for name, data in [("manifest.json", raw), ("manifest.sha256", archive._hash_line(raw)), *members]:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), created_at, 0o600
            if not name.startswith("manifest"):
                info.type, info.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            file.write(info.tobuf(tarfile.GNU_FORMAT) + data + archive._padding(len(data)))
        file.write(bytes(1024))


DB = ("traind.db", b"no database")


@pytest.mark.parametrize(
    ("members", "options", "words"),
    [
        ([], {}, "none of a backup"),
        ([DB, ("../../escaped", b"x")], {}, "none of a backup"),
        ([DB, ("/tmp/escaped", b"x")], {}, "none of a backup"),
        ([DB, ("objects/../../escaped", b"x")], {}, "none of a backup"),
        ([DB, DB], {}, "none of a backup"),
        ([("objects/" + "a" * 64, b"x"), DB], {}, "none of a backup"),
        ([DB, ("objects/" + "a" * 64, b"x")], {}, "none of a backup"),
        ([DB], {"kind": tarfile.SYMTYPE}, "traind.db is not what was written"),
        ([DB], {"kind": tarfile.LNKTYPE}, "traind.db is not what was written"),
        ([DB], {"kind": tarfile.CHRTYPE}, "traind.db is not what was written"),
        ([DB], {"kind": tarfile.GNUTYPE_LONGNAME}, "traind.db is not what was written"),
        ([DB], {}, "no database of traind|not a database|stored bytes|damaged"),
        ([DB], {"schema": "9999"}, r"newer traind \(9, schema 9999\)"),
        ([DB], {"version": 2}, "version 2 of the format"),
        ([DB], {"format": "zip"}, "its format is 'zip'"),
        ([DB], {"told": b"{}"}, "manifest.json is not"),
        ([DB], {"told": b"[" * 100_000}, "manifest.json is not"),
        ([DB], {"told": b'{"format": "traind-backup", "version": 1, "members": 3}'}, "manifest.json is not"),
        ([DB], {"listed": [{"name": "traind.db", "size_bytes": 1e999, "sha256": "0" * 64}]}, "manifest.json is not"),
        ([DB], {"listed": [{"name": "traind.db", "size_bytes": -1, "sha256": "0" * 64}]}, "none of a backup"),
        ([DB], {"listed": [{"name": "traind.db", "size_bytes": 1 << 60, "sha256": "0" * 64}]}, "make room first"),
    ],
)
def test_an_archive_that_somebody_made_up_is_refused(tmp_path, members, options, words):
    path, folder = tmp_path / "crafted.tar", tmp_path / "a" / "b" / "new"
    folder.parent.mkdir(parents=True)
    crafted(path, members, **options)
    with pytest.raises((ValueError, DataCorrupt), match=words):
        restore(folder, path)
    assert nothing_in(folder)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("raw", [b"\x1f\x8b" + bytes(600), b"PK\3\4" + bytes(600), b"a,b\n" * 200, bytes(2048)])
def test_a_file_of_another_kind_is_refused(tmp_path, raw):
    path = tmp_path / "x.tar"
    path.write_bytes(raw)
    with pytest.raises(ArchiveRefused, match="is no backup of traind"):
        restore(tmp_path / "new", path)
    with pytest.raises(ValueError, match=r"cannot be read \(No such file"):
        restore(tmp_path / "new", tmp_path / "none.tar")
    assert nothing_in(tmp_path / "new")


def test_a_database_that_names_an_object_that_is_not_there_is_refused(app, tmp_path):
    """An archive that is whole in itself, of a database without the files it names."""
    copy = tmp_path / "copy.db"
    snapshots.copy(app.database.path, copy)
    crafted(tmp_path / "crafted.tar", [("traind.db", copy.read_bytes())], schema=snapshots.revision(copy))
    with pytest.raises(ArchiveRefused, match=r"objects/[0-9a-f]{64} is not in it"):
        restore(tmp_path / "new", tmp_path / "crafted.tar")
    assert nothing_in(tmp_path / "new")


@pytest.mark.parametrize("name", ["traind.db", "objects/ab/file", "notes.txt", "run/api.log"])
def test_a_folder_that_holds_something_is_refused(backup, tmp_path, name):
    file = tmp_path / "new" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    with pytest.raises(SettingError, match=rf"needs an empty data folder, and there is .*{name}"):
        restore(tmp_path / "new", backup)
    assert files_below(tmp_path / "new") == {name: b"mine", "run/up.lock": files_below(tmp_path / "new")["run/up.lock"]}


def test_a_database_elsewhere_is_restored_there_and_never_replaced(backup, tmp_path):
    elsewhere = tmp_path / "disk" / "lab.db"
    elsewhere.parent.mkdir()
    url = {"TRAIND_DATABASE_URL": f"sqlite:///{elsewhere}"}
    restore(tmp_path / "new", backup, **url)
    assert snapshots.live_jobs(elsewhere) == []
    assert sorted(path.name for path in elsewhere.parent.iterdir()) == ["lab.db"]
    with pytest.raises(SettingError, match="needs an empty data folder"):
        restore(tmp_path / "newer", backup, **url)


def test_a_running_server_is_never_restored_into(app, backup, tmp_path):
    with only_one(app.settings), pytest.raises(SettingError, match=rf"already runs on .* \(process {os.getpid()}\)"):
        restore(app.settings.data_dir, backup)
    write_address(app.settings, 1, 2, 3)
    with pytest.raises(SettingError, match=rf"already runs on .* \(process {os.getpid()}\)"):
        restore(app.settings.data_dir, backup)


@pytest.mark.parametrize("schema", ["0001", "0003", "0004"])
def test_an_older_schema_is_brought_to_this_one(tmp_path, schema):
    settings = settings_of(tmp_path / "old")
    make_folders(settings)
    path = Database(settings.database_url).path
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), schema)
    engine.dispose()
    assert snapshots.revision(path) == schema
    said = []
    backups.back_up(settings, str(tmp_path / "old.tar"), said.append)
    assert f"(schema {schema})" in said[0]
    restore(tmp_path / "new", tmp_path / "old.tar")
    restored = Database(settings_of(tmp_path / "new").database_url)
    assert snapshots.revision(restored.path) > "0004"
    assert rows_of(restored)["job"] == []
    restored.dispose()


def test_the_backup_of_a_newer_schema_is_refused(app, tmp_path):
    with app.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingError, match=r"newer traind .schema 9999"):
        back_up(app, tmp_path / "b.tar")


def dying(points, run):
    """Run it with a death at each point that changes a file."""

    def act(death):
        for owner, name in points:
            death.around(owner, name)
        run()

    return act


def test_a_killed_backup_leaves_none_and_the_next_one_is_whole(app, tmp_path):
    points = [(snapshots, "copy"), (backups, "_link"), (backups, "write_archive"), (backups.Path, "rename")]
    target, killed, number = tmp_path / "b.tar", True, 0
    while killed:
        number += 1
        app.database.dispose()
        killed = killed_at(number, dying(points, lambda: backups.back_up(app.settings, str(target), print)))
        # All or nothing.
        if target.exists():
            restore(tmp_path / f"new{number}", target)
            target.unlink()
        else:
            assert killed
    assert number > 12
    # What it had laid aside is collected.
    scratch = housekeeping.House(app.settings, app.database, None).kinds()
    housekeeping.clean(scratch)
    assert not list(app.settings.tmp_dir.glob("scratch-*"))
    back_up(app, target)
    assert sorted(path.name for path in tmp_path.glob("*b.tar*")) == ["b.tar"]
    assert not list(tmp_path.glob(".b.tar*"))


def test_a_killed_restore_leaves_no_server_or_a_whole_one(backup, tmp_path):
    points = [
        (archive, "read_member"),
        (Database, "migrate"),
        (moves, "stop"),
        (snapshots, "fold"),
        (restores.Path, "rename"),
        (restores.Path, "hardlink_to"),
    ]
    folder = tmp_path / "new"
    killed, number, whole = True, 0, 0
    while killed:
        number += 1
        killed = killed_at(number, dying(points, lambda: restores.restore(settings_of(folder), str(backup), print)))
        if not (folder / "traind.db").exists():
            assert killed
            continue
        whole += 1
        database = Database(settings_of(folder).database_url)
        objects = ObjectFolder(folder / "objects", folder / "tmp")
        for sha256 in snapshots.objects(database.path):
            objects.verify(sha256)
        assert ledger.claim(database, "w", 60) is not None
        database.dispose()
        shutil.rmtree(folder)
    assert number > 20
    assert whole >= 2


def test_what_is_written_while_the_backup_is_made_is_in_it_whole_or_not_at_all(app, tmp_path, monkeypatch):
    """Data sets come and go while backups are made one after the other: each of them can be restored."""
    stop = threading.Event()

    def busy():
        number = 0
        while not stop.is_set():
            number += 1
            name = open_upload(app, app.kim)
            uploads.write_chunk(app, app.kim, name, 0, f"a,b\n{number},1\n".encode())
            create(app, app.kim, name, f"busy{number}")
            if number > 1:
                datasets.delete_dataset(app, app.kim, datasets_pb2.DeleteDatasetRequest(name=f"busy{number - 1}"))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for number in range(6):
            back_up(app, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        thread.join()
    for number in range(6):
        restore(tmp_path / f"new{number}", tmp_path / f"{number}.tar")
        files = files_below(tmp_path / f"new{number}" / "objects")
        assert len(files) in {4, 6, 8}
        assert all(
            hashlib.file_digest(io.BytesIO(data), "sha256").hexdigest() == name[3:] for name, data in files.items()
        )
