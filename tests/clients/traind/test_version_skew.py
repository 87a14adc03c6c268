"""Client and server of two versions: this client with a newer server, a newer and an older client with this server.

One more field and one more value of an enum on either side. What is not known in an answer is passed over and kept as
a number; what is not known in a request is refused by name, never ignored, for it would be work done otherwise.
"""

import json
import pathlib
import subprocess
import sys
import textwrap

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

import traind
from tests.clients.traind import contracts
from tests.clients.traind.conftest import FLATS, INPUTS
from tests.clients.traind.newer_server import NewerServer
from traind.version import __version__

SPEC = {
    "inputs": INPUTS,
    "target": "price",
    "network": {"mlp": {"hidden": [4]}},
    "learn": {"gradient": {"epochs": 3}},
    "seed": 7,
}
DIVERGING = SPEC | {
    "network": {"linear": {}},
    "learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 1000.0}}, "epochs": 50}},
    "preprocess": {"scale": "NONE"},
    "loss": {"mse": {"reduction": "SUM"}},
}


@pytest.fixture
def newer(server):
    with NewerServer(server.url) as found:
        yield found


@pytest.fixture
def old(newer, server):
    """This client, to which the server is of the next version."""
    with traind.Client(newer.url, token=server.token) as client:
        yield client


def new_numbers(message):
    return [field.field_number for field in UnknownFieldSet(message)]


def test_the_whole_way_with_a_newer_server(old, flats):
    info = old.server_info()
    assert info.version == __version__
    assert old.datasets.create(FLATS, name="flats").name == flats.name
    job = old.jobs.create(dataset="flats", model="skewed", train=SPEC).wait(60)
    assert job.state == "SUCCEEDED"
    assert new_numbers(job.message) == [contracts.NEW_FIELD], "the server was not newer at all"
    assert new_numbers(job.resolved) == [contracts.NEW_FIELD]
    assert sorted(old.jobs.history(job)) == ["train_loss", "val_loss"]
    assert job.name in [one.name for one in old.jobs.list()]
    assert len(old.predict("skewed", FLATS)) == 60
    with pytest.raises(traind.NotFound) as refused:
        old.datasets.get("nowhere")
    assert (refused.value.reason, "traind data" in refused.value.fix) == ("RESOURCE_NOT_FOUND", True)


def test_a_state_of_a_newer_server_stays_a_number(old, newer, flats):
    def suspend(job):
        job.state = contracts.NEW_VALUE

    def suspended_while_running(change):
        if change.state == change.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name["RUNNING"].number:
            change.state = contracts.NEW_VALUE

    newer.changes = {"StateChange": suspended_while_running}
    job = old.jobs.create(dataset=flats, model="skewed", train=SPEC)
    states = [event.state for event in job.watch() if event.kind == "state"]
    assert states == ["QUEUED", "STATE_99", "SUCCEEDED"]
    newer.changes = {"Job": suspend}
    seen = old.jobs.get(job.name)
    assert (seen.state, seen.done) == ("STATE_99", True)
    assert "STATE_99" in repr(seen)
    assert "STATE_99" in [one.state for one in old.jobs.list()]
    assert job.refresh().wait(20).state == "STATE_99", "it has ended, whatever its state is called"


def test_a_kind_of_event_of_a_newer_server_is_passed_on(old, newer, flats):
    newer.changes = {"JobEvent": lambda event: event.rumour.SetInParent() if event.HasField("log") else None}
    job = old.jobs.create(dataset=flats, model="skewed", train=SPEC)
    events = list(job.watch())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert "unknown" in [event.kind for event in events]
    assert events[-1].state == "SUCCEEDED"


def test_reasons_and_findings_of_a_newer_server_stay_numbers(old, newer, flats):
    newer.changes = {
        "Failure": lambda failure: setattr(failure, "reason", contracts.NEW_VALUE),
        "Finding": lambda finding: setattr(finding, "code", contracts.NEW_VALUE),
    }
    with pytest.raises(traind.JobFailed) as failed:
        old.jobs.create(dataset=flats, model="skewed", train=DIVERGING).wait(60)
    assert failed.value.failure_reason == "REASON_99"
    assert "CODE_99" in [finding.code for finding in failed.value.job.findings]
    assert "FAILED (REASON_99)" in str(failed.value)


def test_a_type_of_column_of_a_newer_server_stays_a_number(old, newer, flats):
    newer.changes = {"Column": lambda column: setattr(column, "type", contracts.NEW_VALUE)}
    seen = old.datasets.get("flats")
    assert set(seen.columns.values()) == {"TYPE_99"}
    assert list(seen.columns) == list(FLATS)


def test_commands_show_what_a_newer_server_tells(server, newer, old, flats):
    newer.changes = {"Job": lambda job: setattr(job, "state", contracts.NEW_VALUE)}
    job = old.jobs.create(dataset=flats, model="skewed", train=SPEC)
    env = server.env | {"TRAIND_URL": newer.url}
    argv = [sys.executable, "-m", "traind", "job", "show", job.id]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "STATE_99" in done.stdout


