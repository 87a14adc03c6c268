"""Preprocessing against scikit-learn, without a leak from other rows, the same in training and prediction."""

import json

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import json_format
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from service.data.layout import TYPE_KEY
from service.data.preprocessing import ROWS_AT_ONCE, Fitted, Tally, apply, fit
from service.data.preprocessing.dates import PARTS
from service.data.splits import split_rows
from service.data.table import Table, TableColumn, load_table, table_from_values
from service.errors import DataCorrupt, InvalidField, InvalidTable
from service.modelling.inputs import Embedded
from tests.service.data.csvs import Column
from traind.v1.preprocess_pb2 import ColumnGroup, Preprocess
from traind.v1.splits_pb2 import HoldOut, NoSplit, Split, SplitByColumn, SplitByTime
from traind.v1.tables_pb2 import ColumnValues

NUMBERS = ["whole", "far", "small", "big", "gap", "count"]
INPUTS = ["city", "whole", "far", "open", "small", "big", "kind"]
CITIES = ("Busan", "Daegu", "Seoul", "대전")
ROWS = 3 * ROWS_AT_ONCE + 17


def with_gaps(name, kind, values, gone, fill, categories=()):
    values = values.copy()
    values[gone] = fill
    return TableColumn(name, kind, values, gone, categories)


def mixed(rows=ROWS, seed=1):
    rng = np.random.default_rng(seed)
    gone = rng.random((5, rows)) < 0.1
    times = np.datetime64("1990-01-01", "us") + rng.integers(0, 30 * 365 * 86_400_000_000, rows).astype(
        "timedelta64[us]"
    )
    whole = rng.integers(0, 9, rows)
    columns = [
        TableColumn("whole", Column.INTEGER, rng.integers(-1000, 1000, rows)),
        TableColumn("far", Column.NUMBER, rng.normal(1e6, 1, rows)),
        TableColumn("small", Column.NUMBER, rng.normal(0, 1e-9, rows)),
        TableColumn("big", Column.NUMBER, rng.lognormal(0, 20, rows)),
        TableColumn("open", Column.BOOLEAN, rng.random(rows) < 0.3),
        TableColumn("city", Column.CATEGORY, rng.integers(0, 4, rows).astype(np.int32), None, CITIES),
        TableColumn("kind", Column.CATEGORY, rng.integers(0, 2, rows).astype(np.int32), None, ("a", "b")),
        TableColumn("note", Column.TEXT, np.full(rows, "text", object)),
        with_gaps("gap", Column.NUMBER, rng.lognormal(0, 1, rows), gone[0], np.nan),
        with_gaps("count", Column.INTEGER, whole, gone[1], 0),
        with_gaps("town", Column.CATEGORY, rng.integers(0, 4, rows).astype(np.int32), gone[2], -1, CITIES),
        with_gaps("sold", Column.BOOLEAN, rng.random(rows) < 0.4, gone[3], fill=False),
        with_gaps("when", Column.TIMESTAMP, times, gone[4], np.datetime64("NaT")),
        TableColumn("day", Column.TIMESTAMP, times),
    ]
    return Table({c.name: c for c in columns}, rows)


def one_column(values, kind=Column.NUMBER, **more):
    return Table({"x": TableColumn("x", kind, np.asarray(values), **more)}, len(values))


def groups(*given, **more):
    return json_format.ParseDict({"groups": list(given), **more}, Preprocess())


def texts(table, name):
    column = table.columns[name]
    names = ("false", "true") if column.type == Column.BOOLEAN else column.categories
    found = np.array([names[int(code)] for code in column.values], object)
    if column.missing is not None:
        found[column.missing] = np.nan
    return found[:, None]


def numbers(table, name):
    column = table.columns[name]
    values = column.values.astype(np.float64)
    if column.missing is not None:
        values[column.missing] = np.nan
    return values[:, None]


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
    [
        ("NONE", None),
        ("STANDARD", StandardScaler),
        ("SCALE_UNSPECIFIED", StandardScaler),
        ("MIN_MAX", MinMaxScaler),
        ("ROBUST", RobustScaler),
    ],
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


