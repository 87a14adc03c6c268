"""From a table to what a network learns from: rows left out, split, fitted, applied; in memory or in a file."""

import pathlib

import numpy as np
import pytest

from service.data.scratch import scratch_array
from service.data.table import Table, TableColumn
from service.errors import DiskFull, InvalidTable
from service.modelling import measuring
from tests.service.modelling.cases import Column, spec_of
from traind.v1 import tables_pb2
from worker import training_data
from worker.training_data import columns_needed, prepare, rows_of

Finding = tables_pb2.Finding
ROWS = 60


def table_of(seed=1, rows=ROWS):
    rng = np.random.default_rng(seed)
    gone = rng.random((3, rows)) < 0.15
    area, rent = rng.normal(50, 10, rows), rng.lognormal(0, 1, rows)
    area[gone[0]], rent[gone[1]] = np.nan, np.nan
    town = rng.integers(0, 3, rows).astype(np.int32)
    town[gone[2]] = -1
    columns = [
        TableColumn("area", Column.NUMBER, area, gone[0]),
        TableColumn("town", Column.CATEGORY, town, gone[2], ("a", "b", "c")),
        TableColumn("rent", Column.NUMBER, rent, gone[1]),
        TableColumn("price", Column.NUMBER, rng.lognormal(3, 1, rows)),
        TableColumn("year", Column.INTEGER, rng.integers(2000, 2020, rows)),
        TableColumn("part", Column.CATEGORY, (np.arange(rows) % 4 == 0).astype(np.int32), None, ("learn", "look")),
        TableColumn("sold", Column.BOOLEAN, rng.random(rows) < 0.5),
    ]
    return Table({c.name: c for c in columns}, rows)


SPEC = {
    "inputs": ["area", "town"],
    "target": ["price", "rent"],
    "network": {"linear": {"bias": True}},
    "loss": {"mse": {}},
    "preprocess": {
        "groups": [
            {"columns": ["area"], "impute": {"how": "DROP_ROW"}},
            {"columns": ["town"], "impute": {"how": "CONSTANT"}},
        ],
        "target": {"missing": "DROP_ROW", "transform": "LOG1P", "scale": "STANDARD"},
    },
    "split": {"holdOut": {"fraction": 0.25}},
    "learn": {"gradient": {}},
    "dtype": "FLOAT64",
    "seed": 3,
}
SPLITS = {
    "drawn": {"holdOut": {"fraction": 0.25}},
    "by column": {"column": {"column": "part", "heldOut": ["look"]}},
    "by time": {"time": {"column": "year", "fraction": 0.25}},
}


@pytest.mark.parametrize("split", SPLITS)
def test_rows_left_out_are_in_neither_split(split):
    table, spec = table_of(), spec_of(SPEC | {"split": SPLITS[split]})
    gone = table.columns["area"].missing | table.columns["rent"].missing
    data = prepare(table, spec)
    assert sorted([*data.train_rows, *data.held_out_rows]) == np.flatnonzero(~gone).tolist()
    assert (len(data.train.x), len(data.held_out.x)) == (len(data.train_rows), len(data.held_out_rows))
    (finding,) = data.findings
    assert (finding.code, dict(finding.figures)) == (
        Finding.ROWS_DROPPED,
        {"rows": gone.sum(), "left": ROWS - gone.sum()},
    )
    expected = np.column_stack([table.columns[name].values for name in ("price", "rent")])[data.train_rows]
    np.testing.assert_array_equal(data.train.y, expected)
    logs = np.log1p(expected)
    np.testing.assert_allclose(data.train.t, (logs - logs.mean(0)) / logs.std(0), rtol=1e-12)
    np.testing.assert_allclose(data.target.from_loss_units(data.held_out.t), data.held_out.y, rtol=1e-12)


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_leaks_from_held_out_rows(split):
    """Other inputs and other targets in the rows that are held out: every fitted byte stays."""
    table, spec = table_of(), spec_of(SPEC | {"split": SPLITS[split]})
    before = prepare(table, spec)
    other, columns = table_of(2), dict(table.columns)
    for name in ("area", "town", "price", "rent"):
        values = table.columns[name].values.copy()
        values[before.held_out_rows] = np.nan_to_num(other.columns[name].values[before.held_out_rows], nan=1.0)
        columns[name] = TableColumn(
            name, table.columns[name].type, values, table.columns[name].missing, table.columns[name].categories
        )
    after = prepare(Table(columns, ROWS), spec)
    np.testing.assert_array_equal(after.train_rows, before.train_rows)
    assert after.fitted.to_json() == before.fitted.to_json()
    assert after.target.to_json() == before.target.to_json()
    assert after.train.x.tobytes() == before.train.x.tobytes()
    assert after.train.t.tobytes() == before.train.t.tobytes()
    assert after.held_out.y.tobytes() != before.held_out.y.tobytes()