# Each prints what it saw as one JSON object.
NORMAL = """
import json, os, traind
FLATS, SPEC, DIVERGING = json.load(open(os.environ["SKEW_DATA"]))
client = traind.Client()
seen = {}
def refused(name, call):
    try:
        call()
    except traind.TraindError as error:
        seen[name] = [type(error).__name__, error.reason, error.field, str(error)]
seen["version"] = client.server_info().version
dataset = client.datasets.create(FLATS, name="flats")
job = client.jobs.create(dataset=dataset, model="skewed", train=SPEC)
seen["states"] = [event.state for event in job.watch() if event.kind == "state"]
seen["predictions"] = len(client.predict("skewed", FLATS))
refused("nowhere", lambda: client.datasets.get("nowhere"))
"""
NEWER = """
from traind import methods
from traind.v1 import jobs_pb2, networks_pb2
from traind.specs import build_job
transport = client.jobs._transport()
def create(change):
    request = jobs_pb2.CreateJobRequest(validate_only=True)
    request.job.CopyFrom(build_job(None, dataset="flats", model="m", display_name="", train=SPEC, evaluate=None))
    change(request)
    transport.call(methods.CREATE_JOB, request)
def field(request): request.job.train.curriculum = "easy first"
def top(request): request.urgent = "yes"
def value(request): request.job.train.network.mlp.activation = networks_pb2.Network.MISH
def echo(request): request.job.priority = "answered by a newer server"
create(lambda request: None)
for name, change in dict(field=field, top=top, value=value, echo=echo).items():
    refused(name, lambda: create(change))
hurry = methods.Method("/traind.v1.JobService/HurryJob", jobs_pb2.GetJobRequest, jobs_pb2.Job)
refused("method", lambda: transport.call(hurry, jobs_pb2.GetJobRequest(name=job.name)))
seen["contract"] = [networks_pb2.Network.MISH, jobs_pb2.Job.SUSPENDED]
"""
OLDER = """
from google.protobuf.unknown_fields import UnknownFieldSet
from traind.v1 import jobs_pb2
seen["columns"] = dataset.columns
seen["contract"] = sorted(set(jobs_pb2.Job.State.keys()))
seen["unknown"] = [field.field_number for field in UnknownFieldSet(client.jobs.get(job.name).message)]
try:
    client.jobs.create(dataset=dataset, model="m", train=DIVERGING).wait(60)
except traind.JobFailed as failed:
    seen["failed"] = [failed.failure_reason, str(failed)]
"""


@pytest.fixture
def run(server, tmp_path):
    """Run the client of another version against the real server; answers what it saw."""

    def run(version, more):
        data, script = tmp_path / "data.json", tmp_path / "script.py"
        data.write_text(json.dumps([FLATS, SPEC, DIVERGING]), encoding="utf-8")
        script.write_text(textwrap.dedent(NORMAL + more) + "print(json.dumps(seen))\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, pathlib.Path(contracts.__file__), version, script],
            env=server.env | {"SKEW_DATA": str(data)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def worked(seen):
    """What every client must be able to do."""
    assert seen["version"] == __version__
    assert seen["predictions"] == 60
    assert seen["nowhere"][:2] == ["NotFound", "RESOURCE_NOT_FOUND"]
    return True


def test_a_newer_client_works_and_what_the_server_lacks_is_refused_by_name(run, flats):
    seen = run("newer", NEWER)
    assert worked(seen)
    assert seen["contract"] == [contracts.NEW_VALUE] * 2, "the client was not newer at all"
    for name, field in (("field", "job.train"), ("top", "CreateJobRequest"), ("echo", "job")):
        kind, reason, where, told = seen[name]
        assert (kind, reason, where) == ("InvalidSpec", "INVALID_FIELD", field)
        assert f"numbered {contracts.NEW_FIELD}" in told
        assert "leave it out" in told
    kind, reason, where, told = seen["value"]
    assert (kind, reason, where) == ("InvalidSpec", "INVALID_FIELD", "job.train.network.mlp.activation")
    assert str(contracts.NEW_VALUE) in told
    kind, reason, _, told = seen["method"]
    assert (kind, reason) == ("ServerError", "METHOD_NOT_FOUND")
    assert "HurryJob" in told


def test_an_older_client_works_and_passes_over_what_it_does_not_know(run, flats):
    seen = run("older", OLDER)
    assert worked(seen)
    assert "RUNNING" not in seen["contract"], "the client was not older at all"
    assert seen["states"] == ["QUEUED", "STATE_2", "SUCCEEDED"]
    assert seen["columns"]["kind"] == "TYPE_5"
    assert 25 in seen["unknown"], "the server told nothing new"
    reason, told = seen["failed"]
    assert reason == "REASON_1"
    assert "FAILED (REASON_1)" in told
