"""What jobs of the widened contract do, from their row to their model: endings, figures, and going on after a stop."""

import json
import resource
import time

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from sklearn.datasets import load_iris

from service import ledger
from service.modelling import tensors
from service.store import artifacts
from tests.worker.learning import Desk, csv_of
from traind.v1 import specs_pb2
from worker import loop, publishing

DRAW = np.random.default_rng(3)
SIZES = DRAW.standard_normal(120)
COLORS = DRAW.choice(["red", "green", "blue"], 120)
PRICES = SIZES * 2 + (COLORS == "red") + 0.3 * DRAW.standard_normal(120)
TABLE = csv_of({"size": SIZES, "color": COLORS, "price": PRICES, "rent": PRICES**2 - SIZES})
EMBEDDED = {"groups": [{"columns": ["color"], "encode": {"embedding": {"width": 2}}}]}
RICH = {"mlp": {"hidden": [8, 8], "activation": "SILU", "normalisation": "BATCH", "dropout": 0.2, "residual": True}}


@pytest.fixture
def desk(database, database_url, tmp_path):
    return Desk(database, database_url, tmp_path)


only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])


def spec_of(network=RICH, target=("price",), **gradient):
    return {
        "inputs": ["size", "color"],
        "target": list(target),
        "network": network,
        "preprocess": EMBEDDED,
        "learn": {"gradient": gradient},
        "seed": 4,
    }


def weights_of(desk):
    return tensors.decode_tensors(artifacts.load(desk.database, desk.model().artifact_id))


def model_spec(desk):
    return json_format.Parse(desk.model().spec_json, specs_pb2.TrainSpec())


@only_sqlite
def test_early_stopping_is_told(desk):
    dataset = desk.upload(TABLE)
    stopping = {"patience": 2}
    job = desk.train(dataset, spec_of(epochs=300, earlyStopping=stopping, optimizer={"adam": {"lr": 0.05}}))
    losses = desk.history(job)["val_loss"]
    assert job.state == "SUCCEEDED"
    assert job.epoch == len(losses) < 300
    assert job.best_epoch == losses.index(min(losses)) + 1
    figures = desk.findings(job)["STOPPED_EARLY"]["figures"]
    assert figures == {"epoch": job.epoch, "best_epoch": job.best_epoch, "patience": 2}
    assert desk.model().metrics["val_loss"] == pytest.approx(min(losses), rel=1e-5)


@only_sqlite
def test_every_figure_of_every_epoch(desk):
    asked = ["MAE", "R2"]
    scaled = {"target": {"scale": "STANDARD"}}
    spec = spec_of(target=("price", "rent"), epochs=3, keep="LAST") | {"everyEpoch": asked}
    spec["preprocess"] = EMBEDDED | scaled
    job = desk.train(desk.upload(TABLE), spec)
    history = desk.history(job)
    assert set(history) == {"train_loss", "val_loss", "train_mae", "val_mae", "train_r2", "val_r2"}
    for name in ("train_mae", "val_mae", "train_r2", "val_r2"):
        assert history[name][-1] == pytest.approx(desk.model().metrics[name], rel=1e-5), "in the target's own units"


@only_sqlite
def test_time_ends_the_learning(desk, monkeypatch):
    """The clock is turned on when the third epoch is looked at."""
    told = []

    def out_of_time(state, gradient):
        told.append(gradient.max_seconds)
        return state.epoch >= 3

    monkeypatch.setattr(loop, "out_of_time", out_of_time)
    job = desk.train(desk.upload(TABLE), spec_of(epochs=50, maxSeconds=600))
    assert (job.state, job.epoch) == ("SUCCEEDED", 3)
    assert set(told) == {600}
    assert desk.findings(job)["TIME_LIMIT"]["figures"] == {"epoch": 3, "seconds": 600}


@only_sqlite
@pytest.mark.parametrize(("limit", "added_s"), [({"maxSeconds": 600}, 2 * 600 + 60), ({}, None)])
def test_the_processor_is_bound_while_the_loop_runs(desk, limit, added_s):
    bounds = []

    def bound():
        bounds.append(resource.getrlimit(resource.RLIMIT_CPU)[0])
        return False

    before = resource.getrlimit(resource.RLIMIT_CPU)
    claim = desk.submit(desk.upload(TABLE), spec_of(epochs=2, **limit))
    spent = time.process_time()
    assert desk.run(claim, bound) == "done"
    if added_s is None:
        assert set(bounds) == {before[0]}
    else:
        (soft,) = set(bounds)
        assert added_s - 3 <= soft - spent <= added_s + (time.process_time() - spent) + 1
    assert resource.getrlimit(resource.RLIMIT_CPU) == before, "what comes after the loop is not bound"


