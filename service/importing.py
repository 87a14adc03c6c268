"""Models that come from another server: a file that its export wrote becomes a version here, with a job of its own."""

import threading
from pathlib import Path

from google.protobuf import json_format

from service import fencing, models, references, submissions, uploads
from service.app import App
from service.callers import Caller
from service.data.objects import disk_full_refused
from service.errors import NotFound
from service.model_files.reading import ReadModel, read_model
from service.modelling.predictor import encode_preprocessing
from service.points import point
from service.store import artifacts, imports
from service.store.records import encode_figures, encode_messages
from traind.names import IMPORTED
from traind.v1 import models_pb2

# Weights are in memory while they are looked at and stored: those of one file at a time.
_READING = threading.BoundedSemaphore(1)


def import_model(app: App, caller: Caller, request: models_pb2.ImportModelRequest) -> models_pb2.Model:
    """Read a finished upload as a model and keep it, with its history, as a job that SUCCEEDED.

    The upload ends with it. Where the file is refused nothing is left but the upload.
    """
    described = models_pb2.ImportModelRequest(upload=request.upload, model_id=request.model_id)
    asked = submissions.Request.of(described, request.request_id)
    if (earlier := _earlier(app, caller, asked)) is not None:
        uploads.drop_upload(app, caller, request.upload)
        return earlier
    try:
        with uploads.hold_upload(app, caller, request.upload, "upload") as (row, path), disk_full_refused():
            # The same call may have come twice at once, and the other one have kept the model while this one waited.
            if (kept := _earlier(app, caller, asked)) is not None:
                name = kept.name
            else:
                uploads.whole_file(row, path, "upload")
                name = _keep(app, caller, request.model_id, asked, path)
            uploads.drop_upload(app, caller, request.upload)
    except NotFound:
        # Or it has used the upload up.
        if (earlier := _earlier(app, caller, asked)) is not None:
            return earlier
        raise
    return models.get_model(app, caller, models_pb2.GetModelRequest(name=name))


def _earlier(app: App, caller: Caller, asked: submissions.Request) -> models_pb2.Model | None:
    """The model that the same request made before. Raises RequestIdReused."""
    job = submissions.answer_earlier(app, caller, asked)
    return job and models.get_model(app, caller, models_pb2.GetModelRequest(name=job.model_version))


def _keep(app: App, caller: Caller, model_id: str, asked: submissions.Request, path: Path) -> str:
    """Store the model of a file; answers its name."""
    with _READING:
        return _store(app, caller, model_id, asked, read_model(path, app.settings.max_parameters))


def _store(app: App, caller: Caller, model_id: str, asked: submissions.Request, read: ReadModel) -> str:
    file = read.checked.file
    slug = model_id or references.parse_reference("models", file.origin.model, "", "upload").slug
    model = _new_model(read, slug)
    long = len(model.weights) > artifacts.CHUNK_BYTES
    staged = artifacts.stage(app.database, model.weights, "weights") if long else None
    point("C20")
    with app.database.write() as connection:
        job = imports.add_job(
            connection,
            owner_id=caller.user_id,
            dataset_name=f"{IMPORTED}{file.origin.dataset}",
            display_name=file.display_name,
            model_slug=slug,
            task_json=json_format.MessageToJson(file.train, indent=None),
            resolved_json=json_format.MessageToJson(file.resolved, indent=None),
            origin_json=json_format.MessageToJson(file.origin, indent=None),
            parameter_count=file.parameter_count,
            epochs=file.epochs,
            epoch=read.checked.epoch,
            best_epoch=file.best_epoch,
            metrics_json=encode_figures(model.metrics),
            request_id=asked.request_id or None,
            request_hash=asked.request_hash,
        )
        name = fencing.add_model(connection, job, model, staged)
        findings = [json_format.MessageToJson(one, indent=None, sort_keys=True) for one in file.job_findings]
        imports.add_life(connection, job, name, findings, read.checked.history)
    return name


def _new_model(read: ReadModel, slug: str) -> fencing.NewModel:
    checked = read.checked
    file = checked.file
    return fencing.NewModel(
        slug=slug,
        display_name=file.display_name or slug,
        weights=read.weights,
        weights_sha256=file.weights_sha256,
        spec_json=json_format.MessageToJson(file.spec, indent=None),
        inputs_json=encode_messages(file.inputs),
        outputs_json=encode_messages(file.outputs),
        preprocessing_json=encode_preprocessing(checked.fitted, checked.target),
        metrics={metric.name: metric.value for metric in file.metrics},
        findings_json=encode_messages(file.findings),
        parameter_count=read.predictor.parameter_count,
        best_epoch=file.best_epoch,
        engine=file.engine,
        confusion_json=encode_messages(file.confusion),
        rows=checked.rows,
        golden=file.golden.SerializeToString(deterministic=True) if file.HasField("golden") else None,
    )
