"""Jobs and their children: retried, forked, cancelled on the way, and looked at."""

from google.protobuf import json_format

from service import forks, job_messages, jobs, ledger
from service.store import artifacts
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import models as model_store
from tests.service.lab import Lab
from traind.v1 import jobs_pb2, learning_pb2
from worker import checkpoints, publishing
from worker.run import run_job

MLP = {"mlp": {"hidden": [8], "activation": "TANH"}}


def every_epoch_told(database, folder, monkeypatch):
    """A lab with the penguins, whose jobs publish each epoch by itself, however short it is."""
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    lab = Lab(database, folder)
    lab.push("penguins")
    return lab


def species(epochs=6, network=MLP, **gradient):
    learn = {"gradient": {"epochs": epochs, "optimizer": {"adam": {"lr": 0.01}}} | gradient}
    train = {"target": ["species"], "network": network, "learn": learn, "seed": 3}
    return {"dataset": "penguins", "model": "species", "train": train}


def learn_of(**gradient):
    return json_format.ParseDict({"gradient": gradient}, learning_pb2.Learn())


def fork(lab, name, learn=None, caller=None, **more):
    request = jobs_pb2.ForkJobRequest(name=name, learn=learn, **more)
    return forks.fork_job(lab.app, caller or lab.caller, request)


def retry(lab, name, **more):
    return forks.retry_job(lab.app, lab.caller, jobs_pb2.RetryJobRequest(name=name, **more))


def history(lab, name):
    found = jobs.get_history(lab.app, lab.caller, jobs_pb2.GetHistoryRequest(name=name))
    for series in found.series:
        assert list(series.steps) == list(range(1, len(series.steps) + 1))
    return {series.name: list(series.values) for series in found.series}


def weights(lab, job):
    with lab.app.database.read() as connection:
        model = model_store.find(connection, lab.caller.user_id, "species", int(job.model_version.rpartition("/")[2]))
    return model.weights_sha256


def told(lab, name, kind):
    with lab.app.database.read() as connection:
        rows = event_store.list_from(connection, name.removeprefix("jobs/"), 1, 10_000)
    return [job_messages.encode_event(row, {}) for row in rows if row.kind == kind]


def ran(lab, job):
    """The job after its end."""
    lab.work()
    return lab.get(job.name)


def captured_of(lab, job):
    with lab.app.database.read() as connection:
        row = job_store.find_by_id(connection, job.name.removeprefix("jobs/"))
    return checkpoints.decode(artifacts.load(lab.app.database, row.checkpoint_id))


class StopsAt:
    """Stops at its n-th question: there is one before each batch, and one after each epoch."""

    def __init__(self, question):
        self.left = question

    def __call__(self):
        self.left -= 1
        return not self.left


def cancelled(lab, job, question):
    """The job, cancelled while it runs."""
    claim = ledger.claim(lab.app.database, "test", 15)
    assert f"jobs/{claim.job.id}" == job.name
    assert run_job(lab.settings, lab.app.database, claim, StopsAt(question)) == "stopped"
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=job.name))
    ledger.settle_stopped(lab.app.database, claim)
    return lab.get(job.name)
