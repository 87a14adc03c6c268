"""What a fork has of its parent: its history, copied some epochs at a time, and the weights of its last whole epoch."""

import pytest

from service import jobs, ledger
from tests.service.family import (
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
)
from tests.service.family import weights as weights_of
from tests.service.lab import never
from traind.v1 import jobs_pb2
from worker import checkpoints, publishing, resuming
from worker.run import run_job

only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])
# Batches of an epoch of the penguins; `stop` is asked before each, and once after the last.
BATCHES = 9


@pytest.fixture
def lab(database, tmp_path, monkeypatch):
    return every_epoch_told(database, tmp_path, monkeypatch)


class Died(BaseException):
    """The process is gone: nothing of it is stored any more."""


def test_a_history_is_copied_in_slices_and_a_copy_that_was_cut_off_is_gone_on_with(lab, monkeypatch):
    first = ran(lab, lab.submit(species(7)))
    more = fork(lab, first.name, learn_of(epochs=8))
    slices, publish = [], ledger.publish_epochs

    def watched(database, claim, epochs, *rest):
        if len(slices) == 2:
            slices.append("died")
            raise Died
        slices.append([figures.epoch for figures in epochs])
        publish(database, claim, epochs, *rest)

    monkeypatch.setattr(resuming, "EPOCHS_AT_ONCE", 2)
    monkeypatch.setattr(ledger, "publish_epochs", watched)
    claim = ledger.claim(lab.app.database, "test", 60)
    with pytest.raises(Died):
        run_job(lab.settings, lab.app.database, claim, never)
    between = lab.get(more.name)
    assert (between.epoch, len(history(lab, more.name)["train_loss"])) == (4, 4)
    assert between.best_epoch <= 4
    ledger.settle_stopped(lab.app.database, claim)
    more = ran(lab, more)
    assert slices == [[1, 2], [3, 4], "died", [5, 6], [7], [8]]
    before, after = history(lab, first.name), history(lab, more.name)
    assert {name: values[:7] for name, values in after.items()} == before
    assert [event.epoch.epoch for event in told(lab, more.name, "epoch")] == [*range(1, 9)]


@only_sqlite
@pytest.mark.parametrize(
    ("schedule", "same"),
    [
        ({"cosine": {"finalShare": 0.1}}, False),
        ({"oneCycle": {"warmUpShare": 0.3}}, False),
        ({"step": {"every": 3, "factor": 0.5}}, True),
        ({"exponential": {"factor": 0.9}, "warmUpSteps": 20}, True),
    ],
    ids=["cosine", "one cycle", "step", "exponential"],
)
def test_more_epochs_are_told_to_change_the_bits_where_a_schedule_spans_them(lab, schedule, same):
    whole = ran(lab, lab.submit(species(9, schedule=schedule)))
    first = ran(lab, lab.submit(species(4, schedule=schedule)))
    more = ran(lab, fork(lab, first.name, learn_of(epochs=9)))
    (resumed,) = told(lab, more.name, "resumed")
    assert resumed.resumed.bitwise_equal == same
    assert (history(lab, more.name) == history(lab, whole.name)) == same
    assert ("in a changed way" in resumed.resumed.reason) == (not same)


