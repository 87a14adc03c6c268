"""Files on their way in, through both doors: in parts, after breaks, and as one body."""

import hashlib
import threading
import time

import pytest
from google.protobuf import json_format

from tests.service.doors.running import Refusal, answer_of_rest, refusal_of_rest
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, uploads_pb2

MIB = 1 << 20
# 3 MiB and a bit, so that parts do not end where the file does.
CSV = b"n,name\n" + b"".join(b"%d,row %d\n" % (n, n % 7) for n in range(230_000))


@pytest.fixture
def kim(doors):
    return doors.token("kim")


def parts_of(data, size=MIB, **first):
    """Messages as a client streams them: the first with the other fields."""
    made = uploads_pb2.WriteUploadRequest if "name" in first else datasets_pb2.UploadDatasetRequest
    for offset in range(0, len(data), size):
        yield made(data=data[offset : offset + size], **(first if offset == 0 else {}))


def left_behind(doors):
    return sorted(path.name for path in doors.settings.tmp_dir.iterdir())


def test_a_file_by_both_short_ways_is_the_same_version(doors, kim):
    by_rpc = doors.rpc("DatasetService.UploadDataset", parts_of(CSV, dataset_id="short", display_name="짧은 길"), kim)
    assert not isinstance(by_rpc, Refusal), by_rpc
    response = doors.rest("POST", "/v1/datasets:upload?dataset_id=short&displayName=x", kim, content=CSV)
    assert answer_of_rest(response, datasets_pb2.Dataset) == by_rpc
    assert (by_rpc.sha256, by_rpc.size_bytes) == (hashlib.sha256(CSV).hexdigest(), len(CSV))
    assert by_rpc.display_name == "짧은 길"
    assert left_behind(doors) == []


def test_a_file_in_parts_over_both_doors_in_turn(doors, kim):
    size = {"sizeBytes": str(len(CSV)), "sha256": hashlib.sha256(CSV).hexdigest()}
    upload = doors.rest("POST", "/v1/uploads", kim, json=size).json()
    half = len(CSV) // 2
    by_rpc = doors.rpc("UploadService.WriteUpload", parts_of(CSV[:half], name=upload["name"]), kim)
    assert by_rpc.offset == half
    response = doors.rest("PUT", f"/v1/{upload['name']}?offset={half - 10}", kim, content=CSV[half - 10 :])
    assert answer_of_rest(response, uploads_pb2.Upload).offset == len(CSV)
    again = doors.rpc("UploadService.GetUpload", uploads_pb2.GetUploadRequest(name=upload["name"]), kim)
    assert again == answer_of_rest(response, uploads_pb2.Upload)
    source = {"upload": upload["name"], "schema": [{"name": "name", "type": "TEXT"}]}
    made = answer_of_rest(doors.rest("POST", "/v1/datasets?datasetId=parts", kim, json=source), datasets_pb2.Dataset)
    assert (made.row_count, made.sha256) == (230_000, size["sha256"])
    assert doors.rest("GET", f"/v1/{upload['name']}", kim).status_code == 404, "the data set ended the upload"


def test_a_gap_is_refused_with_the_right_offset(doors, kim):
    upload = doors.rpc("UploadService.CreateUpload", uploads_pb2.CreateUploadRequest(), kim)
    by_rpc = doors.rpc("UploadService.WriteUpload", parts_of(b"abc", name=upload.name, offset=5), kim)
    response = doors.rest("PUT", f"/v1/{upload.name}?offset=5", kim, content=b"abc")
    assert refusal_of_rest(response) == by_rpc
    assert (by_rpc.code, by_rpc.reason, by_rpc.metadata) == ("FAILED_PRECONDITION", "OFFSET_MISMATCH", {"offset": "0"})


def test_another_s_upload_cannot_be_written(doors, kim):
    upload = doors.rpc("UploadService.CreateUpload", uploads_pb2.CreateUploadRequest(), kim)
    lee = doors.token("lee")
    by_rpc = doors.rpc("UploadService.WriteUpload", parts_of(b"abc", name=upload.name), lee)
    assert refusal_of_rest(doors.rest("PUT", f"/v1/{upload.name}", lee, content=b"abc")) == by_rpc
    assert by_rpc.code == "NOT_FOUND"
    assert doors.rest("GET", f"/v1/{upload.name}", kim).json().get("offset", "0") == "0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"a,b\n1,2\n3\n", "INVALID_TABLE"), (b"", "INVALID_TABLE"), (b"\xff\xfe\x00,\n", "INVALID_TABLE")],
)
def test_a_refused_table_leaves_nothing(doors, kim, data, reason):
    before = left_behind(doors)
    by_rpc = doors.rpc("DatasetService.UploadDataset", parts_of(data, dataset_id="bad"), kim)
    response = doors.rest("POST", "/v1/datasets:upload?datasetId=bad", kim, content=data)
    by_rest = refusal_of_rest(response)
    if data:
        assert by_rest == by_rpc
    assert (by_rest.code, by_rest.reason) == ("INVALID_ARGUMENT", reason)
    assert doors.rest("GET", "/v1/datasets/bad", kim).status_code == 404
    assert left_behind(doors) == before


