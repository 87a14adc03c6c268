"""The profile, beside pandas' figures of the same table, on every type, with missing values, streamed and held."""

import math
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from service.data.ingest import profile_table
from service.data.profiling import arrays, correlation, duplicates, profile, texts
from service.data.profiling.numbers import number_figures
from tests.service.data.csvs import Column, column, ingested
from traind.v1.tables_pb2 import Finding

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def random_frame(seed, rows):
    """A table of every type with missing values, ties, skew and rows that stand twice."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "normal": draw.standard_normal(rows),
        "shifted": draw.standard_normal(rows) + 1e6,
        "skewed": np.exp(draw.standard_normal(rows) * 2),
        "tiny": draw.standard_normal(rows) * 1e-3,
        "whole": draw.integers(-5, 6, rows),
        "large": draw.integers(-(10**12), 10**12, rows),
        "constant": np.full(rows, 7),
        "flag": draw.random(rows) < 0.3,
        "city": draw.choice(["서울", "부산", "Daegu", "광주, 북구"], rows),
        "text": [f"글 {draw.integers(rows // 2)}{'x' * int(draw.integers(5))}" for _ in range(rows)],
        "day": pd.to_datetime(draw.integers(0, 10**9, rows), unit="s").strftime("%Y-%m-%dT%H:%M:%S"),
    })  # fmt: skip
    frame["twice"] = frame["normal"] * 2 + 1e-6 * draw.standard_normal(rows)
    for name in ("normal", "skewed", "whole", "flag", "city", "text", "day"):
        frame[name] = frame[name].astype(object).mask(draw.random(rows) < 0.2)
    return pd.concat([frame, frame.head(5)], ignore_index=True)


def profiled(folder, frame, **more):
    written = frame.assign(flag=frame["flag"].map(lambda flag: str(flag).lower() if isinstance(flag, bool) else None))
    with ingested(folder, written.to_csv(index=False).encode(), **more) as made:
        return made.profile


@pytest.fixture(scope="module", params=[(1, 300), (2, 3000)], ids=["300 rows", "3,000 rows"])
def case(request, tmp_path_factory):
    frame = random_frame(*request.param)
    schema = [column("city", "CATEGORY"), column("text", "TEXT")]
    return frame, profiled(tmp_path_factory.mktemp("profile"), frame, schema=schema)


def matrix_of(profile):
    """Its correlations as an array [columns, columns]."""
    tensor = profile.correlation.values
    return np.array(tensor.values).reshape(list(tensor.shape))


def test_rows_and_missing_values_are_counted_as_pandas_does(case):
    frame, found = case
    assert found.row_count == len(frame)
    assert found.duplicate_row_count == frame.duplicated().sum() == 5
    assert [column.name for column in found.columns] == list(frame)
    for figures in found.columns:
        series = frame[figures.name]
        assert figures.count == series.count()
        assert figures.missing_count == series.isna().sum()
        assert figures.distinct_count == series.nunique()


def test_figures_of_numbers_are_those_of_pandas(case):
    frame, found = case
    seen = 0
    for figures in found.columns:
        if figures.WhichOneof("figures") != "numbers":
            continue
        seen += 1
        series, mine = frame[figures.name].dropna().astype(float), figures.numbers
        theirs = [series.min(), series.max(), series.mean(), series.std(), (series == 0).sum()]
        ours = [mine.min, mine.max, mine.mean, mine.std, mine.zero_count]
        np.testing.assert_allclose(ours, theirs, **CLOSE, err_msg=figures.name)
        # pandas has NaN for a constant column, the contract 0.
        assert mine.skewness == pytest.approx(series.skew() if series.max() > series.min() else 0, rel=1e-9, abs=1e-9)
        shares = [quantile.share for quantile in mine.quantiles]
        assert shares == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
        np.testing.assert_allclose([q.value for q in mine.quantiles], series.quantile(shares), **CLOSE)
        if series.max() > series.min():
            counts, edges = np.histogram(series, 20)
            np.testing.assert_allclose(mine.histogram.edges, edges, rtol=1e-9, atol=1e-9)
            np.testing.assert_array_equal(mine.histogram.counts, counts)
        else:
            assert (list(mine.histogram.edges), list(mine.histogram.counts)) == ([7, 7], [len(series)])
    assert seen == 8


def test_the_most_frequent_values_are_those_of_pandas(case):
    frame, found = case
    for figures in found.columns:
        series = frame[figures.name].dropna()
        texts_of = series.map(lambda value: str(value).lower() if isinstance(value, bool) else value)
        counts = sorted(texts_of.value_counts().items(), key=lambda item: (-item[1], item[0]))[:20]
        expected = [] if figures.type == Column.NUMBER else [(str(value), count) for value, count in counts]
        assert [(top.value, top.count) for top in figures.top_values] == expected, figures.name


def test_lengths_and_times_are_those_of_pandas(case):
    frame, found = case
    columns = {figures.name: figures for figures in found.columns}
    for name in ("city", "text"):
        lengths, mine = frame[name].dropna().str.len(), columns[name].texts
        assert (mine.min_length, mine.max_length) == (lengths.min(), lengths.max())
        np.testing.assert_allclose(mine.mean_length, lengths.mean(), **CLOSE)
    days = frame["day"].dropna()
    assert (columns["day"].times.first, columns["day"].times.last) == (days.min() + "Z", days.max() + "Z")


def test_correlation_is_that_of_pandas_over_the_rows_that_have_both(case):
    frame, found = case
    names = list(found.correlation.columns)
    assert names == ["normal", "shifted", "skewed", "tiny", "whole", "large", "constant", "twice"]
    expected = frame[names].astype(float).corr()
    mine = matrix_of(found)
    np.testing.assert_allclose(mine, expected, **CLOSE)


def test_what_a_person_should_know_is_found(case):
    frame, found = case
    codes = {Finding.Code.Name(finding.code): finding for finding in found.findings}
    assert set(codes) == {"CONSTANT_COLUMN", "MANY_MISSING", "SKEWED", "DUPLICATE_ROWS", "SUSPECTED_LEAK"} | (
        {"MANY_MISSING"} & set(codes)
    ) or set(codes) == {"CONSTANT_COLUMN", "SKEWED", "DUPLICATE_ROWS", "SUSPECTED_LEAK"}
    assert codes["DUPLICATE_ROWS"].figures["rows"] == 5
    assert codes["CONSTANT_COLUMN"].figures["columns"] == 1
    assert '"constant"' in codes["CONSTANT_COLUMN"].message
    assert codes["SUSPECTED_LEAK"].figures["association"] > 0.999
    assert '"normal" and "twice"' in codes["SUSPECTED_LEAK"].message
    assert codes["SKEWED"].figures["skewness"] == pytest.approx(frame["skewed"].astype(float).skew())


def test_identifiers_and_missing_values_are_found(tmp_path):
    rows = "".join(f"{1000 + i},{7919 * i % 10007},{'' if i % 2 else i % 3},k{i},{i * 0.5}\n" for i in range(200))
    with ingested(tmp_path, f"customer,price,half,key,amount\n{rows}".encode()) as made:
        found = [(Finding.Code.Name(f.code), f.message.split('"')[1], dict(f.figures)) for f in made.profile.findings]
    assert found[:2] == [
        ("IDENTIFIER", "customer", {"distinct": 200, "rows": 200}),
        ("IDENTIFIER", "key", {"distinct": 200, "rows": 200}),
    ]
    assert found[2] == ("MANY_MISSING", "half", {"missing": 100, "share": 0.5})
    assert found[3][:2] == ("SUSPECTED_LEAK", "customer")
    assert len(found) == 4


def test_few_values_have_the_figures_that_they_can_have(tmp_path):
    raw = b"one,two,none,flag,day\n5,1,,true,2020-01-02T23:30:00-01:00\n,3,,,2020-01-03 00:10\n"
    raw += b",,,,2020-01-03T00:20:00.1234567Z\n"
    with ingested(tmp_path, raw) as made:
        one, two, none, flag, day = made.profile.columns
    assert (one.numbers.mean, one.distinct_count) == (5, 1)
    assert math.isnan(one.numbers.std)
    assert math.isnan(one.numbers.skewness)
    assert two.numbers.std == pytest.approx(math.sqrt(2))
    assert math.isnan(two.numbers.skewness)
    assert (none.count, none.missing_count, none.distinct_count, none.WhichOneof("figures")) == (0, 3, 0, None)
    assert (flag.distinct_count, list(flag.top_values)) == (1, [])
    assert (day.times.first, day.times.last) == ("2020-01-03T00:10:00Z", "2020-01-03T00:30:00Z")
    matrix = matrix_of(made.profile)
    assert np.isnan(matrix[0]).all()
    assert matrix[1, 1] == 1


def test_numbers_at_the_ends_of_what_doubles_hold():
    with np.errstate(all="ignore"):
        figures, distinct, _ = number_figures(np.array([-1.7e308, 0.0, -0.0, 1.7e308, 5e-324]))
    assert (figures["min"], figures["max"], figures["zero_count"], distinct) == (-1.7e308, 1.7e308, 2, 4)
    assert sum(figures["histogram"]["counts"]) == 5
    assert np.isfinite(figures["histogram"]["edges"]).all()
    small, _, _ = number_figures(np.array([1e-200, 2e-200, 4e-200]))
    assert small["skewness"] == pytest.approx(pd.Series([1.0, 2.0, 4.0]).skew())


def write(path, table, types):
    fields = [pa.field(name, table.schema.field(name).type, metadata={b"traind.type": kind}) for name, kind in types]
    with pa.ipc.new_file(str(path), pa.schema(fields)) as writer:
        writer.write_table(pa.table(list(table.columns), schema=pa.schema(fields)), max_chunksize=97)


def test_streamed_in_small_pieces_the_figures_are_the_same(tmp_path, monkeypatch):
    """Several batches, pieces smaller than a batch, and arrays that lie in scratch files."""
    draw = np.random.default_rng(3)
    values = draw.standard_normal(500).round(1)
    words = [f"w{i}" for i in draw.integers(0, 60, 500)]
    table = pa.table({
        "x": pa.array(values, mask=draw.random(500) < 0.1),
        "y": pa.array(draw.integers(0, 9, 500)),
        "w": pa.array(words),
    })  # fmt: skip
    write(tmp_path / "t.arrow", table, [("x", b"NUMBER"), ("y", b"INTEGER"), ("w", b"TEXT")])
    whole = profile.profile_table(tmp_path / "t.arrow", tmp_path)
    monkeypatch.setattr(arrays, "HELD_BYTES", 0)
    monkeypatch.setattr(profile, "GROUP_BYTES", 0)
    monkeypatch.setattr(arrays, "CHUNK_ROWS", 13)
    monkeypatch.setattr(correlation, "_ROWS", 11)
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    pieces = profile.profile_table(tmp_path / "t.arrow", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.arrow"]
    for mine, theirs in zip(pieces["columns"], whole["columns"], strict=True):
        for name in ("count", "missing_count", "distinct_count", "top_values", "texts"):
            assert mine.get(name) == theirs.get(name)
        for name, figure in mine.get("numbers", {}).items():
            if name in {"quantiles", "histogram"}:
                assert figure == theirs["numbers"][name]
            else:
                assert figure == pytest.approx(theirs["numbers"][name], rel=1e-9)
    frame = table.to_pandas()
    assert pieces["duplicate_row_count"] == whole["duplicate_row_count"] == frame.duplicated().sum() > 0
    np.testing.assert_allclose(pieces["correlation"]["values"]["values"], whole["correlation"]["values"]["values"])


def test_a_pair_that_is_constant_in_common_rows_has_no_correlation(tmp_path):
    x = pa.array([1.0, 1.0, 1.0, 5.0, 9.0, None])
    y = pa.array([2.0, 3.0, 4.0, None, None, 7.0])
    # In the rows of both `z` moves by so little that sums around the mean of all rows would lose it.
    z = pa.array([1e6 + 1e-4, 1e6 + 3e-4, 1e6 + 2e-4, 0.0, -1e6, 5.0])
    write(tmp_path / "t.arrow", pa.table({"x": x, "y": y, "z": z}), [(name, b"NUMBER") for name in "xyz"])
    found = profile.profile_table(tmp_path / "t.arrow", tmp_path)["correlation"]["values"]["values"]
    assert found[1] == "NaN"
    common = pd.DataFrame({"y": y.to_pandas(), "z": z.to_pandas()}).dropna()
    centred = np.corrcoef(common["y"] - common["y"].mean(), common["z"] - common["z"].mean())[0, 1]
    assert found[5] == pytest.approx(centred, rel=1e-6)


def test_rows_are_duplicates_only_if_every_column_is_equal(tmp_path):
    rng = random.Random(5)
    frame = pd.DataFrame(
        {
            "a": rng.choices([1, 2], k=60),
            "b": rng.choices(["x", "y", None], k=60),
            "c": rng.choices([0.5, 1.5, None], k=60),
        }
    )
    with ingested(tmp_path, frame.to_csv(index=False).encode()) as made:
        assert made.profile.duplicate_row_count == frame.duplicated().sum()


def test_hashes_that_collide_are_no_duplicates(tmp_path, monkeypatch):
    """The first hash says that all rows are equal; the second one tells them apart."""
    table = pa.table({"a": [1, 2, 3, 3, 4, 4, 4]})
    write(tmp_path / "t.arrow", table, [("a", b"INTEGER")])
    right = duplicates._hash_rows
    monkeypatch.setattr(
        duplicates, "_hash_rows", lambda part, which: right(part, 1) if which else np.zeros(part.num_rows, np.uint64)
    )
    assert profile.profile_table(tmp_path / "t.arrow", tmp_path)["duplicate_row_count"] == 3


def test_of_very_many_frequent_texts_the_smallest_are_told():
    words = [f"{i:04}" for i in range(1000)] * 2 + ["zz"] * 3
    random.Random(1).shuffle(words)
    parts = [pa.array(words[i : i + 77]) for i in range(0, len(words), 77)]
    _, distinct, top = texts.text_figures(lambda: iter(parts), len(words), arrays.Scratch(None))
    assert distinct == 1001
    assert top == [("zz", 3), *((f"{i:04}", 2) for i in range(19))]


def test_the_most_frequent_values_of_a_wide_table_fit_into_a_message(tmp_path):
    columns = {f"c{i}": [f"{'가' * 90}{i}-{row // 2}" for row in range(40)] for i in range(400)}
    with ingested(tmp_path, pd.DataFrame(columns).to_csv(index=False).encode()) as made:
        assert made.profile.ByteSize() < 2 << 20
        assert len(made.profile.columns) == 400
        assert all(len(c.top_values) == 5 for c in made.profile.columns)


def test_a_table_that_was_read_before_is_described_the_same(tmp_path):
    with ingested(tmp_path, random_frame(4, 200).drop(columns="flag").to_csv(index=False).encode()) as made:
        assert profile_table(made.table, tmp=tmp_path / "tmp") == made.profile
