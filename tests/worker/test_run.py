"""Jobs from their row to their end, on real tables and both databases."""

import dataclasses
import itertools
import json
import logging
import math

import numpy as np
import pytest
import sqlalchemy
import torch
from google.protobuf import json_format
from sklearn.datasets import load_diabetes, load_iris, load_wine

from service import ledger
from service.data.table import load_table
from service.errors import DatabaseUnavailable, DataCorrupt, DiskFull, InvalidTable, NotFound
from service.modelling import tensors
from service.modelling.metrics import CLASS_FIGURES, PROBABILITY_FIGURES
from service.modelling.predictor import Predictor
from service.store import artifacts, jobs
from tests.service.modelling.cases import HOUSE_SPEC, HOUSES, WEIGHT_TABLES, given
from tests.worker.learning import HOUSES_CSV, POINTS_CSV, Desk, csv_of
from traind.v1 import specs_pb2, tables_pb2
from traind.version import __version__
from worker import checkpoints, publishing, run, training_data

MLP = {"mlp": {"hidden": [8], "activation": "TANH"}}
POINTS_SPEC = {
    "target": ["color"],
    "network": MLP,
    "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.05}}, "epochs": 200, "batchSize": 4}},
    "seed": 7,
}


@pytest.fixture
def desk(database, database_url, tmp_path):
    return Desk(database, database_url, tmp_path)


# What differs by database is in the ledger; what is learned does not differ, so most tests take one.
only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])


def house(lr, epochs, **spec):
    learn = {"gradient": {"optimizer": {"gradientDescent": {"lr": lr}}, "epochs": epochs}}
    return HOUSE_SPEC | {"learn": learn} | spec


def predictor_of(desk, model):
    weights = artifacts.load(desk.database, model.artifact_id)
    assert tensors.weights_sha256(tensors.decode_tensors(weights)) == model.weights_sha256
    assert len(weights) == model.size_bytes
    return Predictor.from_stored(model.spec_json, model.preprocessing_json, weights)


def predictions(desk, dataset):
    table = load_table(desk.objects.path(dataset.table_sha256))
    values = predictor_of(desk, desk.model()).predict(table).values
    return values if values.ndim == 1 else values[:, 0]


def iris_csv():
    iris = load_iris()
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    species = [str(iris.target_names[code]) for code in iris.target]
    return csv_of(dict(zip(names, iris.data.T, strict=True)) | {"species": species})


