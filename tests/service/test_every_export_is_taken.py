"""Whatever model a server makes, it exports as a file that an import takes, or says before the first byte why not."""

import csv
import io
import json
import math

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from service.calling.requests import most_items
from service.data.reading.names import COLUMNS as MOST_COLUMNS
from service.errors import InvalidField, InvalidModelFile, TooLarge, WrongState
from service.model_files import bounds, description, layout
from service.modelling import given as given_weights
from service.modelling.findings import LONGEST_FINDING, constant_columns
from service.store.database import Database
from tests import servers
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import Lab
from traind.v1 import model_files_pb2, specs_pb2

ROWS = 24
LONG = "가x" * 128
# Signs that the service takes in cells, and those of them that it takes in names.
LABELS = [
    "a\tb",
    "줄\n바꿈",
    '"quoted", {more}: [1]',
    "\\u0041\x01\x7f",
    "👩\u200d👧\u2028",
    "=1+1",
    "nul\x85l",
    "x" * 2000,
]
COLUMNS = {
    "number": ('a number, {of} "both": [signs]', lambda row: (-1) ** row * 2.5**row),
    "small": ("é\u00a0%", lambda row: row * 1e-300),
    "whole": (LONG, lambda row: (-1) ** row * (2**63 - 1 - row)),
    "label": ("가\\나", lambda row: LABELS[row * row % len(LABELS)]),
    "few": ("=", lambda row: LABELS[row % 2]),
    "boolean": ("👩\u200d👧", lambda row: str(row % 3 == 0).lower()),
    "time": ("'", lambda row: ("2024-02-29", "2020-01-01T05:00:00Z", "1969-12-31T23:59:59+09:00")[row % 3]),
}
TARGETS = {
    "price": lambda row: row % 7 / 3,
    "count": lambda row: (2**62 + row % 4, -7)[row % 3 == 0],
    "class": lambda row: LABELS[row % len(LABELS)],
    "switch": lambda row: str(row % 5 < 2).lower(),
    "pair": lambda row: LABELS[row % 2],
}
IMPUTES = [{"how": "MOST_FREQUENT"}, {"how": "CONSTANT"}, {"how": "DROP_ROW"}, {"how": "CONSTANT", "indicator": True}]
NUMBER_GROUPS = [
    {"scale": "ROBUST"},
    {"scale": "MIN_MAX", "clip": {}},
    {"transform": "YEO_JOHNSON", "clip": {"low": -5}},
    {"impute": {"how": "MEAN", "indicator": True}, "scale": "NONE"},
]
ENCODES = [{"oneHot": {}}, {"ordinal": {}}, {"embedding": {"width": 3}}, {"embedding": {}}]
NETWORKS = [
    {"linear": {}},
    {"linear": {"bias": False}},
    {"mlp": {"hidden": [3, 3], "residual": True, "normalisation": "LAYER", "activation": "SILU"}},
    {"mlp": {"hidden": [4], "normalisation": "BATCH", "dropout": 0.1}},
    {"mlp": {}},
    {"perceptron": {}},
]
OPTIMIZERS = [
    {"gradientDescent": {}},
    {"sgd": {"momentum": 0.9, "nesterov": True}},
    {"adam": {}},
    {"adamw": {}},
    {"adagrad": {}},
    {"rmsprop": {}},
    {"lbfgs": {}},
]
SCHEDULES = [{}, {"schedule": {"cosine": {}}}, {"schedule": {"oneCycle": {}}}, {"schedule": {"reduceOnPlateau": {}}}]
LOSSES = {
    "price": [{}, {"mse": {}}, {"huber": {}}, {"mae": {"reduction": "SUM"}}, {"gaussianNll": {}}],
    "count": [{}, {"crossEntropy": {"classWeights": {"balanced": True}}}],
    "class": [{}, {"crossEntropy": {"labelSmoothing": 0.1}}, {"crossEntropy": {"classWeights": {"balanced": True}}}],
    "pair": [{}, {"crossEntropy": {"classWeights": {"balanced": True}}}],
    "switch": [{}, {"bce": {"positiveWeight": 3}}, {"crossEntropy": {}}],
}
SPLITS = [{}, {"none": {}}, {"holdOut": {"fraction": 0.3}}]


