"""Models as files: what another server's import takes. Its own checks are made of each before the first byte goes."""

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import json_format

from service import models
from service.app import App
from service.callers import Caller
from service.data.splits import MOST_SPLIT_ROWS
from service.errors import DataCorrupt, InvalidModelFile, TooLarge, TraindError, WrongState
from service.model_cache import unless_deleted
from service.model_files import description, layout
from service.model_files.reading import read_head
from service.modelling import networks, tensors
from service.store import artifacts
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import metrics as metric_store
from service.store import models as model_store
from service.store.records import ModelRow
from traind.v1 import model_files_pb2, models_pb2, tables_pb2


@dataclass(frozen=True)
class Export:
    """A model on its way out: what was checked already, and where the rest of its bytes are."""

    model: ModelRow
    file_name: str
    # The file up to the first byte of the tensors.
    head: bytes
    size_bytes: int
    # Where the bytes of the tensors begin in the stored weights.
    skip: int


def open_export(app: App, caller: Caller, request: models_pb2.ExportModelRequest) -> Export:
    """Describe a model and verify its weights, of which one chunk at a time is in memory.

    Raises NotFound; TooLarge and WrongState where no import would take the file; DataCorrupt.
    """
    row = models.require_model(app, caller, request.name, "name")
    file = _describe(app, row)
    stored_as, _ = tensors.stored_as(networks.torch_dtype(file.spec))
    with unless_deleted(app.database, row):
        finite = tensors.finite_bytes(_tensors(artifacts.verified(app.database, row.artifact_id)), stored_as)
        entries, skip = _entries(app, row)
    head = layout.encode_header(entries, description.encode(file))
    size = len(head) + row.size_bytes - skip
    try:
        # How many parameters an import takes is its server's matter.
        read_head(io.BytesIO(head), size, sys.maxsize)
    except InvalidModelFile as error:
        raise _not_taken(row, error) from error
    if not finite:
        raise WrongState(
            f"{row.name} cannot be exported: it has weights that are NaN or infinite, which no import takes; train it "
            "again with smaller numbers, or with dtype FLOAT64",
            metadata={"resource": row.name},
        )
    name = f"{row.owner_name}.{row.slug}-{row.version}.safetensors"
    return Export(row, name, head, size, skip)


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
        for data in _bytes(app, export):
            first.data = data
            yield first
            first = models_pb2.ExportModelResponse()


def _bytes(app: App, export: Export) -> Iterator[bytes]:
    for start in range(0, len(export.head), artifacts.CHUNK_BYTES):
        yield export.head[start : start + artifacts.CHUNK_BYTES]
    left, skip = export.size_bytes - len(export.head), export.skip
    number = 0
    while left:
        chunk = artifacts.read_chunk(app.database, export.model.artifact_id, number)
        data, skip, number = chunk[skip:], max(skip - len(chunk), 0), number + 1
        if not chunk or len(data) > left:
            raise DataCorrupt(f"artifact {export.model.artifact_id} is not what it was a moment ago")
        left -= len(data)
        if data:
            yield data


def _describe(app: App, row: ModelRow) -> model_files_pb2.ModelFile:
    with app.database.read() as connection:
        job = job_store.find_by_id(connection, row.job_id)
        # Before they are all in memory.
        _check_figures(row, metric_store.count(connection, row.job_id))
        rows = model_store.find_rows(connection, row.id)
        golden = model_store.find_golden(connection, row.id)
        history = metric_store.history(connection, row.job_id)
        told = event_store.of_kind(connection, row.job_id, "finding")
    if job is None:
        raise DataCorrupt(f"jobs/{row.job_id}, which made {row.name}, is not there")
    findings = [json_format.Parse(event.body_json, tables_pb2.Finding()) for event in told]
    kept = rows if rows is not None and rows.row_count <= MOST_SPLIT_ROWS else None
    return description.describe(row, job, job_findings=findings, history=history, rows=kept, golden=golden)


def _check_figures(row: ModelRow, figures: int) -> None:
    most = description.MOST_FIGURES
    if figures > most:
        what = f"has a history of {figures:,} figures, where at most {most:,} are taken"
        raise _not_taken(row, layout.refused(what, limit=most))


def _entries(app: App, row: ModelRow) -> tuple[dict[str, object], int]:
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