def test_a_job_from_row_to_model(desk):
    dataset = desk.upload(iris_csv(), "iris")
    learn = {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": 40}}
    job = desk.train(dataset, {"target": ["species"], "network": {"mlp": {"hidden": [16]}}, "learn": learn, "seed": 1})
    assert (job.state, job.epoch, job.epochs) == ("SUCCEEDED", 40, 40)
    history = desk.history(job)
    assert set(history) == {"train_loss", "val_loss", "val_accuracy"}
    assert all(len(values) == 40 for values in history.values())
    assert [event["epoch"] for event in desk.events(job, "epoch")] == list(range(1, 41))
    assert job.best_epoch == history["val_loss"].index(min(history["val_loss"])) + 1

    model = desk.model()
    assert job.model_name == "models/kim.model/versions/1"
    assert (model.job_id, model.best_epoch, model.engine) == (job.id, job.best_epoch, __version__)
    assert model.parameter_count == job.parameter_count == 4 * 16 + 16 + 16 * 3 + 3
    assert model.metrics == job.metrics
    figures = ("loss", *CLASS_FIGURES, *PROBABILITY_FIGURES)
    assert set(model.metrics) == {f"{s}_{f}" for s in ("train", "val") for f in figures}
    train, val = json.loads(model.confusion_json)
    assert (train["split"], val["split"]) == ("train", "val")
    for matrix, rows, split in ((train, 120, "train"), (val, 30, "val")):
        counts = np.reshape(matrix["counts"]["values"], (3, 3))
        assert counts.sum() == rows
        assert np.trace(counts) / rows == pytest.approx(model.metrics[f"{split}_accuracy"])
    assert model.metrics["train_accuracy"] >= 0.93
    assert model.metrics["val_accuracy"] >= 0.93
    assert model.metrics["val_loss"] == pytest.approx(min(history["val_loss"]), rel=1e-6)
    assert json.loads(model.findings_json) == []
    inputs = [json_format.ParseDict(column, tables_pb2.Column()) for column in json.loads(model.inputs_json)]
    assert [column.name for column in inputs] == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    (output,) = json.loads(model.outputs_json)
    assert output == {"name": "species", "type": "CATEGORY", "categories": ["setosa", "versicolor", "virginica"]}
    assert json_format.Parse(model.spec_json, specs_pb2.TrainSpec()).network.mlp.hidden == [16]
    truth = load_iris().target
    assert (predictions(desk, dataset) == truth).mean() >= 0.93
    with desk.database.read() as connection:
        checkpoint = jobs.find_by_id(connection, job.id).checkpoint_id
    captured = checkpoints.decode(artifacts.load(desk.database, checkpoint))
    assert (captured["job"], captured["epoch"]) == (job.id, 40), "where it ended is kept"
    (line,) = (event["message"] for event in desk.events(job, "log"))
    assert line.startswith("120 rows to learn from, 30 held out; 4 features; device cpu, threads ")


@only_sqlite
def test_wine_is_learned(desk):
    wine = load_wine()
    names = [f"c{number}" for number in range(13)]
    table = dict(zip(names, wine.data.T, strict=True)) | {"grape": [f"g{code}" for code in wine.target]}
    job = desk.train(
        desk.upload(csv_of(table)),
        {
            "target": ["grape"],
            "network": {"linear": {}},
            "learn": {"gradient": {"epochs": 30, "optimizer": {"adam": {"lr": 0.05}}}},
        },
    )
    assert job.metrics["val_accuracy"] >= 0.94


@only_sqlite
def test_exact_house_prices(desk):
    dataset = desk.upload(HOUSES_CSV)
    job = desk.train(dataset, HOUSE_SPEC | {"learn": {"exact": {}}})
    assert (job.state, job.epoch, job.epochs, job.best_epoch) == ("SUCCEEDED", 0, 0, 0)
    assert desk.history(job) == {}
    weights = tensors.decode_tensors(artifacts.load(desk.database, desk.model().artifact_id))
    np.testing.assert_allclose(weights["weight"].numpy(), [[0, 1.5, 5]], atol=1e-8)
    np.testing.assert_allclose(predictions(desk, dataset), HOUSES["price"], atol=1e-8)
    assert math.isnan(job.metrics["train_residual_mse"])
    assert set(desk.findings(job)) == {"NO_DEGREES_OF_FREEDOM"}
    (finding,) = json.loads(desk.model().findings_json)
    assert finding["figures"] == {"rows": 3, "parameters": 3}


@only_sqlite
def test_exact_with_bias_is_not_unique(desk):
    job = desk.train(desk.upload(HOUSES_CSV), HOUSE_SPEC | {"network": {"linear": {}}, "learn": {"exact": {}}})
    finding = desk.findings(job)["RANK_DEFICIENT"]
    assert finding["figures"] == {"rank": 3, "columns": 4}
    assert job.metrics["train_mse"] < 1e-20


def diabetes_csv():
    diabetes = load_diabetes(scaled=False)
    return csv_of(dict(zip(diabetes.feature_names, diabetes.data.T, strict=True)) | {"progression": diabetes.target})


@only_sqlite
@pytest.mark.parametrize(
    "learn",
    [{"exact": {}}, {"gradient": {"optimizer": {"gradientDescent": {"lr": 0.236}}, "epochs": 800}}],
    ids=["exact", "gradient"],
)
def test_diabetes_by_least_squares(desk, learn):
    spec = {
        "target": ["progression"],
        "network": {"linear": {}},
        "split": {"none": {}},
        "dtype": "FLOAT64",
        "learn": learn,
    }
    job = desk.train(desk.upload(diabetes_csv()), spec)
    assert job.metrics["train_r2"] == pytest.approx(0.517748, rel=1e-4)
    assert job.metrics["train_mse"] == pytest.approx(2859.6963, rel=1e-4)
    assert job.metrics["train_residual_mse"] == pytest.approx(2859.6963 * 442 / 431, rel=1e-4)
    assert desk.findings(job) == {}


@only_sqlite
def test_descent_reaches_the_exact_predictions(desk):
    dataset = desk.upload(HOUSES_CSV)
    job = desk.train(dataset, house(0.38, 250, network={"linear": {}}, preprocess={"scale": "STANDARD"}))
    assert job.state == "SUCCEEDED"
    np.testing.assert_allclose(predictions(desk, dataset), HOUSES["price"], atol=1e-8)


@only_sqlite
@pytest.mark.parametrize(("weights", "bias", "values", "mae"), WEIGHT_TABLES)
def test_given_weights(desk, weights, bias, values, mae):
    dataset = desk.upload(HOUSES_CSV)
    network = {"linear": {"bias": bias is not None}}
    spec = HOUSE_SPEC | {"network": network, "loss": {"mae": {}}}
    job = desk.train(dataset, spec | given(weight=[weights], bias=None if bias is None else [bias]))
    assert (job.state, job.epoch, job.epochs) == ("SUCCEEDED", 0, 0)
    np.testing.assert_allclose(predictions(desk, dataset), values, atol=1e-12)
    assert job.metrics["train_loss"] == job.metrics["train_mae"] == pytest.approx(mae, abs=5e-5)
    assert "values" not in desk.model().spec_json
    assert json_format.Parse(desk.model().spec_json, specs_pb2.TrainSpec()).learn.WhichOneof("way") == "given"


@only_sqlite
def test_given_weights_of_as_many_classes_as_the_rows_have(desk):
    dataset = desk.upload("x,y\n1,5\n2,6\n3,7\n4,5\n")
    spec = {"target": ["y"], "network": {"linear": {}}, "loss": {"crossEntropy": {}}, "preprocess": {"scale": "NONE"}}
    job = desk.train(dataset, spec | given(weight=[[-1.0], [0.0], [1.0]], bias=[2.5, 0.0, -2.5]))
    assert job.state == "SUCCEEDED"
    job = desk.train(dataset, spec | given(weight=[[-1.0], [1.0]], bias=[0.0, 0.0]))
    assert (job.state, job.failure_reason) == ("FAILED", "INVALID_DATA")
    assert job.failure_message.startswith('job.train.learn.given.weights["weight"]: has shape [2, 1]')


@only_sqlite
def test_points_by_a_perceptron(desk):
    job = desk.train(desk.upload(POINTS_CSV), {"target": ["color"], "network": {"perceptron": {}}, "seed": 7})
    assert (job.state, job.epoch) == ("SUCCEEDED", 100)
    assert {name: job.metrics[name] for name in ("train_loss", "train_accuracy")} == {
        "train_loss": 0.25,
        "train_accuracy": 0.75,
    }
    assert not {"train_roc_auc", "train_log_loss"} & set(job.metrics)
    history = desk.history(job)
    assert set(history) == {"train_loss", "train_accuracy"}
    assert job.best_epoch == history["train_loss"].index(0.25) + 1
    findings = desk.findings(job)
    assert set(findings) == {"NO_HOLD_OUT", "NOT_SEPARABLE"}
    assert findings["NOT_SEPARABLE"]["figures"] == {"epochs": 100, "best_accuracy": 0.75}
    assert findings["NO_HOLD_OUT"]["figures"] == {"rows": 4, "limit": 20}


@only_sqlite
def test_a_perceptron_ends_when_it_makes_no_error(desk):
    dataset = desk.upload("x,y,color\n0,0,white\n1,0,black\n0,1,black\n1,1,black\n")
    job = desk.train(dataset, {"target": ["color"], "network": {"perceptron": {}}})
    assert job.state == "SUCCEEDED"
    assert 0 < job.epoch == job.best_epoch < 100
    assert job.metrics["train_accuracy"] == 1
    assert "NOT_SEPARABLE" not in desk.findings(job)


@only_sqlite
def test_points_by_a_hidden_layer(desk):
    dataset = desk.upload(POINTS_CSV)
    job = desk.train(dataset, POINTS_SPEC)
    assert job.metrics["train_accuracy"] == 1.0
    assert predictions(desk, dataset).tolist() == [1, 0, 0, 1]
    table = load_table(desk.objects.path(dataset.table_sha256))
    ((name, moved),) = predictor_of(desk, desk.model()).predict(table, hidden=True).hidden
    assert (name, moved.shape) == ("layers.0", (4, 8))
    linear = desk.train(dataset, POINTS_SPEC | {"network": {"mlp": {"hidden": [8], "activation": "IDENTITY"}}})
    assert linear.metrics["train_accuracy"] <= 0.75


def test_same_seed_same_history_and_hash(desk):
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "seed": 5}
    first, one = desk.train(dataset, spec), desk.model()
    again, two = desk.train(dataset, spec), desk.model()
    assert (one.version, two.version) == (1, 2)
    assert desk.history(first) == desk.history(again)
    assert one.weights_sha256 == two.weights_sha256
    other = desk.train(dataset, spec | {"seed": 6})
    assert desk.history(other) != desk.history(first)
    assert desk.model().weights_sha256 != one.weights_sha256