CLIPPED = FunctionTransformer(lambda x: np.clip(x, 0.5, 2))
# One group, the column, and what scikit-learn would do in the same way.
STEPS = {
    "mean": ({"impute": {"how": "MEAN"}, "scale": "NONE"}, "gap", SimpleImputer()),
    "median": ({"impute": {}, "scale": "NONE"}, "gap", SimpleImputer(strategy="median")),
    "most frequent number": (
        {"impute": {"how": "MOST_FREQUENT"}, "scale": "NONE"},
        "count",
        SimpleImputer(strategy="most_frequent"),
    ),
    "constant": (
        {"impute": {"how": "CONSTANT", "number": -7}, "scale": "NONE"},
        "count",
        SimpleImputer(strategy="constant", fill_value=-7),
    ),
    "indicator": (
        {"impute": {"indicator": True}, "scale": "NONE"},
        "gap",
        SimpleImputer(strategy="median", add_indicator=True),
    ),
    "bounds": (
        {"impute": {}, "clip": {"low": 0.5, "high": 2}, "scale": "NONE"},
        "gap",
        make_pipeline(SimpleImputer(strategy="median"), CLIPPED),
    ),
    "log1p": (
        {"impute": {}, "transform": "LOG1P", "scale": "NONE"},
        "gap",
        make_pipeline(SimpleImputer(strategy="median"), FunctionTransformer(np.log1p)),
    ),
    "yeo-johnson": (
        {"impute": {}, "transform": "YEO_JOHNSON"},
        "gap",
        make_pipeline(SimpleImputer(strategy="median"), PowerTransformer()),
    ),
    "yeo-johnson of both signs": ({"transform": "YEO_JOHNSON"}, "whole", PowerTransformer()),
    "robust": (
        {"impute": {}, "scale": "ROBUST"},
        "gap",
        make_pipeline(SimpleImputer(strategy="median"), RobustScaler()),
    ),
    "all of them": (
        {"impute": {"how": "MEAN"}, "clip": {"low": 0.5, "high": 2}, "transform": "LOG1P", "scale": "MIN_MAX"},
        "gap",
        make_pipeline(SimpleImputer(), CLIPPED, FunctionTransformer(np.log1p), MinMaxScaler()),
    ),
    "one-hot": (
        {"impute": {"how": "MOST_FREQUENT"}},
        "town",
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)),
    ),
    "one-hot of what is missing": (
        {"impute": {"how": "CONSTANT"}},
        "town",
        make_pipeline(SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(sparse_output=False)),
    ),
    "booleans": (
        {"impute": {"how": "MOST_FREQUENT"}},
        "sold",
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)),
    ),
    "ordinal": (
        {"impute": {"how": "CONSTANT", "text": "Chuncheon"}, "encode": {"ordinal": {}}},
        "town",
        make_pipeline(SimpleImputer(strategy="constant", fill_value="Chuncheon"), OrdinalEncoder()),
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_equal_scikit_learns(case):
    group, name, peer = STEPS[case]
    table, rows = mixed(), np.arange(0, ROWS, 3)
    fitted = fit(table, [name], groups(group | {"columns": [name]}), rows)
    values = numbers(table, name) if name in NUMBERS else texts(table, name)
    expected = peer.fit(values[rows]).transform(values)
    # Two searches for the exponent end a little apart.
    tolerance = 1e-6 if "yeo" in case else 1e-12
    np.testing.assert_allclose(apply(fitted, table), expected, rtol=tolerance, atol=tolerance)


def test_bounds_by_quantile():
    table, rows = mixed(), np.arange(0, ROWS, 3)
    values = table.columns["far"].values
    for clip, bounds in (
        ({}, np.quantile(values[rows], [0.01, 0.99])),
        ({"quantile": 0.1}, np.quantile(values[rows], [0.1, 0.9])),
        ({"low": 1e6, "quantile": 0.1}, [1e6, np.quantile(values[rows], 0.9)]),
        ({"high": 1e6}, [-np.inf, 1e6]),
    ):
        fitted = fit(table, ["far"], groups({"columns": ["far"], "clip": clip, "scale": "NONE"}), rows)
        np.testing.assert_array_equal(apply(fitted, table)[:, 0], np.clip(values, *bounds))


def test_parts_of_dates():
    stamps = ["1969-12-31T23:59:59", "2024-02-29T12:30:00", "2023-12-31", "1900-03-01"]
    table = one_column(np.array(stamps, "datetime64[us]"), Column.TIMESTAMP)
    group = {"columns": ["x"], "date_parts": list(PARTS), "scale": "NONE"}
    fitted = fit(table, ["x"], groups(group), np.arange(4))
    assert fitted.feature_names == tuple(f"x.{part}" for part in PARTS)
    assert set(PARTS) == set(ColumnGroup.DatePart.keys()) - {"DATE_PART_UNSPECIFIED"}
    assert apply(fitted, table).tolist() == [
        [1969, 12, 31, 2, 365, 23, 59, -1 / 86400],
        [2024, 2, 29, 3, 60, 12, 30, 19782 + 45000 / 86400],
        [2023, 12, 31, 6, 365, 0, 0, 19722],
        [1900, 3, 1, 3, 60, 0, 0, -25508],
    ]


def test_parts_of_dates_are_imputed_and_scaled_each_by_itself():
    table, rows = mixed(), np.arange(0, ROWS, 2)
    group = {"columns": ["when"], "date_parts": ["MONTH", "DAYS"], "impute": {"indicator": True}, "scale": "MIN_MAX"}
    fitted = fit(table, ["when"], groups(group), rows)
    assert fitted.feature_names == ("when.MONTH", "when.DAYS", "when missing")
    features = apply(fitted, table)
    gone = table.columns["when"].missing
    np.testing.assert_array_equal(features[:, 2], gone)
    months = table.columns["when"].values.astype("datetime64[M]").astype(int) % 12 + 1
    np.testing.assert_allclose(features[~gone, 0], (months[~gone] - 1) / 11, rtol=1e-12)
    np.testing.assert_allclose(features[gone, 0], (np.median(months[rows][~gone[rows]]) - 1) / 11, rtol=1e-12)


def test_codes_of_embeddings_and_their_layout():
    table = mixed()
    fitted = fit(
        table,
        ["whole", "town", "city", "kind"],
        groups(
            {"columns": ["town"], "impute": {"how": "CONSTANT", "indicator": True}, "encode": {"embedding": {}}},
            {"columns": ["kind"], "encode": {"embedding": {"width": 7}}},
        ),
        np.arange(ROWS),
    )
    assert list(fitted.layout.embedded) == [Embedded(1, 5, 3), Embedded(7, 2, 7)]
    assert fitted.layout.features == fitted.width == 8
    assert fitted.layout.width == 8 - 2 + 10
    features = apply(fitted, table)
    town = table.columns["town"]
    # "missing" comes behind "Seoul" and before "대전".
    expected = np.array([1, 2, 3, 5, 4])[town.values]
    np.testing.assert_array_equal(features[:, 1], expected)
    np.testing.assert_array_equal(features[:, 2], town.missing)
    np.testing.assert_array_equal(features[:, 7], table.columns["kind"].values + 1)


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


EVERY_STEP = [
    {"columns": ["gap"], "impute": {"how": "MEAN", "indicator": True}, "transform": "YEO_JOHNSON"},
    {"columns": ["count"], "impute": {"how": "MEDIAN"}, "clip": {}, "scale": "ROBUST"},
    {"columns": ["whole"], "clip": {"low": -500}, "scale": "MIN_MAX"},
    {"columns": ["big"], "transform": "LOG1P"},
    {"columns": ["town"], "impute": {"how": "MOST_FREQUENT"}, "encode": {"embedding": {}}, "unseen": "UNKNOWN"},
    {"columns": ["sold"], "impute": {"how": "CONSTANT"}, "encode": {"ordinal": {}}, "unseen": "UNKNOWN"},
    {"columns": ["kind"], "encode": {"one_hot": {}}, "unseen": "UNKNOWN"},
    {
        "columns": ["when"],
        "impute": {"how": "MOST_FREQUENT", "indicator": True},
        "date_parts": ["YEAR", "WEEKDAY", "HOUR", "MINUTE", "DAY", "DAY_OF_YEAR"],
    },
    {"columns": ["day"], "date_parts": ["DAYS", "MONTH"], "scale": "ROBUST"},
]
EVERY_INPUT = ["gap", "count", "whole", "big", "town", "sold", "kind", "when", "day", "far", "city", "open", "small"]


def changed_outside(table, rows, names):
    """The table with everything different in the rows that are not `rows`, a new first category among it."""
    outside = np.ones(table.row_count, bool)
    outside[rows] = False
    other, columns = mixed(seed=99), {}
    for name, column in table.columns.items():
        values = column.values.copy()
        if name in names:
            values[outside] = other.columns[name].values[outside]
        categories, missing = column.categories, column.missing
        if column.type == Column.CATEGORY:
            values += 1
            categories = ("Ansan", *column.categories)
            values[outside] = 0 if name in names else values[outside]
        elif column.type in {Column.INTEGER, Column.NUMBER} and name in names:
            values[outside] *= 1000
        if missing is not None:
            values[missing] = column.values[missing]
        columns[name] = TableColumn(name, column.type, values, missing, categories)
    return Table(columns, table.row_count)


SPLITS = {
    "drawn": Split(hold_out=HoldOut(fraction=0.4)),
    "stratified": Split(hold_out=HoldOut(fraction=0.3, stratify=True)),
    "by column": Split(column=SplitByColumn(column="open", held_out=["true"])),
    "by time": Split(time=SplitByTime(column="day", fraction=0.25)),
    "none": Split(none=NoSplit()),
}


@pytest.mark.parametrize("case", SPLITS)
def test_nothing_leaks_from_rows_that_are_not_trained_with(case):
    """Any change to rows that are held out leaves every fitted byte as it was."""
    table, split = mixed(), SPLITS[case]
    labels = table.columns["kind"].values.astype(np.int64) if case == "stratified" else None
    rows = np.flatnonzero(np.random.default_rng(5).random(ROWS) < 0.9)  # the others were left out
    train, held = split_rows(table, rows, split, labels, 7)
    assert (len(held) > 0) == (case != "none")
    preprocess = groups(*EVERY_STEP)
    before = fit(table, EVERY_INPUT, preprocess, train).to_json()
    # By what the rows are split stays as it is.
    changed = changed_outside(table, train, set(EVERY_INPUT) - {"open", "day"})
    again, _ = split_rows(changed, rows, split, labels, 7)
    np.testing.assert_array_equal(again, train)
    assert fit(changed, EVERY_INPUT, preprocess, train).to_json() == before
    for name in ("gap", "count", "whole", "far", "small", "big"):
        present = train[~table.columns[name].missing[train]] if table.columns[name].missing is not None else train
        changed.columns[name].values[present] = changed.columns[name].values[present] * 3 + 1
        after = fit(changed, EVERY_INPUT, preprocess, train).to_json()
        assert after != before, name
        before = after


def call_of(table, rows):
    """Rows of a table as a call brings them."""
    values = []
    for name in EVERY_INPUT:
        column = table.columns[name].take(rows)
        missing = [] if column.missing is None else column.missing.tolist()
        if column.type in {Column.INTEGER, Column.NUMBER}:
            values.append(ColumnValues(name=name, numbers=column.values.astype(float), missing=missing))
            continue
        if column.type == Column.TIMESTAMP:
            strings = column.values.astype(str)
        else:
            labels = ("false", "true") if column.type == Column.BOOLEAN else column.categories
            strings = [labels[int(code)] for code in column.values]
        if missing:
            strings = ["" if gone else text for text, gone in zip(strings, missing, strict=True)]
        values.append(ColumnValues(name=name, strings=strings, missing=missing))
    return values


def wanted_of(fitted):
    return [Column(name=c.name, type=c.type, categories=c.categories) for c in fitted.columns]


@pytest.mark.parametrize("seed", [3, 4])
def test_training_and_prediction_see_the_same_bits(seed):
    """1,000 random rows, with missing values and categories that training did not see, through a call's values and
    the stored JSON, as through the table: for every step."""
    table = mixed()
    # Training never sees Seoul.
    seen = np.flatnonzero(table.columns["town"].values != CITIES.index("Seoul"))
    fitted = fit(table, EVERY_INPUT, groups(*EVERY_STEP), seen)
    rows = np.random.default_rng(seed).choice(ROWS, 1000, replace=False)
    tally = Tally()
    expected = apply(fitted, table, rows, unseen="zeros", tally=tally)
    assert tally.unseen == np.count_nonzero(table.columns["town"].values[rows] == CITIES.index("Seoul")) > 100
    asked = table_from_values(call_of(table, rows)[::-1], wanted_of(fitted))
    stored = Fitted.from_json(fitted.to_json())
    assert stored == fitted
    assert apply(stored, asked).tobytes() == expected.tobytes()
    # One by one they are the same bits too.
    for row in rows[:20]:
        alone = table_from_values(call_of(table, np.array([row])), wanted_of(fitted))
        assert apply(stored, alone).tobytes() == apply(fitted, table, np.array([row])).tobytes()


def test_a_file_in_batches_gives_the_same_bits(tmp_path):
    table = mixed()
    fitted = fit(table, EVERY_INPUT, groups(*EVERY_STEP), np.arange(0, ROWS, 2))
    path = tmp_path / "table.arrow"
    write(table, path, ROWS_AT_ONCE - 1)
    mapped = load_table(path)
    assert len(list(mapped.parts())) == 4
    assert fit(mapped, EVERY_INPUT, groups(*EVERY_STEP), np.arange(0, ROWS, 2)) == fitted
    for rows in (None, np.arange(1, ROWS, 3), np.array([0, 1, ROWS - 1]), np.array([ROWS_AT_ONCE]), np.arange(0)):
        whole = apply(fitted, table, rows)
        assert apply(fitted, mapped, rows).tobytes() == whole.tobytes()
        narrow = np.empty(whole.shape, np.float32)
        assert apply(fitted, mapped, rows, out=narrow) is narrow
        np.testing.assert_array_equal(narrow, whole.astype(np.float32))


def write(table, path, rows_at_once):
    """As ingest writes it, in batches."""
    fields, arrays = [], []
    for name in EVERY_INPUT:
        column = table.columns[name]
        values = column.values.astype(str).astype(object) if column.type == Column.TIMESTAMP else column.values
        array = pa.array(values, mask=column.missing)
        if column.type == Column.CATEGORY:
            array = pa.DictionaryArray.from_arrays(array, pa.array(column.categories))
        fields.append(pa.field(name, array.type, metadata={TYPE_KEY: Column.Type.Name(column.type).encode()}))
        arrays.append(array)
    made = pa.table(arrays, schema=pa.schema(fields))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made, max_chunksize=rows_at_once)


