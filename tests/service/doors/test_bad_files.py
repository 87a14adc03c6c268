"""B42 as a real client would send it, B43 and B48 to B51: files and names, at both doors of a real server process."""

import gzip
import hashlib
import json
import uuid

import grpc
import pytest

from tests.service.doors.refused import JSON, MIB, parts, quick, refused, tells_nothing, told, upload
from tests.service.doors.running import Refusal, refusal_of_rpc
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, uploads_pb2

CSV = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 7) for n in range(2000))


@pytest.fixture
def kim(api):
    return api.token("kim")


def test_b42_a_line_without_end(api, kim):
    """100 MB in one cell whose quote never closes: refused at the limit of a line, and little is held meanwhile."""
    data = b'a,b\n1,"' + b"x" * (100 * MIB)
    refused(
        api,
        lambda: api.rest("POST", "/v1/datasets:upload?datasetId=endless", kim, content=slices(data)),
        lambda: api.rpc("DatasetService.UploadDataset", parts(data, dataset_id="endless"), kim, timeout=60),
        code="RESOURCE_EXHAUSTED",
        reason="TOO_LARGE",
        says=["line 2", "1,048,576", "quote"],
        seconds=10,
    )
    assert api.rest("GET", "/v1/datasets/endless", kim).status_code == 404


def slices(data):
    for offset in range(0, len(data), MIB):
        yield data[offset : offset + MIB]


def test_b43_compressed_calls(api, kim):
    request = jobs_pb2.ListJobsRequest(page_token="x" * 500)

    def by_rpc():
        with pytest.raises(grpc.RpcError) as failed:
            api.method("JobService.ListJobs")(
                request, metadata=[("authorization", f"Bearer {kim}")], compression=grpc.Compression.Gzip
            )
        return refusal_of_rpc(failed.value)

    # grpcio refuses by itself, in a sentence of its own.
    refusal = quick(api, by_rpc)
    assert refusal.code == "UNIMPLEMENTED"
    tells_nothing(api, refusal)
    body = gzip.compress(b"{}")
    refused(
        api,
        lambda: api.rest("POST", "/v1/jobs", kim, JSON | {"content-encoding": "gzip"}, content=body),
        code="UNIMPLEMENTED",
        reason="UNSUPPORTED_CONTENT",
        says=["Content-Encoding", "gzip", "uncompressed"],
    )


def test_b43_compressed_bytes_that_are_called_plain(api, kim):
    data = gzip.compress(CSV)
    refused(api, lambda: api.rest("POST", "/v1/jobs", kim, JSON, content=data), reason="MALFORMED_BODY", says=["UTF-8"])
    refused(
        api,
        lambda: upload(api, kim, data, "packed"),
        lambda: api.rpc("DatasetService.UploadDataset", parts(data, dataset_id="packed"), kim),
        reason="INVALID_TABLE",
        says=["gzip"],
    )


def open_upload(api, token, **fields):
    return api.rpc("UploadService.CreateUpload", uploads_pb2.CreateUploadRequest(upload=fields), token).name


def write(api, token, name, offset, data):
    """The same bytes at the same place, at both doors."""
    part = uploads_pb2.WriteUploadRequest(name=name, offset=offset, data=data)
    return (
        lambda: api.rpc("UploadService.WriteUpload", iter([part]), token),
        lambda: api.rest("PUT", f"/v1/{name}?offset={offset}", token, content=data),
    )


def test_b48_parts_out_of_order_twice_and_past_the_end(api, kim):
    name = open_upload(api, kim, size_bytes=len(CSV))
    refusal = refused(
        api, *write(api, kim, name, 5, b"abc"),
        code="FAILED_PRECONDITION", reason="OFFSET_MISMATCH", says=["offset is 5", "offset 0"],
    )  # fmt: skip
    assert refusal.metadata == {"offset": "0"}
    for _ in range(2):  # a part that comes twice changes nothing
        by_rpc, by_rest = write(api, kim, name, 0, CSV[:100])
        assert by_rpc().offset == 100
        assert by_rest().json()["offset"] == "100"
    refused(
        api, *write(api, kim, name, 100, CSV), code="RESOURCE_EXHAUSTED", reason="TOO_LARGE",
        says=["data", f"{len(CSV) + 100:,}", f"{len(CSV):,}"],
    )  # fmt: skip
    refused(api, *write(api, kim, name, 10**15, b"abc"), code="FAILED_PRECONDITION", says=["offset 100"])
    assert api.rest("GET", f"/v1/{name}", kim).json()["offset"] == "100"
    by_rpc, _ = write(api, kim, name, 100, CSV[100:])
    assert by_rpc().offset == len(CSV)


def test_b48_an_offset_below_nothing_and_a_part_too_large(api, kim):
    name = open_upload(api, kim)
    refused(api, *write(api, kim, name, -1, b"abc"), field="offset", says=[-1, 0])
    part = uploads_pb2.WriteUploadRequest(name=name, data=b"x" * (MIB + 1))
    refused(api, lambda: api.rpc("UploadService.WriteUpload", iter([part]), kim), field="data", says=[MIB])


