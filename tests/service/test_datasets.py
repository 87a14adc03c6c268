"""Data sets on both databases: made of uploads, the same again, refused without a trace, listed, previewed, deleted."""

import hashlib
import json
import math
import os
import pathlib
import threading
import uuid

import pytest
import sqlalchemy

from service import datasets, ledger, uploads
from service.data import ingest
from service.errors import (
    DatabaseUnavailable,
    DataCorrupt,
    DatasetInUse,
    DiskFull,
    InvalidField,
    InvalidTable,
    NotFound,
)
from service.store import datasets as dataset_store
from service.store import jobs as job_store
from service.store.tables import dataset as dataset_table
from service.store.tables import dataset_profile as profile_table
from tests.service.apps import create, files_in, make_app, make_caller, open_upload, push
from traind.v1 import datasets_pb2
from traind.v1.tables_pb2 import Column

RAW = b"area,city\n32,Seoul\n33,Busan\n36.5,Seoul\n"
SHA256 = hashlib.sha256(RAW).hexdigest()


@pytest.fixture
def app(database, tmp_path):
    return make_app(database, tmp_path)


@pytest.fixture
def kim(app):
    return make_caller(app, "kim")


def get(app, caller, name):
    return datasets.get_dataset(app, caller, datasets_pb2.GetDatasetRequest(name=name))


def page(app, caller, **fields):
    return datasets.list_datasets(app, caller, datasets_pb2.ListDatasetsRequest(**fields))


def preview(app, caller, name, **fields):
    request = datasets_pb2.PreviewDatasetRequest(name=name, **fields)
    return datasets.preview_dataset(app, caller, request).columns


def delete(app, caller, name):
    return datasets.delete_dataset(app, caller, datasets_pb2.DeleteDatasetRequest(name=name))


def submit(app, row):
    with app.database.write() as connection:
        return job_store.add(
            connection,
            owner_id=row.owner_id,
            dataset_id=row.id,
            dataset_name="x",
            kind="train",
            display_name="",
            model_slug="m",
            task_json="{}",
            resolved_json="{}",
            parameter_count=1,
            epochs=1,
            request_id=None,
            request_hash="",
        ).id


def test_an_upload_becomes_a_data_set(app, kim):
    made = push(app, kim, RAW, "houses", display_name="집값")
    assert made.name == "datasets/kim.houses/versions/1"
    assert made.display_name == "집값"
    assert made.state == datasets_pb2.Dataset.READY
    assert [(c.name, c.type, c.missing_count, list(c.categories)) for c in made.columns] == [
        ("area", Column.NUMBER, 0, []),
        ("city", Column.CATEGORY, 0, ["Busan", "Seoul"]),
    ]
    assert (made.row_count, made.size_bytes, made.sha256) == (3, len(RAW), SHA256)
    assert abs(made.create_time.seconds - pathlib.Path(app.objects.path(SHA256)).stat().st_mtime) < 60
    assert files_in(app.settings.tmp_dir) == []
    row = datasets.find_dataset(app, kim, "houses", "dataset")
    assert files_in(app.settings.objects_dir) == sorted([SHA256, row.table_sha256])
    assert app.objects.path(SHA256).read_bytes() == RAW
    assert json.loads(row.columns_json)[0] == {"name": "area", "type": "NUMBER"}
    assert list(datasets.columns_of(row)) == list(made.columns)
    table = datasets.open_table(app, row, ["area"])
    assert table.columns["area"].values.tolist() == [32, 33, 36.5]


def test_the_upload_ends_with_it(app, kim):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, RAW)
    create(app, kim, name)
    for again in (lambda: create(app, kim, name), lambda: uploads.write_chunk(app, kim, name, len(RAW), b"1,x\n")):
        with pytest.raises(NotFound):
            again()
    assert app.objects.path(SHA256).read_bytes() == RAW


def test_names_of_every_form_mean_it(app, kim):
    push(app, kim, RAW, "houses")
    push(app, kim, RAW + b"1,Seoul\n", "houses")
    newest, first = "datasets/kim.houses/versions/2", "datasets/kim.houses/versions/1"
    for name, meant in {
        "houses": newest,
        "datasets/houses": newest,
        "datasets/kim.houses": newest,
        "datasets/houses/versions/1": first,
        first: first,
    }.items():
        assert get(app, kim, name).name == meant
    assert get(app, kim, first).row_count == 3


