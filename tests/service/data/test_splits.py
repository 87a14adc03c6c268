"""Which rows are held out: seeded, stratified, never all of a class, by a column, by time."""

import numpy as np
import pytest

from service.data.splits import split_rows
from service.data.table import Table, TableColumn
from service.errors import InvalidField
from tests.service.data.csvs import Column
from traind.v1.splits_pb2 import HoldOut, NoSplit, Split, SplitByColumn, SplitByTime


def hold_out(**fields):
    return Split(hold_out=HoldOut(**fields))


def drawn(rows, how, labels=None, seed=7, table=None):
    labels = None if labels is None else np.asarray(labels, np.int64)
    return split_rows(table or Table({}, rows), np.arange(rows), how, labels, seed)


def split(rows, how, labels=None, seed=7, table=None):
    train, held = drawn(rows, how, labels, seed, table)
    assert train.dtype == held.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    assert sorted([*train, *held]) == list(range(rows))
    return train, held


def test_none_holds_nothing_out():
    train, held = split(10, Split(none=NoSplit()))
    assert (len(train), len(held)) == (10, 0)


@pytest.mark.parametrize(
    ("rows", "fraction", "expected"), [(100, 0.2, 20), (7, 0.5, 4), (2, 0.001, 1), (2, 0.999, 1), (101, 0.25, 25)]
)
def test_the_fraction_is_rounded_and_leaves_a_row_on_either_side(rows, fraction, expected):
    assert len(split(rows, hold_out(fraction=fraction))[1]) == expected


def test_a_fifth_is_the_default():
    assert len(split(50, hold_out())[1]) == 10


def test_the_same_seed_gives_the_same_rows_on_every_machine():
    assert split(20, hold_out(), seed=3)[1].tolist() == [0, 4, 7, 9]
    assert split(20, hold_out(), seed=4)[1].tolist() != [0, 4, 7, 9]


def test_every_row_is_held_out_about_as_often():
    counts = np.zeros(40)
    for seed in range(2000):
        counts[drawn(40, hold_out(fraction=0.25), seed=seed)[1]] += 1
    # 500 expected, standard deviation 19.4.
    assert counts.min() > 410
    assert counts.max() < 590


def test_classes_keep_their_shares():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    np.random.default_rng(1).shuffle(labels)
    train, held = split(1000, hold_out(fraction=0.2), labels)
    assert np.bincount(labels[held]).tolist() == [140, 40, 20]
    assert np.bincount(labels[train]).tolist() == [560, 160, 80]


def test_shares_that_are_no_whole_numbers_add_up():
    labels = np.repeat([0, 1, 2], [5, 5, 5])
    _, held = split(15, hold_out(fraction=0.2), labels)
    assert np.bincount(labels[held], minlength=3).tolist() == [1, 1, 1]
    labels = np.repeat([0, 1, 2], [4, 4, 3])
    _, held = split(11, hold_out(fraction=0.2), labels)
    # Shares 0.73, 0.73 and 0.55 of 2 rows.
    assert np.bincount(labels[held], minlength=3).tolist() == [1, 1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_every_class_keeps_a_training_row(seed):
    labels = np.concatenate([np.zeros(30, int), [1], [2, 2]])
    train, held = split(33, hold_out(fraction=0.9), labels, seed=seed)
    assert set(labels[train]) == {0, 1, 2}
    # Shares 27.3, 0.9 and 1.8 of 30 rows; the single row of class 1 and the last of class 2 stay.
    assert np.bincount(labels[held]).tolist() == [28, 0, 1]


def test_without_stratify_the_classes_do_not_matter():
    labels = np.arange(20) % 2
    with_classes = split(20, hold_out(stratify=False), labels)
    np.testing.assert_array_equal(with_classes[1], split(20, hold_out())[1])


@pytest.mark.parametrize(
    ("rows", "how", "labels", "field"),
    [
        (1, hold_out(), None, "job.train.split"),
        (3, hold_out(), [0, 1, 2], "job.train.split"),
        (9, hold_out(stratify=True), None, "job.train.split.hold_out.stratify"),
    ],
)
def test_what_cannot_be_split_is_refused(rows, how, labels, field):
    with pytest.raises(InvalidField) as caught:
        split(rows, how, labels)
    assert caught.value.metadata["field"] == field


def test_rows_that_are_left_out_are_on_neither_side():
    usable = np.array([1, 4, 5, 8, 9])
    train, held = split_rows(Table({}, 10), usable, hold_out(fraction=0.4), None, 7)
    assert len(held) == 2
    assert sorted([*train, *held]) == usable.tolist()


def one(kind, values, missing=None, categories=()):
    column = TableColumn("c", kind, np.asarray(values), missing, categories)
    return Table({"c": column}, len(values))


def by_column(*held_out):
    return Split(column=SplitByColumn(column="c", held_out=held_out))


def by_time(**fields):
    return Split(time=SplitByTime(column="c", **fields))


PARTS = one(Column.CATEGORY, np.array([0, 1, 2, 1, -1], np.int32), np.arange(5) == 4, ("test", "train", "val"))


@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        (PARTS, ["val"], [2]),
        (PARTS, ["val", "test"], [0, 2]),
        (one(Column.BOOLEAN, [True, False, True, False, False]), ["true"], [0, 2]),
        (one(Column.INTEGER, [7, -1, 8, 7, 7]), ["-1", "8"], [1, 2]),
        # Where a value is missing something stands in its place, which is no value of the row.
        (one(Column.INTEGER, [0, 0, 1, 1, 1], np.arange(5) == 0), ["0"], [1]),
        (one(Column.BOOLEAN, [False, False, True, True, True], np.arange(5) == 0), ["false"], [1]),
    ],
)
def test_rows_with_the_values_named_are_held_out(table, values, expected):
    assert split(5, by_column(*values), table=table)[1].tolist() == expected


