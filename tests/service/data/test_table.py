"""Columns out of Arrow files and out of the values of a call."""

import math

import numpy as np
import pyarrow as pa
import pytest

from service.data.layout import BATCH_CELLS
from service.data.table import HEAD_BYTES, head, load_table, table_from_values
from service.errors import SHOWN_CHARACTERS, InvalidField
from tests.service.data.csvs import Column, column, ingested
from traind.v1.tables_pb2 import ColumnValues

RAW = b"""n,x,b,t,c
1,0.5,true,free text one,red
2,NA,false,,blue
,3.5,NA,free text three,
4,4.5,true,free text four,red
"""


@pytest.fixture
def made(tmp_path):
    with ingested(tmp_path, RAW, schema=[column("t", "TEXT")]) as made:
        yield made


def test_columns_have_the_types_and_missing_values_that_are_promised(made):
    columns = load_table(made.table).columns
    assert {name: c.values.dtype for name, c in columns.items()} == {
        "n": np.int64,
        "x": np.float64,
        "b": np.bool_,
        "t": np.object_,
        "c": np.int32,
    }
    assert columns["n"].values.tolist() == [1, 2, 0, 4]
    assert columns["b"].values.tolist() == [True, False, False, True]
    assert columns["t"].values.tolist() == ["free text one", "", "free text three", "free text four"]
    assert columns["c"].values.tolist() == [1, 0, -1, 1]
    assert math.isnan(columns["x"].values[1])
    assert {name: c.missing.tolist().index(True) for name, c in columns.items()} == {
        "n": 2,
        "x": 1,
        "b": 2,
        "t": 1,
        "c": 2,
    }


def test_named_columns_come_in_the_order_that_was_asked(made):
    table = load_table(made.table, ["c", "n"])
    assert list(table.columns) == ["c", "n"]
    assert table.columns["n"].values.tolist() == [1, 2, 0, 4]
    assert table.columns["c"].categories == ("blue", "red")
    assert load_table(made.table, []).row_count == 4


def test_an_unknown_column_is_named_with_those_there_are(made):
    for ask in (lambda: load_table(made.table, ["n", "zz"]), lambda: load_table(made.table).column("zz")):
        with pytest.raises(InvalidField, match='"zz"; there are n, x, b, t, c'):
            ask()


def test_numbers_without_missing_values_are_not_copied(tmp_path):
    raw = b"i,x,c\n" + b"".join(b"%d,%d.5,k%d\n" % (i, i, i % 3) for i in range(1000))
    with ingested(tmp_path, raw) as made:
        for values in (c.values for c in load_table(made.table).columns.values()):
            assert not values.flags.owndata
            assert not values.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 1


def test_a_table_outlives_its_file(tmp_path):
    with ingested(tmp_path, b"i\n" + b"7\n" * 100_000) as made:
        table = load_table(made.table)
    assert not made.table.exists()
    assert int(table.columns["i"].values.sum()) == 700_000


def test_several_batches_are_joined_with_their_missing_values(tmp_path):
    rows, fill = BATCH_CELLS // 25, ",0" * 38
    cells = (f"{'NA' if i % 1000 == 7 else i},{'ab'[i % 2]}{fill}\n" for i in range(rows))
    header = "i,c," + ",".join(f"f{i}" for i in range(38))
    with ingested(tmp_path, f"{header}\n{''.join(cells)}".encode()) as made:
        assert pa.ipc.open_file(pa.memory_map(str(made.table))).num_record_batches == 2
        table = load_table(made.table)
        shown = head(made.table, 9)
    counted = np.arange(rows)
    gone = counted % 1000 == 7
    np.testing.assert_array_equal(table.columns["i"].missing, gone)
    np.testing.assert_array_equal(table.columns["i"].values, np.where(gone, 0, counted))
    np.testing.assert_array_equal(table.columns["c"].values, counted % 2)
    assert shown[1].strings == ["a", "b", "a", "b", "a", "b", "a", "b", "a"]


def test_head_shows_numbers_and_texts(made):
    n, x, b, t, c = head(made.table, 3)
    assert [v.name for v in (n, x, b, t, c)] == ["n", "x", "b", "t", "c"]
    assert n.numbers[:2] == [1, 2]
    assert math.isnan(n.numbers[2])
    assert n.missing == [False, False, True]
    assert b.strings == ["true", "false", ""]
    assert t.strings == ["free text one", "", "free text three"]
    assert c.strings == ["red", "blue", ""]
    assert len(head(made.table, 1000)[0].numbers) == 4


