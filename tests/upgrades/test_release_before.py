"""What a release left in the middle of its work is opened, upgraded and finished by today's code, to the same bits."""

import base64
import contextlib
import hashlib
import json
import math
import pathlib

import grpc
import httpx
import pytest
from google.protobuf import json_format

from service.store.database import Database
from tests import servers
from tests.conftest import KINDS
from tests.upgrades import make
from tests.upgrades.old_client import OldClient, encoded
from tests.upgrades.release import FOLDERS, Release, opened

MIGRATIONS = pathlib.Path(__file__).parents[2] / "service/store/migrations/versions"
# What a machine that computes otherwise may differ by.
NEAR = 1e-3


def id_of(value):
    return f"{value[0].name}-{value[1]}"


@pytest.fixture(params=[(folder, kind) for folder in FOLDERS for kind in KINDS], ids=id_of, scope="module")
def installation(request):
    folder, kind = request.param
    release = Release(folder)
    with contextlib.ExitStack() as exits:
        try:
            stack = opened(release, kind, exits)
        except servers.NoServer as error:
            servers.missing(error)
        yield Installation(release, kind, stack)


class Installation:
    """A release's installation, run by today's code, and a client that was built with the release."""

    def __init__(self, release, kind, stack):
        self.release, self.kind, self.stack = release, kind, stack
        self.told = release.told[kind]
        self.jobs = self.told["jobs"]

    def client(self, token=None):
        return OldClient(self.release.descriptors, self.stack.address["grpc"], token or self.told["token"])

    def ended(self, client, name):
        return make.wait(lambda: self.if_done(client, name), f"{name} has ended")

    def if_done(self, client, name):
        job = client.call("JobService", "GetJob", {"name": name})
        return job if job.done else None

    def state(self, job):
        numbers = {name: self.old_state(name) for name in ("SUCCEEDED", "CANCELLED", "PAUSED", "FAILED", "QUEUED")}
        return {number: name for name, number in numbers.items()}.get(job.state, job.state)

    def old_state(self, name):
        with self.client() as client:
            return client.number("Job.State", name)


def resumptions(client, name):
    """What the job's events tell of going on."""
    events = client.stream("JobService", "WatchJob", {"name": name})
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [event.resumed for event in events if event.WhichOneof("kind") == "resumed"]


def check_finished(installation, what, attempts, begin=None):
    """The job came to what the release would have come to without a break: weights, and every figure of every epoch."""
    expected, name = installation.release.told["uninterrupted"][what], installation.jobs[what]
    with installation.client() as client:
        job = installation.ended(client, name)
        assert installation.state(job) == "SUCCEEDED", job
        assert (job.epoch, job.attempt) == (expected["epochs"], attempts)
        model = client.call("ModelService", "GetModel", {"name": job.model_version})
        told = client.call("JobService", "GetHistory", {"name": name})
        resumed = resumptions(client, name)
    history = {series.name: list(series.values) for series in told.series}
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        expected["history"], expected["epochs"]
    )
    if begin is not None:
        assert [(one.epoch, one.batch, one.rewound) for one in resumed] == [(begin["epoch"], begin["batch"], False)]
    for series, values in expected["history"].items():
        # Other instructions round otherwise: the same numbers, but for their last digits.
        pairs = zip(history[series], values, strict=True)
        assert all(math.isclose(here, there, rel_tol=NEAR, abs_tol=NEAR) for here, there in pairs), series
    if installation.release.same_bits:
        assert all(one.bitwise_equal for one in resumed), resumed
        assert history == expected["history"]
        assert model.weights_sha256 == expected["weights_sha256"]


def test_its_database_is_brought_to_todays_schema(installation):
    database = Database(installation.stack.database_url)
    with database.read() as connection:
        (found,) = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
    database.dispose()
    assert found == max(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py"))
    assert found >= installation.release.told["schema"]


def test_its_queued_job_is_learned(installation):
    check_finished(installation, "queued", 1)


def test_its_half_trained_job_goes_on_within_an_epoch(installation):
    begin = installation.told["checkpoints"]["half"]
    assert begin["batch"] > 0
    check_finished(installation, "half", 2, begin)


def test_its_paused_job_waits_and_goes_on(installation):
    name = installation.jobs["paused"]
    with installation.client() as client:
        job = client.call("JobService", "GetJob", {"name": name})
        assert installation.state(job) == "PAUSED"
        client.call("JobService", "ResumeJob", {"name": name})
    check_finished(installation, "paused", 2, installation.told["checkpoints"]["paused"])


def test_its_ended_jobs_stay_as_they_ended(installation):
    check_finished(installation, "succeeded", 1)
    with installation.client() as client:
        job = client.call("JobService", "GetJob", {"name": installation.jobs["cancelled"]})
        assert installation.state(job) == "CANCELLED"
        with pytest.raises(grpc.RpcError) as refused:
            client.call("JobService", "ResumeJob", {"name": installation.jobs["cancelled"]})
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_its_model_predicts_what_it_predicted(installation):
    told = installation.told["prediction"]
    with installation.client() as client:
        model = client.call("ModelService", "GetModel", {"name": installation.told["model"]["name"]})
        assert model.weights_sha256 == installation.told["model"]["weights_sha256"]
        answer = client.call("PredictionService", "Predict", told["request"])
        before = client.message("PredictResponse", base64.b64decode(told["response"]))
    if installation.release.same_bits:
        assert answer.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)
    numbers, earlier = answer.predictions[0].numbers, before.predictions[0].numbers
    assert all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(numbers, earlier, strict=True))