@pytest.mark.parametrize(
    ("kind", "values", "fraction", "expected"),
    [
        (Column.INTEGER, [5, 1, 4, 2, 3], 0.4, [0, 2]),
        (Column.NUMBER, [0.5, 0.1, 0.4, 0.2, 0.3], 0.2, [0]),
        (Column.TIMESTAMP, np.array(["2024-03-01", "2023-01-01", "2024-02-29"], "datetime64[us]"), 0.3, [0]),
        # The border falls among the rows of time 3: all of them are trained with.
        (Column.INTEGER, [1, 3, 3, 3, 9], 0.4, [4]),
        (Column.INTEGER, [1, 2, 3, 3, 9], 0.6, [2, 3, 4]),
    ],
)
def test_the_newest_rows_are_held_out_and_those_of_one_time_stay_together(kind, values, fraction, expected):
    assert split(len(values), by_time(fraction=fraction), table=one(kind, values))[1].tolist() == expected


def test_a_fifth_of_the_newest_rows_is_the_default():
    assert split(50, by_time(), table=one(Column.INTEGER, np.arange(50)[::-1].copy()))[1].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("table", "how", "field", "text"),
    [
        (PARTS, by_column("vall"), "column.held_out[0]", '"vall" stands in no row .* "test", "train", "val"'),
        (PARTS.columns["c"], by_column("train", "x"), "column.held_out[1]", '"x"'),
        (one(Column.INTEGER, [1, 1]), by_column("1"), "column.held_out", "every row"),
        (one(Column.INTEGER, [1, 1]), by_column("1.0"), "column.held_out[0]", '"1.0" stands in no row'),
        (one(Column.NUMBER, [1.0, 2.0]), by_column("1"), "column.column", "is NUMBER"),
        (one(Column.CATEGORY, np.array([0, 0], np.int32), None, ("a",)), by_time(), "time.column", "is CATEGORY"),
        (one(Column.INTEGER, [0, 1, 2], np.arange(3) == 0), by_time(), "time.column", "missing in 1 rows"),
        (one(Column.INTEGER, [1, 2, 2, 2]), by_time(fraction=0.4), "time.fraction", "all have one time"),
        (one(Column.INTEGER, [1]), by_time(), "", "1 rows cannot be split"),
    ],
)
def test_splits_that_hold_nothing_out_or_everything_are_refused(table, how, field, text):
    table = table if isinstance(table, Table) else Table({"c": table}, len(table.values))
    with pytest.raises(InvalidField, match=text) as caught:
        split(table.row_count, how, table=table)
    assert caught.value.metadata["field"] == f"job.train.split.{field}".rstrip(".")


@pytest.mark.parametrize("how", [by_column("0"), by_time(fraction=0.3), hold_out(fraction=0.3)])
def test_columns_that_are_not_asked_do_not_move_the_split(how):
    """What stands in other columns decides nothing."""
    c = TableColumn("c", Column.INTEGER, np.arange(20) % 7)
    tables = [Table({"c": c, "x": TableColumn("x", Column.NUMBER, np.full(20, value))}, 20) for value in (1.0, 2.0)]
    first, second = (split(20, how, table=table) for table in tables)
    np.testing.assert_array_equal(first[1], second[1])
