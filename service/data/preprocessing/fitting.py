"""Fits the steps of each column on the training rows alone, one column in memory at a time."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import numpy.typing as npt

from service.data.preprocessing import dates, power
from service.data.preprocessing.fitted import DatePart, Fitted, FittedColumn
from service.data.preprocessing.rules import Preprocess, Rule, rules_of
from service.data.preprocessing.steps import (
    Clip,
    Code,
    Encoding,
    Fill,
    FillCategory,
    Log1p,
    MinMax,
    Numbers,
    NumberStep,
    OneHot,
    Ordinal,
    Robust,
    Standard,
    YeoJohnson,
    apply_step,
)
from service.data.table import NUMERIC, Table, TableColumn, labels_of, numbers_of
from service.errors import InvalidTable, invalid, shown
from traind.v1 import preprocess_pb2, tables_pb2

Column = tables_pb2.Column
Impute = preprocess_pb2.Impute
Rows = npt.NDArray[np.int64]

INPUTS = "job.train.inputs"
DEFAULT_QUANTILE = 0.01
DEFAULT_TEXT = "missing"
WIDEST_VECTOR = 50  # of an embedding whose width is not given


def fit(table: Table, inputs: Sequence[str], preprocess: Preprocess, rows: Rows) -> Fitted:
    """Fit the steps of each input on `rows` alone.

    Raises InvalidField for a missing value that nothing stands for, an infinite number and a column of another kind
    than its steps, InvalidTable where numbers are too large to scale.
    """
    rules = rules_of(preprocess)
    return Fitted(tuple(_fit_column(table.column(name), rules.of(name), rows) for name in inputs))


def fit_numbers(
    name: str,
    values: Numbers,
    transform: "Preprocess.Transform.ValueType",
    scale: "Preprocess.Scale.ValueType",
    path: str,
) -> tuple[NumberStep, ...]:
    """Transform and scale of complete finite numbers [rows], fitted on all of them."""
    steps = list(_fit_transform(name, values, transform, path))
    for step in steps:
        values = apply_step(step, values)
    return (*steps, *_fit_scale(name, values, scale))


def _fit_column(column: TableColumn, rule: Rule, rows: Rows) -> FittedColumn:
    if column.type in NUMERIC:
        refuse_infinite(column, INPUTS)
    chosen = column.take(rows)
    _refuse_missing(chosen, rule, len(rows))
    fitted = FittedColumn(
        column.name,
        column.type,
        indicator=rule.fills and rule.group.impute.indicator,
        drops=rule.drops,
        takes_unseen=rule.takes_unseen,
    )
    match column.type:
        case Column.INTEGER | Column.NUMBER:
            return _with(fitted, steps=_fit_steps(column.name, numbers_of(chosen), rule))
        case Column.CATEGORY | Column.BOOLEAN:
            return _with(fitted, steps=_fit_categories(chosen, rule))
        case Column.TIMESTAMP if rule.group.date_parts:
            parts = [_fit_part(chosen, part, rule) for part in rule.group.date_parts]
            return _with(fitted, parts=tuple(parts))
        case _:
            kind = Column.Type.Name(column.type)
            cure = "name its parts with preprocess.groups[].date_parts, or " if column.type == Column.TIMESTAMP else ""
            raise invalid(
                INPUTS, f"column {shown(column.name)} is {kind} and cannot be learned from; {cure}leave it out"
            )


def _with(fitted: FittedColumn, **parts: object) -> FittedColumn:
    return FittedColumn(**{**fitted.__dict__, **parts})


def refuse_infinite(column: TableColumn, path: str) -> None:
    """Raise InvalidField for infinite numbers, telling how many there are and the first row."""
    infinite = np.flatnonzero(np.isinf(column.values))
    if infinite.size:
        raise invalid(
            path,
            f"column {shown(column.name)} has {infinite.size} infinite numbers, the first in row "
            f"{int(infinite[0]) + 1}; numbers must be finite: correct these rows or leave the column out",
        )


def _refuse_missing(chosen: TableColumn, rule: Rule, rows: int) -> None:
    gone = chosen.missing_count
    if gone and not rule.fills:
        raise invalid(
            INPUTS,
            f"column {shown(chosen.name)} is missing in {gone} rows, allowed are 0; say by preprocess.groups[].impute "
            "what stands for missing values, or leave the column out",
        )
    if gone == rows and rows and rule.group.impute.how != Impute.CONSTANT:
        raise invalid(
            f"{rule.path}.impute",
            f"column {shown(chosen.name)} has no value in any training row to take a figure of; "
            "use how CONSTANT, or leave the column out",
        )


def _fit_part(chosen: TableColumn, part: "preprocess_pb2.ColumnGroup.DatePart.ValueType", rule: Rule) -> DatePart:
    name = preprocess_pb2.ColumnGroup.DatePart.Name(part)
    numbers = dates.part_of(name, chosen.values)
    return DatePart(name, _fit_steps(f"{chosen.name}.{name}", numbers, rule))


def _fit_steps(name: str, values: Numbers, rule: Rule) -> tuple[NumberStep, ...]:
    """The steps of numbers [rows], NaN where they are missing."""
    steps: list[NumberStep] = []
    if rule.fills:
        steps.append(_fit_fill(name, values, rule.group.impute))
        values = apply_step(steps[-1], values)
    if rule.group.HasField("clip") and values.size:
        steps.append(_fit_clip(values, rule.group.clip))
        values = apply_step(steps[-1], values)
    path = f"{rule.path}.transform"
    return (*steps, *fit_numbers(name, values, rule.group.transform, rule.scale, path))


def _fit_fill(name: str, values: Numbers, impute: Impute) -> Fill:
    present = values[~np.isnan(values)]
    match impute.how:
        case Impute.CONSTANT:
            return Fill(impute.number)
        case Impute.MEAN:
            with np.errstate(over="ignore"):
                mean = float(present.mean())
            _refuse_too_large(name, present, mean)
            return Fill(mean)
        case Impute.MOST_FREQUENT:
            different, counts = np.unique(present, return_counts=True)
            return Fill(float(different[counts.argmax()]))
        case _:
            return Fill(_quantile(present, 0.5))


def _fit_clip(values: Numbers, clip: preprocess_pb2.Clip) -> Clip:
    low = clip.low if clip.HasField("low") else None
    high = clip.high if clip.HasField("high") else None
    if clip.HasField("quantile") or (low is None and high is None):
        share = clip.quantile if clip.HasField("quantile") else DEFAULT_QUANTILE
        low = _quantile(values, share) if low is None else low
        high = _quantile(values, 1 - share) if high is None else high
    return Clip(low, high)


def _fit_transform(
    name: str, values: Numbers, transform: "Preprocess.Transform.ValueType", path: str
) -> tuple[NumberStep, ...]:
    match transform:
        case Preprocess.LOG1P:
            if values.size and values.min() <= -1:
                raise invalid(
                    path,
                    f"column {shown(name)} holds {values.min():g}, and ln(1 + x) needs numbers above -1; use "
                    "YEO_JOHNSON, or clip the column",
                )
            return (Log1p(),)
        case Preprocess.YEO_JOHNSON:
            # Numbers that are all equal are likeliest under no exponent; 1 leaves them as they are.
            constant = not values.size or values.min() == values.max()
            return (YeoJohnson(1.0 if constant else power.fit_exponent(values)),)
        case _:  # IDENTITY
            return ()


def _fit_scale(name: str, values: Numbers, scale: "Preprocess.Scale.ValueType") -> tuple[NumberStep, ...]:
    if not values.size:
        return ()
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = float(values.min()), float(values.max())
        _refuse_too_large(name, values, 0.0 if scale == Preprocess.NONE else high - low)
        match scale:
            case Preprocess.NONE:
                return ()
            case Preprocess.MIN_MAX:
                return (MinMax(low, high),)
            case Preprocess.ROBUST:
                if low == high:
                    return (Robust(low, low, low),)
                return (Robust(_quantile(values, 0.5), _quantile(values, 0.25), _quantile(values, 0.75)),)
            case _:  # STANDARD
                mean = float(values.mean())
                # Rounding can give a constant column a spread around its mean, so its extremes decide.
                std = float(values.std()) if high > low else 0.0
                _refuse_too_large(name, values, mean, std)
                return (Standard(mean, std),)


def _refuse_too_large(name: str, values: Numbers, *figures: float) -> None:
    if not np.isfinite(figures).all():
        largest = float(np.abs(values).max())
        raise InvalidTable(
            f"column {shown(name)} holds numbers as large as {largest:g}, which cannot be scaled in 64 bits; divide it"
        )


def _quantile(values: Numbers, share: float) -> float:
    """The quantile, linear between two values; the difference of two finite numbers may overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(np.quantile(values, share))
    return found if np.isfinite(found) else float(np.quantile(values, share, method="lower"))