def in_short(lab, monkeypatch, job, questions):
    """The job after its end, which comes by time at its n-th look at the clock, `max_seconds` being 1000."""
    clock = iter([0.0] * (questions - 1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.LearnState, "seconds", lambda _: next(clock, 1e6))
        return ran(lab, job)


# How the parent keeps weights, what its fork changes: the parent ended after an epoch.
ENDED = {
    "a limit is added": ({"keep": "LAST"}, {}),
    "the last instead of the best": ({"keep": "BEST", "maxSeconds": 1000}, {"keep": "LAST"}),
    "the best instead of the last": ({"keep": "LAST", "maxSeconds": 1000}, {"keep": "BEST"}),
    "with another rate": ({"keep": "LAST"}, {"optimizer": {"adam": {"lr": 0.02}}}),
    "with other batches": ({"keep": "LAST"}, {"batchSize": 16}),
}


@only_sqlite
@pytest.mark.parametrize("change", ENDED)
@pytest.mark.parametrize("questions", [1, 5])
def test_time_that_ends_within_the_first_epoch_leaves_the_weights_of_the_parents_last(
    lab, monkeypatch, change, questions
):
    gradient, changed = ENDED[change]
    last = ran(lab, lab.submit(species(4, keep="LAST")))
    first = ran(lab, lab.submit(species(4, **gradient)))
    more = fork(lab, first.name, learn_of(epochs=9, maxSeconds=1000, **changed))
    more = in_short(lab, monkeypatch, more, questions)
    assert (more.state, more.epoch, more.best_epoch) == (jobs_pb2.Job.SUCCEEDED, 4, 4)
    assert weights_of(lab, more) == weights_of(lab, last)
    assert [finding.code for finding in more.findings] == [jobs_pb2.Job().findings.add().TIME_LIMIT]


# How the parent keeps weights, what its fork changes: the parent was cancelled within an epoch.
CUT = {
    "a limit is added": ({"keep": "LAST"}, {}),
    "with other batches": ({"keep": "LAST"}, {"batchSize": 16}),
}


@only_sqlite
@pytest.mark.parametrize("change", CUT)
@pytest.mark.parametrize("questions", [1, 5])
def test_a_fork_from_within_an_epoch_that_does_not_end_makes_no_model_of_weights_between(
    lab, monkeypatch, change, questions
):
    gradient, changed = CUT[change]
    first = cancelled(lab, lab.submit(species(6, **gradient)), 3 * (BATCHES + 1) + 4)
    assert (captured_of(lab, first)["epoch"], captured_of(lab, first)["batch"]) == (3, 3)
    more = fork(lab, first.name, learn_of(maxSeconds=1000, **changed))
    more = in_short(lab, monkeypatch, more, questions)
    assert (more.failure.reason, more.epoch, more.model_version) == (jobs_pb2.Failure.TIME_LIMIT, 3, "")
    assert "the epoch after 3, within which it began, was not done; give more time" in more.failure.message
    # What was learned is kept, and a retry has its time anew.
    again = ran(lab, retry(lab, more.name))
    assert (again.state, again.epoch) == (jobs_pb2.Job.SUCCEEDED, 6)
    if not changed:
        whole = ran(lab, lab.submit(species(6, **gradient)))
        assert weights_of(lab, again) == weights_of(lab, whole)


@only_sqlite
@pytest.mark.parametrize(
    ("gradient", "changed"),
    [
        ({"keep": "LAST", "maxSeconds": 1000}, {"keep": "BEST"}),
        ({"keep": "BEST"}, {"keep": "LAST", "maxSeconds": 1000}),
    ],
    ids=["the best instead of the last", "the last instead of the best"],
)
def test_the_weights_of_the_last_epoch_that_a_parent_kept_are_those_of_its_fork(lab, monkeypatch, gradient, changed):
    last = ran(lab, lab.submit(species(3, keep="LAST")))
    first = cancelled(lab, lab.submit(species(6, **gradient)), 3 * (BATCHES + 1) + 4)
    assert (captured_of(lab, first)["batch"], captured_of(lab, first)["best_epoch"]) == (3, 3)
    more = in_short(lab, monkeypatch, fork(lab, first.name, learn_of(**changed)), 5)
    assert (more.state, more.best_epoch) == (jobs_pb2.Job.SUCCEEDED, 3)
    assert weights_of(lab, more) == weights_of(lab, last)


@only_sqlite
def test_a_fork_that_is_due_to_store_where_it_stands_before_its_first_batch_does_not(lab, monkeypatch):
    """Its weights are of no epoch's end, and a checkpoint at a beginning would say that they are."""
    first = cancelled(lab, lab.submit(species(6, keep="LAST")), 3 * (BATCHES + 1) + 4)
    more = fork(lab, first.name, learn_of(batchSize=16, checkpoints={"everySeconds": 1e-3}))
    monkeypatch.setattr(publishing.Publisher, "_time_to_keep", lambda _: True)
    claim = ledger.claim(lab.app.database, "test", 60)
    assert run_job(lab.settings, lab.app.database, claim, StopsAt(1)) == "stopped"
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=more.name))
    ledger.settle_stopped(lab.app.database, claim)
    assert captured_of(lab, more)["job"] == first.name.removeprefix("jobs/")
    least = fork(lab, more.name, learn_of(maxSeconds=1000))
    assert in_short(lab, monkeypatch, least, 1).failure.reason == jobs_pb2.Failure.TIME_LIMIT