def test_json_keeps_every_number_exactly():
    values = np.array([0.1, 1e-300, np.pi * 1e10, 5e-324])
    fitted = fit(one_column(values), ["x"], Preprocess(), np.arange(4))
    assert Fitted.from_json(fitted.to_json()) == fitted
    assert json.loads(fitted.to_json())["columns"][0]["steps"] == [
        {"kind": "standard", "mean": float(values.mean()), "std": float(values.std())}
    ]
    hangul = fit(mixed(), ["city"], Preprocess(), np.arange(ROWS))
    assert Fitted.from_json(hangul.to_json()) == hangul


def test_models_of_the_first_format_answer_as_before():
    kept = {
        "format": 1,
        "columns": [
            {"name": "area", "type": "NUMBER", "steps": [{"kind": "standard", "mean": 2.0, "std": 0.5}]},
            {"name": "rooms", "type": "INTEGER", "steps": []},
            {"name": "age", "type": "INTEGER", "steps": [{"kind": "min_max", "low": 0.0, "high": 4.0}]},
            {"name": "sex", "type": "CATEGORY", "steps": [{"kind": "one_hot", "categories": ["f", "m"]}]},
        ],
    }
    fitted = Fitted.from_json(json.dumps(kept))
    assert fitted.feature_names == ("area", "rooms", "age", "sex=f", "sex=m")
    columns = [
        TableColumn("area", Column.NUMBER, np.array([3.0])),
        TableColumn("rooms", Column.NUMBER, np.array([4.0])),
        TableColumn("age", Column.NUMBER, np.array([1.0])),
        TableColumn("sex", Column.CATEGORY, np.array([0]), None, ("m",)),
    ]
    table = Table({c.name: c for c in columns}, 1)
    assert apply(fitted, table).tolist() == [[2, 4, 0.25, 0, 1]]
    assert Fitted.from_json(fitted.to_json()) == fitted