def test_what_a_checkpoint_kept_makes_the_same_data():
    table, spec = table_of(), spec_of(SPEC)
    before = prepare(table, spec)
    again = prepare(table, spec, (before.fitted, before.held_out_rows))
    np.testing.assert_array_equal(again.train_rows, before.train_rows)
    assert again.target == before.target
    for mine, theirs in ((again.train, before.train), (again.held_out, before.held_out)):
        assert (mine.x.tobytes(), mine.t.tobytes()) == (theirs.x.tobytes(), theirs.t.tobytes())


@pytest.mark.parametrize("dtype", ["FLOAT32", "FLOAT64"])
def test_large_features_lie_in_a_file_without_a_name(tmp_path, monkeypatch, dtype):
    table, spec = table_of(), spec_of(SPEC | {"dtype": dtype})
    small = prepare(table, spec, scratch=tmp_path)
    monkeypatch.setattr(training_data, "LARGE_BYTES", 1)
    large = prepare(table, spec, scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    wanted = np.float32 if dtype == "FLOAT32" else np.float64
    for mine, theirs in ((large.train, small.train), (large.held_out, small.held_out)):
        assert mine.x.dtype == wanted
        assert mine.x.flags.c_contiguous
        assert theirs.x.dtype == np.float64
        np.testing.assert_array_equal(mine.x, theirs.x.astype(wanted))


def test_features_in_a_file_are_no_memory_of_the_process(tmp_path):
    before = memory("RssAnon")
    array = scratch_array(tmp_path, (1 << 20, 16), np.float32)
    array[:] = 1.5
    assert memory("RssAnon") - before < 8 << 10
    assert memory("RssFile") > 60 << 10
    assert float(array.sum(dtype=np.float64)) == 1.5 * array.size
    in_memory = array + 1
    assert memory("RssAnon") - before > 60 << 10
    del in_memory


def test_a_full_disk_is_told_before_a_page_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(training_data, "LARGE_BYTES", 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DiskFull):
        prepare(table_of(), spec_of(SPEC), scratch=tmp_path)


def memory(field):
    """kB of this process."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def test_held_out_categories_that_training_did_not_see_are_told():
    table = table_of()
    columns = dict(table.columns)
    codes = table.columns["town"].values.copy()
    look = table.columns["part"].values == 1
    codes[(codes == 2) & ~look] = 0
    columns["town"] = TableColumn("town", Column.CATEGORY, codes, table.columns["town"].missing, ("a", "b", "c"))
    data = prepare(Table(columns, ROWS), spec_of(SPEC | {"split": SPLITS["by column"]}))
    assert "town=c" not in data.fitted.feature_names
    finding = next(finding for finding in data.findings if finding.code == Finding.UNSEEN_CATEGORIES)
    rows = data.held_out_rows[codes[data.held_out_rows] == 2]
    assert dict(finding.figures) == {"rows": len(rows)}
    assert len(rows) > 0


def test_a_table_of_which_no_row_is_left():
    table = table_of()
    columns = table.columns | {
        "area": TableColumn("area", Column.NUMBER, np.full(ROWS, np.nan), np.ones(ROWS, bool)),
    }
    with pytest.raises(InvalidTable, match=r"every one of the 60 rows lacks a value .*DROP_ROW"):
        prepare(Table(columns, ROWS), spec_of(SPEC))


def test_columns_that_are_read():
    assert columns_needed(spec_of(SPEC)) == ["area", "town", "price", "rent"]
    assert columns_needed(spec_of(SPEC | {"split": SPLITS["by time"]})) == ["area", "town", "price", "rent", "year"]


def test_rows_are_recorded_as_bits():
    data = prepare(table_of(), spec_of(SPEC))
    rows = rows_of(data)
    assert rows.row_count == ROWS
    for bits, expected in ((rows.train_rows, data.train_rows), (rows.val_rows, data.held_out_rows)):
        assert [row for row in range(ROWS) if bits[row // 8] >> (row % 8) & 1] == expected.tolist()
        assert len(bits) == 8


def test_evaluation_leaves_out_the_same_rows():
    table, spec = table_of(), spec_of(SPEC)
    data = prepare(table, spec)
    rows = measuring.complete_rows(table, data.fitted.dropping, data.target)
    assert rows.tolist() == sorted([*data.train_rows, *data.held_out_rows])