@only_sqlite
def test_raw_house_rows_crawl_descend_and_diverge(desk):
    dataset = desk.upload(HOUSES_CSV)
    crawls = desk.train(dataset, house(1e-5, 200))
    finding = desk.findings(crawls)["RATE_TOO_SMALL"]
    assert finding["figures"]["largest_stable_lr"] == pytest.approx(8.7e-4, rel=0.005)
    assert json.loads(desk.model().findings_json)[0] == finding
    descends = desk.train(dataset, house(5e-4, 200))
    assert set(desk.findings(descends)) == {"NO_DEGREES_OF_FREEDOM"}
    losses = desk.history(descends)["train_loss"]
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < desk.history(crawls)["train_loss"][-1]


def test_a_diverged_job_keeps_its_whole_history(desk, recwarn):
    dataset = desk.upload(HOUSES_CSV)
    job = desk.train(dataset, house(0.001, 400, dtype="FLOAT32"))
    assert (job.state, job.failure_reason) == ("FAILED", "DIVERGED")
    losses = desk.history(job)["train_loss"]
    first_bad = next(epoch for epoch, loss in enumerate(losses, 1) if not math.isfinite(loss))
    assert losses[first_bad - 1] == math.inf
    assert math.isnan(losses[-1])
    assert len(losses) == job.epoch <= 2 * first_bad
    assert [event["epoch"] for event in desk.events(job, "epoch")] == list(range(1, job.epoch + 1))
    finding = desk.findings(job)["DIVERGED"]
    assert finding["figures"] == {
        "epoch": first_bad,
        "lr": 0.001,
        "proposed_lr": pytest.approx(4.36e-4, rel=0.005),
        "largest_stable_lr": pytest.approx(8.71e-4, rel=0.005),
    }
    assert finding["message"] == job.failure_message
    assert f"in epoch {first_bad}: the learning rate 0.001 is too large" in job.failure_message
    assert "Try 0.000436." in job.failure_message
    assert desk.model() is None
    assert not recwarn.list
    calm = desk.train(dataset, house(finding["figures"]["proposed_lr"], 60, dtype="FLOAT32"))
    assert calm.state == "SUCCEEDED"