def test_the_same_bytes_are_the_same_version_and_are_not_read_again(app, kim, monkeypatch):
    first = push(app, kim, RAW)
    second = push(app, kim, RAW + b"40,Seoul\n")
    read = ingest._run
    monkeypatch.setattr(ingest, "_run", lambda *_: pytest.fail("read again"))
    assert push(app, kim, RAW) == first
    assert push(app, kim, RAW, display_name="other", encoding="utf-8") == first
    assert push(app, kim, RAW + b"40,Seoul\n") == second
    monkeypatch.setattr(ingest, "_run", read)
    asked = push(app, kim, RAW, schema=[Column(name="city", type=Column.TEXT)])
    assert asked.name == "datasets/kim.table/versions/3"
    assert push(app, kim, RAW, schema=[Column(name="city", type=Column.TEXT), Column(name="area")]) == asked
    assert push(app, kim, RAW, "other").name == "datasets/kim.other/versions/1"
    assert files_in(app.settings.tmp_dir) == []


def test_the_same_bytes_at_the_same_time_are_one_version(app, kim):
    made, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: made.append(push(app, kim, RAW))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.name for one in made] == ["datasets/kim.table/versions/1"] * 4
    assert len(files_in(app.settings.objects_dir)) == 2
    assert files_in(app.settings.tmp_dir) == []


def test_a_refused_table_leaves_nothing_but_the_upload(app, kim):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, RAW + b"1,2,3\n")
    with pytest.raises(InvalidTable, match="line 5"):
        create(app, kim, name)
    assert files_in(app.settings.objects_dir) == []
    assert files_in(app.settings.tmp_dir) == [name.replace("uploads/", "upload-")]
    assert list(page(app, kim).datasets) == []
    with pytest.raises(InvalidTable, match="line 5"):
        create(app, kim, name)


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), OSError(28, "No space left on device")])
def test_a_failure_at_the_last_step_leaves_nothing_but_the_upload(app, kim, monkeypatch, error):
    other = push(app, kim, RAW, "other")
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, RAW)
    before = files_in(app.settings.objects_dir)

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(dataset_store, "add_version", fail)
        with pytest.raises((DatabaseUnavailable, DiskFull)):
            create(app, kim, name)
        with pytest.raises((DatabaseUnavailable, DiskFull)):
            push(app, kim, b"x\n1\n")
    # What `other` uses stays; the new table's files are gone.
    assert files_in(app.settings.objects_dir) == before
    assert preview(app, kim, other.name)[0].numbers == [32, 33, 36.5]
    assert create(app, kim, name).name == "datasets/kim.table/versions/1"


def test_an_upload_that_is_not_what_was_announced_is_refused(app, kim):
    short = open_upload(app, kim, size_bytes=len(RAW) + 1)
    uploads.write_chunk(app, kim, short, 0, RAW)
    with pytest.raises(InvalidField, match=f"{len(RAW)} of {len(RAW) + 1} bytes have arrived") as caught:
        create(app, kim, short)
    assert caught.value.metadata["field"] == "source.upload"
    other = open_upload(app, kim, sha256="ab" * 32)
    uploads.write_chunk(app, kim, other, 0, RAW)
    with pytest.raises(InvalidField, match=f"has the SHA-256 {SHA256}, announced was abab"):
        create(app, kim, other)
    assert files_in(app.settings.objects_dir) == []
    right = open_upload(app, kim, size_bytes=len(RAW), sha256=SHA256)
    uploads.write_chunk(app, kim, right, 0, RAW)
    assert create(app, kim, right).sha256 == SHA256


def test_bytes_that_were_never_acknowledged_are_no_part_of_it(app, kim):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, RAW)
    with (app.settings.tmp_dir / name.replace("uploads/", "upload-")).open("ab") as file:
        file.write(b"torn")
    assert create(app, kim, name).sha256 == SHA256


def test_an_empty_upload_is_refused(app, kim):
    with pytest.raises(InvalidTable, match="the file is empty"):
        create(app, kim, open_upload(app, kim))


def test_display_names_are_nfc_without_controls(app, kim):
    decomposed = "\u1112\u1161\u11ab"
    assert push(app, kim, RAW, display_name=decomposed).display_name == "한"
    assert push(app, kim, RAW, "plain").display_name == "plain"
    for text in ("a\nb", "a\x00", "\x1b[31m"):
        with pytest.raises(InvalidField) as caught:
            push(app, kim, RAW, display_name=text)
        assert caught.value.metadata["field"] == "source.display_name"


def test_columns_with_odd_names_are_kept_as_text(app, kim):
    names = ["<script>", "=cmd()", "%s{0}", "' OR 1=1", "면적"]
    made = push(app, kim, (",".join(names) + "\n1,2,3,4,5\n").encode())
    assert [c.name for c in get(app, kim, made.name).columns] == names


