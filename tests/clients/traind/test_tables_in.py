import datetime as dt
import math

import numpy as np
import pytest

from traind.csv_out import encode_csv
from traind.errors import InvalidSpec
from traind.rows import encode_rows, parts
from traind.tables_in import read_table
from traind.v1 import tables_pb2

Column = tables_pb2.Column


class Frame:
    """Walks and talks like a data frame: columns by name, each with a tolist()."""

    def __init__(self, columns):
        self._columns = columns

    @property
    def columns(self):
        return list(self._columns)

    def __getitem__(self, name):
        return np.array(self._columns[name], dtype=object)


def test_rows_of_dicts_take_all_keys_in_order():
    table = read_table([{"a": 1, "b": 2}, {"a": 3, "c": 4}])
    assert table.columns == {"a": [1, 3], "b": [2, None], "c": [None, 4]}
    assert table.row_count == 2


def test_all_forms_are_one_table():
    wanted = {"area": [32.0, 33.0], "rooms": [3.0, 4.0]}
    names = ["area", "rooms"]
    array = np.array([[32.0, 3.0], [33.0, 4.0]])
    forms = [
        wanted,
        {"area": np.array([32.0, 33.0]), "rooms": (3.0, 4.0)},
        [{"area": 32.0, "rooms": 3.0}, {"area": 33.0, "rooms": 4.0}],
        [[32.0, 3.0], [33.0, 4.0]],
        [(32.0, 3.0), np.array([33.0, 4.0])],
        array,
        np.asfortranarray(array),
        np.array([(32.0, 3.0), (33.0, 4.0)], dtype=[("area", "f8"), ("rooms", "f8")]),
        Frame(wanted),
    ]
    for form in forms:
        assert read_table(form, names).columns == wanted
    assert read_table(array, names).kind == "numpy"
    assert read_table(forms[2], names).kind == "list"


def test_one_dimension_is_a_row_or_a_column():
    assert read_table(np.array([1.0, 2.0]), ["a", "b"]).columns == {"a": [1.0], "b": [2.0]}
    assert read_table(np.array([1.0, 2.0]), ["a"]).columns == {"a": [1.0, 2.0]}
    assert read_table([1.0, 2.0], ["a", "b"]).columns == {"a": [1.0], "b": [2.0]}
    assert read_table([1.0, 2.0], ["a"]).columns == {"a": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("data", "names", "said"),
    [
        ({"a": [1], "b": [1, 2]}, None, "'a' has 1 values, 'b' has 2"),
        ({}, None, "no columns"),
        ([], ["a"], "no rows"),
        ([{"a": 1}, 3], None, "row 1 is a int"),
        ([[1, 2], [1]], ["a", "b"], "row 1 has 1 values, expected 2"),
        (np.zeros((2, 3)), ["a", "b"], r"shape \(2, 3\), expected \[rows, 2\]"),
        (np.zeros((2, 3)), None, "no column names"),
        (np.zeros((2, 2)), ["a", "a"], "given twice"),
        ({"a": 3}, None, "'a' is no list"),
        ({"a": "text"}, None, "'a' is no list"),
        (3, None, "int is no table"),
        (b"a,b", None, "bytes is no table"),
    ],
)
def test_what_is_no_table_is_named(data, names, said):
    with pytest.raises(InvalidSpec, match=said):
        read_table(data, names)


def test_csv_keeps_every_value():
    columns = {
        "number": [0.1, 1e300, 5e-324, -0.0],
        "whole": [1, 2**62, None, -3],
        "flag": [True, False, None, True],
        "text": ['say "hi"', "a,b", "두 줄\n여기", "plain"],
        "name, with comma": [math.nan, np.float64(0.25), np.int64(7), dt.date(2026, 1, 2)],
    }
    text = encode_csv(read_table(columns)).decode()
    lines = text.split("\n")
    assert lines[0] == 'number,whole,flag,text,"name, with comma"'
    assert lines[1] == '0.1,1,true,"say ""hi""",'
    assert lines[2] == '1e+300,4611686018427387904,false,"a,b",0.25'
    assert text.endswith("-0.0,-3,true,plain,2026-01-02\n")


def test_csv_is_read_back(tmp_path):
    file = tmp_path / "t.csv"
    columns = {"a": ["x,y", "안녕\n하세요", "z"], "b": [1.5, None, 3]}
    file.write_bytes(b"\xef\xbb\xbf" + encode_csv(read_table(columns)))
    assert read_table(file).columns == {"a": columns["a"], "b": ["1.5", None, "3"]}
    file.write_text("a,b\n1,2\n3\n")
    with pytest.raises(InvalidSpec, match=r"line 3 of .* has 1 cells, the header 2"):
        read_table(str(file))
    file.write_text("a,a\n1,2\n")
    with pytest.raises(InvalidSpec, match="names a column twice"):
        read_table(file)


INPUTS = [
    Column(name="area", type=Column.NUMBER),
    Column(name="rooms", type=Column.INTEGER),
    Column(name="lift", type=Column.BOOLEAN),
    Column(name="kind", type=Column.CATEGORY),
]


def test_rows_follow_the_models_types():
    table = read_table(
        {
            "kind": ["flat", None],
            "lift": [True, False],
            "rooms": ["3", math.nan],
            "area": [32, math.nan],
            "price": [1, 2],
        }
    )
    area, rooms, lift, kind = encode_rows(table, INPUTS)
    assert area.numbers[0] == 32.0
    assert math.isnan(area.numbers[1])
    assert not area.missing
    assert (list(rooms.numbers), list(rooms.missing)) == ([3.0, 0.0], [False, True])
    assert list(lift.numbers) == [1.0, 0.0]
    assert (list(kind.strings), list(kind.missing)) == (["flat", ""], [False, True])


def test_texts_of_a_file_become_numbers_and_flags():
    table = read_table({"kind": ["flat"], "lift": ["true"], "rooms": [None], "area": ["1e3"]})
    area, rooms, lift, _ = encode_rows(table, INPUTS)
    assert list(area.numbers) == [1000.0]
    assert (list(rooms.numbers), list(rooms.missing)) == ([0.0], [True])
    assert list(lift.strings) == ["true"]


def test_rows_name_what_is_wrong():
    with pytest.raises(InvalidSpec, match=r"needs 'rooms', 'lift', 'kind'"):
        encode_rows(read_table({"area": [1]}), INPUTS)
    with pytest.raises(InvalidSpec, match=r"column 'area', row 1: 'big' is no number"):
        encode_rows(read_table({"area": [1, "big"]}), INPUTS[:1])


def test_parts_hold_all_rows_once_and_stay_small():
    inputs = [Column(name="x", type=Column.NUMBER), Column(name="t", type=Column.TEXT)]
    rows = 100_000
    table = read_table({"x": [float(i) for i in range(rows)], "t": [f"{i:0100d}" for i in range(rows)]})
    whole = encode_rows(table, inputs)
    pieces = list(parts(whole, 8))
    assert len(pieces) > 1
    assert [x for piece in pieces for x in piece[0].numbers] == list(whole[0].numbers)
    assert [t for piece in pieces for t in piece[1].strings] == list(whole[1].strings)
    assert max(sum(column.ByteSize() for column in piece) for piece in pieces) < 3 << 20
    # A wide answer makes the parts smaller still.
    assert max(len(piece[0].numbers) for piece in parts(whole, 8 * 1000)) * 8000 <= 2 << 20