@only_sqlite
def test_64_bits_do_not_hide_that_a_job_diverged(desk):
    """They would hold every loss of these epochs, the last one of about 1e87."""
    dataset = desk.upload(HOUSES_CSV)
    job = desk.train(dataset, house(0.001, 400, dtype="FLOAT64"))
    assert (job.state, job.failure_reason) == ("FAILED", "DIVERGED")
    losses = desk.history(job)["train_loss"]
    assert len(losses) == 400
    assert all(map(math.isfinite, losses))
    finding = desk.findings(job)["DIVERGED"]
    assert finding["figures"]["epoch"] == 400
    assert finding["figures"]["proposed_lr"] == pytest.approx(4.36e-4, rel=0.005)
    assert f"The loss has grown to {losses[-1]:.3g} by epoch 400: the learning rate" in job.failure_message
    assert desk.model() is None
    assert desk.train(dataset, house(0.001, 100, dtype="FLOAT64")).state == "SUCCEEDED"


@only_sqlite
def test_64_bits_learn_what_is_large_itself(desk):
    dataset = desk.upload("x,y\n1,1e25\n2,2e25\n3,3e25\n")
    job = desk.train(dataset, house(0.01, 20, target=["y"], inputs=["x"], dtype="FLOAT64"))
    assert (job.state, job.failure_message) == ("SUCCEEDED", None)
    assert 1e45 < desk.history(job)["train_loss"][-1] < 1e51


@only_sqlite
def test_a_loss_that_explodes_in_the_last_epoch(desk):
    """The running loss is measured before the step, so only the weights that came of it are bad."""
    dataset = desk.upload("x,y\n1e30,1\n-1e30,2\n")
    spec = {"target": ["y"], "network": {"linear": {}}, "preprocess": {"scale": "NONE"}, "split": {"none": {}}}
    learn = {"gradient": {"optimizer": {"gradientDescent": {"lr": 1000}}, "epochs": 1}}
    loss = {"mae": {"reduction": "SUM"}}
    job = desk.train(dataset, spec | {"learn": learn, "loss": loss})
    assert (job.state, job.failure_reason) == ("FAILED", "DIVERGED")
    assert desk.findings(job)["DIVERGED"]["figures"] == {"epoch": 1, "lr": 1000, "proposed_lr": 100}


class StopsAfter:
    """Asks to stop once so many epochs are stored."""

    def __init__(self, desk, claim, epochs):
        self.desk, self.claim, self.epochs = desk, claim, epochs

    def __call__(self):
        return self.desk.job(self.claim).epoch >= self.epochs


class StopsAtQuestion:
    """Asks to stop when it is asked for the so-manieth time."""

    def __init__(self, number):
        self.left = number

    def __call__(self):
        self.left -= 1
        return not self.left


def test_stopped_and_resumed_equals_never_stopped(desk, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 6}}, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()
    claim = desk.submit(dataset, spec)
    for epochs in (1, 3, 4):
        assert desk.run(claim, StopsAfter(desk, claim, epochs)) == "stopped"
        stopped = desk.job(claim)
        assert stopped.epoch == epochs
        assert stopped.checkpoint_id is not None
        assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
        claim = desk.claim()
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert (job.state, job.attempt, job.best_epoch) == ("SUCCEEDED", 4, whole.best_epoch)
    assert desk.history(job) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256
    assert desk.model().metrics == unbroken.metrics
    assert desk.events(job, "resumed") == [{"epoch": str(n), "bitwiseEqual": True} for n in (1, 3, 4)]


