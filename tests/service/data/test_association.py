"""How exactly one column tells another, beside scipy and plain counting."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from service.data.association import association
from service.data.table import TableColumn
from traind.v1 import tables_pb2

Column = tables_pb2.Column
RNG = np.random.default_rng(3)
ROWS = 400


def numbers(values, missing=None):
    return TableColumn("x", Column.NUMBER, np.asarray(values, dtype=float), missing)


def categories(codes):
    codes = np.asarray(codes, dtype=np.int32)
    return TableColumn("c", Column.CATEGORY, codes, codes == -1, tuple(f"k{i}" for i in range(codes.max() + 1)))


def test_a_renamed_class_tells_it_exactly_and_chance_does_not():
    target = categories(RNG.integers(0, 3, ROWS))
    assert association(categories(2 - target.values), target, classes=True) == 1
    assert association(categories(RNG.integers(0, 3, ROWS)), target, classes=True) < 0.2


def test_the_share_of_spared_errors_is_counted():
    # Of 200 rows 80 are errors of the commonest class; knowing the group spares 60 of them.
    groups = [0] * 100 + [1] * 100
    target = [0] * 100 + [1] * 80 + [0] * 20
    assert association(categories(groups), categories(target), classes=True) == pytest.approx(60 / 80)


def test_where_a_value_is_missing_may_tell_the_class():
    target = categories(RNG.integers(0, 2, ROWS))
    ended = numbers(RNG.normal(size=ROWS), target.values == 0)
    assert association(ended, target, classes=True) == 1
    paid = numbers(np.where(target.values == 1, RNG.random(ROWS) + 1, 0.0))
    assert association(paid, target, classes=True) == 1


def test_a_number_of_its_own_for_each_row_tells_no_class():
    target = categories(RNG.integers(0, 2, ROWS))
    assert association(numbers(RNG.normal(size=ROWS)), target, classes=True) == 0
    assert association(categories(np.arange(ROWS)), target, classes=True) == 0


def test_numbers_by_rank_and_by_group():
    x = RNG.normal(size=ROWS).round(1)
    y = np.exp(x) + RNG.normal(size=ROWS)
    expected = spearmanr(x, y).statistic ** 2
    assert association(numbers(x), numbers(y), classes=False) == pytest.approx(expected, abs=1e-12)
    assert association(numbers(np.exp(x)), numbers(x), classes=False) == pytest.approx(1)
    group = RNG.integers(0, 4, ROWS)
    z = group + 0.5 * RNG.normal(size=ROWS)
    within = sum(((z[group == g] - z[group == g].mean()) ** 2).sum() for g in range(4))
    expected = 1 - within / ((z - z.mean()) ** 2).sum()
    assert association(categories(group), numbers(z), classes=False) == pytest.approx(expected)


def test_rows_without_a_target_do_not_count():
    gone = RNG.random(ROWS) < 0.3
    values = RNG.normal(size=ROWS)
    target = numbers(np.where(gone, np.nan, values), gone)
    assert association(numbers(np.where(gone, 1e9, values)), target, classes=False) == pytest.approx(1)


def test_constants_tell_nothing():
    target = numbers(RNG.normal(size=ROWS))
    assert association(numbers(np.ones(ROWS)), target, classes=False) == pytest.approx(0)
    assert association(numbers(np.ones(ROWS)), categories(np.zeros(ROWS)), classes=True) == 0