@pytest.mark.parametrize("scale", ["STANDARD", "MIN_MAX"])
@pytest.mark.parametrize("value", [0.1, 0.0, 1e300, -7.3])
def test_a_constant_column_becomes_zero(scale, value):
    table = one_column([value] * 9 + [value + 5])
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.Scale.Value(scale)), np.arange(9))
    assert apply(fitted, table)[:, 0].tolist() == [0] * 10


def test_where_the_quartiles_are_equal_only_the_median_is_taken_off():
    table = one_column([3.0] * 9 + [8.0])
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.ROBUST), np.arange(10))
    assert apply(fitted, table)[:, 0].tolist() == [0] * 9 + [5]


@pytest.mark.parametrize("transform", ["LOG1P", "YEO_JOHNSON"])
def test_a_constant_column_can_be_transformed(transform):
    table = one_column([5.0] * 4)
    fitted = fit(table, ["x"], groups({"columns": ["x"], "transform": transform}), np.arange(4))
    assert apply(fitted, table)[:, 0].tolist() == [0] * 4


@pytest.mark.parametrize("scale", ["STANDARD", "MIN_MAX"])
def test_numbers_too_large_to_scale_are_refused_before_they_become_infinite(scale):
    table = one_column([1.7e308, -1.7e308, 0.0])
    with pytest.raises(InvalidTable, match=r"1\.7e\+308"):
        fit(table, ["x"], Preprocess(scale=Preprocess.Scale.Value(scale)), np.arange(3))
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.NONE), np.arange(3))
    assert apply(fitted, table)[:, 0].tolist() == [1.7e308, -1.7e308, 0]