@only_sqlite
def test_stopped_while_epochs_wait_for_their_publication(desk, monkeypatch):
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 12}}, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 1000.0)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) >= 15

    # Asked at each of the four batches and after the epoch: the 15th question comes after the third.
    claim = desk.submit(dataset, spec)
    assert desk.run(claim, stop) == "stopped"
    assert (desk.job(claim).epoch, len(asked)) == (3, 15)
    assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
    claim = desk.claim()
    assert desk.run(claim) == "done"
    assert desk.history(desk.job(claim)) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256


DROPPED = {"mlp": {"hidden": [16, 8], "dropout": 0.3, "normalisation": "BATCH"}}


@only_sqlite
@pytest.mark.parametrize(
    ("network", "path"),
    [(MLP, "WRITTEN_OUT"), (MLP, "GENERAL"), (DROPPED, "GENERAL")],
    ids=["fast", "general", "batch"],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_stopped_within_an_epoch_and_resumed_equals_never_stopped(desk, network, path, optimizer):
    dataset = desk.upload(iris_csv())
    gradient = {"epochs": 4, "batch_size": 16, "path": path, "optimizer": {optimizer: {"lr": 0.05}}}
    spec = {"target": ["species"], "network": network, "learn": {"gradient": gradient}, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()
    claim = desk.submit(dataset, spec)
    # Eight batches an epoch, and a question after each epoch too.
    for question, (epoch, batch) in ((4, (0, 3)), (2, (0, 4)), (7, (1, 1)), (1, (1, 1)), (20, (3, 2))):
        assert desk.run(claim, StopsAtQuestion(question)) == "stopped"
        assert desk.job(claim).epoch == epoch
        captured = checkpoints.decode(artifacts.load(desk.database, desk.job(claim).checkpoint_id))
        assert (captured["epoch"], captured["batch"]) == (epoch, batch)
        assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
        claim = desk.claim()
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert desk.history(job) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256
    assert [event["epoch"] for event in desk.events(job, "epoch")] == [1, 2, 3, 4]


def stop_after(desk, claim, epochs):
    """Run until so many epochs are done, and lose the worker."""
    assert desk.run(claim, StopsAfter(desk, claim, epochs)) == "stopped"
    assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
    return desk.claim()


def spoil(desk, artifact_id):
    with desk.database.write() as connection:
        statement = "UPDATE artifact_chunk SET data = :data WHERE artifact_id = :id AND number = 0"
        connection.execute(sqlalchemy.text(statement), {"data": b"spoiled", "id": artifact_id})


@only_sqlite
def test_a_damaged_checkpoint_is_passed_over(desk, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 6}}, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()
    claim = stop_after(desk, desk.submit(dataset, spec), 4)
    spoil(desk, claim.job.checkpoint_id)
    assert desk.run(claim) == "done"
    (told,) = desk.events(desk.job(claim), "resumed")
    assert (told["epoch"], told["bitwiseEqual"]) == ("3", True)
    assert told["reason"].startswith("a newer checkpoint is damaged: artifact ")
    # Epoch 4 was computed again, came out the same, and is not told again.
    assert [event["epoch"] for event in desk.events(desk.job(claim), "epoch")] == [1, 2, 3, 4, 5, 6]
    assert desk.history(desk.job(claim)) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256


@only_sqlite
def test_a_job_whose_checkpoints_are_all_damaged_begins_anew(desk, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 5}}, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()
    claim = stop_after(desk, desk.submit(dataset, spec), 3)
    spoil(desk, claim.job.checkpoint_id)
    spoil(desk, claim.job.older_checkpoint_id)
    assert desk.run(claim) == "done"
    (told,) = desk.events(desk.job(claim), "resumed")
    assert (told.get("epoch"), told["bitwiseEqual"]) == (None, True)
    assert [event["epoch"] for event in desk.events(desk.job(claim), "epoch")] == [1, 2, 3, 4, 5]
    assert desk.history(desk.job(claim)) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256