def _fit_categories(chosen: TableColumn, rule: Rule) -> tuple[FillCategory | Encoding, ...]:
    labels = labels_of(chosen)
    counts = np.bincount(chosen.values[chosen.present].astype(np.int64), minlength=len(labels))
    seen = {label: int(count) for label, count in zip(labels, counts, strict=True) if count}
    fill: tuple[FillCategory, ...] = ()
    if rule.fills:
        fill = (FillCategory(_fill_text(seen, rule.group.impute)),)
        if chosen.missing_count:
            seen.setdefault(fill[0].text, 0)
    return (*fill, _encoding(tuple(sorted(seen)), rule.group))


def _fill_text(seen: dict[str, int], impute: Impute) -> str:
    if impute.how == Impute.CONSTANT:
        return impute.text if impute.HasField("text") else DEFAULT_TEXT
    # The smallest of several that are equally frequent; none where there is no row at all.
    return min(seen, key=lambda label: (-seen[label], label), default=DEFAULT_TEXT)


def _encoding(categories: tuple[str, ...], group: preprocess_pb2.ColumnGroup) -> Encoding:
    kind = group.encode.WhichOneof("kind")
    match kind:
        case "one_hot" | None:
            return OneHot(categories)
        case "ordinal":
            return Ordinal(categories)
        case "embedding":
            given = group.encode.embedding
            width = given.width if given.HasField("width") else min(WIDEST_VECTOR, (len(categories) + 1) // 2)
            return Code(categories, max(width, 1))
        case _:
            assert_never(kind)
