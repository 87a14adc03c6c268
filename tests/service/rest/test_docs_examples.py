"""Every example of /docs is run as the page shows it: the curl line, the Python program, and the message over gRPC."""

import json
import os
import pathlib
import shlex
import subprocess

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

import traind
from service.policy import TABLE
from service.rest.docs.examples import EXAMPLES, FILE, JOB, UPLOAD
from tests.acceptance import stack as stacks
from tests.service.doors.running import STUBS
from tests.service.rest.test_docs import Document
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, server_pb2, uploads_pb2

ROOT = pathlib.Path(__file__).resolve().parents[3]
NAMES = [name.removeprefix("traind.v1.") for name in EXAMPLES]
# What the curl line of a method that sends a file leaves in its folder.
FILES = {
    "DatasetService.DownloadDataset": "*.penguins-*.csv",
    "ModelService.ExportModel": "*.species-*.safetensors",
}
LONG = {
    "target": ["species"],
    "network": {"mlp": {"hidden": [16]}},
    "learn": {"gradient": {"epochs": 1_000_000}},
}
SHORT = LONG | {"learn": {"gradient": {"epochs": 20, "optimizer": {"adam": {"lr": 0.01}}}}, "seed": 7}


class World:
    """A server with a data set, a job that has ended, and its model; other objects are made when they are needed."""

    def __init__(self, stack):
        self.stack = stack
        # Programs and commands run where they may leave files.
        (stack.folder / "examples").symlink_to(ROOT / "examples")
        self.client = traind.Client(stack.address["grpc"], token=stack.token)
        self.client.datasets.create(ROOT / FILE, name="penguins")
        self.done = self.train(SHORT).wait().id
        self.page = Document(self.curl(f"curl -s {stack.address['http']}/docs")[0])

    def train(self, spec):
        return self.client.jobs.create(dataset="penguins", model="species", train=spec)

    def shown(self, kind, name):
        """What the page shows, with the ids of this server."""
        found = [n for n, (_, attrs) in enumerate(self.page.elements) if attrs.get(f"data-{kind}") == name]
        text = self.page.text[found[0]].strip() if found else None
        if text is None:
            return None
        mistake = self.mistake_for(name)
        for shown in ("mistake/versions/", "mistake:"):
            text = text.replace(f"{shown}1", f"{shown}{mistake}")
        return text.replace(JOB, self.job_for(name)).replace(UPLOAD, self.upload_for(name))

    def job_for(self, name):
        method = name.partition(".")[2]
        if method not in {"CancelJob", "PauseJob", "ResumeJob", "RetryJob"}:
            return self.done
        job = self.train(LONG)
        wait_until(lambda: job.refresh().epoch > 0, "it learns", 60, 0.1)
        if method == "RetryJob":
            job.cancel()
            wait_until(lambda: job.refresh().state == "CANCELLED", "it is cancelled", 60, 0.1)
        if method == "ResumeJob":
            job.pause()
            wait_until(lambda: job.refresh().state == "PAUSED", "it is paused", 60, 0.1)
        return job.id

    def upload_for(self, name):
        if name == "DatasetService.DeleteDataset":
            self.client.datasets.create(ROOT / FILE, name="mistake")
        if name.endswith("Alias"):
            self.client.models.set_alias("species", "champion", 1)
        filled = {"DatasetService.CreateDataset": ROOT / FILE, "ModelService.ImportModel": self.stack.folder / "m.st"}
        if name not in {"UploadService.WriteUpload", "UploadService.GetUpload", *filled}:
            return UPLOAD
        stub, metadata = self.stub("UploadService")
        made = stub.CreateUpload(uploads_pb2.CreateUploadRequest(), metadata=metadata)
        if name == "ModelService.ImportModel":
            self.client.models.export("species", filled[name], overwrite=True)
        if name in filled:
            data = filled[name].read_bytes()
            stub.WriteUpload(iter([uploads_pb2.WriteUploadRequest(name=made.name, data=data)]), metadata=metadata)
        return made.name.removeprefix("uploads/")

    def mistake_for(self, name):
        """A version that the example may delete, by the number behind its id; in the page it is 1."""
        if name != "ModelService.DeleteModel":
            return "1"
        path = self.client.models.export("species:1", self.stack.folder / "mistake.st", overwrite=True)
        return str(self.client.models.import_(path, name="mistake").version)

    def stub(self, service):
        channel = grpc.insecure_channel(self.stack.address["grpc"].removeprefix("grpc://"))
        return STUBS[service](channel), [("authorization", f"Bearer {self.stack.token}")]

    def curl(self, line):
        """Output and HTTP status; curl is told by its own settings file to print the status last."""
        (self.stack.folder / ".curlrc").write_text('write-out = "\\n%{http_code}"\nno-progress-meter\nmax-time = 60\n')
        done = self.run(["/bin/bash", "-c", line], CURL_HOME=str(self.stack.folder))
        body, _, status = done.stdout.rpartition("\n")
        return body, int(status)

    def run(self, argv, **env):
        env = self.stack.env | {"TRAIND_TOKEN": self.stack.token} | env
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "clients"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            argv, cwd=self.stack.folder, env=env, capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    def clear(self):
        """End what would keep the slots."""
        for job in self.client.jobs.list(["QUEUED", "RUNNING", "PAUSED"]):
            job.cancel()