@only_sqlite
def test_epochs_between_checkpoints_are_computed_again_and_compared(desk, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    dataset = desk.upload(iris_csv())
    learn = {"gradient": {"epochs": 8, "checkpoints": {"every_epochs": 3}}}
    spec = {"target": ["species"], "network": MLP, "learn": learn, "seed": 3}
    whole, unbroken = desk.train(dataset, spec), desk.model()

    class Died(BaseException):
        pass

    def dies(*arguments):
        if arguments[2][0].epoch == 6:
            raise Died
        publish(*arguments)

    publish = ledger.publish_epochs
    monkeypatch.setattr(ledger, "publish_epochs", dies)
    claim = desk.submit(dataset, spec)
    with pytest.raises(Died):
        desk.run(claim)
    monkeypatch.undo()
    # Five epochs are told, and the checkpoint is of the third.
    assert desk.job(claim).epoch == 5
    ledger.lost(desk.database, claim, "it died")
    with desk.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE job SET not_before = 0"))
    claim = desk.claim()
    assert desk.run(claim) == "done"
    (told,) = desk.events(desk.job(claim), "resumed")
    assert told == {"epoch": "3", "bitwiseEqual": True}
    assert [event["epoch"] for event in desk.events(desk.job(claim), "epoch")] == list(range(1, 9))
    assert desk.history(desk.job(claim)) == desk.history(whole)
    assert desk.model().weights_sha256 == unbroken.weights_sha256


@only_sqlite
def test_an_epoch_that_comes_out_otherwise_is_told_again(desk, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    dataset = desk.upload(iris_csv())
    spec = {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 6}}, "seed": 3}
    whole = desk.train(dataset, spec)
    claim = stop_after(desk, desk.submit(dataset, spec), 4)
    spoil(desk, claim.job.checkpoint_id)
    with desk.database.write() as connection:  # as if another kind of processor had computed it
        connection.execute(
            sqlalchemy.text("UPDATE metric SET value = value + 1e-9 WHERE step = 4 AND job_id = :id"),
            {"id": claim.job.id},
        )
    assert desk.run(claim) == "done"
    first, second = desk.events(desk.job(claim), "resumed")
    assert first["epoch"] == "3"
    assert (second["epoch"], second["rewound"]) == ("3", True)
    assert second["reason"] == "computed again, train_loss, val_loss, val_accuracy came out otherwise"
    assert [event["epoch"] for event in desk.events(desk.job(claim), "epoch")] == [1, 2, 3, 4, 4, 5, 6]
    assert desk.history(desk.job(claim)) == desk.history(whole)


@only_sqlite
@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (POINTS_CSV, {"target": ["color"], "network": {"perceptron": {}}, "seed": 1}),
        (HOUSES_CSV, house(0.001, 400, dtype="FLOAT32")),
    ],
    ids=["perceptron", "diverges"],
)
def test_lost_and_begun_again_equals_never_lost(desk, monkeypatch, text, spec):
    """The process dies between two writes: after the epochs of one publication, before those of the next."""
    dataset = desk.upload(text)
    whole = desk.train(dataset, spec)
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    publish, stored = ledger.publish_epochs, []

    class Died(BaseException):
        pass

    def dies(*arguments):
        if len(stored) == 5:
            raise Died
        stored.append(publish(*arguments))

    claim = desk.submit(dataset, spec)
    monkeypatch.setattr(ledger, "publish_epochs", dies)
    with pytest.raises(Died):
        desk.run(claim)
    monkeypatch.undo()
    assert desk.job(claim).epoch == 5
    assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
    claim = desk.claim()
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert (job.state, job.epoch, job.attempt) == (whole.state, whole.epoch, 2)
    assert repr(desk.history(job)) == repr(desk.history(whole))
    assert desk.findings(job) == desk.findings(whole)
    assert job.metrics == pytest.approx(whole.metrics, nan_ok=True)


@only_sqlite
def test_other_threads_are_told(desk):
    dataset = desk.upload(iris_csv())
    claim = desk.submit(dataset, {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 3}}})
    assert desk.run(claim, StopsAfter(desk, claim, 1)) == "stopped"
    ledger.settle_stopped(desk.database, claim)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert desk.run(desk.claim()) == "done"
    finally:
        torch.set_num_threads(threads)
    (told, *_) = desk.events(desk.job(claim), "resumed")
    why = f"bits may differ from those of an unbroken run: threads {threads} -> {threads + 1}"
    assert (told["epoch"], told.get("bitwiseEqual"), told["reason"]) == ("1", None, why)


@only_sqlite
def test_short_epochs_are_published_together(desk, monkeypatch):
    published = []
    publish = ledger.publish_epochs

    def counted(database, claim, epochs, checkpoint, best_epoch):
        published.append([epoch.epoch for epoch in epochs])
        publish(database, claim, epochs, checkpoint, best_epoch)

    monkeypatch.setattr(ledger, "publish_epochs", counted)
    job = desk.train(desk.upload(POINTS_CSV), POINTS_SPEC)
    assert published[0] == [1]
    assert list(itertools.chain(*published)) == list(range(1, 201))
    assert len(published) < 100
    assert job.epoch == 200


