"""B31 to B42: tables that cannot be read or learned from, at both doors of a real server process."""

import io

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import json_format

from tests.service.doors.learned import learn
from tests.service.doors.refused import MIB, parts, refused, upload
from tests.service.doors.running import answer_of_rest
from traind.v1 import datasets_pb2, jobs_pb2


@pytest.fixture
def kim(api):
    return api.token("kim")


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def arrow(**columns):
    table, file = pa.table(columns), io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


TABLES = {
    "B31 nothing": (b"", {}, ["empty"]),
    "B31 a header only": (b"a,b\n", {}, ["0 data rows"]),
    "B32 a million columns": (b",".join(b"c%d" % n for n in range(100_000)) + b"\n", {}, ["4,096"]),
    "B33 ragged rows": (b"a,b\n1,2\n3\n", {}, ["line 3", "row 2", "1 column", "2"]),
    "B34 equal names": (b"a,b,a\n1,2,3\n", {}, ['"a"', "unique"]),
    "B35 an empty name": (b"a,,c\n1,2,3\n", {}, ["column 2", "line 1"]),
    "B35 a long name": (b"a," + b"n" * 300 + b"\n1,2\n", {}, ["300", "256"]),
    "B35 a control character": (b"a,b\x07\n1,2\n", {}, ["column 2", "control character"]),
    "B38 an infinite number": (b"a,b\n1,2\n1,inf\n1,-inf\n", {}, ["line 3", '"b"', '"inf"', "2 such values"]),
    "B38 an infinite number in an array": (npz(a=np.array([1.0, np.inf, np.inf])), {}, ['"a"', "row 2", "2"]),
    "B38 an infinite number in Arrow": (arrow(a=[1.0, 2.0], b=[0.5, float("-inf")]), {}, ['"b"', "row 2"]),
    "B41 UTF-16": ("a,b\n1,2\n".encode("utf-16"), {}, ["UTF-16", "UTF-8"]),
    "B41 a Korean file": ("이름,나이\n김,3\n".encode("cp949"), {}, ["line 1", "CP949"]),
    "B41 an unknown encoding": (b"a\n1\n", {"encoding": "KOI8-R"}, ["encoding", "UTF-8", "CP949"]),
    "B42 a line without an end": (b"a,b\n" + b"x" * (2 * MIB), {}, ["line 2", "1,048,576"]),
    "B42 a quote without an end": (b'a,b\n1,"' + b"x\n" * MIB, {}, ["line 2", "quote"]),
    "B46 a pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", {}, ["pickle"]),
    "B46 a pickle inside an archive": (npz(a=np.array([object(), None], dtype=object)), {}, ["a", "object"]),
    "an unknown delimiter": (b"a#b\n1#2\n", {"delimiter": "#"}, ["delimiter", '"#"']),
    "a broken Parquet file": (b"PAR1" + bytes(100) + b"PAR1", {"format": "PARQUET"}, ["Parquet"]),
    "a nested column": (arrow(a=[[1], [2]]), {}, ['"a"', "list"]),
    "lines that are no objects": (b'{"a": 1}\n[1]\n', {"format": "JSON_LINES"}, ["line 2"]),
}


@pytest.mark.parametrize("case", TABLES)
def test_at_both_doors(api, kim, case):
    data, options, says = TABLES[case]
    before = set(api.settings.tmp_dir.iterdir())
    spelled = {name: datasets_pb2.Dataset.Format.Value(value) if name == "format" else value
               for name, value in options.items()}  # fmt: skip
    code = "RESOURCE_EXHAUSTED" if case.startswith(("B32", "B42 a line")) else "INVALID_ARGUMENT"
    refused(
        api,
        lambda: upload(api, kim, data, "bad", **options),
        lambda: api.rpc("DatasetService.UploadDataset", parts(data, dataset_id="bad", **spelled), kim),
        code=code,
        says=says,
    )
    assert api.rest("GET", "/v1/datasets/bad", kim).status_code == 404
    assert set(api.settings.tmp_dir.iterdir()) <= before


def test_b36_a_value_that_does_not_fit_the_type_that_was_asked_for(api, kim):
    made = api.rest("POST", "/v1/uploads", kim, json={}).json()["name"]
    api.rest("PUT", f"/v1/{made}", kim, content=b"a,b\n1,2\n3,four\n")
    source = {"upload": made, "schema": [{"name": "b", "type": "NUMBER"}]}
    request = json_format.ParseDict({"datasetId": "bad", "source": source}, datasets_pb2.CreateDatasetRequest())
    refused(
        api,
        lambda: api.rpc("DatasetService.CreateDataset", request, kim),
        lambda: api.rest("POST", "/v1/datasets?datasetId=bad", kim, json=source),
        says=["line 3", '"b"', '"four"', "NUMBER"],
    )


def test_b41_a_byte_order_mark_is_fine(api, kim):
    assert upload(api, kim, b"\xef\xbb\xbfa,b\n1,2\n", "marked").json()["columns"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("case", "data", "train", "words"),
    [
        (
            "B39 numbers that cannot be scaled",
            b"a,b,price\n" + b"".join(b"%s1e308,%d,%d\n" % (b"-" if n % 2 else b"", n, n) for n in range(30)),
            {},
            ["a", "1e+308"],
        ),
        (
            "B40 a target that is the same everywhere",
            b"a,price\n" + b"".join(b"%d,7\n" % n for n in range(30)),
            {},
            ["price", "one value only"],
        ),
    ],
)
def test_what_only_the_rows_show(api, kim, case, data, train, words):
    """The job fails with INVALID_DATA, in words for people."""
    name = f"rows-{len(data)}"
    assert upload(api, kim, data, name).status_code == 200
    body = {"dataset": name, "train": {"target": ["price"], "network": {"linear": {}}} | train}
    job = answer_of_rest(api.rest("POST", "/v1/jobs", kim, json=body), jobs_pb2.Job)
    ended = learn(api, kim, job.name)
    assert (ended.state, ended.failure.reason) == (jobs_pb2.Job.FAILED, jobs_pb2.Failure.INVALID_DATA)
    for word in words:
        assert word in ended.failure.message, ended.failure.message