def table():
    """A CSV file with every column twice, the second time without some values, and the targets."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    columns = COLUMNS.values()
    writer.writerow([*(name for name, _ in columns), *(gappy(name) for name, _ in columns), *TARGETS])
    for row in range(ROWS):
        full = [cell(row) for _, cell in columns]
        gaps = ["" if (row + place) % 9 == 0 else value for place, value in enumerate(full)]
        writer.writerow([*full, *gaps, *(cell(row) for cell in TARGETS.values())])
    return stream.getvalue().encode()


def gappy(name):
    return f"{name[:255]}?"


@st.composite
def specs(draw):
    """What may be asked for on the table; the service refuses some of it."""
    chosen = draw(
        st.lists(st.tuples(st.sampled_from(list(COLUMNS)), st.booleans()), min_size=1, max_size=5, unique=True)
    )
    groups = [draw(groups_of(kind, gaps)) for kind, gaps in chosen]
    target = draw(st.sampled_from(list(TARGETS)))
    network = draw(st.sampled_from(NETWORKS))
    gradient = {"epochs": draw(st.integers(1, 3)), "optimizer": draw(st.sampled_from(OPTIMIZERS))}
    gradient |= draw(st.sampled_from(SCHEDULES))
    ways = [{"gradient": gradient}] * 4 + [{"exact": {}}]
    train = {
        "inputs": [name for group in groups for name in group["columns"]],
        "target": [target],
        "network": network,
        "preprocess": {"groups": groups, "unseen": draw(st.sampled_from(["REFUSE", "UNKNOWN"]))},
        "split": draw(st.sampled_from(SPLITS)),
        "loss": draw(st.sampled_from(LOSSES[target])),
        "learn": draw(st.sampled_from(ways)),
        "dtype": draw(st.sampled_from(["DTYPE_UNSPECIFIED", "FLOAT64"])),
    }
    if "perceptron" in network:
        train |= {
            "loss": {},
            "learn": {"perceptronRule": {"epochs": 3}},
            "target": [draw(st.sampled_from(["switch", "pair"]))],
        }
    return {key: value for key, value in train.items() if value}


@st.composite
def groups_of(draw, kind, gaps):
    """How a column is treated, so that missing values are."""
    name, _ = COLUMNS[kind]
    group = {"columns": [gappy(name) if gaps else name]}
    impute = {"impute": draw(st.sampled_from(IMPUTES))} if gaps else {}
    match kind:
        case "number" | "small" | "whole":
            return group | draw(st.sampled_from(NUMBER_GROUPS)) | impute
        case "time":
            return group | {"dateParts": ["YEAR", "DAYS"]} | impute
        case _:
            return group | {"encode": draw(st.sampled_from(ENCODES))} | impute


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path_factory.mktemp("lab"))
        push(lab.app, lab.caller, table(), "houses")
        yield lab
        database.dispose()


def learned(lab, train, dataset="houses"):
    """The name of the model that a job makes; empty where the job fails."""
    job = lab.submit({"dataset": dataset, "model": "m", "train": train})
    assert lab.work() == 1
    return lab.get(job.name).model_version


taken = []


@settings(max_examples=90, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_what_a_job_makes_comes_back(lab, train):
    try:
        name = learned(lab, train)
    except InvalidField:
        reject()
    if not name:
        reject()
    data = carried.export(lab, name)
    made = carried.take(lab, data)
    assert carried.export(lab, made.name) == data
    taken.append(train["target"][0])


def test_most_of_them_were_made():
    """The test before was of models, and not of jobs that were refused."""
    assert len(taken) > 30
    assert set(taken) == set(TARGETS)


def exported(lab, name):
    """A model's file, which an import takes and writes again."""
    data = carried.export(lab, name)
    made = carried.take(lab, data)
    assert carried.export(lab, made.name) == data
    return data


def numbered(rows, width, name):
    """A CSV file whose target `y` counts the rows, with `width` inputs."""
    names = [name(place) for place in range(width)]
    lines = [",".join([*names, "y"])]
    lines += [",".join([*(str(row + place) for place in range(width)), str(row)]) for row in range(rows)]
    return "\n".join(lines).encode() + b"\n"


def test_balanced_weights_of_many_classes(lab):
    """More than a spec may name when it is asked for, and heavier ones."""
    push(lab.app, lab.caller, numbered(1300, 1, lambda _: "x"), "many")
    loss = {"crossEntropy": {"classWeights": {"balanced": True}}}
    train = {"target": ["y"], "network": {"linear": {}}, "loss": loss, "split": {"none": {}}}
    data = exported(lab, learned(lab, train | {"learn": {"gradient": {"epochs": 1}}}, "many"))
    entries, told, tensors = carried.opened(data)
    weights = told["spec"]["loss"]["crossEntropy"]["classWeights"]["weights"]
    assert len(weights) == 1300
    weights["0"] = 7e6
    heavy = carried.closed(entries, told, tensors)
    made = carried.take(lab, heavy)
    assert made.spec.loss.cross_entropy.class_weights.weights["0"] == 7e6
    for name, weight in (("other", 1.0), ("0", 0.0), ("0", "Infinity"), ("0", "NaN")):
        wrong = json.loads(json.dumps(told))
        wrong["spec"]["loss"]["crossEntropy"]["classWeights"]["weights"][name] = weight
        with pytest.raises(InvalidModelFile, match="class weights"):
            carried.take(lab, carried.closed(entries, wrong, tensors))