def test_b49_bytes_that_are_not_those_that_were_announced(api, kim):
    announced, arrived = hashlib.sha256(b"others").hexdigest(), hashlib.sha256(CSV).hexdigest()
    name = open_upload(api, kim, size_bytes=len(CSV), sha256=announced)
    assert api.rest("PUT", f"/v1/{name}?offset=0", kim, content=CSV).status_code == 200
    request = datasets_pb2.CreateDatasetRequest(dataset_id="b49", source=datasets_pb2.DatasetSource(upload=name))
    refused(
        api,
        lambda: api.rpc("DatasetService.CreateDataset", request, kim),
        lambda: api.rest("POST", "/v1/datasets?datasetId=b49", kim, json={"upload": name}),
        field="source.upload",
        says=["SHA-256", announced, arrived],
    )
    assert api.rest("GET", "/v1/datasets/b49", kim).status_code == 404


def test_b49_a_file_that_is_not_all_there(api, kim):
    name = open_upload(api, kim, size_bytes=len(CSV))
    assert api.rest("PUT", f"/v1/{name}?offset=0", kim, content=CSV[:100]).status_code == 200
    request = datasets_pb2.CreateDatasetRequest(dataset_id="b49", source=datasets_pb2.DatasetSource(upload=name))
    refused(
        api,
        lambda: api.rpc("DatasetService.CreateDataset", request, kim),
        lambda: api.rest("POST", "/v1/datasets?datasetId=b49", kim, json={"upload": name}),
        field="source.upload",
        says=["100", f"{len(CSV):,}"],
    )


def test_b50_an_upload_that_is_never_finished(api, kim):
    """After an hour, which is made to have passed, it is as if it had never been, and so are its bytes."""
    name = open_upload(api, kim)
    assert api.rest("PUT", f"/v1/{name}?offset=0", kim, content=CSV).status_code == 200
    lifetime = "SELECT expires_at - created_at FROM upload WHERE id = ?"
    with api.database.write() as connection:
        row = (name.removeprefix("uploads/"),)
        assert connection.exec_driver_sql(lifetime, row).scalar() == 3600
        connection.exec_driver_sql("UPDATE upload SET expires_at = created_at - 1 WHERE id = ?", row)
    refused(
        api,
        lambda: api.rpc("UploadService.GetUpload", uploads_pb2.GetUploadRequest(name=name), kim),
        lambda: api.rest("GET", f"/v1/{name}", kim),
        code="NOT_FOUND",
        says=[name],
    )
    left = [path for path in api.settings.tmp_dir.iterdir() if row[0] in path.name]
    wait_until(lambda: not any(path.exists() for path in left), "its bytes are gone")


METHODS = {
    "jobs": ("JobService.GetJob", jobs_pb2.GetJobRequest),
    "datasets": ("DatasetService.GetDataset", datasets_pb2.GetDatasetRequest),
    "models": ("ModelService.GetModel", models_pb2.GetModelRequest),
}


@pytest.mark.parametrize("noun", METHODS)
def test_b51_what_belongs_to_another_is_as_what_does_not_exist(api, kim, world, noun):
    lee = api.token("lee")
    method, request = METHODS[noun]
    own = {"jobs": world["ended"], "datasets": "datasets/kim.houses", "models": "models/kim.price"}[noun]
    absent = {"jobs": f"jobs/{uuid.uuid4()}", "datasets": "datasets/kim.nothing", "models": "models/kim.nothing"}[noun]
    answers = []
    for name in (own, absent):
        refusal = refused(
            api,
            lambda name=name: api.rpc(method, request(name=name), lee),
            lambda name=name: api.rest("GET", f"/v1/{name}", lee),
            code="NOT_FOUND",
            says=[name],
        )
        answers.append(json.dumps([refusal.reason, told(refusal), refusal.metadata]).replace(name, "NAME"))
    assert answers[0] == answers[1]
    assert not isinstance(api.rpc(method, request(name=own), kim), Refusal)


@pytest.mark.parametrize("noun", METHODS)
@pytest.mark.parametrize("wrong", ["../x", "a b", "%", "..%2f..%2fetc%2fpasswd", "a.b.c", "펭귄"])
def test_b51_names_that_are_none(api, kim, noun, wrong):
    method, request = METHODS[noun]
    refused(api, lambda: api.rpc(method, request(name=f"{noun}/{wrong}"), kim), field="name", says=[noun, wrong])


@pytest.mark.parametrize("noun", METHODS)
def test_b51_names_that_are_too_long(api, kim, noun):
    method, request = METHODS[noun]
    name = f"{noun}/{'x' * 300}"
    refused(
        api, lambda: api.rpc(method, request(name=name), kim), lambda: api.rest("GET", f"/v1/{name}", kim),
        field="name", says=[len(name), 200],
    )  # fmt: skip