def test_head_shows_fewer_rows_where_they_would_not_fit(tmp_path):
    raw = b"t\n" + b"".join(b"%d" % i + b"x" * 100_000 + b"\n" for i in range(50))
    with ingested(tmp_path, raw) as made:
        shown = head(made.table, 50)
    assert 10 < len(shown[0].strings) < 21
    assert sum(c.ByteSize() for c in shown) <= HEAD_BYTES


WANTED = [
    column("area", "INTEGER"),
    column("sold", "BOOLEAN"),
    Column(name="sex", type=Column.CATEGORY, categories=["f", "m"]),
]
TIME = column("built", "TIMESTAMP")


def call(**changes):
    columns = {
        "sex": ColumnValues(name="sex", strings=["m", "f"]),
        "area": ColumnValues(name="area", numbers=[32, 33.5]),
        "sold": ColumnValues(name="sold", strings=["true", "false"]),
    }
    columns.update(changes)
    return [c for c in columns.values() if c is not None]


def test_the_values_of_a_call_become_a_table_in_the_models_order():
    table = table_from_values(call(), WANTED)
    assert list(table.columns) == ["area", "sold", "sex"]
    assert table.columns["area"].values.tolist() == [32, 33.5]
    assert table.columns["area"].type == Column.NUMBER
    assert table.columns["sold"].values.tolist() == [True, False]
    assert table.columns["sex"].values.tolist() == [1, 0]
    assert table.row_count == 2


def test_booleans_come_as_numbers_too():
    table = table_from_values(call(sold=ColumnValues(name="sold", numbers=[0, 1])), WANTED)
    assert table.columns["sold"].values.tolist() == [False, True]


def test_a_category_that_was_not_there_is_the_models_to_judge():
    table = table_from_values(call(sex=ColumnValues(name="sex", strings=["x", "f"])), WANTED)
    assert table.columns["sex"].categories == ("f", "x")
    assert table.columns["sex"].values.tolist() == [1, 0]
    assert table.columns["sex"].path == "columns[0].strings"


TIMES = {
    "2024-02-29": "2024-02-29T00:00:00",
    "2024-02-29 09:30": "2024-02-29T09:30:00",
    "2024-02-29T09:30:15.1234567": "2024-02-29T09:30:15.123456",
    "2024-02-29T09:30:15Z": "2024-02-29T09:30:15",
    "2024-02-29T00:30:00+09:00": "2024-02-28T15:30:00",
    "2024-02-29T23:30:00-0130": "2024-03-01T01:00:00",
    "0001-01-01": "0001-01-01T00:00:00",
}


def test_times_are_in_utc_where_they_tell_their_offset():
    given = ColumnValues(name="built", strings=[*TIMES, ""], missing=[False] * len(TIMES) + [True])
    built = table_from_values([given], [TIME]).columns["built"]
    assert built.values.astype(str).tolist()[:-1] == [np.datetime64(text, "us").astype(str) for text in TIMES.values()]
    assert np.isnat(built.values[-1])
    assert built.missing.tolist() == [False] * len(TIMES) + [True]


def test_times_of_a_file_are_those_of_a_call(tmp_path):
    raw = "t,n\n" + "".join(f"{text},1\n" for text in TIMES) + "NA,1\n"
    with ingested(tmp_path, raw.encode()) as made:
        table, shown = load_table(made.table), head(made.table, 99)[0]
    given = ColumnValues(name="t", strings=[*TIMES, ""], missing=[False] * len(TIMES) + [True])
    asked = table_from_values([given], [column("t", "TIMESTAMP")]).columns["t"]
    np.testing.assert_array_equal(table.columns["t"].values, asked.values)
    np.testing.assert_array_equal(table.columns["t"].missing, asked.missing)
    assert shown == given