def test_features_beyond_the_dtype_are_refused_naming_column_and_row():
    table = one_column([1.0, 2.0, 1e39])
    fitted = fit(table, ["x"], Preprocess(scale=Preprocess.NONE), np.arange(2))
    assert apply(fitted, table)[2, 0] == 1e39
    with pytest.raises(InvalidField, match=r'"x" has 1 values .* beyond 3\.4e\+38 after scaling, the first in row 3'):
        apply(fitted, table, limit=3.4e38, out=np.empty((3, 1), np.float32))


def test_infinite_numbers_are_refused_with_count_and_first_row():
    table = one_column([1.0, 2.0, np.inf, -np.inf])
    for preprocess in (Preprocess(), groups({"columns": ["x"], "clip": {"low": 0, "high": 9}, "impute": {}})):
        with pytest.raises(InvalidField, match=r'job\.train\.inputs: .*"x" has 2 infinite numbers, the first in row 3'):
            fit(table, ["x"], preprocess, np.arange(2))
        fitted = fit(one_column([1.0, 2.0]), ["x"], preprocess, np.arange(2))
        with pytest.raises(InvalidField, match='"x" has 2 infinite numbers, the first at index 2'):
            apply(fitted, table)


def test_what_has_no_logarithm_is_refused():
    logged = groups({"columns": ["x"], "transform": "LOG1P"})
    with pytest.raises(InvalidField, match=r"job\.train\.preprocess\.groups\[0\]\.transform: .*holds -1"):
        fit(one_column([1.0, -1.0]), ["x"], logged, np.arange(2))
    fitted = fit(one_column([1.0, 2.0]), ["x"], logged, np.arange(2))
    with pytest.raises(InvalidField, match=r'"x" is -3 in row 2, and the model takes ln\(1 \+ x\)'):
        apply(fitted, one_column([1.0, -3.0]))
    # Bounds come first.
    clipped = groups({"columns": ["x"], "transform": "LOG1P", "clip": {"low": 0}})
    assert apply(fit(one_column([1.0, -1.0]), ["x"], clipped, np.arange(2)), one_column([-9.0])).shape == (1, 1)


