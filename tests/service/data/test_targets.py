"""Targets: their classes in order, their codes, their steps there and back, and what is refused."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler

from service.data.table import Table, TableColumn
from service.data.targets import REACH, Target, TargetColumn, find_target, fit_target
from service.errors import DataCorrupt, InvalidField, InvalidTable
from tests.service.data.csvs import Column
from traind.v1.preprocess_pb2 import Preprocess, TargetSteps

DRAW = np.random.default_rng(4)
PRICES = np.exp(DRAW.normal(3, 1, 500))
YEARS = DRAW.integers(0, 70, 500).astype(float)


def table_of(values, kind, **more):
    return Table({"y": TableColumn("y", kind, np.asarray(values), **more)}, len(values))


def two():
    columns = [TableColumn("price", Column.NUMBER, PRICES), TableColumn("year", Column.NUMBER, YEARS)]
    return Table({c.name: c for c in columns}, len(PRICES))


def colours(codes, categories=("black", "white")):
    return table_of(np.array(codes, np.int32), Column.CATEGORY, categories=categories)


def found(table, names=("y",), steps=None, rows=None, classes=False):
    return find_target(table, names, steps or TargetSteps(), rows, classes=classes)


def fitted(table, names, rows=None, **steps):
    target = found(table, names, TargetSteps(**steps))
    return fit_target(target, target.encode(table, rows), TargetSteps(**steps))


@pytest.mark.parametrize(
    ("table", "classes", "codes"),
    [
        (colours([1, 0, 0, 1]), ("black", "white"), [1, 0, 0, 1]),
        (table_of([True, False, True], Column.BOOLEAN), ("false", "true"), [1, 0, 1]),
        (table_of([10, 9, -1, 10], Column.INTEGER), ("-1", "9", "10"), [2, 1, 0, 2]),
        (table_of([2.0, 0.5, 2.0], Column.NUMBER), ("0.5", "2"), [1, 0, 1]),
    ],
    ids=["categories", "booleans", "whole numbers", "numbers"],
)
def test_classes_are_sorted_and_values_become_their_codes(table, classes, codes):
    target = found(table, classes=True)
    assert target == Target((TargetColumn("y", table.columns["y"].type),), classes)
    encoded = target.encode(table, np.arange(table.row_count))
    assert encoded.dtype == np.int64
    assert encoded.tolist() == codes
    assert target.encode(table, np.array([2, 0])).tolist() == [codes[2], codes[0]]
    assert fit_target(target, encoded, TargetSteps()) == target
    assert target.to_loss_units(encoded) is encoded


def test_numbers_stay_numbers():
    table = table_of([6, 7, 8], Column.INTEGER)
    target = found(table)
    assert target.classes == ()
    encoded = target.encode(table)
    assert (encoded.dtype, encoded.tolist()) == (np.float64, [[6], [7], [8]])
    assert fit_target(target, encoded, TargetSteps()).to_loss_units(encoded).tolist() == [[6], [7], [8]]


def test_several_numbers_stand_side_by_side():
    target = found(two(), ("year", "price"))
    assert target.names == ["year", "price"]
    np.testing.assert_array_equal(target.encode(two(), np.array([3, 1])), np.column_stack([YEARS, PRICES])[[3, 1]])


@pytest.mark.parametrize(
    ("scale", "scaler"), [("STANDARD", StandardScaler), ("MIN_MAX", MinMaxScaler), ("ROBUST", RobustScaler)]
)
@pytest.mark.parametrize(
    ("transform", "transformed"),
    [
        ("IDENTITY", lambda x: x),
        ("LOG1P", np.log1p),
        ("YEO_JOHNSON", lambda x: PowerTransformer(standardize=False).fit_transform(x)),
    ],
)
def test_steps_equal_scikit_learns_and_are_undone(scale, scaler, transform, transformed):
    steps = {"scale": Preprocess.Scale.Value(scale), "transform": Preprocess.Transform.Value(transform)}
    target = fitted(two(), ["price", "year"], **steps)
    values = target.encode(two())
    loss_units = target.to_loss_units(values)
    expected = scaler().fit_transform(transformed(values))
    np.testing.assert_allclose(loss_units, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(target.from_loss_units(loss_units), values, rtol=1e-9, atol=1e-12)
    assert Target.from_json(target.to_json()) == target


@pytest.mark.parametrize("transform", ["IDENTITY", "LOG1P", "YEO_JOHNSON"])
def test_deviations_are_those_of_the_slope(transform):
    """To first order: as two answers a little apart tell it."""
    steps = {"scale": Preprocess.STANDARD, "transform": Preprocess.Transform.Value(transform)}
    target = fitted(two(), ["price", "year"], **steps)
    means = DRAW.normal(0, 1, (50, 2))
    near = 1e-6
    slope = (target.from_loss_units(means + near) - target.from_loss_units(means - near)) / (2 * near)
    np.testing.assert_allclose(target.deviations(means, np.full_like(means, 0.3)), 0.3 * slope, rtol=1e-6)


@pytest.mark.parametrize("transform", ["LOG1P", "YEO_JOHNSON"])
def test_wild_answers_stay_finite(transform):
    target = fitted(two(), ["price"], transform=Preprocess.Transform.Value(transform))
    answers = target.from_loss_units(np.array([[-1e30], [1e30]]))
    low, high = PRICES.min(), PRICES.max()
    assert answers[1, 0] == pytest.approx(high + REACH * (high - low))
    assert answers[0, 0] == pytest.approx(max(low - REACH * (high - low), -1 if transform == "LOG1P" else -np.inf))


def test_what_has_no_logarithm_is_refused():
    with pytest.raises(InvalidField, match=r"preprocess\.target\.transform: .*holds -3"):
        fitted(table_of([1.0, -3.0], Column.NUMBER), ["y"], transform=Preprocess.LOG1P)
    target = fitted(table_of([1.0, 3.0], Column.NUMBER), ["y"], transform=Preprocess.LOG1P)
    with pytest.raises(InvalidField, match='"y" has 1 values'):
        target.to_loss_units(np.array([[1.0], [-1.0]]))


def test_steps_are_fitted_on_the_rows_given_alone():
    steps = {"scale": Preprocess.ROBUST, "transform": Preprocess.YEO_JOHNSON}
    rows = np.arange(0, 500, 2)
    changed = two()
    before = fitted(changed, ["price"], rows, **steps).to_json()
    changed.columns["price"].values.setflags(write=True)
    other = PRICES.copy()
    other[1::2] *= 1000
    changed = Table({"price": TableColumn("price", Column.NUMBER, other)}, 500)
    assert fitted(changed, ["price"], rows, **steps).to_json() == before
    assert fitted(changed, ["price"], None, **steps).to_json() != before


def test_json_keeps_the_target():
    for target in (
        Target((TargetColumn("색", Column.CATEGORY),), ("검정", "하양"), drops=True),
        Target((TargetColumn("price", Column.NUMBER),)),
    ):
        assert Target.from_json(target.to_json()) == target
    for text in ('{"name": "x", "type": "NOTHING", "classes": []}', '{"format": 9, "columns": []}', "[]"):
        with pytest.raises(DataCorrupt):
            Target.from_json(text)


def test_targets_of_the_first_format_are_read():
    kept = '{"name": "color", "type": "CATEGORY", "classes": ["black", "white"]}'
    assert Target.from_json(kept) == Target((TargetColumn("color", Column.CATEGORY),), ("black", "white"))


def test_another_table_has_its_own_dictionary():
    target = found(colours([0, 1]), classes=True)
    other = colours([0, 2, 2], ("aqua", "black", "white"))
    with pytest.raises(InvalidField, match='"aqua" is no category'):
        target.encode(other)
    assert target.encode(other, np.array([1, 2])).tolist() == [1, 1]


def test_a_single_class_cannot_be_learned():
    with pytest.raises(InvalidTable, match='holds only "white"'):
        found(colours([1, 1]), classes=True)
    with pytest.raises(InvalidTable, match="holds no value"):
        found(table_of([0], Column.INTEGER, missing=np.array([True])), classes=True)
    # A class that only rows have that are left out is none.
    assert found(colours([0, 1, 0], ("a", "b", "c")), rows=np.array([0, 1]), classes=True).classes == ("a", "b")


def test_types_that_do_not_fit_are_refused():
    with pytest.raises(InvalidField, match="CATEGORY; to predict a number"):
        found(colours([0, 1]))
    with pytest.raises(InvalidField, match="TEXT; classes need"):
        found(table_of(["a", "b"], Column.TEXT), classes=True)
    with pytest.raises(InvalidField, match="the model predicts numbers"):
        Target((TargetColumn("y", Column.NUMBER),)).encode(colours([0, 1]))
    with pytest.raises(InvalidField, match="has 1 infinite numbers, the first in row 2"):
        found(table_of([1.0, np.inf], Column.NUMBER)).encode(table_of([1.0, np.inf], Column.NUMBER))


def test_missing_targets_are_counted_and_the_cure_is_named():
    table = table_of([1.0, np.nan, np.nan], Column.NUMBER, missing=np.array([False, True, True]))
    target = found(table)
    with pytest.raises(InvalidField, match=r'"y" is missing in 2 rows.*preprocess\.target\.missing to DROP_ROW'):
        target.encode(table)
    assert target.encode(table, np.array([0])).tolist() == [[1]]
    assert target.missing(table).tolist() == [False, True, True]