@only_sqlite
def test_time_that_ends_amid_an_epoch(desk, monkeypatch):
    """Every epoch is published at once, so that the next one may be lost; its half must not reach the model."""
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    asked = []

    def out_of_time(state, _gradient):
        asked.append(state.epoch)
        return asked.count(2) > 3

    monkeypatch.setattr(loop, "out_of_time", out_of_time)
    dataset = desk.upload(TABLE)
    spec = spec_of(epochs=50, maxSeconds=600, keep="LAST", batchSize=8)
    job = desk.train(dataset, spec)
    assert (job.state, job.epoch, job.best_epoch) == ("SUCCEEDED", 2, 2)
    cut = weights_of(desk)
    monkeypatch.undo()
    spec["learn"]["gradient"] = {"epochs": 2, "keep": "LAST", "batchSize": 8}
    desk.train(dataset, spec)
    whole = weights_of(desk)
    assert all(torch.equal(weight, whole[name]) for name, weight in cut.items())


@only_sqlite
def test_no_time_for_one_epoch(desk):
    job = desk.train(desk.upload(TABLE), spec_of(epochs=50, maxSeconds=1e-9))
    assert (job.state, job.failure_reason, job.epoch) == ("FAILED", "TIME_LIMIT", 0)
    assert "not one epoch was done" in job.failure_message
    assert desk.findings(job)["TIME_LIMIT"]["figures"] == {"epoch": 0, "seconds": 1e-9}
    assert desk.model() is None


@only_sqlite
def test_balanced_classes_are_written_down(desk):
    iris = load_iris()
    rows = [*range(50), *range(50, 70), *range(100, 110)]
    table = dict(zip("abcd", iris.data[rows].T, strict=True)) | {"species": [f"s{c}" for c in iris.target[rows]]}
    loss = {"crossEntropy": {"classWeights": {"balanced": True}}}
    spec = {"target": ["species"], "network": {"linear": {}}, "loss": loss, "split": {"none": {}}}
    job = desk.train(desk.upload(csv_of(table)), spec)
    assert job.state == "SUCCEEDED"
    weights = model_spec(desk).loss.cross_entropy.class_weights
    assert not weights.balanced
    assert dict(weights.weights) == pytest.approx({"s0": 80 / 150, "s1": 80 / 60, "s2": 80 / 30})


@only_sqlite
def test_exact_solution_of_several_targets(desk):
    spec = {"inputs": ["size"], "target": ["price", "rent"], "network": {"linear": {}}, "learn": {"exact": {}}}
    job = desk.train(desk.upload(TABLE), spec | {"split": {"none": {}}, "preprocess": {"scale": "NONE"}})
    assert job.state == "SUCCEEDED"
    columns = np.column_stack([SIZES, np.ones(120)])
    expected = np.linalg.lstsq(columns, np.column_stack([PRICES, PRICES**2 - SIZES]), rcond=None)[0]
    found = weights_of(desk)
    np.testing.assert_allclose(found["weight"].numpy(), expected[:1].T, rtol=1e-8)
    np.testing.assert_allclose(found["bias"].numpy(), expected[1], rtol=1e-8)


class StopsAfter:
    """Asks to stop once so many epochs are stored."""

    def __init__(self, desk, claim, epochs):
        self.desk, self.claim, self.epochs = desk, claim, epochs

    def __call__(self):
        return self.desk.job(self.claim).epoch >= self.epochs


SCHEDULE = {"reduceOnPlateau": {"patience": 0, "threshold": 0.3, "factor": 0.5}, "warmUpSteps": 4}
WAYS = {
    "rich": (RICH, {"schedule": SCHEDULE, "clip": {"norm": 0.5}}),
    "written out": ({"mlp": {"hidden": [8], "dropout": 0.2}}, {"schedule": {"oneCycle": {}}}),
    "lbfgs": ({"linear": {}}, {"optimizer": {"lbfgs": {"maxIterations": 3}}}),
}


@only_sqlite
@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_resumed_equals_never_stopped(desk, monkeypatch, way):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    network, gradient = WAYS[way]
    spec = spec_of(network, ("price", "rent"), epochs=5, **gradient)
    if way == "written out":
        spec.pop("preprocess")
    dataset = desk.upload(TABLE)
    whole, unbroken = desk.train(dataset, spec), desk.model()
    path = model_spec(desk).learn.gradient.path
    assert path == (specs_path("WRITTEN_OUT") if way == "written out" else specs_path("GENERAL"))
    claim = desk.submit(dataset, spec)
    for epochs in (1, 2, 4):
        assert desk.run(claim, StopsAfter(desk, claim, epochs)) == "stopped"
        assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
        claim = desk.claim()
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert (job.state, job.attempt) == ("SUCCEEDED", 4)
    assert desk.history(job) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256
    assert json.loads(desk.model().findings_json) == json.loads(unbroken.findings_json)


def specs_path(name):
    gradient = specs_pb2.TrainSpec().learn.gradient
    return gradient.Path.Value(name)
