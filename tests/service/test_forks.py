"""Jobs that are retried, and forks that go on from a checkpoint: a new job each, with its parent's history."""

import contextlib
import math
import threading
import uuid

import pytest
import sqlalchemy
from google.protobuf import json_format

from service import jobs, ledger
from service.errors import InvalidField, NotFound, RequestIdReused, WrongState
from service.store import artifacts
from tests.service.family import (
    MLP,
    StopsAt,
    cancelled,
    captured_of,
    every_epoch_told,
    fork,
    history,
    learn_of,
    ran,
    retry,
    species,
    told,
    weights,
)
from tests.service.lab import never
from traind.v1 import jobs_pb2, learning_pb2
from worker import checkpoints, publishing
from worker.run import run_job

only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])


@pytest.fixture
def lab(database, tmp_path, monkeypatch):
    return every_epoch_told(database, tmp_path, monkeypatch)


def test_a_cancelled_job_is_retried_from_its_checkpoint_bit_for_bit(lab):
    whole = ran(lab, lab.submit(species()))
    first = cancelled(lab, lab.submit(species() | {"displayName": "펭귄"}), 34)
    assert (first.state, first.epoch) == (jobs_pb2.Job.CANCELLED, 3)
    again = retry(lab, first.name)
    assert (again.parent, again.display_name, again.epoch) == (first.name, "펭귄", 0)
    assert again.name != first.name
    assert again.resolved == first.resolved
    again = ran(lab, again)
    assert again.state == jobs_pb2.Job.SUCCEEDED
    assert history(lab, again.name) == history(lab, whole.name)
    assert weights(lab, again) == weights(lab, whole)
    assert [event.epoch.epoch for event in told(lab, again.name, "epoch")] == [1, 2, 3, 4, 5, 6]
    (resumed,) = told(lab, again.name, "resumed")
    assert (resumed.resumed.epoch, resumed.resumed.bitwise_equal) == (3, True)
    assert resumed.resumed.batch > 0, "it was stopped within an epoch"
    assert resumed.resumed.reason == f"goes on from {first.name}"
    assert lab.get(first.name) == first, "nothing leaves an end"


def test_a_retried_job_that_is_lost_goes_on_from_its_own_checkpoints(lab):
    whole = ran(lab, lab.submit(species()))
    first = cancelled(lab, lab.submit(species()), 26)
    again = retry(lab, first.name)
    for question in (5, 20):
        claim = ledger.claim(lab.app.database, "test", 15)
        assert run_job(lab.settings, lab.app.database, claim, StopsAt(question)) == "stopped"
        ledger.settle_stopped(lab.app.database, claim)
    again = ran(lab, again)
    assert history(lab, again.name) == history(lab, whole.name)
    assert weights(lab, again) == weights(lab, whole)
    assert [event.epoch.epoch for event in told(lab, again.name, "epoch")] == [1, 2, 3, 4, 5, 6]
    assert len(told(lab, again.name, "resumed")) == 3


@only_sqlite
def test_a_job_that_its_data_ended_is_retried_from_the_beginning(lab):
    lab.submit(species())
    claim = ledger.claim(lab.app.database, "test", 15)
    assert run_job(lab.settings, lab.app.database, claim, StopsAt(26)) == "stopped"
    ledger.fail(lab.app.database, claim, "INVALID_DATA", "the rows cannot be learned from")
    again = ran(lab, retry(lab, f"jobs/{claim.job.id}"))
    assert again.state == jobs_pb2.Job.SUCCEEDED
    assert told(lab, again.name, "resumed") == []