def test_an_unseen_category_is_refused_naming_column_value_and_the_known_ones():
    table = one_column(np.array([0, 2, 0, 1], np.int32), Column.CATEGORY, categories=("a", "b", "c"))
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 3]))
    with pytest.raises(InvalidField, match='row 2: "c" is no category that "x" had in training; known are "a", "b"'):
        apply(fitted, table)
    tally = Tally()
    assert apply(fitted, table, unseen="zeros", tally=tally).tolist() == [[1, 0], [0, 0], [1, 0], [0, 1]]
    assert tally.unseen == 1
    asked = table_from_values([ColumnValues(name="x", strings=["a", "z"])], wanted_of(fitted))
    with pytest.raises(InvalidField) as caught:
        apply(fitted, asked)
    assert caught.value.metadata["field"] == "columns[0].strings[1]"


@pytest.mark.parametrize(("encode", "expected"), [("one_hot", [0, 0]), ("ordinal", [-1]), ("embedding", [0])])
def test_an_unseen_category_is_unknown_where_the_spec_says_so(encode, expected):
    table = one_column(np.array([0, 2, 0, 1], np.int32), Column.CATEGORY, categories=("a", "b", "c"))
    for preprocess in (
        groups({"columns": ["x"], "encode": {encode: {}}, "unseen": "UNKNOWN"}),
        groups({"columns": ["x"], "encode": {encode: {}}}, unseen="UNKNOWN"),
    ):
        fitted = fit(table, ["x"], preprocess, np.array([0, 3]))
        assert apply(fitted, table)[1].tolist() == expected
    refused = groups({"columns": ["x"], "encode": {encode: {}}, "unseen": "REFUSE"}, unseen="UNKNOWN")
    with pytest.raises(InvalidField, match="is no category"):
        apply(fit(table, ["x"], refused, np.array([0, 3])), table)


