"""Models as files: what another server's import takes, an ONNX graph, or a script; checked before the first byte."""

import io
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from service import models
from service.app import App
from service.callers import Caller
from service.data.preprocessing import Fitted
from service.data.splits import MOST_SPLIT_ROWS
from service.data.targets import Target
from service.errors import DataCorrupt, InvalidModelFile, TooLarge, TraindError, WrongState
from service.file_parts import Part, Stored, StoredTensor, read_parts, size_of
from service.model_cache import unless_deleted
from service.model_files import description, layout
from service.model_files.reading import read_head
from service.modelling import networks, tensors
from service.modelling.predictor import decode_preprocessing
from service.script_files import archive
from service.script_files.script import write_script
from service.store import artifacts
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import metrics as metric_store
from service.store import models as model_store
from service.store.records import ModelRow
from traind.v1 import model_files_pb2, models_pb2, specs_pb2, tables_pb2

Format = models_pb2.Model.Format
_ENDINGS = {Format.SAFETENSORS: "safetensors", Format.ONNX: "onnx", Format.SCRIPT: "zip"}


@dataclass(frozen=True)
class Export:
    """A model on its way out: what was checked already, and where the rest of its bytes are."""

    model: ModelRow
    file_name: str
    size_bytes: int
    parts: list[Part]


@dataclass(frozen=True)
class _Model:
    """A model as its rows tell it, with its weights where they are stored."""

    name: str
    spec: specs_pb2.TrainSpec
    fitted: Fitted
    target: Target
    # What the header of the stored weights tells of each tensor, and where their bytes begin.
    entries: dict[str, Any]
    begin: int
    # Of the whole artifact.
    size_bytes: int
    crc: int


def open_export(app: App, caller: Caller, request: models_pb2.ExportModelRequest) -> Export:
    """Describe a model and verify its weights, of which one chunk at a time is in memory.

    Raises NotFound; TooLarge and WrongState where no import would take the file, or its format cannot say what the
    model does; DataCorrupt.
    """
    row = models.require_model(app, caller, request.name, "name")
    kind = request.format or Format.SAFETENSORS
    match kind:
        case Format.ONNX:
            parts = _graph(app, row)
        case Format.SCRIPT:
            parts = _script(app, row)
        case _:
            parts = _model_file(app, row)
    name = f"{row.owner_name}.{row.slug}-{row.version}.{_ENDINGS[kind]}"
    return Export(row, name, size_of(parts), parts)


def _model_file(app: App, row: ModelRow) -> list[Part]:
    """What ImportModel takes, whose own checks are made of it."""
    file = _describe(app, row)
    model = _look_at(app, row)
    head = layout.encode_header(model.entries, description.encode(file))
    parts: list[Part] = [head, Stored(model.begin, model.size_bytes)]
    try:
        # How many parameters an import takes is its server's matter.
        read_head(io.BytesIO(head), size_of(parts), sys.maxsize)
    except InvalidModelFile as error:
        raise _not_taken(row, error) from error
    return parts


def _graph(app: App, row: ModelRow) -> list[Part]:
    from service.onnx_files.file import onnx_parts  # imports ONNX, which nothing else needs

    model = _look_at(app, row)
    told = {"traind.model": model.name, "traind.weights_sha256": row.weights_sha256}
    return onnx_parts(model.name, model.spec, model.fitted, model.target, _tensors_of(model), told)


def _script(app: App, row: ModelRow) -> list[Part]:
    model = _look_at(app, row)
    _tensors_of(model)
    text = write_script(model.name, model.spec, model.fitted, model.target)
    weights = archive.StoredEntry("weights.safetensors", Stored(0, model.size_bytes), model.crc)
    return archive.zip_parts([archive.Entry("predict.py", text.encode()), weights])


def _look_at(app: App, row: ModelRow) -> _Model:
    """Read what a model's rows tell, and verify its weights. Raises WrongState where these are no numbers."""
    spec = json_format.Parse(row.spec_json, specs_pb2.TrainSpec())
    fitted, target = decode_preprocessing(row.preprocessing_json)
    stored_as, _ = tensors.stored_as(networks.torch_dtype(spec))
    seen = _Crc()
    with unless_deleted(app.database, row):
        chunks = seen.of(artifacts.verified(app.database, row.artifact_id))
        finite = tensors.finite_bytes(_tensors(chunks), stored_as)
        entries, begin = _entries(app, row)
    if not finite:
        raise WrongState(
            f"{row.name} cannot be exported: it has weights that are NaN or infinite, which no import takes; train it "
            "again with smaller numbers, or with dtype FLOAT64",
            metadata={"resource": row.name},
        )
    return _Model(row.name, spec, fitted, target, entries, begin, row.size_bytes, seen.value)