@pytest.fixture(scope="module")
def made():
    with stacks.up() as stack:
        world = World(stack)
        yield world
        world.client.close()


@pytest.fixture
def world(made):
    yield made
    made.clear()


def test_every_method_has_an_example():
    assert set(EXAMPLES) == {name for name in TABLE if name.startswith("traind.v1.")}


def test_the_page_shows_each(made):
    assert set(made.page.attributes("data-curl")) == set(NAMES)
    assert set(made.page.attributes("data-python")) == set(NAMES)
    streams = {"UploadService.WriteUpload", "DatasetService.UploadDataset", *FILES}
    assert set(made.page.attributes("data-grpcurl")) == set(NAMES) - streams


@pytest.mark.parametrize("name", NAMES)
def test_the_curl_line_is_answered(world, name):
    body, status = world.curl(world.shown("curl", name))
    assert status == 200, body
    if name == "JobService.WatchJob":
        assert "event: end" in body
    elif name in FILES:
        # Of the newest version: another example may have made one.
        [file] = world.stack.folder.glob(FILES[name])
        assert file.stat().st_size > 1000
    else:
        answer = json.loads(body)
        assert answer or name.partition(".")[2].startswith("Delete")


@pytest.mark.parametrize("name", NAMES)
def test_the_program_runs_and_prints(world, name):
    program = world.shown("python", name)
    assert "# the token is TRAIND_TOKEN" in program
    assert world.run([stacks.PYTHON, "-W", "error", "-c", program]).stdout.strip()


CONTRACT = (uploads_pb2, datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, server_pb2)
SERVICES = {name: service for file in CONTRACT for name, service in file.DESCRIPTOR.services_by_name.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_message_for_grpcurl_is_answered_over_grpc(world, name):
    line = world.shown("grpcurl", name)
    if line is None:
        found = SERVICES[name.partition(".")[0]].methods_by_name[name.partition(".")[2]]
        assert found.client_streaming or "data" in found.output_type.fields_by_name
        return
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:3] == ["grpcurl", "-plaintext", "-H"]
    assert words[-2:] == [world.stack.address["grpc"].removeprefix("grpc://"), f"traind.v1.{name.replace('.', '/')}"]
    service, _, method = name.partition(".")
    descriptor = SERVICES[service].methods_by_name[method]
    message = GetMessageClass(descriptor.input_type)()
    json_format.ParseDict(json.loads(words[words.index("-d") + 1]) if "-d" in words else {}, message)
    stub, metadata = world.stub(service)
    answer = getattr(stub, method)(message, metadata=metadata, timeout=30)
    if descriptor.server_streaming:
        assert list(answer)[-1].state.state == jobs_pb2.Job.SUCCEEDED
    else:
        assert answer.ByteSize() or method.startswith("Delete")
