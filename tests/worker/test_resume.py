"""A job that was interrupted, anywhere, ends with the bits of one that was not: 90 interrupted jobs, and 5 controls.

Each control leaves one thing out of the checkpoint, and must come out otherwise: else the 90 would prove nothing.
"""

import functools

import pytest
import torch
from sklearn.datasets import load_iris

from service import ledger
from tests.worker.learning import Desk, csv_of
from worker import checkpoints, publishing

NETWORKS = {
    "linear": {"linear": {}},
    "mlp": {"mlp": {"hidden": [12, 6]}},
    "batch norm and dropout": {"mlp": {"hidden": [12, 6], "normalisation": "BATCH", "dropout": 0.25}},
}
OPTIMIZERS = {
    "sgd": {"sgd": {"lr": 0.05, "momentum": 0.9}},
    "adam": {"adam": {"lr": 0.02}},
    "rmsprop": {"rmsprop": {"lr": 0.01}},
}
EPOCHS, BATCHES = 5, 8


class Died(BaseException):
    """The process is gone: nothing of it is stored any more."""


@functools.cache
def iris():
    found = load_iris()
    names = ["a", "b", "c", "d"]
    return csv_of(dict(zip(names, found.data.T, strict=True)) | {"species": found.target_names[found.target]})


def spec_of_job(network, optimizer):
    gradient = {"epochs": EPOCHS, "batch_size": 16, "optimizer": OPTIMIZERS[optimizer], "keep": "LAST"}
    return {"target": ["species"], "network": NETWORKS[network], "learn": {"gradient": gradient}, "seed": 11}


@pytest.fixture
def desk(database, database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    return Desk(database, database_url, tmp_path)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class At:
    """At the so-manieth question whether to stop: stops, or dies."""

    def __init__(self, question, error=None):
        self.left, self.error = question, error

    def __call__(self):
        self.left -= 1
        if not self.left and self.error:
            raise self.error
        return not self.left


def stops(desk, claim, question):
    assert desk.run(claim, At(question)) == "stopped"
    assert ledger.settle_stopped(desk.database, claim) == "QUEUED"
    return desk.claim()


def dies(desk, claim, question):
    with pytest.raises(Died):
        desk.run(claim, At(question, Died()))
    return lost(desk, claim)


def lost(desk, claim):
    assert ledger.lost(desk.database, claim, "it died") == "QUEUED"
    with desk.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET not_before = 0")
    return desk.claim()


def dies_storing(desk, claim, epoch):
    """Between an epoch's end and the commit of its checkpoint."""
    publish = ledger.publish_epochs

    def storing(database, held, epochs, *rest):
        if epochs[-1].epoch == epoch:
            raise Died
        publish(database, held, epochs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "publish_epochs", storing)
        with pytest.raises(Died):
            desk.run(claim)
    return lost(desk, claim)


# Asked before each of the batches of an epoch, and once after it.
AN_EPOCH = BATCHES + 1
INTERRUPTIONS = {
    "before the first checkpoint": lambda desk, claim: dies(desk, claim, 3),
    "within an epoch": lambda desk, claim: stops(desk, claim, AN_EPOCH + 4),
    "after an epoch": lambda desk, claim: dies(desk, claim, 2 * AN_EPOCH + 5),
    "during a checkpoint": lambda desk, claim: dies_storing(desk, claim, 3),
    "twice": lambda desk, claim: dies(desk, stops(desk, claim, 2 * AN_EPOCH + 6), 7),
}
references = {}


def reference(desk, dataset, network, optimizer, threads):
    """Weights, history and figures of the job that nobody disturbs."""
    key = network, optimizer, threads
    if key not in references:
        references[key] = result(desk, desk.train(dataset, spec_of_job(network, optimizer)))
    return references[key]


def result(desk, job):
    assert job.state == "SUCCEEDED"
    return desk.model().weights_sha256, desk.history(job), desk.model().metrics


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_an_interrupted_job_has_the_bits_of_an_unbroken_one(desk, threads, network, optimizer, interruption):
    dataset = desk.upload(iris())
    expected = reference(desk, dataset, network, optimizer, threads)
    claim = INTERRUPTIONS[interruption](desk, desk.submit(dataset, spec_of_job(network, optimizer)))
    assert desk.run(claim) == "done"
    job = desk.job(claim)
    assert result(desk, job) == expected
    assert [event["epoch"] for event in desk.events(job, "epoch")] == list(range(1, EPOCHS + 1))
    assert all(event["bitwiseEqual"] for event in desk.events(job, "resumed"))


def without_random_numbers(captured):
    return captured | {"torch_rng": torch.Generator().manual_seed(0).get_state()}


def without_moments(captured):
    return captured | {"optimizer": captured["optimizer"] | {"state": {}}}


def without_order(captured):
    return captured | {"order": torch.Generator().manual_seed(0).get_state()}


def without_running_means(captured):
    zeros = {name: torch.zeros_like(weight) for name, weight in captured["network"].items() if "running_mean" in name}
    assert zeros
    return captured | {"network": captured["network"] | zeros}


def without_place(captured):
    return captured | {"batch": 0}


LEFT_OUT = [without_random_numbers, without_moments, without_order, without_running_means, without_place]


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("leave_out", LEFT_OUT)
def test_what_a_checkpoint_holds_is_needed(desk, leave_out, monkeypatch):
    dataset = desk.upload(iris())
    network, optimizer = "batch norm and dropout", "adam"
    expected = reference(desk, dataset, network, optimizer, torch.get_num_threads())
    claim = stops(desk, desk.submit(dataset, spec_of_job(network, optimizer)), AN_EPOCH + 4)
    decode = checkpoints.decode
    monkeypatch.setattr(checkpoints, "decode", lambda data: leave_out(decode(data)))
    assert desk.run(claim) == "done"
    weights, history, _ = result(desk, desk.job(claim))
    assert (weights, history) != expected[:2]
