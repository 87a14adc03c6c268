"""Metric points: the values of named series over a job's epochs. NULL stands for NaN."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Executable,
    Integer,
    Select,
    delete,
    func,
    literal,
    select,
    union,
)
from sqlalchemy import insert as insert_into
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.insertion import BulkInsert
from service.store.records import SeriesRow
from service.store.tables import metric, series

# Only cross-validation has more than one.
ONLY_FOLD = 0

_SERIES = Fixed(select(series.c.name, series.c.split, series.c.id).where(series.c.job_id == given("job")))
# With the series named, a range of the key for each: else SQLite would read the job's whole history.
_AT_STEPS = Fixed(
    select(metric.c.series_id, metric.c.step, metric.c.value)
    .where(
        metric.c.job_id == given("job"),
        metric.c.series_id.in_(select(series.c.id).where(series.c.job_id == given("job"))),
        metric.c.step.between(given("first"), given("last")),
    )
    .order_by(metric.c.step)
)
_COUNT = Fixed(select(func.count()).select_from(metric).where(metric.c.job_id == given("job")))
_DELETE_AFTER = Fixed(
    delete(metric).where(
        metric.c.job_id == given("job"),
        metric.c.series_id.in_(select(series.c.id).where(series.c.job_id == given("job"))),
        metric.c.step > given("last"),
    )
)
_INSERT = BulkInsert(metric, same=("job_id",), each=("series_id", "step", "value"))


def insert(connection: Connection, job_id: str, rows: Sequence[tuple[str, str, int, float]]) -> None:
    """Store points, each as (name, split, step, value), making series that are new.

    The transaction must have updated the job's row before, so that two cannot make the same series at once. Values
    come back as they were, but for -0.0, of which SQLite keeps no sign.
    """
    if not rows:
        return
    ids = _series_ids(connection, job_id, {(name, split) for name, split, _, _ in rows})
    points = [(ids[name, split], step, None if math.isnan(value) else value) for name, split, step, value in rows]
    _INSERT(connection, points, job_id=job_id)


def history(connection: Connection, job_id: str, max_points: int = 0) -> list[SeriesRow]:
    """All points, series by name, steps ascending; with `max_points` at most so many of each series.

    Then the first and the last point stay, and of each of `max_points / 2 - 1` stretches between them the smallest
    and the largest, where NaN counts as larger than everything, so that what is not finite shows.
    """
    named = select(series.c.id, series.c.name, series.c.split).where(series.c.job_id == job_id)
    found = {row.id: SeriesRow(row.name, row.split, [], []) for row in connection.execute(named)}
    if max_points:
        for series_id, row in found.items():
            _fill(row, _thinned(connection, job_id, series_id, max_points))
    else:
        points = select(metric.c.series_id, metric.c.step, metric.c.value).where(metric.c.job_id == job_id)
        by_series = groupby(connection.execute(points.order_by(metric.c.series_id, metric.c.step)), itemgetter(0))
        for series_id, rows in by_series:
            _fill(found[series_id], (row[1:] for row in rows))
    return sorted(found.values(), key=lambda row: (row.name, row.split))


def count(connection: Connection, job_id: str) -> int:
    """How many points there are."""
    points: int = _COUNT(connection, job=job_id).scalar_one()
    return points


def at_steps(connection: Connection, job_id: str, first: int, last: int) -> dict[int, dict[str, float]]:
    """The figures by name of each step from `first` to `last` that has any: for epoch events."""
    found = between(connection, job_id, first, last)
    return {step: {name: value for (name, _), value in figures.items()} for step, figures in found.items()}


def between(connection: Connection, job_id: str, first: int, last: int) -> dict[int, dict[tuple[str, str], float]]:
    """The figures by (name, split) of each step from `first` to `last` that has any."""
    named = {series_id: (name, split) for name, split, series_id in _SERIES(connection, job=job_id)}
    found: dict[int, dict[tuple[str, str], float]] = {}
    for series_id, step, value in _AT_STEPS(connection, job=job_id, first=first, last=last):
        found.setdefault(step, {})[named[series_id]] = math.nan if value is None else value
    return found


def delete_after(connection: Connection, job_id: str, last: int) -> None:
    """Forget the points of all steps after one."""
    _DELETE_AFTER(connection, job=job_id, last=last)


def _fill(row: SeriesRow, points: Iterable[tuple[int, float | None]]) -> None:
    for step, value in points:
        row.steps.append(step)
        row.values.append(math.nan if value is None else value)


def _series_ids(connection: Connection, job_id: str, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    ids = {(name, split): series_id for name, split, series_id in _SERIES(connection, job=job_id)}
    new = sorted(set(wanted) - set(ids))
    if new:
        numbered = dict(zip(new, range(max(ids.values(), default=0) + 1, 1 << 31), strict=False))
        rows = [{"id": number, "name": name, "split": split} for (name, split), number in numbered.items()]
        connection.execute(insert_into(series).values(job_id=job_id, fold=ONLY_FOLD), rows)
        ids |= numbered
    return ids


def _thinned(connection: Connection, job_id: str, series_id: int, max_points: int) -> Iterable[Any]:
    """The points that a curve of at most `max_points` needs, (step, value) each, chosen by the database."""
    mine = (metric.c.job_id == job_id) & (metric.c.series_id == series_id)
    points = select(metric.c.step, metric.c.value)
    spanned = select(func.count(), func.min(metric.c.step), func.max(metric.c.step)).where(mine)
    total, first, last = connection.execute(spanned).one()
    stretches = max_points // 2 - 1
    if total <= max_points:
        chosen: Executable = points.where(mine).order_by(metric.c.step)
    elif stretches < 1:
        ends = (last,) if max_points == 1 else (first, last)
        chosen = points.where(mine, metric.c.step.in_(ends)).order_by(metric.c.step)
    else:
        between = mine & (metric.c.step > first) & (metric.c.step < last)
        # Whole numbers of 64 bits, for a step times the stretches may pass 32.
        stretch = (metric.c.step - (first + 1)) * literal(stretches, BigInteger) // (last - first - 1)
        extremes = _extremes_of(connection.dialect.name, between, stretch)
        chosen = union(points.where(mine, metric.c.step.in_((first, last))), *extremes).order_by("step")
    return connection.execute(chosen)


def _extremes_of(dialect: str, between: ColumnElement[bool], stretch: ColumnElement[int]) -> list[Select[Any]]:
    """Two queries: the smallest and the largest point of each stretch, NaN above everything.

    Each database has a way that reads the points once; the portable ones, by windows or a join, cost 3 times as much.
    """
    step, value = metric.c.step, metric.c.value
    if dialect == "sqlite":
        # Beside one min() or max() SQLite answers the other columns of the row that has it.
        orderly = func.coalesce(value, literal(math.inf))
        queries = [select(step, value, extreme(orderly)).where(between) for extreme in (func.min, func.max)]
        return [select(*query.group_by(stretch).subquery().c[:2]) for query in queries]
    # PostgreSQL sorts NULL above everything.
    orders = ((value.asc(), step.asc()), (value.desc(), step.asc()))
    return [
        select(
            func.array_agg(aggregate_order_by(step, *order), type_=ARRAY(Integer))[1].label("step"),
            func.array_agg(aggregate_order_by(value, *order), type_=ARRAY(Double))[1].label("value"),
        )
        .where(between)
        .group_by(stretch)
        for order in orders
    ]
