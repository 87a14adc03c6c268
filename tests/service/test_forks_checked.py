"""What a retry or a fork is held against before it is taken: its checkpoint, today's limits, who can still be told."""

import dataclasses

import pytest
import sqlalchemy

from service import jobs, models, submissions
from service.errors import InvalidField, TooManyParameters, WrongState
from service.webhooks.targets import Target
from tests.service.family import (
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
)
from traind.v1 import jobs_pb2

HOUSES = {
    "inputs": ["area", "rooms", "station_km"],
    "target": ["price"],
    "network": {"linear": {"bias": False}},
    "preprocess": {"scale": "NONE"},
    "split": {"none": {}},
}


@pytest.fixture
def lab(database, tmp_path, monkeypatch):
    return every_epoch_told(database, tmp_path, monkeypatch)


def cancel(lab, job):
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=job.name))


def refused_epochs(lab, job, epochs, **gradient):
    """What is said to a fork that asks for too few."""
    with pytest.raises(InvalidField) as error:
        fork(lab, job.name, learn_of(epochs=epochs, **gradient))
    assert error.value.violations[0].field == "learn.gradient.epochs"
    return error.value.message


def test_epochs_count_from_the_checkpoint_that_a_diverged_job_keeps(lab):
    lab.push("house_prices", "house-prices")
    learn = {"gradient": {"epochs": 1000, "optimizer": {"gradientDescent": {"lr": 0.001}}}}
    first = ran(lab, lab.submit({"dataset": "house-prices", "model": "house", "train": HOUSES | {"learn": learn}}))
    assert first.failure.reason == jobs_pb2.Failure.DIVERGED
    kept = captured_of(lab, first)["epoch"]
    assert 0 < kept < first.epoch - 1
    slow = {"optimizer": {"gradientDescent": {"lr": 1e-7}}}
    said = refused_epochs(lab, first, kept, **slow)
    assert f"stands after epoch {kept}, until where epochs count too: ask for more than {kept}" in said
    more = ran(lab, fork(lab, first.name, learn_of(epochs=kept + 1, **slow)))
    assert (more.state, more.epoch) == (jobs_pb2.Job.SUCCEEDED, kept + 1)


def test_epochs_count_from_a_checkpoint_that_was_only_inherited(lab):
    first = ran(lab, lab.submit(species()))
    between = fork(lab, first.name, learn_of(epochs=9))
    cancel(lab, between)
    assert lab.get(between.name).epoch == 0
    assert "ask for more than 6" in refused_epochs(lab, between, 6)
    more = ran(lab, fork(lab, between.name, learn_of(epochs=7)))
    assert (more.state, len(history(lab, more.name)["train_loss"])) == (jobs_pb2.Job.SUCCEEDED, 7)


def test_epochs_count_from_the_checkpoint_that_is_held_in_the_end(lab, monkeypatch):
    """A parent that comes to its end while its fork is being checked."""
    first = cancelled(lab, lab.submit(species()), 34)
    again, admit = retry(lab, first.name), submissions.admit
    assert "ask for more than 3" in refused_epochs(lab, again, 3)

    def meanwhile(*arguments):
        lab.work()
        admit(*arguments)

    monkeypatch.setattr(submissions, "admit", meanwhile)
    assert "ask for more than 6" in refused_epochs(lab, again, 5)
    monkeypatch.undo()
    listed = jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest())
    assert [job.name for job in listed.jobs] == [again.name, first.name]


def test_a_retried_evaluation_is_admitted_like_a_new_one(lab):
    model = ran(lab, lab.submit(species()))
    asked = lab.submit({"dataset": "penguins", "evaluate": {"model": model.model_version}})
    cancel(lab, asked)
    with lab.app.database.write() as connection:
        # As it is in rows of before there was an estimate.
        connection.execute(sqlalchemy.text("UPDATE job SET memory_bytes = 0 WHERE kind = 'evaluate'"))
    again = retry(lab, asked.name)
    assert again.memory_bytes == asked.memory_bytes > 0
    assert (again.parameter_count, again.evaluate) == (asked.parameter_count, asked.evaluate)
    lab.app = dataclasses.replace(lab.app, settings=dataclasses.replace(lab.settings, max_job_bytes=1))
    with pytest.raises(TooManyParameters, match=r"job\.evaluate would take .* this server allows 0 MB a job"):
        retry(lab, asked.name)


def test_webhooks_that_the_server_does_not_know_any_more_are_left_out_and_told(lab):
    bare = lab.app
    both = {name: Target(name, "http://127.0.0.1:9/", b"k" * 32) for name in ("lab", "office")}
    lab.app = dataclasses.replace(bare, webhooks=both)
    first = cancelled(lab, lab.submit(species() | {"webhooks": ["office", "lab"]}), 34)
    whole = retry(lab, first.name)
    assert (list(whole.webhooks), told(lab, whole.name, "log")) == (["office", "lab"], [])
    lab.app = dataclasses.replace(bare, webhooks={"lab": both["lab"]})
    for made in (retry(lab, first.name), fork(lab, first.name, learn_of(epochs=8))):
        assert list(lab.get(made.name).webhooks) == ["lab"]
        (line,) = told(lab, made.name, "log")
        said = f"webhook office of {first.name} is left out: this server does not know it any more"
        assert (line.seq, line.log.message) == (2, said)
    lab.work()
    with lab.app.database.read() as connection:
        waiting = connection.execute(sqlalchemy.text("SELECT target FROM webhook")).scalars().all()
    # Of the parent, and of the retry that was taken while both were known; and of the two others.
    assert sorted(waiting) == ["lab"] * 4 + ["office"] * 2


def maker(lab, text):
    """The job that a missing model is said to be of, and that job's state."""
    with pytest.raises(WrongState, match="is not made yet") as error:
        models.require_model(lab.app, lab.caller, text, "name")
    return error.value.metadata["job"], error.value.metadata["state"]


def test_the_maker_of_a_model_is_the_retry_or_the_fork_that_will_make_it(lab):
    first = cancelled(lab, lab.submit(species()), 34)
    assert maker(lab, "species") == (first.name, "CANCELLED")
    again = retry(lab, first.name)
    assert maker(lab, "species") == maker(lab, "species/versions/1") == (again.name, "QUEUED")
    assert ran(lab, again).model_version == "models/kim.species/versions/1"
    more, other = fork(lab, again.name, learn_of(epochs=8)), fork(lab, again.name, learn_of(epochs=9), model="other")
    assert maker(lab, "species/versions/2") == (more.name, "QUEUED")
    assert maker(lab, "other") == (other.name, "QUEUED")
    cancel(lab, more)
    assert maker(lab, "species/versions/2") == (more.name, "CANCELLED")
    once_more = retry(lab, more.name)
    assert maker(lab, "species/versions/2") == (once_more.name, "QUEUED")
    lab.work()
    assert models.require_model(lab.app, lab.caller, "species/versions/2", "name").job_id == once_more.name[5:]
    assert models.require_model(lab.app, lab.caller, "other", "name").job_id == other.name[5:]