def _tensors_of(model: _Model) -> list[StoredTensor]:
    """The weights in the order in which they are stored. Raises DataCorrupt unless they are those of the spec."""
    spec = model.spec
    outputs = networks.output_width(spec, len(model.target.classes))
    expected = networks.weight_shapes(spec.network, model.fitted.layout, outputs)
    try:
        layout.check_entries(
            layout.Layout(model.entries, {}, model.begin),
            expected,
            *tensors.stored_as(networks.torch_dtype(spec)),
            model.size_bytes,
        )
    except InvalidModelFile as error:
        raise DataCorrupt(f"the weights of {model.name} do not fit its spec: the file {error.what}") from error
    places = {name: [model.begin + at for at in entry["data_offsets"]] for name, entry in model.entries.items()}
    ordered = sorted(places, key=lambda name: (places[name], name))
    return [StoredTensor(name, expected[name], Stored(*places[name])) for name in ordered]


class _Crc:
    """The checksum that zip has, of what passes through."""

    value = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks as they are."""
        for chunk in chunks:
            self.value = zlib.crc32(chunk, self.value)
            yield chunk


def _not_taken(row: ModelRow, error: InvalidModelFile) -> TraindError:
    why = f"{row.name} cannot be exported: no import takes a file that {error.what}"
    if limit := error.metadata.get("limit"):
        cure = "train it with fewer epochs or measures, and without columns of very many categories"
        return TooLarge(f"name: {why}; {cure}", metadata={"field": "name", "limit": limit})
    return WrongState(f"{why}; train it again with this version of traind", metadata={"resource": row.name})


def _tensors(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What stands behind the header in the chunks of stored weights."""
    skip = None
    for chunk in chunks:
        skip = 8 + int.from_bytes(chunk[:8], "little") if skip is None else skip
        yield chunk[skip:]
        skip = max(skip - len(chunk), 0)


def parts(app: App, export: Export) -> Iterator[models_pb2.ExportModelResponse]:
    """The file in messages of at most 1 MiB; the first one tells its name and size. Raises DataCorrupt, NotFound."""
    first = models_pb2.ExportModelResponse(file_name=export.file_name, size_bytes=export.size_bytes)
    with unless_deleted(app.database, export.model):
        for data in read_parts(app.database, export.model.artifact_id, export.parts):
            first.data = data
            yield first
            first = models_pb2.ExportModelResponse()


def _describe(app: App, row: ModelRow) -> model_files_pb2.ModelFile:
    with app.database.read() as connection:
        job = job_store.find_by_id(connection, row.job_id)
        # Before they are all in memory.
        _check_figures(row, metric_store.count(connection, row.job_id))
        rows = model_store.find_rows(connection, row.id)
        golden = model_store.find_golden(connection, row.id)
        history = metric_store.history(connection, row.job_id)
        told = event_store.findings(connection, row.job_id)
    if job is None:
        raise DataCorrupt(f"jobs/{row.job_id}, which made {row.name}, is not there")
    findings = [json_format.Parse(body, tables_pb2.Finding()) for body in told]
    kept = rows if rows is not None and rows.row_count <= MOST_SPLIT_ROWS else None
    return description.describe(row, job, job_findings=findings, history=history, rows=kept, golden=golden)


def _check_figures(row: ModelRow, figures: int) -> None:
    most = description.MOST_FIGURES
    if figures > most:
        what = f"has a history of {figures:,} figures, where at most {most:,} are taken"
        raise _not_taken(row, layout.refused(what, limit=most))


def _entries(app: App, row: ModelRow) -> tuple[dict[str, Any], int]:
    """What the header of the stored weights tells of each tensor, and where their bytes begin."""
    data, number = b"", 0
    while number == 0 or len(data) < 8 + int.from_bytes(data[:8], "little"):
        chunk = artifacts.read_chunk(app.database, row.artifact_id, number)
        if not chunk or len(data) > layout.LARGEST_HEADER:
            raise DataCorrupt(f"the weights of {row.name} are no safetensors file")
        data, number = data + chunk, number + 1
    begin = 8 + int.from_bytes(data[:8], "little")
    header = layout.read_json(data[8:begin], "header")
    header.pop(layout.METADATA, None)
    return header, begin
