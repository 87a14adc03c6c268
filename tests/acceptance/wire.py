"""A raw client of the generated stubs, and the jobs that the acceptance tests send."""

import math
import time
import uuid

import grpc

from traind.v1 import (
    datasets_pb2,
    datasets_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    learning_pb2,
    models_pb2,
    models_pb2_grpc,
    predictions_pb2,
    predictions_pb2_grpc,
    server_pb2_grpc,
    specs_pb2,
    tables_pb2,
    uploads_pb2_grpc,
)

ENDED = {jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.FAILED, jobs_pb2.Job.CANCELLED}
ROWS = 150
PLAIN_EPOCHS = 300
WIDTH = 8
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


class Wire:
    """One channel to one server, with a token. What is not stored yet is sent again while the server is away."""

    def __init__(self, url, token):
        self.channel = grpc.insecure_channel(url.removeprefix("grpc://"), options=OPTIONS)
        self.metadata = [("authorization", f"Bearer {token}")]
        self.jobs = jobs_pb2_grpc.JobServiceStub(self.channel)
        self.datasets = datasets_pb2_grpc.DatasetServiceStub(self.channel)
        self.uploads = uploads_pb2_grpc.UploadServiceStub(self.channel)
        self.models = models_pb2_grpc.ModelServiceStub(self.channel)
        self.predictions = predictions_pb2_grpc.PredictionServiceStub(self.channel)
        self.server = server_pb2_grpc.ServerServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def call(self, method, request, seconds=60.0):
        """Call until the server answers; only UNAVAILABLE is met with another try."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return method(request, metadata=self.metadata, timeout=30)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def upload(self, name, data):
        first = datasets_pb2.UploadDatasetRequest(dataset_id=name, data=data)
        return self.datasets.UploadDataset(iter([first]), metadata=self.metadata, timeout=60)

    def submit(self, job, request_id=None):
        request = jobs_pb2.CreateJobRequest(job=job, request_id=request_id or str(uuid.uuid4()))
        return self.call(self.jobs.CreateJob, request)

    def get(self, name):
        return self.call(self.jobs.GetJob, jobs_pb2.GetJobRequest(name=name))

    def cancel(self, name):
        return self.call(self.jobs.CancelJob, jobs_pb2.CancelJobRequest(name=name))

    def wait(self, name, seconds=60.0, until=None):
        """Ask until the job has ended, or `until` holds of it."""
        until = until or (lambda job: job.state in ENDED)
        deadline = time.monotonic() + seconds
        while True:
            job = self.get(name)
            if until(job):
                return job
            assert time.monotonic() < deadline, f"waited {seconds} s in vain:\n{job}"
            time.sleep(0.01)

    def wait_epoch(self, name, epoch=1, seconds=60.0):
        job = self.wait(name, seconds, lambda job: job.epoch >= epoch or job.state in ENDED)
        assert job.state not in ENDED, job
        return job

    def watch(self, name, seconds=120.0):
        """Every event of the job from the first to its end; after a break it goes on with the next number."""
        deadline = time.monotonic() + seconds
        events = []
        while True:
            request = jobs_pb2.WatchJobRequest(name=name, from_seq=len(events) + 1)
            try:
                events += self.jobs.WatchJob(request, metadata=self.metadata, timeout=deadline - time.monotonic())
                return events
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def history(self, name):
        """{series: [(epoch, value)]}"""
        history = self.call(self.jobs.GetHistory, jobs_pb2.GetHistoryRequest(name=name))
        return {series.name: list(zip(series.steps, series.values, strict=True)) for series in history.series}

    def model(self, name):
        return self.call(self.models.GetModel, models_pb2.GetModelRequest(name=name))

    def predict(self, model, columns):
        values = [tables_pb2.ColumnValues(name=name, numbers=numbers) for name, numbers in columns.items()]
        request = predictions_pb2.PredictRequest(name=model, columns=values)
        return self.call(self.predictions.Predict, request)


def table():
    """A CSV file of 8 numbers and a ninth that follows from them; the same bytes at every call."""
    names = [f"x{column}" for column in range(WIDTH)]
    lines = [",".join([*names, "y"])]
    for row in range(ROWS):
        x = [round(math.sin(1.7 * row + 2.3 * column), 6) for column in range(WIDTH)]
        y = round(sum((column - 3) * value for column, value in enumerate(x)) + math.cos(row), 6)
        lines.append(",".join(str(value) for value in [*x, y]))
    return "\n".join(lines).encode() + b"\n"


def train(epochs, batch_size=32, model="m", dataset="waves", seed=1):
    """A small network: 161 parameters."""
    gradient = learning_pb2.Gradient(epochs=epochs, batch_size=batch_size, optimizer={"adam": {"lr": 0.001}})
    spec = specs_pb2.TrainSpec(
        target=["y"], network={"mlp": {"hidden": [16]}}, learn=learning_pb2.Learn(gradient=gradient), seed=seed
    )
    return jobs_pb2.Job(dataset=dataset, model=model, train=spec)


def quick(**more):
    """Over in a moment."""
    return train(3, **more)


def steady(epochs=40, **more):
    """Some seconds of work: epochs of 120 steps each, the general way."""
    job = train(epochs, batch_size=1, **more)
    job.train.learn.gradient.path = learning_pb2.Gradient.GENERAL
    return job


def plain(**more):
    """Some seconds of work of a plain stack, whose steps are written out."""
    return train(PLAIN_EPOCHS, batch_size=1, **more)


def heavy():
    """Its first epoch takes seconds."""
    job = train(10, batch_size=1)
    job.train.network.mlp.hidden[:] = [1000, 1000]
    return job


def endless(**more):
    """Ends when somebody ends it."""
    return train(1_000_000, batch_size=1, **more)