NETWORKS = {
    "written out": (MLP, {"path": "WRITTEN_OUT", "optimizer": {"adam": {"lr": 0.01}}}),
    "general": (MLP, {"path": "GENERAL", "optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9}}}),
    "dropout": (
        {"mlp": {"hidden": [8], "dropout": 0.3, "normalisation": "BATCH"}},
        {"optimizer": {"rmsprop": {"lr": 0.001}}},
    ),
    "lbfgs": (MLP, {"optimizer": {"lbfgs": {"lr": 0.1}}}),
}


@only_sqlite
@pytest.mark.parametrize("kind", NETWORKS)
def test_more_epochs_are_those_of_a_job_that_asked_for_them_at_once(lab, kind):
    network, gradient = NETWORKS[kind]
    whole = ran(lab, lab.submit(species(9, network, **gradient)))
    first = ran(lab, lab.submit(species(4, network, **gradient)))
    more = fork(lab, first.name, learn_of(epochs=9))
    assert (more.parent, more.epochs, more.model) == (first.name, 9, "species")
    more = ran(lab, more)
    assert more.model_version == "models/kim.species/versions/3"
    assert history(lab, more.name) == history(lab, whole.name)
    assert weights(lab, more) == weights(lab, whole)
    (resumed,) = told(lab, more.name, "resumed")
    assert (resumed.resumed.epoch, resumed.resumed.bitwise_equal) == (4, True)


@only_sqlite
def test_a_perceptron_learns_on(lab):
    spec = species()
    spec["train"] |= {"target": ["sex"], "network": {"perceptron": {}}, "learn": {"perceptronRule": {"epochs": 4}}}
    first = ran(lab, lab.submit(spec))
    assert first.state == jobs_pb2.Job.SUCCEEDED, first.failure
    spec["train"]["learn"]["perceptronRule"]["epochs"] = 7
    whole = ran(lab, lab.submit(spec))
    learn = json_format.ParseDict({"perceptronRule": {"epochs": 7}}, learning_pb2.Learn())
    more = ran(lab, fork(lab, first.name, learn))
    assert history(lab, more.name) == history(lab, whole.name)
    assert weights(lab, more) == weights(lab, whole)


CHANGES = {
    "rate": ({"optimizer": {"adam": {"lr": 0.001}}}, True),
    "kind of optimizer": ({"optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9}}}, False),
    "batch size": ({"batchSize": 8}, True),
    "schedule": ({"schedule": {"cosine": {}}}, True),
    "early stopping": ({"earlyStopping": {"patience": 50}}, True),
    "what is kept": ({"keep": "LAST"}, True),
    "clip": ({"clip": {"norm": 0.5}}, True),
    "path": ({"path": "GENERAL"}, False),
    "order of all rows": ({"optimizer": {"lbfgs": {"lr": 0.1}}}, False),
}


@only_sqlite
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_way_goes_on_from_the_weights(lab, change):
    gradient, remembers = CHANGES[change]
    first = cancelled(lab, lab.submit(species(6)), 34)
    more = ran(lab, fork(lab, first.name, learn_of(epochs=8, **gradient), model="other", display_name="anders"))
    assert more.state == jobs_pb2.Job.SUCCEEDED, more.failure.message
    assert (more.model_version, more.display_name) == ("models/kim.other/versions/1", "anders")
    before, after = history(lab, first.name), history(lab, more.name)
    assert {name: values[:3] for name, values in after.items()} == before
    assert all(len(values) == 8 for values in after.values())
    assert after["train_loss"][-1] < after["train_loss"][2] < after["train_loss"][0]
    (resumed,) = told(lab, more.name, "resumed")
    assert (resumed.resumed.epoch, resumed.resumed.batch, resumed.resumed.bitwise_equal) == (3, 0, False)
    assert resumed.resumed.reason == f"goes on from {first.name} in a changed way"
    steps = captured_of(lab, more)["optimizer"]["state"][0].get("step")
    if "optimizer" in gradient and "adam" not in gradient["optimizer"]:
        return
    done = captured_of(lab, first)["optimizer"]["state"][0]["step"]
    batches = math.ceil(first.resolved.learn.gradient.batch_size and 267 / (gradient.get("batchSize") or 32))
    assert steps == (done if remembers else 0) + 5 * batches, "what the optimizer remembers"


@only_sqlite
def test_a_job_that_diverged_goes_on_from_before_it_did(lab):
    lab.push("house_prices", "house-prices")
    train = {
        "inputs": ["area", "rooms", "station_km"],
        "target": ["price"],
        "network": {"linear": {"bias": False}},
        "preprocess": {"scale": "NONE"},
        "split": {"none": {}},
        "learn": {"gradient": {"epochs": 20, "optimizer": {"gradientDescent": {"lr": 1e-5}}}},
    }
    good = ran(lab, lab.submit({"dataset": "house-prices", "model": "house", "train": train}))
    fast = learn_of(epochs=1000, optimizer={"gradientDescent": {"lr": 0.001}})
    first = ran(lab, fork(lab, good.name, fast))
    assert first.failure.reason == jobs_pb2.Failure.DIVERGED
    kept = captured_of(lab, first)
    assert good.epoch < kept["epoch"] < first.epoch
    assert all(weight.isfinite().all() for weight in kept["network"].values())
    slow = learn_of(epochs=first.epoch + 20, optimizer={"gradientDescent": {"lr": 1e-5}})
    more = ran(lab, fork(lab, first.name, slow))
    assert more.state == jobs_pb2.Job.SUCCEEDED, more.failure.message
    losses = history(lab, more.name)["train_loss"]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[kept["epoch"]]


@only_sqlite
@pytest.mark.parametrize(("seconds", "epochs"), [(7, 0), (30, 2)])
def test_a_job_that_ran_out_of_time_goes_on_where_it_stood(lab, monkeypatch, seconds, epochs):
    """Within its first epoch too: with more time it comes to the weights of a job that was never short of it."""
    whole = ran(lab, lab.submit(species(5, keep="LAST", maxSeconds=1000)))
    clock = iter(range(10_000))
    monkeypatch.setattr(checkpoints.LearnState, "seconds", lambda _: float(next(clock)))
    first = ran(lab, lab.submit(species(5, keep="LAST", maxSeconds=seconds)))
    monkeypatch.undo()
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    assert first.epoch == epochs
    if epochs:
        assert (first.state, len(first.findings)) == (jobs_pb2.Job.SUCCEEDED, 1)
        assert first.findings[0].code == first.findings[0].TIME_LIMIT
    else:
        assert first.failure.reason == jobs_pb2.Failure.TIME_LIMIT
    kept = captured_of(lab, first)
    assert kept["epoch"] == epochs
    assert kept["batch"] > 0, "time ended within an epoch"
    more = ran(lab, fork(lab, first.name, learn_of(maxSeconds=1000)))
    assert more.state == jobs_pb2.Job.SUCCEEDED
    assert history(lab, more.name) == history(lab, whole.name)
    assert weights(lab, more) == weights(lab, whole)


@only_sqlite
def test_time_counts_anew_in_a_retried_job(lab, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(checkpoints.LearnState, "seconds", lambda _: float(next(clock)))
    first = ran(lab, lab.submit(species(5, keep="LAST", maxSeconds=7)))
    monkeypatch.undo()
    again = first
    for _ in range(2):
        again = ran(lab, retry(lab, first.name))
        assert again.state == jobs_pb2.Job.SUCCEEDED, again.failure.message
    assert again.epoch == 5


def test_a_retried_evaluation(lab):
    model = ran(lab, lab.submit(species()))
    asked = lab.submit({"dataset": "penguins", "evaluate": {"model": model.model_version}})
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=asked.name))
    again = ran(lab, retry(lab, asked.name))
    assert (again.state, again.parent) == (jobs_pb2.Job.SUCCEEDED, asked.name)
    assert again.metrics


def test_a_call_is_safe_to_repeat(lab):
    first = ran(lab, lab.submit(species()))
    key = str(uuid.uuid4())
    one = fork(lab, first.name, learn_of(epochs=8), request_id=key)
    assert fork(lab, first.name, learn_of(epochs=8), request_id=key).name == one.name
    with pytest.raises(RequestIdReused):
        fork(lab, first.name, learn_of(epochs=9), request_id=key)
    with pytest.raises(RequestIdReused):
        lab.submit(species(), request_id=key)
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=one.name))
    key = str(uuid.uuid4())
    two = retry(lab, one.name, request_id=key)
    assert retry(lab, one.name, request_id=key).name == two.name
    with pytest.raises(RequestIdReused):
        retry(lab, first.name, request_id=key)


def test_checking_a_fork_stores_nothing(lab):
    first = ran(lab, lab.submit(species()))
    checked = fork(lab, first.name, learn_of(epochs=8), validate_only=True)
    assert (checked.name, checked.epochs) == ("", 8)
    assert checked.parameter_count == first.parameter_count
    listed = jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest())
    assert [job.name for job in listed.jobs] == [first.name]


