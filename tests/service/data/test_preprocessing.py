"""Preprocessing against scikit-learn, without a leak from other rows, the same in training and prediction."""

import json

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from service.data.preprocessing import ROWS_AT_ONCE, Fitted, apply, fit
from service.data.table import Table, TableColumn, table_from_values
from service.errors import DataCorrupt, InvalidField, InvalidTable
from tests.service.data.csvs import Column
from traind.v1.preprocess_pb2 import Preprocess
from traind.v1.tables_pb2 import ColumnValues

NUMBERS = ["whole", "far", "small", "big"]
INPUTS = ["city", "whole", "far", "open", "small", "big", "kind"]
CITIES = ("Busan", "Daegu", "Seoul", "대전")
ROWS = 3 * ROWS_AT_ONCE + 17


def mixed(rows=ROWS, seed=1):
    rng = np.random.default_rng(seed)
    columns = [
        TableColumn("whole", Column.INTEGER, rng.integers(-1000, 1000, rows)),
        TableColumn("far", Column.NUMBER, rng.normal(1e6, 1, rows)),
        TableColumn("small", Column.NUMBER, rng.normal(0, 1e-9, rows)),
        TableColumn("big", Column.NUMBER, rng.lognormal(0, 20, rows)),
        TableColumn("open", Column.BOOLEAN, rng.random(rows) < 0.3),
        TableColumn("city", Column.CATEGORY, rng.integers(0, 4, rows).astype(np.int32), None, CITIES),
        TableColumn("kind", Column.CATEGORY, rng.integers(0, 2, rows).astype(np.int32), None, ("a", "b")),
        TableColumn("note", Column.TEXT, np.full(rows, "text", object)),
    ]
    return Table({c.name: c for c in columns}, rows)


def one_column(values, kind=Column.NUMBER, **more):
    return Table({"x": TableColumn("x", kind, np.asarray(values), **more)}, len(values))


def texts(table, name):
    column = table.columns[name]
    names = ("false", "true") if column.type == Column.BOOLEAN else column.categories
    return np.array([names[int(code)] for code in column.values])[:, None]


def by_scikit_learn(scaler, table, rows):
    parts = []
    for name in INPUTS:
        if name in NUMBERS:
            values = table.columns[name].values.astype(np.float64)[:, None]
            parts.append(values if scaler is None else scaler().fit(values[rows]).transform(values))
        else:
            values = texts(table, name)
            parts.append(OneHotEncoder(sparse_output=False).fit(values[rows]).transform(values))
    return np.hstack(parts)


@pytest.mark.parametrize(
    ("scale", "scaler"),
    [("NONE", None), ("STANDARD", StandardScaler), ("SCALE_UNSPECIFIED", StandardScaler), ("MIN_MAX", MinMaxScaler)],
)
def test_features_equal_scikit_learns(scale, scaler):
    table = mixed()
    rows = np.arange(0, ROWS, 3)
    fitted = fit(table, INPUTS, Preprocess(scale=Preprocess.Scale.Value(scale)), rows)
    features = apply(fitted, table)
    assert features.dtype == np.float64
    assert features.flags.c_contiguous
    # Values of `small` lie at 1e-9, those of `far` at 1e6: compared after scaling both are of size 1.
    np.testing.assert_allclose(features, by_scikit_learn(scaler, table, rows), rtol=1e-12, atol=1e-9 if scaler else 0)
    others = [i for i, name in enumerate(fitted.feature_names) if name != "far"]
    expected = by_scikit_learn(scaler, table, rows)[:, others]
    np.testing.assert_allclose(features[:, others], expected, rtol=1e-12, atol=1e-12)
    assert fitted.width == features.shape[1] == len(fitted.feature_names)


def test_features_have_names_in_the_order_of_the_inputs():
    fitted = fit(mixed(), ["open", "whole", "city"], Preprocess(), np.arange(ROWS))
    assert fitted.feature_names == (
        "open=false",
        "open=true",
        "whole",
        "city=Busan",
        "city=Daegu",
        "city=Seoul",
        "city=대전",
    )


def test_rows_are_chosen_in_the_order_asked():
    table = mixed()
    fitted = fit(table, INPUTS, Preprocess(), np.arange(ROWS))
    rows = np.random.default_rng(2).permutation(ROWS)[: ROWS_AT_ONCE + 5]
    np.testing.assert_array_equal(apply(fitted, table, rows), apply(fitted, table)[rows])
    assert apply(fitted, table, rows[:0]).shape == (0, fitted.width)


@pytest.mark.parametrize("scale", ["STANDARD", "MIN_MAX"])
def test_nothing_leaks_from_rows_that_are_not_trained_with(scale):
    """Any change to other rows leaves every fitted byte as it was."""
    preprocess = Preprocess(scale=Preprocess.Scale.Value(scale))
    table, rows = mixed(), np.arange(0, ROWS, 2)
    before = fit(table, INPUTS, preprocess, rows).to_json()
    other = mixed(seed=99)
    changed = {}
    for name, column in table.columns.items():
        values = column.values.copy()
        values[1::2] = other.columns[name].values[1::2]
        # A category that only other rows have, before all others in the dictionary.
        if name == "city":
            values += 1
            values[1::2] = 0
        categories = ("Ansan", *column.categories) if name == "city" else column.categories
        changed[name] = TableColumn(name, column.type, values, None, categories)
    assert fit(Table(changed, ROWS), INPUTS, preprocess, rows).to_json() == before
    changed["whole"].values[0] = 10**6
    assert fit(Table(changed, ROWS), INPUTS, preprocess, rows).to_json() != before