def test_pieces_of_a_file_are_its_batches(tmp_path):
    raw = b"i,c,t\n" + b"".join(b"%d,k%d,2024-01-%02d\n" % (i, i % 3, i % 28 + 1) for i in range(1000))
    with ingested(tmp_path, raw) as made:
        whole = load_table(made.table)
        path = tmp_path / "batches.arrow"
        source = pa.ipc.open_file(pa.memory_map(str(made.table))).read_all()
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, source.schema) as writer:
            writer.write_table(source, max_chunksize=300)
        table = load_table(path, ["t", "c"])
    pieces = list(table.parts())
    assert [(first, part.row_count) for first, part in pieces] == [(0, 300), (300, 300), (600, 300), (900, 100)]
    for name in ("t", "c"):
        joined = np.concatenate([part.column(name).values for _, part in pieces])
        np.testing.assert_array_equal(joined, whole.column(name).values)
        np.testing.assert_array_equal(table.column(name).values, joined)
    assert pieces[1][1].column("c").categories == whole.column("c").categories


def test_no_row_is_a_table_without_rows():
    table = table_from_values([ColumnValues(name=c.name) for c in WANTED], WANTED)
    assert table.row_count == 0
    assert [len(c.values) for c in table.columns.values()] == [0, 0, 0]


def test_missing_values_and_nan_are_marked():
    given = call(
        area=ColumnValues(name="area", numbers=[math.nan, 1]),
        sold=ColumnValues(name="sold", strings=["", "true"], missing=[True, False]),
        sex=ColumnValues(name="sex", strings=["m", ""], missing=[False, True]),
    )
    table = table_from_values(given, WANTED)
    assert {name: c.missing.tolist() for name, c in table.columns.items()} == {
        "area": [True, False],
        "sold": [True, False],
        "sex": [False, True],
    }
    assert table.columns["sex"].values.tolist() == [1, -1]


REFUSED = {
    "lacks a column": (call(sex=None), "columns", 'lacks "sex"; the model takes area, sold, sex, and 2 columns came'),
    "unknown column": (call(more=ColumnValues(name="more", numbers=[1, 2])), "columns[3].name", '"more" is unknown'),
    "twice": (call(more=ColumnValues(name="area", numbers=[1, 2])), "columns[3].name", "stands twice"),
    "both kinds": (call(area=ColumnValues(name="area", numbers=[1, 2], strings=["1", "2"])), "columns[1]", "send one"),
    "too short": (call(area=ColumnValues(name="area", numbers=[1])), "columns[1]", "has 1 values, columns[0] 2"),
    "missing too short": (
        call(area=ColumnValues(name="area", numbers=[1, 2], missing=[True])),
        "columns[1].missing",
        "has 1 values for 2 rows",
    ),
    "strings for numbers": (
        call(area=ColumnValues(name="area", strings=["1", "2"])),
        "columns[1]",
        "is INTEGER; send its values as numbers",
    ),
    "numbers for strings": (
        call(sex=ColumnValues(name="sex", numbers=[1, 2])),
        "columns[0]",
        "is CATEGORY; send its values as strings",
    ),
    "infinite": (
        call(area=ColumnValues(name="area", numbers=[1, -math.inf])),
        "columns[1].numbers[1]",
        "finite numbers: 1 are not",
    ),
    "no boolean": (call(sold=ColumnValues(name="sold", strings=["true", "yes"])), "columns[2].strings[1]", '"yes"'),
    "no boolean number": (call(sold=ColumnValues(name="sold", numbers=[1, 2])), "columns[2].numbers[1]", '"2.0"'),
    "no time": (
        call(built=ColumnValues(name="built", strings=["2024-02-29", "2023-02-29"])),
        "columns[3].strings[1]",
        '"2023-02-29"; "built" takes dates and times as ISO 8601',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_do_not_fit_are_refused_naming_field_and_cure(case):
    given, field, text = REFUSED[case]
    with pytest.raises(InvalidField) as caught:
        table_from_values(given, [*WANTED, TIME] if case == "no time" else WANTED)
    assert caught.value.violations[0].field == field
    assert text in caught.value.violations[0].description


def test_at_most_20_violations_are_told_and_values_are_cut():
    given = [ColumnValues(name=f"{'long' * 100}{i}", numbers=[1]) for i in range(50)]
    with pytest.raises(InvalidField) as caught:
        table_from_values(given, WANTED)
    assert len(caught.value.violations) == 20
    assert max(len(v.description) for v in caught.value.violations) < SHOWN_CHARACTERS + 100
