"""Formats and profiles through both doors."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format

from traind.v1 import datasets_pb2, profiles_pb2


@pytest.fixture
def kim(doors):
    return doors.token("kim")


KOREAN = '면적,도시\r\n32,서울\r\n33.5,"부산, 남구"\r\n36,서울\r\n'


def upload(doors, token, raw, **query):
    response = doors.rest("POST", "/v1/datasets:upload", token, params=query, content=raw)
    assert response.status_code == 200, response.text
    return response.json()


def by_rpc(doors, token, raw, **fields):
    parts = iter([datasets_pb2.UploadDatasetRequest(data=raw, **fields)])
    return json_format.MessageToDict(doors.rpc("DatasetService.UploadDataset", parts, token))


def test_a_korean_spreadsheet_is_uploaded_and_described_alike(doors, kim):
    raw = KOREAN.encode("cp949")
    made = upload(doors, kim, raw, datasetId="korean", encoding="CP949")
    assert (made["format"], made["encoding"]) == ("CSV", "CP949")
    assert made == by_rpc(doors, kim, raw, dataset_id="korean", encoding="cp949")
    response = doors.rest("GET", "/v1/datasets/korean:profile", kim)
    assert response.status_code == 200
    assert doors.rest("GET", f"/v1/{made['name']}:profile", kim).json() == response.json()
    request = datasets_pb2.ProfileDatasetRequest(name=made["name"])
    found = doors.rpc("DatasetService.ProfileDataset", request, kim)
    assert json_format.ParseDict(response.json(), profiles_pb2.Profile()) == found
    assert [c.name for c in found.columns] == ["면적", "도시"]
    assert [(top.value, top.count) for top in found.columns[1].top_values] == [("서울", 2), ("부산, 남구", 1)]


def test_a_format_and_a_delimiter_that_are_asked_for_are_taken_alike(doors, kim):
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2]}), sink)
    made = upload(doors, kim, sink.getvalue(), datasetId="columns", format="PARQUET")
    assert made == by_rpc(doors, kim, sink.getvalue(), dataset_id="columns", format=datasets_pb2.Dataset.PARQUET)
    assert made["format"] == "PARQUET"
    tabs = upload(doors, kim, b"a,b\tc\n1\t2\n", datasetId="tabs", delimiter="\\t")
    assert [column["name"] for column in tabs["columns"]] == ["a,b", "c"]