def test_columns_whose_names_are_long(lab):
    """A file tells them several times over, and more of them than one message holds."""
    push(lab.app, lab.caller, numbered(30, 1300, lambda place: f"{place:04}{'가' * 252}"), "wide")
    train = {"target": ["y"], "network": {"linear": {}}, "learn": {"gradient": {"epochs": 1}}}
    assert len(exported(lab, learned(lab, train, "wide"))) > bounds.MOST_TOLD_BYTES


def test_a_finding_that_names_ten_long_columns(lab):
    columns = [f"{place}{'가' * 255}" for place in range(10)]
    lines = [",".join([*columns, "y"]), *(",".join(["1"] * 10 + [str(row)]) for row in range(30))]
    push(lab.app, lab.caller, "\n".join(lines).encode(), "constant")
    train = {"target": ["y"], "network": {"linear": {}}, "learn": {"gradient": {"epochs": 1}}}
    told = carried.opened(exported(lab, learned(lab, train, "constant")))[1]
    assert 2560 < max(len(found["message"]) for found in told["jobFindings"]) <= LONGEST_FINDING
    assert len(constant_columns(columns).message) <= LONGEST_FINDING


def test_weights_beyond_their_dtype(lab, monkeypatch):
    """Which a release before this one took and stored."""
    weights = {"weight": {"shape": [1, 1], "values": [1e300]}, "bias": {"shape": [1], "values": [0.0]}}
    learn = {"given": {"weights": weights}}
    train = {"inputs": ["'"], "target": ["price"], "network": {"linear": {}}, "learn": learn}
    train["preprocess"] = {"groups": [{"columns": ["'"], "dateParts": ["YEAR"]}]}
    exported(lab, learned(lab, train | {"dtype": "FLOAT64"}))
    with pytest.raises(InvalidField, match="FLOAT32 at most"):
        learned(lab, train)
    misfit = given_weights._misfit
    monkeypatch.setattr(given_weights, "_misfit", lambda *what: misfit(*what[:-1], math.inf))
    with pytest.raises(WrongState, match=r"NaN or infinite, which no import takes; train it again .* FLOAT64"):
        carried.export(lab, learned(lab, train))


@pytest.mark.parametrize(
    ("module", "limit", "most", "says"),
    [
        (layout, "LARGEST_HEADER", 2000, "header of .* bytes, where at most 2,000"),
        (layout, "MOST_VALUES", 50, "more than 50 values"),
        (bounds, "MOST_TOLD_BYTES", 100, "describes its model with .* at most 100"),
        (description, "MOST_FIGURES", 1, "history of 4 figures, where at most 1"),
    ],
)
def test_what_no_import_takes_is_not_written(lab, monkeypatch, module, limit, most, says):
    train = {"inputs": ["'"], "target": ["price"], "network": {"linear": {}}, "learn": {"gradient": {"epochs": 2}}}
    train["preprocess"] = {"groups": [{"columns": ["'"], "dateParts": ["YEAR", "MINUTE"]}]}
    name = learned(lab, train)
    exported(lab, name)
    monkeypatch.setattr(module, limit, most)
    with pytest.raises(TooLarge, match=f"name: {name} cannot be exported: .*{says}.*; train it with fewer") as refused:
        carried.export(lab, name)
    assert refused.value.metadata == {"field": "name", "limit": str(most)}


def test_what_is_stored_otherwise_than_today_s_version_would(lab):
    """What breaks today's rules, as an older version or a hand may have left it."""
    name = learned(lab, {"inputs": ["="], "target": ["price"], "network": {"linear": {}}})
    with lab.app.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE model_version SET engine = 'no version' "
            "WHERE id = (SELECT id FROM model_version ORDER BY created_at DESC LIMIT 1)"
        )
    with pytest.raises(WrongState, match=r"was trained by .* no version; train it again with this version of traind"):
        carried.export(lab, name)


def test_lists_are_bounded_as_what_they_come_from():
    fields = model_files_pb2.ModelFile.DESCRIPTOR.fields_by_name
    assert most_items(fields["inputs"]) == MOST_COLUMNS
    assert most_items(fields["outputs"]) == most_items(specs_pb2.TrainSpec.DESCRIPTOR.fields_by_name["target"])
    assert all(most_items(field) for field in fields.values() if field.is_repeated)
