"""The text in the header of a model's file: the contract's ModelFile as JSON, and its SHA-256 beside it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message

from service.errors import DataCorrupt, InvalidModelFile, shown
from service.model_files.layout import EXPORT_AGAIN, read_json, refused
from service.modelling.golden import decode as decode_golden
from service.modelling.predictor import decode_preprocessing, encode_preprocessing
from service.store.records import JobRow, ModelRow, ModelRows, SeriesRow
from traind.v1 import model_files_pb2, models_pb2, specs_pb2, tables_pb2
from traind.version import __version__

FORMAT = 2
# Of files without what is new in format 2, so that older servers take them.
FORMAT_WITHOUT_GOLDEN = 1
# Figures of the history: an import stores them in one transaction, in which nobody else writes to SQLite; 100,000 of
# them, with their events, take 1.3 s of a processor.
MOST_FIGURES = 200_000
# Keys of the header's metadata.
TEXT, SHA256 = "traind", "sha256"
NUMBER = np.dtype("<f8")
_M = TypeVar("_M", bound=Message)
_UNKNOWN_FIELD = re.compile(r'no field named "([^"]*)"')
_UNKNOWN_VALUE = re.compile(r"Invalid enum value (\S*) for enum type")


def describe(
    model: ModelRow,
    job: JobRow,
    *,
    job_findings: Sequence[tables_pb2.Finding],
    history: Sequence[SeriesRow],
    rows: ModelRows | None,
    golden: bytes | None,
) -> model_files_pb2.ModelFile:
    """Everything that rows tell of a model. Raises DataCorrupt."""
    return model_files_pb2.ModelFile(
        format=FORMAT_WITHOUT_GOLDEN if golden is None else FORMAT,
        written_by=__version__,
        origin=_origin(model, job),
        display_name=model.display_name,
        train=without_weights(json_format.Parse(job.task_json, specs_pb2.TrainSpec())),
        resolved=without_weights(json_format.Parse(job.resolved_json, specs_pb2.TrainSpec())),
        spec=json_format.Parse(model.spec_json, specs_pb2.TrainSpec()),
        inputs=_parsed(model.inputs_json, tables_pb2.Column),
        outputs=_parsed(model.outputs_json, tables_pb2.Column),
        # As today's version writes it, whatever version wrote it first.
        preprocessing=encode_preprocessing(*decode_preprocessing(model.preprocessing_json)),
        metrics=[tables_pb2.Metric(name=name, value=value) for name, value in sorted(model.metrics.items())],
        findings=_parsed(model.findings_json, tables_pb2.Finding),
        job_findings=job_findings,
        confusion=_parsed(model.confusion_json, tables_pb2.ConfusionMatrix),
        parameter_count=model.parameter_count,
        weights_sha256=model.weights_sha256,
        best_epoch=model.best_epoch,
        epochs=job.epochs,
        engine=model.engine,
        history=[_filed(series, job) for series in history],
        rows=None if rows is None else _split(rows),
        golden=None if golden is None else decode_golden(golden),
    )


def encode(file: model_files_pb2.ModelFile) -> dict[str, str]:
    """The metadata of the header."""
    text = json.dumps(json_format.MessageToDict(file), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return {TEXT: text, SHA256: hashlib.sha256(text.encode()).hexdigest()}


def decode(metadata: Mapping[str, str]) -> model_files_pb2.ModelFile:
    """What `encode` wrote, here or in another version. Raises InvalidModelFile."""
    if metadata.keys() != {TEXT, SHA256}:
        raise refused("was not written by an export of traind", "export a model with: traind export MODEL FILE")
    try:
        raw = metadata[TEXT].encode()
    except UnicodeEncodeError:
        raise refused("has a description that is no Unicode") from None
    if hashlib.sha256(raw).hexdigest() != metadata[SHA256]:
        raise refused("has a description that does not match its SHA-256: it was changed or damaged on its way")
    told = read_json(raw, "description")
    number = told.get("format")
    if type(number) is not int or number < 1:
        raise refused("tells no format")
    if number > FORMAT:
        raise refused(
            f"has format {number}; this server reads format {FORMAT}", f"upgrade this server: {_versions(told)}"
        )
    try:
        return json_format.ParseDict(told, model_files_pb2.ModelFile())
    except (json_format.ParseError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise _unknown(str(error), told) from None


def without_weights(spec: specs_pb2.TrainSpec) -> specs_pb2.TrainSpec:
    """A spec without the weights that were given; they are those of the model."""
    if spec.learn.HasField("given"):
        spec.learn.given.ClearField("weights")
    return spec


def _origin(model: ModelRow, job: JobRow) -> models_pb2.Origin:
    """Where a model was trained; of an imported one where that was."""
    if job.origin_json:
        return json_format.Parse(job.origin_json, models_pb2.Origin())
    origin = models_pb2.Origin(
        model=model.name, job=f"jobs/{job.id}", dataset=model.dataset_name, user=model.owner_name
    )
    origin.create_time.FromMicroseconds(round(model.created_at * 1_000_000))
    return origin


def _split(rows: ModelRows) -> models_pb2.RowSplit:
    return models_pb2.RowSplit(row_count=rows.row_count, train_rows=rows.train_rows, val_rows=rows.val_rows)


def _filed(series: SeriesRow, job: JobRow) -> model_files_pb2.FiledSeries:
    if series.steps != list(range(1, job.epoch + 1)):
        raise DataCorrupt(f"the history of jobs/{job.id} lacks epochs of {series.name}")
    return model_files_pb2.FiledSeries(
        name=series.name, split=series.split, values=np.array(series.values, NUMBER).tobytes()
    )


def _parsed(text: str, kind: type[_M]) -> list[_M]:
    return [json_format.ParseDict(part, kind()) for part in json.loads(text)]


def _unknown(error: str, told: Mapping[str, object]) -> InvalidModelFile:
    cure = f"if a newer traind wrote it ({_versions(told)}), upgrade this server, else {EXPORT_AGAIN}"
    if name := _UNKNOWN_FIELD.search(error):
        return refused(f"tells of a field {shown(name[1])} that this server does not know", cure)
    if value := _UNKNOWN_VALUE.search(error):
        return refused(f"tells of {shown(value[1])}, which this server does not know", cure)
    return refused("has a description that is not what the contract's ModelFile says", cure)


def _versions(told: Mapping[str, object]) -> str:
    return f"the file says {shown(told.get('writtenBy', ''))}, this is {shown(__version__)}"