@pytest.mark.parametrize("scale", ["NONE", "STANDARD", "MIN_MAX"])
def test_training_and_prediction_see_the_same_bits(scale):
    """1,000 random rows through a call's values and the stored JSON, as through the table."""
    table = mixed()
    fitted = fit(table, INPUTS, Preprocess(scale=Preprocess.Scale.Value(scale)), np.arange(0, ROWS, 2))
    rows = np.random.default_rng(3).choice(ROWS, 1000, replace=False)
    values = [
        ColumnValues(name=name, numbers=table.columns[name].values[rows].astype(float))
        if name in NUMBERS
        else ColumnValues(name=name, strings=texts(table, name)[rows, 0].tolist())
        for name in INPUTS
    ]
    wanted = [
        Column(name=name, type=table.columns[name].type, categories=table.columns[name].categories) for name in INPUTS
    ]
    asked = table_from_values(values[::-1], wanted)
    stored = Fitted.from_json(fitted.to_json())
    assert apply(stored, asked).tobytes() == apply(fitted, table, rows).tobytes()


def test_json_keeps_every_number_exactly():
    values = np.array([0.1, 1e-300, np.pi * 1e10, 5e-324])
    fitted = fit(one_column(values), ["x"], Preprocess(), np.arange(4))
    assert Fitted.from_json(fitted.to_json()) == fitted
    assert json.loads(fitted.to_json())["columns"][0]["steps"] == [
        {"kind": "standard", "mean": float(values.mean()), "std": float(values.std())}
    ]
    hangul = fit(mixed(), ["city"], Preprocess(), np.arange(ROWS))
    assert Fitted.from_json(hangul.to_json()) == hangul


@pytest.mark.parametrize("scale", ["STANDARD", "MIN_MAX"])
@pytest.mark.parametrize("value", [0.1, 0.0, 1e300, -7.3])
def test_a_constant_column_becomes_zero(scale, value):
    table = one_column([value] * 9 + [value + 5])
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.Scale.Value(scale)), np.arange(9))
    assert apply(fitted, table)[:, 0].tolist() == [0] * 10


@pytest.mark.parametrize("scale", ["STANDARD", "MIN_MAX"])
def test_numbers_too_large_to_scale_are_refused_before_they_become_infinite(scale):
    table = one_column([1.7e308, -1.7e308, 0.0])
    with pytest.raises(InvalidTable, match=r"1\.7e\+308"):
        fit(table, ["x"], Preprocess(scale=Preprocess.Scale.Value(scale)), np.arange(3))
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.NONE), np.arange(3))
    assert apply(fitted, table)[:, 0].tolist() == [1.7e308, -1.7e308, 0]


def test_an_unseen_category_is_refused_naming_column_value_and_the_known_ones():
    table = one_column(np.array([0, 2, 0, 1], np.int32), Column.CATEGORY, categories=("a", "b", "c"))
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 1]))
    with pytest.raises(InvalidField, match='row 4: "b" is no category that "x" had in training; known are "a", "c"'):
        apply(fitted, table)
    assert apply(fitted, table, unseen="zeros").tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]
    assert apply(fitted, table, np.array([1, 2])).tolist() == [[0, 1], [1, 0]]


def test_an_unseen_boolean_is_refused():
    table = one_column([True, True, False], Column.BOOLEAN)
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 1]))
    assert fitted.feature_names == ("x=true",)
    with pytest.raises(InvalidField, match='"false"'):
        apply(fitted, table)


def test_missing_values_are_refused_in_training_and_prediction():
    missing = np.array([False, True, False, True])
    table = one_column([1.0, np.nan, 3.0, np.nan], missing=missing)
    with pytest.raises(InvalidField, match='column "x" is missing in 2 rows'):
        fit(table, ["x"], Preprocess(), np.arange(4))
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 2]))
    with pytest.raises(InvalidField, match='"x" is missing in 2 rows, the first at index 1'):
        apply(fitted, table)
    assert apply(fitted, table, np.array([0, 2]))[:, 0].tolist() == [-1, 1]


def test_text_is_no_input_and_types_must_stay():
    with pytest.raises(InvalidField, match="TEXT and cannot be learned from"):
        fit(mixed(), ["note"], Preprocess(), np.arange(ROWS))
    fitted = fit(one_column([1.0, 2.0]), ["x"], Preprocess(), np.arange(2))
    with pytest.raises(InvalidField, match="was NUMBER in training and is CATEGORY here"):
        apply(fitted, one_column(np.array([0, 0], np.int32), Column.CATEGORY, categories=("a",)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"format": 2, "columns": []}',
        '{"format": 1, "columns": [{"name": "x"}]}',
        '{"format": 1, "columns": [{"name": "x", "type": "NUMBER", "steps": [{"kind": "eval"}]}]}',
    ],
)
def test_damaged_json_is_told_as_corrupt(text):
    with pytest.raises(DataCorrupt):
        Fitted.from_json(text)
