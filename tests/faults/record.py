"""Clients that write down what they were told, for the invariants to judge: answers, errors, watched events."""

import threading
import time
import uuid
from dataclasses import dataclass, field

import grpc

from tests.acceptance import wire as wires
from tests.faults.standing import standing
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, uploads_pb2

Job = jobs_pb2.Job
ENDED = wires.ENDED
TRY_S = 15.0
PATIENCE_S = 60.0
# What a client meets while processes die; it sends the same call again.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass
class Refusal:
    """An error that a client was answered with."""

    user: str
    code: grpc.StatusCode
    text: str


@dataclass
class Record:
    """What the clients of one case saw."""

    # Names of jobs that were acknowledged.
    acknowledged: set[str] = field(default_factory=set)
    # The jobs that were answered to a submission, by its unique display name.
    submissions: dict[str, set[str]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    # Of each watcher: the job, and every event in the order in which it came.
    watches: list[tuple[str, list[jobs_pb2.JobEvent]]] = field(default_factory=list)
    # Of each job what GetJob answered, in order: (state, attempt, epoch).
    reads: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)


class Client:
    """A client of one user, which calls again until it is answered, as the client library does."""

    def __init__(self, stack, record, user="kim", token=None):
        self.stack, self.record, self.user = stack, record, user
        self.wire = stack.wire_of(token or stack.token)
        self._threads = []

    def call(self, method, request, seconds=PATIENCE_S):
        """Call until it is answered; errors that pass are met with another try."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return method(request, metadata=self.wire.metadata, timeout=TRY_S)
            except grpc.RpcError as error:
                self.note(error)
                if error.code() not in PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def note(self, error):
        self.record.refusals.append(Refusal(self.user, error.code(), error.details() or ""))

    def submit(self, job, *, again=True):
        """Submit until it is acknowledged, and once more; each try with the same request id."""
        job.display_name = f"submission {uuid.uuid4()}"
        request = jobs_pb2.CreateJobRequest(job=job, request_id=str(uuid.uuid4()))
        made = self.call(self.wire.jobs.CreateJob, request)
        answered = {made.name}
        if again:
            answered.add(self.call(self.wire.jobs.CreateJob, request).name)
        self.record.submissions.setdefault(job.display_name, set()).update(answered)
        self.record.acknowledged |= answered
        return made

    def get(self, name):
        job = self.call(self.wire.jobs.GetJob, jobs_pb2.GetJobRequest(name=name))
        self.record.reads.setdefault(name, []).append((job.state, job.attempt, job.epoch))
        return job

    def cancel(self, name):
        return self.call(self.wire.jobs.CancelJob, jobs_pb2.CancelJobRequest(name=name))

    def wait(self, name, until=lambda job: job.state in ENDED, seconds=PATIENCE_S):
        """Ask until it holds of the job, by default that it has ended."""
        deadline = time.monotonic() + seconds
        while not until(job := self.get(name)):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain:\n{job}\n{standing(self.stack)}"
            time.sleep(0.02)
        return job

    def watch(self, name):
        """Watch a job to its end beside everything else."""
        events = []
        self.record.watches.append((name, events))
        thread = threading.Thread(target=self._watch, args=(name, events), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _watch(self, name, events):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            request = jobs_pb2.WatchJobRequest(name=name, from_seq=len(events) + 1)
            try:
                # One by one: what came before a break counts.
                for event in self.wire.jobs.WatchJob(request, metadata=self.wire.metadata, timeout=TRY_S):
                    events.append(event)
                return
            except grpc.RpcError as error:
                self.note(error)
                time.sleep(0.1)

    def join(self):
        """Wait until every watcher has seen its job's end."""
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a watcher did not see the end"

    def events(self, name):
        """All events of a job that has ended."""
        request = jobs_pb2.WatchJobRequest(name=name)
        return list(self.wire.jobs.WatchJob(request, metadata=self.wire.metadata, timeout=TRY_S))

    def upload(self, slug, data, chunk=64):
        """A data set, its file sent in chunks; each goes on at the offset that the server tells."""
        source = datasets_pb2.DatasetSource(upload=self.put(data, chunk))
        return self.call(
            self.wire.datasets.CreateDataset, datasets_pb2.CreateDatasetRequest(dataset_id=slug, source=source)
        )

    def put(self, data, chunk=1 << 20):
        """An upload that holds these bytes."""
        upload = self.call(self.wire.uploads.CreateUpload, uploads_pb2.CreateUploadRequest())
        while upload.offset < len(data):
            upload = self._write(upload, data[upload.offset : upload.offset + chunk])
        return upload.name

    def model(self, name):
        return self.call(self.wire.models.GetModel, models_pb2.GetModelRequest(name=name))

    def models(self):
        return self.call(self.wire.models.ListModels, models_pb2.ListModelsRequest(page_size=1000)).models

    def export(self, name):
        """The bytes of a model's file."""
        request = models_pb2.ExportModelRequest(name=name)
        parts = self.wire.models.ExportModel(request, metadata=self.wire.metadata, timeout=PATIENCE_S)
        return b"".join(part.data for part in parts)

    def import_model(self, slug, data):
        """A model made of a file, asked for until it is answered, each time with the same id."""
        request = models_pb2.ImportModelRequest(upload=self.put(data), model_id=slug, request_id=str(uuid.uuid4()))
        return self.call(self.wire.models.ImportModel, request)

    def _write(self, upload, part):
        request = uploads_pb2.WriteUploadRequest(name=upload.name, offset=upload.offset, data=part)
        try:
            return self.wire.uploads.WriteUpload(iter([request]), metadata=self.wire.metadata, timeout=TRY_S)
        except grpc.RpcError as error:
            self.note(error)
            if error.code() not in PASSING:
                raise
            time.sleep(0.1)
            return self.call(self.wire.uploads.GetUpload, uploads_pb2.GetUploadRequest(name=upload.name))

    def delete_dataset(self, name):
        """Delete until it is gone; a call that went unanswered may have done it."""
        try:
            self.call(self.wire.datasets.DeleteDataset, datasets_pb2.DeleteDatasetRequest(name=name))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise


def tiny(epochs=6, seed=1, **more):
    """6 epochs of 20 batches; what is left out of it is drawn, so that a resumed job needs every state of a draw."""
    job = wires.train(epochs, batch_size=6, seed=seed, **more)
    job.train.network.mlp.dropout = 0.25
    return job


def wide():
    """More weights than fit into one chunk of what is stored."""
    job = wires.train(1, batch_size=150)
    job.train.network.mlp.hidden[:] = [600, 600]
    return job


def long(epochs=100_000, **more):
    """Ends when it is cancelled."""
    return tiny(epochs, seed=2, **more)
