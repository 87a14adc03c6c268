"""A server in one process, at which one person submits and a worker runs what is queued."""

import pathlib

from google.protobuf import json_format

from service import accounts, datasets, jobs, ledger, predictions, uploads
from service.app import App
from service.callers import Caller
from service.data.objects import ObjectFolder
from service.settings import Settings
from traind.v1 import datasets_pb2, jobs_pb2, predictions_pb2, uploads_pb2
from worker.run import run_job

DATA = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data"
INPUTS = ["area", "rooms", "station_km"]


def never():
    return False


class Lab:
    """An app on a database, with one person and a worker that runs what is queued."""

    def __init__(self, database, folder, **more):
        environ = {"TRAIND_DATA_DIR": str(folder), **more}
        self.settings = Settings.from_env(environ)
        self.app = App(self.settings, database, ObjectFolder(self.settings.objects_dir, self.settings.tmp_dir))
        self.caller = self.person("kim")

    def person(self, name) -> Caller:
        user = accounts.create_user(self.app.database, name)
        return Caller(user.id, name, "t", frozenset({"read", "submit", "predict"}))

    def push(self, name, dataset_id=None):
        return self.push_bytes(dataset_id or name.replace("_", "-"), (DATA / f"{name}.csv").read_bytes())

    def push_bytes(self, dataset_id, data):
        upload = uploads.create_upload(self.app, self.caller, uploads_pb2.CreateUploadRequest())
        uploads.write_chunk(self.app, self.caller, upload.name, 0, data)
        source = datasets_pb2.DatasetSource(upload=upload.name)
        request = datasets_pb2.CreateDatasetRequest(dataset_id=dataset_id, source=source)
        return datasets.create_dataset(self.app, self.caller, request)

    def submit(self, job, **more) -> jobs_pb2.Job:
        request = jobs_pb2.CreateJobRequest(job=json_format.ParseDict(job, jobs_pb2.Job()), **more)
        return jobs.create_job(self.app, self.caller, request)

    def work(self) -> int:
        count = 0
        while claim := ledger.claim(self.app.database, "test", 15):
            assert run_job(self.settings, self.app.database, claim, never) == "done"
            count += 1
        return count

    def get(self, name) -> jobs_pb2.Job:
        return jobs.get_job(self.app, self.caller, jobs_pb2.GetJobRequest(name=name))

    def predict(self, model, columns, **more):
        values = [{"name": name, "numbers": numbers} for name, numbers in columns.items()]
        request = predictions_pb2.PredictRequest(name=model, columns=values, **more)
        return predictions.predict(self.app, self.caller, request)
