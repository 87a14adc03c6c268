"""Which rows are held out: seeded, stratified, never all of a class."""

import numpy as np
import pytest

from service.data.splits import split_rows
from service.errors import InvalidField
from traind.v1.splits_pb2 import HoldOut, NoSplit, Split


def hold_out(**fields):
    return Split(hold_out=HoldOut(**fields))


def split(rows, how, labels=None, seed=7):
    train, held = split_rows(rows, how, None if labels is None else np.asarray(labels, np.int64), seed)
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
        counts[split_rows(40, hold_out(fraction=0.25), None, seed)[1]] += 1
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