def test_more_known_categories_than_fit_into_a_message():
    names = tuple(f"k{i:03}" for i in range(100))
    table = one_column(np.arange(100, dtype=np.int32), Column.CATEGORY, categories=names)
    fitted = fit(table, ["x"], Preprocess(), np.arange(99))
    with pytest.raises(InvalidField, match='"k099" .* known are "k000", .* and 79 more'):
        apply(fitted, table)


def test_an_unseen_boolean_is_refused():
    table = one_column([True, True, False], Column.BOOLEAN)
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 1]))
    assert fitted.feature_names == ("x=true",)
    with pytest.raises(InvalidField, match='"false"'):
        apply(fitted, table)


def test_missing_values_that_nothing_stands_for_are_refused_in_training_and_prediction():
    gone = np.array([False, True, False, True])
    table = one_column([1.0, np.nan, 3.0, np.nan], missing=gone)
    with pytest.raises(InvalidField, match=r'"x" is missing in 2 rows.*preprocess\.groups\[\]\.impute'):
        fit(table, ["x"], Preprocess(), np.arange(4))
    fitted = fit(table, ["x"], Preprocess(), np.array([0, 2]))
    with pytest.raises(InvalidField, match='"x" is missing in 2 rows, the first at index 1; the model takes complete'):
        apply(fitted, table)
    assert apply(fitted, table, np.array([2, 0])).tolist() == [[1], [-1]]


