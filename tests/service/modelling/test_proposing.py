"""Proposals: what they decide, that they can be submitted, and that every reason names a figure in both languages."""

import datetime as dt
import re

import numpy as np
import pytest

from service.calling import requests
from service.errors import InvalidField
from service.modelling.proposing.propose import propose
from service.modelling.proposing.reasons import figure, named, share
from service.modelling.specs import resolve
from tests.service.modelling.figures import Column, table
from traind.v1 import jobs_pb2, learning_pb2, preprocess_pb2, tables_pb2

ColumnGroup = preprocess_pb2.ColumnGroup
Finding = tables_pb2.Finding
Impute = preprocess_pb2.Impute
Preprocess = preprocess_pb2.Preprocess
HANGUL = re.compile("[가-힣]")


def people(rows=400, seed=0):
    """A table with a bit of everything, as `{name: (type, values)}`."""
    rng = np.random.default_rng(seed)
    income = np.exp(rng.normal(8, 1, rows))
    gaps = rng.random(rows) < 0.1
    start = dt.datetime(2020, 1, 1, 9)  # noqa: DTZ001 - as files hold times
    return {
        "id": (Column.INTEGER, list(range(1000, 1000 + rows))),
        "name": (Column.TEXT, [f"person {i} of them" for i in range(rows)]),
        "country": (Column.CATEGORY, ["KR"] * rows),
        "age": (
            Column.INTEGER,
            [None if gap else int(a) for a, gap in zip(rng.integers(18, 80, rows), gaps, strict=True)],
        ),
        "income": (Column.NUMBER, [float(x) for x in income]),
        "balance": (Column.NUMBER, [float(500 - x) for x in rng.exponential(1000, rows)]),
        "rooms": (Column.INTEGER, [int(x) for x in rng.integers(1, 6, rows)]),
        "city": (Column.CATEGORY, [None if i % 50 == 0 else f"c{i % 7}" for i in range(rows)]),
        "shop": (Column.CATEGORY, [f"s{i % 60}" for i in range(rows)]),
        "since": (Column.TIMESTAMP, [(start + dt.timedelta(days=i // 2)).isoformat() for i in range(rows)]),
        "member": (Column.BOOLEAN, [bool(x) for x in rng.random(rows) < 0.4]),
        "bought": (Column.CATEGORY, ["yes" if x else "no" for x in rng.random(rows) < 0.3]),
        "spent": (Column.NUMBER, [float(x) for x in np.exp(rng.normal(3, 1, rows))]),
    }


def proposed(target, columns, associations=None):
    rows = len(next(iter(columns.values()))[1])
    profile, described = table(rows, **columns)
    return propose(profile, described, target, rows, associations)


def group_of(proposal, column):
    return next(group for group in proposal.train.preprocess.groups if column in group.columns)


def fields(proposal):
    return [reason.field for reason in proposal.reasons]


def test_columns_that_cannot_teach_are_no_inputs():
    proposal = proposed("bought", people())
    assert not {"id", "name", "country"} & set(proposal.train.inputs)
    assert list(proposal.train.inputs) == [
        "age", "income", "balance", "rooms", "city", "shop", "since", "member", "spent",
    ]  # fmt: skip
    said = " ".join(reason.english for reason in proposal.reasons if reason.field == "inputs")
    assert all(f'"{name}"' in said for name in ("id", "name", "country"))


def test_numbers_are_filled_and_freed_of_their_skew():
    proposal = proposed("bought", people())
    age, income, balance = (group_of(proposal, name) for name in ("age", "income", "balance"))
    assert (age.impute.how, age.impute.indicator, age.transform) == (Impute.MEDIAN, True, 0)
    assert income.transform == Preprocess.LOG1P
    # Nothing is missing here, but a table with gaps elsewhere may bring rows with gaps here.
    assert (income.impute.how, income.impute.indicator) == (Impute.MEDIAN, False)
    assert balance.transform == Preprocess.YEO_JOHNSON
    assert group_of(proposal, "rooms").transform == 0
    assert proposal.train.preprocess.scale == Preprocess.STANDARD


def test_a_table_without_gaps_is_not_filled():
    columns = {name: column for name, column in people().items() if name not in {"age", "city"}}
    assert not any(group.HasField("impute") for group in proposed("bought", columns).train.preprocess.groups)


def test_categories_are_one_hot_or_vectors():
    proposal = proposed("bought", people())
    city, shop = group_of(proposal, "city"), group_of(proposal, "shop")
    assert (city.impute.how, city.impute.text) == (Impute.CONSTANT, "missing")
    assert not city.HasField("encode")
    assert shop.encode.HasField("embedding")
    assert proposal.train.preprocess.unseen == Preprocess.UNKNOWN


def test_times_become_parts():
    group = group_of(proposed("bought", people()), "since")
    assert list(group.date_parts) == [ColumnGroup.DAYS, ColumnGroup.MONTH, ColumnGroup.WEEKDAY, ColumnGroup.HOUR]
    columns = people()
    columns["since"] = (Column.TIMESTAMP, [f"2024-05-{1 + i % 10:02d}" for i in range(400)])
    assert list(group_of(proposed("bought", columns), "since").date_parts) == [ColumnGroup.DAYS]


def test_outliers_are_clipped_where_no_transform_helps():
    columns = {"x": (Column.NUMBER, [float(i % 50) for i in range(198)] + [900.0, -900.0]), "t": class_column(200)}
    assert group_of(proposed("t", columns), "x").clip.quantile == pytest.approx(0.01)


def class_column(rows, shares=(0.5, 0.5)):
    counts = [round(share * rows) for share in shares]
    values = [f"k{i}" for i, count in enumerate(counts) for _ in range(count)]
    return Column.CATEGORY, list(np.random.default_rng(1).permutation(values))


def test_two_classes_many_classes_and_rare_ones():
    x = (Column.NUMBER, [float(i * 37 % 101) for i in range(1000)])
    assert proposed("t", {"x": x, "t": class_column(1000)}).train.loss.WhichOneof("kind") == "bce"
    three = proposed("t", {"x": x, "t": class_column(1000, (0.5, 0.3, 0.2))}).train
    assert three.loss.WhichOneof("kind") == "cross_entropy"
    assert not three.loss.cross_entropy.class_weights.balanced
    assert three.split.hold_out.stratify
    rare = proposed("t", {"x": x, "t": class_column(1000, (0.97, 0.03))})
    assert rare.train.loss.cross_entropy.class_weights.balanced
    (finding,) = [one for one in rare.findings if one.code == Finding.IMBALANCED]
    assert finding.figures["rows"] == 30


def test_whole_numbers_are_classes_where_they_are_few():
    def loss(values):
        columns = {"x": (Column.NUMBER, [float(i * 37 % 101) for i in range(200)]), "t": (Column.INTEGER, values)}
        return proposed("t", columns).train.loss.WhichOneof("kind")

    assert loss([i % 2 for i in range(200)]) == "bce"
    assert loss([i % 5 for i in range(200)]) == "cross_entropy"
    assert loss([i % 60 for i in range(200)]) == "mse"


def test_numbers_are_scaled_and_freed_of_their_skew_as_targets():
    train = proposed("spent", people()).train
    assert train.preprocess.target.transform == Preprocess.LOG1P
    assert train.preprocess.target.scale == Preprocess.STANDARD
    assert train.loss.WhichOneof("kind") == "mse"
    assert not train.split.hold_out.HasField("stratify")
    wild = {"x": (Column.NUMBER, [float(i % 50) for i in range(200)])}
    wild["t"] = (Column.NUMBER, [float(i % 40) for i in range(198)] + [700.0, -700.0])
    assert proposed("t", wild).train.loss.WhichOneof("kind") == "huber"


def test_rows_without_a_target_are_left_out():
    columns = people()
    columns["spent"] = (Column.NUMBER, [None if i % 10 == 0 else v for i, v in enumerate(columns["spent"][1])])
    proposal = proposed("spent", columns)
    assert proposal.train.preprocess.target.missing == preprocess_pb2.TargetSteps.DROP_ROW
    assert "40 rows" in next(r.english for r in proposal.reasons if r.field == "preprocess.target.missing")


def test_a_series_is_measured_on_what_came_after():
    days = [(dt.date(2023, 1, 1) + dt.timedelta(days=i)).isoformat() for i in range(300)]
    columns = {"day": (Column.TIMESTAMP, days), "t": (Column.NUMBER, [float(i * 37 % 101) for i in range(300)])}
    split = proposed("t", columns).train.split
    assert (split.time.column, split.time.fraction) == ("day", 0.2)
    twice = {**columns, "day": (Column.TIMESTAMP, [days[i // 2] for i in range(300)])}
    assert proposed("t", twice).train.split.HasField("hold_out")


def test_what_tells_the_target_is_no_input():
    columns = people()
    columns["spent_won"] = (Column.NUMBER, [1300 * v for v in columns["spent"][1]])
    proposal = proposed("spent", columns, {"city": 0.9995, "shop": 0.9})
    assert not {"spent_won", "city"} & set(proposal.train.inputs)
    assert "shop" in proposal.train.inputs
    leaks = [finding for finding in proposal.findings if finding.code == Finding.SUSPECTED_LEAK]
    assert [finding.figures["association"] for finding in leaks] == pytest.approx([0.9995, 1.0])
    # In an exercise everything tells the target, and few rows do so by chance.
    exercise = {"x": (Column.NUMBER, [float(i) for i in range(60)]), "y": (Column.NUMBER, [2.0 * i for i in range(60)])}
    assert list(proposed("y", exercise).train.inputs) == ["x"]
    few = {name: (kind, values[:30]) for name, (kind, values) in columns.items()}
    assert "spent_won" in proposed("spent", few).train.inputs


def test_the_network_grows_with_the_rows():
    def train(rows):
        columns = {f"x{j}": (Column.NUMBER, [float((i * (37 + j)) % 101) for i in range(rows)]) for j in range(4)}
        return proposed("t", {**columns, "t": class_column(rows)}).train

    tiny, small, large = train(16), train(400), train(20_000)
    assert tiny.network.HasField("linear")
    assert tiny.split.HasField("none")
    assert not tiny.learn.gradient.HasField("early_stopping")
    assert list(small.network.mlp.hidden) == [16]
    assert list(large.network.mlp.hidden) == [64, 32]
    assert small.learn.gradient.batch_size < large.learn.gradient.batch_size
    assert large.learn.gradient.keep == learning_pb2.Gradient.BEST
    assert large.learn.gradient.early_stopping.patience >= 3


@pytest.mark.parametrize(
    ("target", "said"),
    [("agee", "no column"), ("name", "TEXT"), ("since", "TIMESTAMP"), ("country", "one value only")],
)
def test_what_cannot_be_predicted_is_refused_by_name(target, said):
    with pytest.raises(InvalidField) as refused:
        proposed(target, people())
    assert refused.value.violations[0].field == "target"
    assert said in str(refused.value)


def test_nothing_to_learn_from_is_refused():
    columns = {"id": (Column.INTEGER, list(range(100))), "t": class_column(100)}
    with pytest.raises(InvalidField, match="no column is left"):
        proposed("t", columns)


TARGETS = ["age", "income", "rooms", "city", "member", "bought", "spent"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [12, 60, 400])
def test_it_breaks_no_rule_of_the_contract(target, rows):
    columns = {name: (kind, values[:rows]) for name, (kind, values) in people().items()}
    job = jobs_pb2.Job(dataset="t", model="m", train=proposed(target, columns).train)
    requests.check(jobs_pb2.CreateJobRequest(job=job))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [12, 60, 400])
def test_it_can_be_submitted_as_it_is(target, rows):
    columns = {name: (kind, values[:rows]) for name, (kind, values) in people().items()}
    profile, described = table(rows, **columns)
    train = propose(profile, described, target, rows).train
    resolved = resolve(train, described, rows)
    # Defaults are filled in; nothing that was proposed is changed.
    assert list(resolved.inputs) == list(train.inputs)
    for path in ("network", "split", "loss"):
        assert getattr(resolved, path).WhichOneof("kind") == getattr(train, path).WhichOneof("kind")
    assert resolved.learn.gradient.epochs == train.learn.gradient.epochs
    assert resolved.learn.gradient.batch_size == train.learn.gradient.batch_size


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [12, 60, 400])
def test_every_reason_names_a_figure_in_both_languages(target, rows):
    columns = {name: (kind, values[:rows]) for name, (kind, values) in people().items()}
    for reason in proposed(target, columns).reasons:
        assert re.search(r"\d", reason.english), reason
        assert HANGUL.search(reason.korean), reason
        # Whatever figure the Korean text names, the English one names too; names of columns are no figures.
        numbers = [
            set(re.findall(r"\d[\d.,:T-]*\d|\d", re.sub(r'"[^"]*"', "", text)))
            for text in (reason.english, reason.korean)
        ]
        assert numbers[1] <= numbers[0] | {"1"}, reason


@pytest.mark.parametrize("target", TARGETS)
def test_every_line_of_the_spec_has_its_reason(target):
    proposal = proposed(target, people())
    told = fields(proposal)
    assert len(proposal.train.preprocess.groups) == len({f.split(".")[1] for f in told if "groups[" in f})
    for number, group in enumerate(proposal.train.preprocess.groups):
        for field, _ in group.ListFields():
            if field.name != "columns":
                assert f"preprocess.groups[{number}].{field.name}" in told
    for line in ("inputs", "split.", "loss.", "network.", "learn.gradient.optimizer", "learn.gradient.epochs"):
        assert any(field.startswith(line) for field in told), line


def test_figures_for_people():
    assert [figure(value) for value in (3.0, 1234567.0, 11573.4, 0.012345, float("nan"))] == [
        "3", "1,234,567", "11,570", "0.01235", "nan",
    ]  # fmt: skip
    assert [share(value) for value in (0.2, 0.0058, 0.999, 1.0, 0.0)] == ["20 %", "0.58 %", "99.9 %", "100 %", "0 %"]
    assert named(["a", "b", "c", "d"]) == '"a", "b", "c" and 1 more'
    assert named(["가", "나", "다", "라", "마"], korean=True) == '"가", "나", "다" 외 2개'