def test_what_cannot_be_retried_or_forked(lab):
    done = ran(lab, lab.submit(species()))
    with pytest.raises(WrongState, match=f"{done.name} is SUCCEEDED and cannot be retried.*:fork"):
        retry(lab, done.name)
    waits = lab.submit(species())
    with pytest.raises(WrongState, match="is QUEUED"):
        retry(lab, waits.name)
    with pytest.raises(WrongState, match="has no checkpoint"):
        fork(lab, waits.name, learn_of(epochs=20))
    with pytest.raises(InvalidField) as error:
        fork(lab, done.name, learn_of(epochs=6))
    assert error.value.violations[0].field == "learn.gradient.epochs"
    assert "ask for more than 6" in error.value.message
    with pytest.raises(InvalidField) as error:
        fork(lab, done.name, learn_of(epochs=9, optimizer={"lbfgs": {}}, batchSize=4))
    assert error.value.violations[0].field == "learn.gradient.batch_size"
    assert "job.train" not in str(error.value)
    with pytest.raises(InvalidField, match="learn: is exact"):
        fork(lab, done.name, json_format.ParseDict({"exact": {}}, learning_pb2.Learn()))
    other = lab.person("lee")
    with pytest.raises(NotFound):
        fork(lab, done.name, learn_of(epochs=9), caller=other)


