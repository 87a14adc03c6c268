"""Targets: their classes in order, their codes, and what is refused."""

import numpy as np
import pytest

from service.data.table import Table, TableColumn
from service.data.targets import Target, encode, fit_target
from service.errors import DataCorrupt, InvalidField, InvalidTable
from tests.service.data.csvs import Column


def table_of(values, kind, **more):
    return Table({"y": TableColumn("y", kind, np.asarray(values), **more)}, len(values))


def colours(codes, categories=("black", "white")):
    return table_of(np.array(codes, np.int32), Column.CATEGORY, categories=categories)


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
    target = fit_target(table, "y", classes=True)
    assert target == Target("y", table.columns["y"].type, classes)
    encoded = encode(target, table, np.arange(table.row_count))
    assert encoded.dtype == np.int64
    assert encoded.tolist() == codes
    assert encode(target, table, np.array([2, 0])).tolist() == [codes[2], codes[0]]


def test_numbers_stay_numbers():
    table = table_of([6, 7, 8], Column.INTEGER)
    target = fit_target(table, "y", classes=False)
    assert target.classes == ()
    encoded = encode(target, table)
    assert (encoded.dtype, encoded.tolist()) == (np.float64, [6, 7, 8])


def test_json_keeps_the_target():
    for target in (Target("색", Column.CATEGORY, ("검정", "하양")), Target("price", Column.NUMBER)):
        assert Target.from_json(target.to_json()) == target
    with pytest.raises(DataCorrupt):
        Target.from_json('{"name": "x", "type": "NOTHING", "classes": []}')


def test_another_table_has_its_own_dictionary():
    target = fit_target(colours([0, 1]), "y", classes=True)
    other = colours([0, 2, 2], ("aqua", "black", "white"))
    with pytest.raises(InvalidField, match='"aqua" is no category'):
        encode(target, other)
    assert encode(target, other, np.array([1, 2])).tolist() == [1, 1]


def test_a_single_class_cannot_be_learned():
    with pytest.raises(InvalidTable, match='holds only "white"'):
        fit_target(colours([1, 1]), "y", classes=True)
    with pytest.raises(InvalidTable, match="holds no value"):
        fit_target(table_of([0], Column.INTEGER, missing=np.array([True])), "y", classes=True)


def test_types_that_do_not_fit_are_refused():
    with pytest.raises(InvalidField, match="CATEGORY; to predict a number"):
        fit_target(colours([0, 1]), "y", classes=False)
    with pytest.raises(InvalidField, match="TEXT; classes need"):
        fit_target(table_of(["a", "b"], Column.TEXT), "y", classes=True)
    with pytest.raises(InvalidField, match="the model predicts numbers"):
        encode(Target("y", Column.NUMBER), colours([0, 1]))


def test_missing_targets_are_counted():
    table = table_of([1.0, np.nan, np.nan], Column.NUMBER, missing=np.array([False, True, True]))
    target = fit_target(table, "y", classes=False)
    with pytest.raises(InvalidField, match='"y" is missing in 2 rows'):
        encode(target, table)
    assert encode(target, table, np.array([0])).tolist() == [1]