def test_a_file_above_the_limit_is_refused_before_it_is_stored(doors, kim, monkeypatch):
    object.__setattr__(doors.settings, "max_upload_bytes", MIB)
    try:
        before = left_behind(doors)
        by_rpc = doors.rpc("DatasetService.UploadDataset", parts_of(CSV, dataset_id="big"), kim)
        response = doors.rest("POST", "/v1/datasets:upload?datasetId=big", kim, content=CSV)
        assert response.status_code == 413
        assert refusal_of_rest(response) == by_rpc
        assert left_behind(doors) == before
    finally:
        object.__setattr__(doors.settings, "max_upload_bytes", 2048 * MIB)


def test_a_client_that_goes_away_leaves_nothing_of_the_short_way(doors, kim):
    before, gate = left_behind(doors), threading.Event()

    def stalling():
        yield from parts_of(CSV[:MIB], dataset_id="broken")
        gate.wait(10)

    call = doors.method("DatasetService.UploadDataset").future(
        stalling(), metadata=[("authorization", f"Bearer {kim}")]
    )
    wait_until(lambda: len(left_behind(doors)) > len(before), "the first part is stored")
    call.cancel()
    gate.set()
    wait_until(lambda: left_behind(doors) == before, "the upload is dropped")


def test_a_client_that_goes_away_at_any_moment_leaves_nothing_of_the_short_way(doors, kim):
    """Before the upload is opened, while it is, and after."""

    def uploads():
        with doors.app.database.read() as connection:
            return left_behind(doors), connection.exec_driver_sql("SELECT count(*) FROM upload").scalar()

    before, metadata = uploads(), [("authorization", f"Bearer {kim}")]
    for moment in range(40):
        gate = threading.Event()

        def stalling(gate=gate):
            yield from parts_of(CSV[:MIB], dataset_id="broken")
            gate.wait(10)

        call = doors.method("DatasetService.UploadDataset").future(stalling(), metadata=metadata)
        time.sleep(moment / 2000)
        call.cancel()
        gate.set()
    wait_until(lambda: uploads() == before, "all uploads are dropped")


def test_an_upload_keeps_what_came_before_a_break(doors, kim):
    upload = doors.rpc("UploadService.CreateUpload", uploads_pb2.CreateUploadRequest(), kim)
    gate = threading.Event()

    def stalling():
        yield from parts_of(CSV[: 2 * MIB], name=upload.name)
        gate.wait(10)

    call = doors.method("UploadService.WriteUpload").future(stalling(), metadata=[("authorization", f"Bearer {kim}")])
    request = uploads_pb2.GetUploadRequest(name=upload.name)
    wait_until(lambda: doors.rpc("UploadService.GetUpload", request, kim).offset == 2 * MIB, "both parts arrived")
    call.cancel()
    gate.set()
    rest = doors.rpc("UploadService.WriteUpload", parts_of(CSV[2 * MIB :], name=upload.name, offset=2 * MIB), kim)
    assert rest.offset == len(CSV)


def test_the_encoding_and_the_id_are_checked_alike(doors, kim):
    for fields in ({"dataset_id": "Bad Id"}, {"dataset_id": ""}, {"dataset_id": "x", "encoding": "y" * 40}):
        by_rpc = doors.rpc("DatasetService.UploadDataset", parts_of(b"a\n1\n", **fields), kim)
        response = doors.rest("POST", "/v1/datasets:upload", kim, params=fields, content=b"a\n1\n")
        assert refusal_of_rest(response) == by_rpc
        assert by_rpc.reason == "INVALID_FIELD"
    unknown = doors.rest("POST", "/v1/datasets:upload?datasetId=x&data=eA==", kim, content=b"a\n1\n")
    assert refusal_of_rest(unknown).violations[0][0] == "data"


def test_empty_answers_are_empty_objects(doors, kim):
    doors.rest("POST", "/v1/datasets:upload?datasetId=gone", kim, content=b"a,b\n1,2\n")
    response = doors.rest("DELETE", "/v1/datasets/gone", kim)
    assert (response.status_code, response.json()) == (200, {})
    request = json_format.ParseDict({"name": "datasets/gone"}, datasets_pb2.DeleteDatasetRequest())
    assert doors.rpc("DatasetService.DeleteDataset", request, kim).code == "NOT_FOUND"