def test_a_fork_that_never_ran_hands_on_the_history_of_its_own_parent(lab):
    first = ran(lab, lab.submit(species()))
    between = fork(lab, first.name, learn_of(epochs=8))
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=between.name))
    again = ran(lab, retry(lab, between.name))
    assert again.parent == between.name
    before, after = history(lab, first.name), history(lab, again.name)
    assert {name: values[:6] for name, values in after.items()} == before
    assert len(after["train_loss"]) == 8


def test_a_data_set_of_the_same_name_is_another_one(lab):
    first = ran(lab, lab.submit(species()))
    with lab.app.database.write() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE job SET dataset_id = :other WHERE id = :id"),
            {"other": str(uuid.uuid4()), "id": first.name.removeprefix("jobs/")},
        )
    with pytest.raises(NotFound):
        fork(lab, first.name, learn_of(epochs=8))


def test_a_fork_holds_the_checkpoint_that_its_parent_lets_go(lab):
    first = ran(lab, lab.submit(species()))
    more = fork(lab, first.name, learn_of(epochs=8))
    with lab.app.database.write() as connection:
        job_id = first.name.removeprefix("jobs/")
        connection.execute(sqlalchemy.text("UPDATE job SET checkpoint_id = NULL WHERE id = :id"), {"id": job_id})
        artifacts.release(connection, f"job:{job_id}")
    with pytest.raises(WrongState, match="has no checkpoint"):
        fork(lab, first.name, learn_of(epochs=8))
    more = ran(lab, more)
    assert (more.state, len(history(lab, more.name)["train_loss"])) == (jobs_pb2.Job.SUCCEEDED, 8)


def test_forks_of_a_job_under_way(lab):
    """Each goes on from a checkpoint that is there, however fast the parent replaces them."""
    lab.submit(species(24, checkpoints={"every_epochs": 1}))
    claim = ledger.claim(lab.app.database, "test", 60)
    runs = threading.Thread(target=run_job, args=(lab.settings, lab.app.database, claim, never))
    runs.start()
    made = []
    while runs.is_alive() and len(made) < 3:
        with contextlib.suppress(WrongState):  # until the first checkpoint is there
            made.append(fork(lab, f"jobs/{claim.job.id}", learn_of(epochs=26)))
    runs.join()
    assert made
    lab.work()
    done = [lab.get(job.name) for job in made]
    assert [job.state for job in done] == [jobs_pb2.Job.SUCCEEDED] * len(made)
    assert len({weights(lab, job) for job in done}) == 1, "all come to the same weights"
