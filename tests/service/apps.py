"""An app on a database and in a folder, and the people who call it."""

from service import accounts, datasets, uploads
from service.app import App
from service.callers import Caller
from service.data.objects import ObjectFolder
from service.settings import Settings
from traind.v1 import datasets_pb2, uploads_pb2


def make_app(database, folder, **environ):
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder), **environ})
    return App(settings, database, ObjectFolder(settings.objects_dir, settings.tmp_dir))


def make_caller(app, name):
    user = accounts.create_user(app.database, name)
    return Caller(user.id, name, "token", frozenset({"read", "submit", "predict"}))


def open_upload(app, caller, **fields):
    request = uploads_pb2.CreateUploadRequest(upload=uploads_pb2.Upload(**fields))
    return uploads.create_upload(app, caller, request).name


def push(app, caller, raw, dataset_id="table", **source):
    """A data set made of bytes, by way of an upload."""
    name = open_upload(app, caller)
    uploads.write_chunk(app, caller, name, 0, raw)
    return create(app, caller, name, dataset_id, **source)


def create(app, caller, upload, dataset_id="table", **source):
    request = datasets_pb2.CreateDatasetRequest(
        dataset_id=dataset_id, source=datasets_pb2.DatasetSource(upload=upload, **source)
    )
    return datasets.create_dataset(app, caller, request)


def files_in(folder):
    """Names of all files below a folder, but for locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