def test_pages_list_the_newest_first(app, kim):
    lee = make_caller(app, "lee")
    push(app, lee, RAW, "hidden")
    for i in range(5):
        push(app, kim, b"x\n%d\n" % i, f"t{i % 2}")
    seen, token = [], ""
    while True:
        answer = page(app, kim, page_size=2, page_token=token)
        assert len(answer.datasets) <= 2
        seen += [one.name.removeprefix("datasets/kim.") for one in answer.datasets]
        token = answer.next_page_token
        if not token:
            break
    assert seen == ["t0/versions/3", "t1/versions/2", "t0/versions/2", "t1/versions/1", "t0/versions/1"]
    with pytest.raises(InvalidField):
        page(app, kim, page_token="forged")


def test_a_page_of_wide_tables_fits_into_a_message(app, kim):
    header = ",".join(f"{i:03}{'가' * 250}" for i in range(800))
    cells = ",".join("1" for _ in range(800))
    for i in range(3):
        push(app, kim, f"{header}\n{cells[:-1]}{i}\n".encode(), f"wide{i}")
    names, token = [], ""
    while not names or token:
        answer = page(app, kim, page_token=token)
        # Two of them would be more than a page may hold.
        assert len(answer.datasets) == 1
        names += [one.name for one in answer.datasets]
        token = answer.next_page_token
    assert len(names) == len(set(names)) == 3


def test_the_preview_shows_the_first_rows(app, kim):
    made = push(app, kim, b"n,c\n" + b"".join(b"%d,k%d\n" % (i, i % 3) for i in range(30)) + b",\n")
    number, kind = preview(app, kim, made.name)
    assert list(number.numbers) == list(range(10))
    assert list(kind.strings)[:4] == ["k0", "k1", "k2", "k0"]
    assert list(number.missing) == []
    number, kind = preview(app, kim, "table", row_count=1000)
    assert len(number.numbers) == 31
    assert math.isnan(number.numbers[30])
    assert (number.missing[30], kind.missing[30], kind.strings[30]) == (True, True, "")


def test_damaged_bytes_are_never_shown(app, kim):
    made = push(app, kim, RAW)
    row = datasets.find_dataset(app, kim, made.name, "name")
    path = app.objects.path(row.table_sha256)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    for read in (lambda: preview(app, kim, made.name), lambda: datasets.open_table(app, row)):
        with pytest.raises(DataCorrupt):
            read()
    os.unlink(path)  # noqa: PTH108
    with pytest.raises(DataCorrupt):
        preview(app, kim, made.name)


def test_anothers_data_set_is_as_one_that_does_not_exist(app, kim):
    lee = make_caller(app, "lee")
    push(app, kim, RAW, "houses")
    for act in (get, preview, delete):
        messages = []
        for name in ("datasets/kim.houses", "datasets/kim.nothing"):
            with pytest.raises(NotFound) as caught:
                act(app, lee, name)
            messages.append(caught.value.message.replace(name, "it"))
        assert messages[0] == messages[1]
    upload = open_upload(app, kim)
    with pytest.raises(NotFound):
        create(app, lee, upload)
    assert push(app, lee, RAW, "houses").name == "datasets/lee.houses/versions/1"


def test_deleting_one_version_leaves_the_others(app, kim):
    push(app, kim, RAW)
    push(app, kim, RAW + b"1,Seoul\n")
    delete(app, kim, "datasets/table/versions/1")
    assert [one.name for one in page(app, kim).datasets] == ["datasets/kim.table/versions/2"]
    assert len(files_in(app.settings.objects_dir)) == 2
    delete(app, kim, "datasets/table")
    assert files_in(app.settings.objects_dir) == []
    with pytest.raises(NotFound):
        delete(app, kim, "datasets/table")


def test_bytes_that_another_data_set_uses_stay(app, kim):
    lee = make_caller(app, "lee")
    push(app, kim, RAW, "one")
    push(app, lee, RAW, "two")
    files = files_in(app.settings.objects_dir)
    assert len(files) == 2
    delete(app, kim, "one")
    assert files_in(app.settings.objects_dir) == files
    assert preview(app, lee, "two")[0].numbers == [32, 33, 36.5]
    delete(app, lee, "two")
    assert files_in(app.settings.objects_dir) == []