def test_its_unfinished_upload_is_finished(installation):
    upload, data = installation.told["upload"], make.table(400, shift=1.0)
    with installation.client() as client:
        found = client.call("UploadService", "GetUpload", {"name": upload["name"]})
        assert found.offset == upload["offset"]
        rest = {"name": upload["name"], "offset": found.offset, "data": encoded(data[found.offset :])}
        assert client.send("UploadService", "WriteUpload", rest).offset == len(data)
        made = client.call(
            "DatasetService", "CreateDataset", {"datasetId": "later", "source": {"upload": upload["name"]}}
        )
        assert (made.sha256, made.row_count) == (hashlib.sha256(data).hexdigest(), 400)


def test_its_data_set_can_be_looked_at_and_learned_from_again(installation):
    """The same job once more, sent by a client of the release, comes to what the release came to."""
    spec = installation.release.told["specs"]["queued"]
    with installation.client() as client:
        (waves,) = [
            one
            for one in client.call("DatasetService", "ListDatasets", {}).datasets
            if one.name.endswith("waves/versions/1")
        ]
        assert waves.row_count == make.ROWS
        rows = client.call("DatasetService", "PreviewDataset", {"name": waves.name}).columns
        assert [column.name for column in rows] == ["a", "b", "c", "y"]
        asked = {"job": spec, "requestId": "3f0b9f5e-8a3d-4c62-9d0c-1d5c8f7f2a11"}
        job = client.call("JobService", "CreateJob", asked)
        assert client.call("JobService", "CreateJob", asked).name == job.name
        ended = installation.ended(client, job.name)
        model = client.call("ModelService", "GetModel", {"name": ended.model_version})
    if installation.release.same_bits:
        assert model.weights_sha256 == installation.release.told["uninterrupted"]["queued"]["weights_sha256"]
    assert model.best_epoch >= 1


def test_its_tokens_open_what_they_opened(installation):
    told = installation.told
    with installation.client(told["reader"]) as reader:
        assert {job.name for job in reader.call("JobService", "ListJobs", {}).jobs} >= set(told["jobs"].values())
        with pytest.raises(grpc.RpcError) as refused:
            reader.call("JobService", "CancelJob", {"name": told["jobs"]["queued"]})
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with installation.client(told["revoked"]) as nobody, pytest.raises(grpc.RpcError) as refused:
        nobody.call("JobService", "ListJobs", {})
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_its_rest_clients_are_answered(installation):
    """By the paths and JSON of the release; what is new in an answer is passed over, as JSON clients do."""
    address, told = installation.stack.address["http"], installation.told
    headers = {"authorization": f"Bearer {told['token']}"}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as http, installation.client() as client:
        for name in told["jobs"].values():
            answer = http.get(f"/v1/{name}")
            assert answer.status_code == 200
            job = client.call("JobService", "GetJob", {"name": name})
            mine = json_format.Parse(answer.text, type(job)(), ignore_unknown_fields=True)
            assert (mine.name, mine.train, mine.create_time) == (job.name, job.train, job.create_time)
        model = told["model"]["name"]
        body = {key: value for key, value in told["prediction"]["request"].items() if key != "name"}
        predicted = http.post(f"/v1/{model}:predict", json=body)
        assert predicted.status_code == 200, predicted.text
        before = client.message("PredictResponse", base64.b64decode(told["prediction"]["response"]))
        numbers = json.loads(predicted.text)["predictions"][0]["numbers"]
        assert all(
            math.isclose(a, b, rel_tol=1e-5) for a, b in zip(numbers, before.predictions[0].numbers, strict=True)
        )
        assert (
            http.post("/v1/jobs?validate_only=true", json=installation.release.told["specs"]["queued"]).status_code
            == 200
        )