def test_rows_without_a_value_are_refused_in_prediction_where_training_leaves_them_out():
    table = one_column([1.0, np.nan, 3.0], missing=np.array([False, True, False]))
    dropping = groups({"columns": ["x"], "impute": {"how": "DROP_ROW"}})
    fitted = fit(table, ["x"], dropping, np.array([0, 2]))
    assert fitted.dropping == ["x"]
    with pytest.raises(InvalidField, match="the model leaves such rows out"):
        apply(fitted, table)


def test_a_missing_value_that_training_never_had_is_no_unseen_category():
    """What stands for it is unknown to the model, but the spec has said that missing values are taken."""
    table = one_column(
        np.array([0, 1, -1], np.int32), Column.CATEGORY, missing=np.arange(3) == 2, categories=("a", "b")
    )
    fitted = fit(table, ["x"], groups({"columns": ["x"], "impute": {"how": "CONSTANT"}}), np.array([0, 1]))
    assert apply(fitted, table).tolist() == [[1, 0], [0, 1], [0, 0]]


def test_a_column_without_any_value_has_no_figure():
    table = one_column([np.nan, np.nan], missing=np.array([True, True]))
    with pytest.raises(InvalidField, match=r"groups\[0\]\.impute: .*no value in any training row.*CONSTANT"):
        fit(table, ["x"], groups({"columns": ["x"], "impute": {"how": "MEAN"}}), np.arange(2))
    fitted = fit(
        table,
        ["x"],
        groups({"columns": ["x"], "impute": {"how": "CONSTANT", "number": 4}, "scale": "NONE"}),
        np.arange(2),
    )
    assert apply(fitted, table).tolist() == [[4], [4]]


def test_text_is_no_input_and_types_must_stay():
    with pytest.raises(InvalidField, match="TEXT and cannot be learned from"):
        fit(mixed(), ["note"], Preprocess(), np.arange(ROWS))
    with pytest.raises(InvalidField, match="TIMESTAMP and cannot be learned from; name its parts"):
        fit(mixed(), ["day"], Preprocess(), np.arange(ROWS))
    fitted = fit(one_column([1.0, 2.0]), ["x"], Preprocess(), np.arange(2))
    for values, kind in (
        (np.array([0, 0], np.int32), "CATEGORY"),
        (np.array(["2024-01-01"] * 2, "M8[us]"), "TIMESTAMP"),
    ):
        with pytest.raises(InvalidField, match=f"was NUMBER in training and is {kind} here"):
            apply(fitted, one_column(values, Column.Type.Value(kind), categories=("a",)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"format": 3, "columns": []}',
        '{"format": 1, "columns": [{"name": "x"}]}',
        '{"format": 1, "columns": [{"name": "x", "type": "NUMBER", "steps": [{"kind": "eval"}]}]}',
        '{"format": 2, "columns": [{"name": "x", "type": "NUMBER", "steps": [{"kind": "fill"}]}]}',
        '{"format": 2, "columns": [{"name": "x", "type": "TIMESTAMP", "steps": [], '
        '"parts": [{"part": "DAY", "steps": [{"kind": "one_hot", "categories": []}]}]}]}',
    ],
)
def test_damaged_json_is_told_as_corrupt(text):
    with pytest.raises(DataCorrupt):
        Fitted.from_json(text)
