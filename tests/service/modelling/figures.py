"""Profiles for the tests of proposals: figures of small tables by their plain definitions."""

import math
from collections import Counter

import numpy as np

from traind.v1 import profiles_pb2, tables_pb2

Column = tables_pb2.Column
SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def table(rows, **columns):
    """A profile and the data set's columns; each value is `(type, values)` with None for what is missing."""
    profile = profiles_pb2.Profile(dataset="datasets/kim.t/versions/1", row_count=rows)
    found = []
    for name, (kind, values) in columns.items():
        assert len(values) == rows, name
        profile.columns.append(column_profile(name, kind, values))
        told = sorted({str(v) for v in values if v is not None}) if kind == Column.CATEGORY else []
        missing = profile.columns[-1].missing_count
        found.append(Column(name=name, type=kind, missing_count=missing, categories=told[:1000]))
    correlate(profile, columns)
    return profile, found


def column_profile(name, kind, values):
    there = [value for value in values if value is not None]
    counts = Counter(there)
    made = profiles_pb2.ColumnProfile(
        name=name, type=kind, count=len(there), missing_count=len(values) - len(there), distinct_count=len(counts)
    )
    if kind != Column.NUMBER:
        often = sorted(((n, str(value)) for value, n in counts.items() if n > 1), key=lambda pair: (-pair[0], pair[1]))
        made.top_values.extend(profiles_pb2.ValueCount(value=value, count=n) for n, value in often[:20])
    if not there:
        return made
    if kind in {Column.INTEGER, Column.NUMBER}:
        made.numbers.CopyFrom(number_figures(np.array(there, dtype=float)))
    elif kind in {Column.TEXT, Column.CATEGORY}:
        lengths = [len(value) for value in there]
        made.texts.min_length, made.texts.max_length, made.texts.mean_length = (
            min(lengths),
            max(lengths),
            np.mean(lengths),
        )
    elif kind == Column.TIMESTAMP:
        made.times.first, made.times.last = min(there), max(there)
    return made


def number_figures(x):
    n, spread = len(x), x - x.mean()
    m2, m3 = (spread**2).mean(), (spread**3).mean()
    skewness = math.nan if n < 3 else 0.0 if m2 == 0 else m3 / m2**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    made = profiles_pb2.NumberFigures(min=x.min(), max=x.max(), mean=x.mean(), skewness=skewness)
    made.std = x.std(ddof=1) if n > 1 else math.nan
    made.quantiles.extend(
        profiles_pb2.Quantile(share=s, value=v) for s, v in zip(SHARES, np.quantile(x, SHARES), strict=True)
    )
    made.zero_count = int((x == 0).sum())
    return made


def correlate(profile, columns):
    names = [name for name, (kind, _) in columns.items() if kind in {Column.INTEGER, Column.NUMBER}]
    series = [np.array([math.nan if v is None else v for v in columns[name][1]], dtype=float) for name in names]
    profile.correlation.columns.extend(names)
    profile.correlation.values.shape.extend([len(names), len(names)])
    for one in series:
        for other in series:
            both = ~(np.isnan(one) | np.isnan(other))
            constant = both.sum() < 2 or one[both].std() == 0 or other[both].std() == 0
            r = math.nan if constant else np.corrcoef(one[both], other[both])[0, 1]
            profile.correlation.values.values.append(r)
