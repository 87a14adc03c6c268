"""Every form of a table goes in, comes back to the same values, and is answered in its own form; by a real server."""

import datetime as dt
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import traind
from tests.clients.traind.conftest import FLATS, INPUTS
from traind.sources import open_source

WHOLE = 2**53 + 1
COLUMNS = {
    "whole": [1, WHOLE, -5, 7],
    "number": [0.1 + 0.2, 1e-300, None, -2.5],
    "flag": [True, False, None, True],
    "text": ['한글, "quoted"', "two\nlines", None, "nothing"],
    "code": ["007", "010", "3", None],
    "seen": [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), dt.datetime(2026, 1, 3, tzinfo=dt.UTC), None, None],
}
TYPES = {"whole": "INTEGER", "number": "NUMBER", "flag": "BOOLEAN", "text": "CATEGORY", "code": "CATEGORY"}


def pandas_frame():
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in COLUMNS.items()})
    return frame.astype({"whole": "int64", "number": "float64", "seen": "datetime64[us, UTC]", "flag": "boolean"})


FORMS = {
    "pandas": pandas_frame,
    "pandas, str": lambda: pandas_frame().astype({"text": "str", "code": "str"}),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "arrow": lambda: pa.table(COLUMNS),
    "record batch": lambda: pa.record_batch(COLUMNS),
    "a stream of Arrow": lambda: Streams(pa.table(COLUMNS)),
}


class Streams:
    """What says nothing of itself but that it speaks Arrow."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("form", FORMS)
def test_frames_come_back_to_the_same_values(client, form):
    made = client.datasets.create(FORMS[form](), name="forms")
    try:
        types = dict(made.columns)
        assert types.pop("seen") == "TIMESTAMP"
        assert types == TYPES
        head = client.datasets.head(made, 4)
        assert head["number"] == COLUMNS["number"]
        assert head["text"] == COLUMNS["text"]
        assert head["code"] == COLUMNS["code"]
        assert [None if value is None else value == "true" for value in head["flag"]] == COLUMNS["flag"]
        assert [str(value)[:10] for value in head["seen"][:2]] == ["2026-01-02", "2026-01-03"]
        # The preview's numbers are doubles; the figures of the column are of the whole numbers themselves.
        assert client.datasets.profile(made).columns["whole"].numbers.max == float(WHOLE)
        missing = {column.name: column.missing_count for column in made.message.columns}
        assert missing == {"whole": 0, "number": 1, "flag": 1, "text": 1, "code": 1, "seen": 2}
    finally:
        client.datasets.delete(made)


def batches():
    for start in range(0, 60, 25):
        yield {name: values[start : start + 25] for name, values in FLATS.items()}


def test_files_and_batches_are_the_same_data_set(client, flats, tmp_path):
    data = open_source(FLATS, None).read()
    with io.BytesIO(data) as file:
        assert client.datasets.create(file, name="flats").name == flats.name
        assert not file.closed
    for source in (batches(), (pd.DataFrame(batch) for batch in batches()), bytearray(data)):
        assert client.datasets.create(source, name="flats").name == flats.name
    parquet = tmp_path / "flats.parquet"
    pd.DataFrame(FLATS).to_parquet(parquet)
    made = client.datasets.create(parquet, name="flats-parquet")
    assert (made.format, made.columns) == ("PARQUET", flats.columns)


def test_wrong_tables_name_column_and_row(client):
    with pytest.raises(traind.InvalidSpec, match=r"column 'a', row 2: 'x' is a text, row 0 holds of the type int"):
        client.datasets.create({"a": [1, None, "x"]}, name="mixed")
    with pytest.raises(traind.InvalidSpec, match=r"column 'a', row 1: 5 is of the type int"):
        client.datasets.create(pd.DataFrame({"a": ["x", 5]}, dtype=object), name="mixed")
    with pytest.raises(traind.InvalidSpec, match=r"batch 1 lacks 'b' and has 'c' too"):
        client.datasets.create(iter([{"a": [1], "b": [2]}, {"a": [1], "c": [2]}]), name="mixed")
    with pytest.raises(traind.InvalidSpec, match="gave no batch"):
        client.datasets.create(iter([]), name="mixed")
    with pytest.raises(traind.InvalidSpec, match="opened as text"):
        client.datasets.create(io.StringIO("a\n1\n"), name="mixed")
    with pytest.raises(traind.InvalidSpec, match="a set is no table"):
        client.datasets.create({1, 2}, name="mixed")


@pytest.fixture(scope="module")
def array():
    return np.array([[*row] for row in zip(*(FLATS[name] for name in ("area", "rooms")), strict=True)])


@pytest.fixture(scope="module")
def number_model(server, flats):
    train = {"inputs": ["area", "rooms"], "target": "price", "network": {"linear": {}}, "learn": {"exact": {}}}
    with server.client() as client:
        return client.jobs.create(dataset=flats, model="number", train=train | {"split": {"none": {}}}).wait(60).model


def test_answers_have_the_form_of_the_question(client, number_model, array):
    expected = client.predict(number_model.name, array)
    assert isinstance(expected, np.ndarray)
    columns = {"area": array[:, 0], "rooms": array[:, 1]}
    told = client.predict(number_model.name, torch.tensor(array, requires_grad=True))
    assert isinstance(told, torch.Tensor)
    assert told.tolist() == expected.tolist()
    frame = pd.DataFrame(columns, index=[f"row {i}" for i in range(60)])
    told = client.predict(number_model.name, frame)
    assert isinstance(told, pd.Series)
    assert (told.name, list(told.index)) == ("price", list(frame.index))
    assert told.tolist() == expected.tolist()
    told = client.predict(number_model.name, pl.DataFrame(columns))
    assert isinstance(told, pl.Series)
    assert told.to_list() == expected.tolist()
    told = client.predict(number_model.name, pa.table(columns))
    assert isinstance(told, pa.Array)
    assert told.to_pylist() == expected.tolist()
    parts = ({"area": array[i : i + 7, 0], "rooms": array[i : i + 7, 1]} for i in range(0, 60, 7))
    told = client.predict(number_model.name, parts)
    assert isinstance(told, list)
    assert told == expected.tolist()


def test_classes_and_their_shares_have_the_form_of_the_question(client, class_model):
    columns = {name: FLATS[name] for name in INPUTS}
    frame = pd.DataFrame(columns, index=range(100, 160))
    full = client.predict(class_model, frame, full=True)
    assert list(full.probabilities.columns) == ["cheap", "dear"]
    assert list(full.probabilities.index) == list(frame.index)
    assert full.values.tolist() == list(full.probabilities.idxmax(axis=1))
    shares = full.probabilities["dear"].tolist()
    full = client.predict(class_model, pl.DataFrame(columns), full=True)
    assert full.probabilities["dear"].to_list() == shares
    full = client.predict(class_model, pa.table(columns), full=True)
    assert full.probabilities.column("dear").to_pylist() == shares
    full = client.predict(class_model, columns, full=True)
    assert [row[1] for row in full.probabilities] == shares


WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
import traind
from traind.sources import open_source
class Streams:
    def __arrow_c_stream__(self, requested_schema=None): ...
try:
    open_source(Streams(), None)
except traind.InvalidSpec as error:
    print(error.fix)
open_source([{"a": 1}], None)
print({"numpy", "pandas", "polars", "pyarrow", "torch", "grpc"} & set(sys.modules))
"""


def test_nothing_is_loaded_that_the_table_is_not_of():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["pip install 'traind[arrow]'", "set()"]
