"""What `traind data profile` prints: a data set by figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from traind.cli.session import show_table
from traind.display import cut, sparkline
from traind.profiles import type_name

if TYPE_CHECKING:
    from traind.profiles import Profile
    from traind.v1 import profiles_pb2

# Pairs of columns whose correlation is told.
PAIRS = 5
WEAK = 0.5
CELL = 40


def show_profile(profile: Profile) -> None:
    """Every column, the strongest correlations, and what a person should know."""
    click.echo(
        f"{profile.message.dataset}: {profile.row_count} rows, {profile.duplicate_row_count} stand twice or more"
    )
    click.echo()
    columns = profile.message.columns
    every = [(c.name, type_name(c), str(c.missing_count or ""), str(c.distinct_count), _summary(c)) for c in columns]
    show_table(("COLUMN", "TYPE", "MISSING", "DISTINCT", "VALUES"), every)
    numbers = [(column.name, column.numbers) for column in columns if column.WhichOneof("figures") == "numbers"]
    if numbers:
        click.echo()
        header = ("NUMBERS", "MIN", "MEDIAN", "MAX", "MEAN", "STD", "SKEWNESS", "SPREAD")
        show_table(header, [(name, *_number_cells(figures)) for name, figures in numbers])
    pairs = _strongest(profile)
    if pairs:
        click.echo()
        show_table(("CORRELATED", "WITH", "R"), [(one, other, f"{r:+.3f}") for r, one, other in pairs])
    if profile.findings:
        click.echo()
        show_table(
            ("FINDING", "WHAT IT MEANS"), [(finding.code, finding.message) for finding in profile.findings], whole=True
        )


def _summary(column: profiles_pb2.ColumnProfile) -> str:
    """The most frequent values, or the span of times, or how long texts are."""
    match column.WhichOneof("figures"):
        case "times":
            return " to ".join(time.removesuffix("T00:00:00Z") for time in (column.times.first, column.times.last))
        case "texts" if not column.top_values:
            return f"{column.texts.min_length} to {column.texts.max_length} characters"
        case "numbers" if not column.top_values:
            return f"{_amount(column.numbers.min)} to {_amount(column.numbers.max)}"
        case _:
            return ", ".join(f"{cut(top.value, CELL)} {top.count}" for top in column.top_values[:3])


def _number_cells(numbers: profiles_pb2.NumberFigures) -> tuple[str, ...]:
    median = next((quantile.value for quantile in numbers.quantiles if quantile.share == 0.5), float("nan"))
    told = (numbers.min, median, numbers.max, numbers.mean, numbers.std, round(numbers.skewness, 4))
    return (*map(_amount, told), sparkline(list(numbers.histogram.counts), len(numbers.histogram.counts)))


def _amount(value: float) -> str:
    """Whole numbers as they are, others with six digits: figures of a column are compared with its values."""
    return str(int(value)) if abs(value) < 1e9 and value == int(value) else f"{value:.6g}"


def _strongest(profile: Profile) -> list[tuple[float, str, str]]:
    """The pairs of columns that go together most, the strongest first."""
    names, values = list(profile.message.correlation.columns), profile.message.correlation.values.values
    width = len(names)
    pairs = [(values[i * width + j], names[i], names[j]) for i in range(width) for j in range(i)]
    strong = [pair for pair in pairs if abs(pair[0]) >= WEAK]  # NaN is none
    return sorted(strong, key=lambda pair: -abs(pair[0]))[:PAIRS]