def test_a_fenced_attempt_writes_nothing(desk):
    dataset = desk.upload(iris_csv())
    # So many that they last for several publications, which are 50 ms apart.
    learn = {"gradient": {"epochs": 1000}}
    claim = desk.submit(dataset, {"target": ["species"], "network": MLP, "learn": learn})
    seen = []

    def stop():
        if desk.job(claim).epoch >= 2 and not seen:
            ledger.settle_stopped(desk.database, claim)
            seen.append(desk.claim())
        return False

    assert desk.run(claim, stop) == "fenced"
    job = desk.job(claim)
    assert (job.state, job.attempt) == ("RUNNING", 2)
    assert desk.model() is None
    assert desk.run(seen[0]) == "done"
    assert len(desk.history(job)["train_loss"]) == 1000


@only_sqlite
@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        ("x,y\n1,5\n2,6\n3,7\n", {"loss": {"bce": {}}}, "has 3 classes and exactly 2 are needed"),
        ("x,y\n1,5\n2,6\n3,7\n", {"network": {"perceptron": {}}}, "has 3 classes and exactly 2 are needed"),
        ("x,y\n1,5\n2,5\n3,5\n", {}, "one value only; there is nothing to learn"),
        ("x,y\n1,5\n2,5\n3,5\n", {"loss": {"crossEntropy": {}}}, 'holds only "5"'),
        ("x,y\n1e300,1\n-1e308,2\n1e308,3\n", {}, "cannot be scaled in 64 bits"),
        (
            "x,y\n1e39,1\n2,2\n3,3\n",
            {"preprocess": {"scale": "NONE"}},
            'column "x" has 1 values that are Inf, NaN or beyond',
        ),
        ("x,y\n1,1\n2,1e39\n3,3\n", {}, 'job.train.target[0]: column "y" has 1 values that are Inf'),
        ("x,y\na,1\nb,2\nc,3\n", {"loss": {"crossEntropy": {}}, "split": {"holdOut": {}}}, "every class has one row"),
        (
            "x,y\n1e-30,1e30\n2e-30,2e30\n3e-30,3e30\n",
            {"network": {"linear": {"bias": False}}, "learn": {"exact": {}}, "dtype": "FLOAT32"}
            | {"preprocess": {"scale": "NONE"}},
            "job.train.dtype: FLOAT32 cannot hold the exact solution",
        ),
    ],
)
def test_rows_that_cannot_be_learned_from(desk, text, spec, words):
    job = desk.train(desk.upload(text), {"target": ["y"], "network": {"linear": {}}} | spec)
    assert (job.state, job.failure_reason) == ("FAILED", "INVALID_DATA")
    assert words in job.failure_message


@only_sqlite
def test_constant_inputs_are_told(desk):
    table = {"x": range(30), "same": [4] * 30, "city": ["Seoul"] * 30, "y": [2 * x + 1 for x in range(30)]}
    job = desk.train(desk.upload(csv_of(table)), {"target": ["y"], "network": {"linear": {}}, "learn": {"exact": {}}})
    findings = desk.findings(job)
    assert findings["CONSTANT_COLUMN"]["figures"] == {"columns": 2}
    assert "same, city" in findings["CONSTANT_COLUMN"]["message"]
    assert "RANK_DEFICIENT" in findings
    assert job.metrics["val_r2"] == pytest.approx(1)


@only_sqlite
def test_more_classes_than_the_server_allows_parameters(desk):
    dataset = desk.upload("x,y\n1,5\n2,6\n3,7\n4,8\n")
    claim = desk.submit(dataset, {"target": ["y"], "network": {"linear": {}}, "loss": {"crossEntropy": {}}})
    assert desk.run(claim, max_parameters=7) == "done"
    job = desk.job(claim)
    assert job.failure_reason == "INVALID_DATA"
    assert "has 8 parameters and this server allows 7" in job.failure_message


