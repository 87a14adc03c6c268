"""Metric points: what comes back is what was stored, NaN and infinities too; long curves are thinned."""

import math
import random
import struct

import pytest

from service.store import metrics
from service.store.records import SeriesRow, decode_figures, encode_figures
from tests.service.store.rows import make_queue, only


@pytest.fixture
def job(database):
    _, (made,) = make_queue(database)
    return made


def store(database, job, *points):
    with database.write() as connection:
        metrics.insert(connection, job.id, points)


def read(database, job, max_points=0):
    with database.read() as connection:
        return metrics.history(connection, job.id, max_points)


def bits(values):
    return [struct.pack("<d", value) for value in values]


def test_series_come_back_by_name_with_their_steps(database, job):
    store(database, job, ("val_loss", "val", 1, 0.5), ("train_loss", "train", 1, 0.25))
    store(database, job, ("train_loss", "train", 2, 0.125), ("mae", "val", 2, 3.0))
    assert read(database, job) == [
        SeriesRow("mae", "val", [2], [3.0]),
        SeriesRow("train_loss", "train", [1, 2], [0.25, 0.125]),
        SeriesRow("val_loss", "val", [1], [0.5]),
    ]


def test_every_double_survives(database, job):
    # Not -0.0, which SQLite keeps as a whole number, 0.
    values = [math.nan, math.inf, -math.inf, 0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3, -1e-300]
    store(database, job, *(("train_loss", "train", step, value) for step, value in enumerate(values, 1)))
    (series,) = read(database, job)
    assert math.isnan(series.values[0])
    assert bits(series.values[1:]) == bits(values[1:])
    with database.read() as connection:
        at = metrics.at_steps(connection, job.id, 1, 3)
    assert math.isnan(at[1]["train_loss"])
    assert (at[2], at[3]) == ({"train_loss": math.inf}, {"train_loss": -math.inf})


def test_no_points_are_nothing(database, job):
    store(database, job)
    assert read(database, job) == []
    assert read(database, job, 10) == []


def test_a_point_is_stored_once(database, job):
    import sqlalchemy

    store(database, job, ("train_loss", "train", 1, 0.5))
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        store(database, job, ("train_loss", "train", 1, 0.5))


def test_figures_of_steps_are_told_by_name(database, job):
    points = [(name, "train", step, step / 8) for step in range(1, 6) for name in ("train_loss", "mae")]
    store(database, job, *points)
    with database.read() as connection:
        assert metrics.at_steps(connection, job.id, 2, 3) == {
            2: {"train_loss": 0.25, "mae": 0.25},
            3: {"train_loss": 0.375, "mae": 0.375},
        }
        assert metrics.at_steps(connection, job.id, 6, 9) == {}
        assert metrics.at_steps(connection, "nothing", 1, 9) == {}


@only("sqlite")
def test_figures_of_steps_are_read_by_the_key(database):
    """However long the history is: SQLite would otherwise read all of it for each event that is watched."""
    statement = metrics._AT_STEPS
    with database.read() as connection:
        statement(connection, job="x", first=1, last=2)
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement._by_dialect['sqlite'].sql}", ("x", "x", 1, 2)
        ).all()
    assert any("job_id=? AND series_id=? AND step>? AND step<?" in row[3] for row in plan), plan


def thin(values, max_points):
    """What a thinned curve is, told in Python: the ends, and the extremes of stretches between them."""
    steps = range(1, len(values) + 1)
    points = list(zip(steps, values, strict=True))
    if len(points) <= max_points:
        return set(points), set(points)
    stretches = max_points // 2 - 1
    must, may = {points[0], points[-1]}, {points[0], points[-1]}
    for number in range(stretches):
        here = [p for p in points[1:-1] if (p[0] - 2) * stretches // (len(points) - 2) == number]

        def order(point):
            return math.inf if math.isnan(point[1]) else point[1]

        low, high = min(map(order, here)), max(map(order, here))
        may |= {point for point in here if order(point) in (low, high)}
        must |= {(number, low), (number, high)}
    return must, may


@pytest.mark.parametrize("max_points", [4, 5, 6, 11, 50, 199, 200, 201])
def test_a_thinned_curve_keeps_ends_and_extremes(database, job, max_points):
    random.seed(max_points)
    values = [random.choice([random.random(), 0.5]) for _ in range(200)]
    store(database, job, *(("train_loss", "train", step, value) for step, value in enumerate(values, 1)))
    store(database, job, *(("val_loss", "val", step, -value) for step, value in enumerate(values[:9], 1)))
    curve, short = read(database, job, max_points)
    _, may = thin(values, max_points)
    points = list(zip(curve.steps, curve.values, strict=True))
    assert len(points) <= max_points
    assert points == sorted(set(points))
    assert set(points) <= may
    assert points[0] == (1, values[0])
    assert points[-1] == (200, values[-1])
    stretches = max_points // 2 - 1
    if len(values) > max_points:
        for number in range(stretches):
            here = [v for s, v in enumerate(values[1:-1], 2) if (s - 2) * stretches // 198 == number]
            kept = [v for s, v in points[1:-1] if (s - 2) * stretches // 198 == number]
            assert (min(kept), max(kept)) == (min(here), max(here))
    assert len(short.steps) <= min(max_points, 9)
    assert short.values == [-values[step - 1] for step in short.steps]


def test_what_is_not_finite_stays_on_a_thinned_curve(database, job):
    values = [1.0] * 50 + [math.inf] + [1.0] * 50 + [math.nan] + [1.0] * 50 + [-math.inf] + [1.0] * 47
    store(database, job, *(("train_loss", "train", step, value) for step, value in enumerate(values, 1)))
    (curve,) = read(database, job, 20)
    found = dict(zip(curve.steps, curve.values, strict=True))
    assert found[51] == math.inf
    assert math.isnan(found[102])
    assert found[153] == -math.inf
    assert len(curve.steps) <= 20


def test_a_curve_that_is_nan_all_over_is_thinned_too(database, job):
    store(database, job, *(("train_loss", "train", step, math.nan) for step in range(1, 101)))
    (curve,) = read(database, job, 10)
    assert (curve.steps[0], curve.steps[-1]) == (1, 100)
    assert 2 <= len(curve.steps) <= 10
    assert all(map(math.isnan, curve.values))


@pytest.mark.parametrize(("max_points", "steps"), [(1, [30]), (2, [1, 30]), (3, [1, 30])])
def test_with_no_room_the_ends_stay(database, job, max_points, steps):
    store(database, job, *(("train_loss", "train", step, float(step)) for step in range(1, 31)))
    (curve,) = read(database, job, max_points)
    assert curve.steps == steps


def test_many_stretches_of_late_steps_do_not_overflow(database, job):
    late = 2_000_000_000
    store(database, job, *(("train_loss", "train", late + step * 1000, float(step % 7)) for step in range(3000)))
    (curve,) = read(database, job, 2000)
    assert 1000 <= len(curve.steps) <= 2000
    assert (curve.steps[0], curve.steps[-1]) == (late, late + 2999 * 1000)


def test_figures_as_json_keep_what_is_not_finite():
    figures = {"train_loss": math.nan, "val_loss": math.inf, "mae": -math.inf, "r2": 0.1}
    text = encode_figures(figures)
    assert text == '{"train_loss": "NaN", "val_loss": "Infinity", "mae": "-Infinity", "r2": 0.1}'
    back = decode_figures(text)
    assert math.isnan(back.pop("train_loss"))
    assert back == {"val_loss": math.inf, "mae": -math.inf, "r2": 0.1}