def test_a_data_set_in_use_is_not_deleted(app, kim):
    push(app, kim, RAW)
    push(app, kim, RAW + b"1,Seoul\n")
    row = datasets.find_dataset(app, kim, "datasets/table/versions/1", "name")
    job_ids = [submit(app, row) for _ in range(7)]
    for name in ("datasets/table", "datasets/table/versions/1"):
        with pytest.raises(DatasetInUse, match="and 2 more") as caught:
            delete(app, kim, name)
        assert caught.value.metadata["jobs"] == "7"
        assert sum(f"jobs/{job_id}" in caught.value.message for job_id in job_ids) == 5
        assert len(page(app, kim).datasets) == 2
    assert len(files_in(app.settings.objects_dir)) == 4
    delete(app, kim, "datasets/table/versions/2")
    for job_id in job_ids:
        ledger.cancel(app.database, kim.user_id, job_id)
    delete(app, kim, "datasets/table")
    assert files_in(app.settings.objects_dir) == []


def test_a_row_that_appears_meanwhile_keeps_its_bytes(app, kim):
    """Deleting and making the same data set at once, again and again: a row always has its bytes."""
    failed = []

    def make():
        for _ in range(5):
            try:
                push(app, kim, RAW, f"made-{uuid.uuid4().hex[:8]}")
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    while thread.is_alive():
        for one in page(app, kim).datasets[1:]:
            delete(app, kim, one.name)
    thread.join()
    assert failed == []
    with app.database.read() as connection:
        rows = connection.execute(sqlalchemy.select(dataset_table.c.sha256, dataset_table.c.table_sha256)).all()
    assert rows
    for row in rows:
        for sha256 in row:
            app.objects.verify(sha256)
    assert files_in(app.settings.objects_dir) == sorted({sha256 for row in rows for sha256 in row})


def profile(app, caller, name):
    return datasets.profile_dataset(app, caller, datasets_pb2.ProfileDatasetRequest(name=name))


def test_the_way_in_which_a_file_was_read_is_kept(app, kim):
    made = push(app, kim, "면적;도시\r\n1,5;서울\r\n2;부산\r\n".encode("cp949"), encoding="cp949", delimiter=";")
    assert (made.format, made.encoding) == (datasets_pb2.Dataset.CSV, "CP949")
    assert get(app, kim, made.name) == made
    lines = push(app, kim, b'{"a": 1}\n{"a": 2}\n', "lines")
    assert (lines.format, lines.encoding) == (datasets_pb2.Dataset.JSON_LINES, "")
    assert [row.format for row in page(app, kim).datasets] == [
        datasets_pb2.Dataset.JSON_LINES,
        datasets_pb2.Dataset.CSV,
    ]


def test_the_same_bytes_read_in_another_way_are_another_version(app, kim):
    raw = b"a;b,c\n1;2,3\n"
    found = push(app, kim, raw)
    # Both make two columns; a comma is taken then.
    assert [c.name for c in found.columns] == ["a;b", "c"]
    semicolons = push(app, kim, raw, delimiter=";")
    assert [c.name for c in semicolons.columns] == ["a", "b,c"]
    assert semicolons.name.endswith("/versions/2")
    assert push(app, kim, raw, delimiter=";", encoding="utf-8") == semicolons
    assert push(app, kim, raw) == found


def test_a_profile_is_kept_with_its_data_set_and_goes_with_it(app, kim):
    made = push(app, kim, RAW, "houses")
    found = profile(app, kim, "datasets/houses")
    assert found.dataset == made.name
    assert [(c.name, c.count, c.distinct_count) for c in found.columns] == [("area", 3, 3), ("city", 3, 2)]
    assert found.columns[0].numbers.mean == pytest.approx((32 + 33 + 36.5) / 3)
    with app.database.read() as connection:
        assert connection.execute(sqlalchemy.select(profile_table)).all()
    delete(app, kim, "houses")
    with app.database.read() as connection:
        assert connection.execute(sqlalchemy.select(profile_table)).all() == []
    with pytest.raises(NotFound):
        profile(app, kim, "houses")
    with pytest.raises(NotFound):
        profile(app, make_caller(app, "lee"), made.name)


def test_a_data_set_that_has_no_profile_yet_gets_one(app, kim, monkeypatch):
    push(app, kim, RAW, "houses")
    before = profile(app, kim, "houses")
    with app.database.write() as connection:
        connection.execute(sqlalchemy.delete(profile_table))
    assert profile(app, kim, "houses") == before
    monkeypatch.setattr(ingest, "_run", lambda *_: pytest.fail("computed again"))
    assert profile(app, kim, "houses") == before
    assert files_in(app.settings.tmp_dir) == []


def test_a_table_that_is_damaged_is_not_described(app, kim):
    push(app, kim, RAW, "houses")
    row = datasets.find_dataset(app, kim, "houses", "name")
    with app.database.write() as connection:
        connection.execute(sqlalchemy.delete(profile_table))
    app.objects.path(row.table_sha256).write_bytes(b"damaged")
    with pytest.raises(DataCorrupt):
        profile(app, kim, "houses")