@only_sqlite
def test_a_table_whose_bytes_changed(desk):
    dataset = desk.upload(HOUSES_CSV)
    path = desk.objects.path(dataset.table_sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    job = desk.train(dataset, house(1e-4, 5))
    assert (job.state, job.failure_reason) == ("FAILED", "CORRUPT")


@only_sqlite
def test_a_checkpoint_of_another_spec(desk):
    dataset = desk.upload(iris_csv())
    claim = desk.submit(dataset, {"target": ["species"], "network": MLP, "learn": {"gradient": {"epochs": 3}}})
    assert desk.run(claim, StopsAfter(desk, claim, 1)) == "stopped"
    ledger.settle_stopped(desk.database, claim)
    again = desk.claim()
    changed = dataclasses.replace(
        again, job=dataclasses.replace(again.job, resolved_json=again.job.resolved_json + " ")
    )
    assert desk.run(changed) == "done"
    assert desk.job(claim).failure_reason == "CORRUPT"


@only_sqlite
def test_memory_that_is_not_there(desk, monkeypatch):
    """What torch says when the process's limit is reached."""

    def refuses(*_):
        return torch.empty(1 << 50)

    monkeypatch.setattr(training_data, "prepare", refuses)
    job = desk.train(desk.upload(HOUSES_CSV), house(1e-4, 5))
    assert (job.state, job.failure_reason) == ("FAILED", "OUT_OF_MEMORY")
    assert "batch_size" in job.failure_message


@only_sqlite
def test_a_defect_is_told_by_its_id_alone(desk, monkeypatch, caplog):
    def breaks(*_):
        raise KeyError("/secret/path")

    monkeypatch.setattr(training_data, "prepare", breaks)
    with caplog.at_level(logging.ERROR, "traind.worker"):
        job = desk.train(desk.upload(HOUSES_CSV), house(1e-4, 5))
    assert (job.state, job.failure_reason) == ("FAILED", "INTERNAL")
    assert "secret" not in job.failure_message
    error_id = job.failure_message.rsplit(" ", 1)[1]
    assert error_id in caplog.text
    assert "/secret/path" in caplog.text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "OUT_OF_MEMORY"),
        (torch.OutOfMemoryError("CUDA out of memory"), "OUT_OF_MEMORY"),
        (DataCorrupt("x"), "CORRUPT"),
        (DiskFull("x"), "STORAGE_FULL"),
        (InvalidTable("x"), "INVALID_DATA"),
        (NotFound("x"), "INVALID_DATA"),
        (RuntimeError("x"), "INTERNAL"),
    ],
)
def test_reasons(error, reason):
    found, message = run.failure_of(error)
    assert found == reason
    assert message


@only_sqlite
def test_writes_are_made_again_while_the_database_does_not_answer(desk, monkeypatch):
    refused = []
    publish = ledger.publish_epochs

    def unavailable(*arguments):
        if len(refused) < 2:
            refused.append(1)
            raise DatabaseUnavailable("the database did not answer")
        publish(*arguments)
        if len(refused) < 3:  # it was stored, and the answer was lost
            refused.append(1)
            raise DatabaseUnavailable("the database did not answer")

    monkeypatch.setattr(ledger, "publish_epochs", unavailable)
    job = desk.train(desk.upload(HOUSES_CSV), house(1e-4, 3))
    assert (job.state, job.epoch, len(refused)) == ("SUCCEEDED", 3, 3)
    assert [event["epoch"] for event in desk.events(job, "epoch")] == [1, 2, 3]


@only_sqlite
def test_a_database_that_stays_away_ends_the_process(desk, monkeypatch):
    def unavailable(*_):
        raise DatabaseUnavailable("the database did not answer")

    claim = desk.submit(desk.upload(HOUSES_CSV), house(1e-4, 3))
    monkeypatch.setattr(ledger, "publish_epochs", unavailable)
    with pytest.raises(DatabaseUnavailable):
        desk.run(claim, lease_s=0.3)
    assert desk.job(claim).state == "RUNNING"


def test_evaluation(desk):
    dataset = desk.upload(HOUSES_CSV)
    desk.train(dataset, HOUSE_SPEC | given(weight=[[0.1, 0.3, 4.0]]))
    more = desk.upload(HOUSES_CSV + "40,4,1.0,9\n35,3,0.2,8\n", "more")
    claim = desk.submit_evaluation(more, "models/kim.model/versions/1", mae={})
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert (job.state, job.model_name) == ("SUCCEEDED", "")
    rows = np.array([[32, 3, 0.3], [33, 3, 0.5], [36, 4, 0.5], [40, 4, 1.0], [35, 3, 0.2]])
    error = np.abs(rows @ [0.1, 0.3, 4.0] - [6, 7, 8.5, 9, 8])
    assert job.metrics["loss"] == job.metrics["mae"] == pytest.approx(error.mean())
    assert job.metrics["mse"] == pytest.approx((error**2).mean())
    assert job.metrics["residual_mse"] == pytest.approx((error**2).sum() / 2)
    assert desk.history(job) == {}


@only_sqlite
@pytest.mark.parametrize(
    ("model", "text", "loss", "words"),
    [
        ("models/kim.none", HOUSES_CSV, {}, "there is no models/kim.none"),
        ("models/lee.model", HOUSES_CSV, {}, "there is no models/lee.model"),
        ("model", "area,price\n32,6\n", {}, "no column"),
        ("model", HOUSES_CSV, {"bce": {}}, "loss: bce needs a model of classes"),
    ],
)
def test_evaluations_that_cannot_be(desk, model, text, loss, words):
    desk.train(desk.upload(HOUSES_CSV), HOUSE_SPEC | given(weight=[[0.1, 0.3, 4.0]]))
    claim = desk.submit_evaluation(desk.upload(text, "other"), model, **loss)
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert (job.state, job.failure_reason) == ("FAILED", "INVALID_DATA")
    assert words in job.failure_message
