"""Models as files: what another server's import takes."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import json_format

from service import models
from service.app import App
from service.callers import Caller
from service.errors import DataCorrupt, TooLarge
from service.model_files import description, layout
from service.model_files.checks import MOST_ROWS
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

    file_name: str
    # The file up to the first byte of the tensors.
    head: bytes
    size_bytes: int
    artifact_id: str
    # Where the bytes of the tensors begin in the stored weights.
    skip: int


def open_export(app: App, caller: Caller, request: models_pb2.ExportModelRequest) -> Export:
    """Describe a model and verify its weights, of which one chunk at a time is in memory.

    Raises NotFound, WrongState, TooLarge, DataCorrupt.
    """
    row = models.require_model(app, caller, request.name, "name")
    file = _describe(app, row)
    stored = artifacts.verify(app.database, row.artifact_id)
    entries, skip = _entries(app, row)
    head = layout.encode_header(entries, description.encode(file))
    if len(head) > layout.LARGEST_HEADER:
        raise _too_large(f"{row.name} takes {len(head):,} bytes to describe", layout.LARGEST_HEADER)
    name = f"{row.owner_name}.{row.slug}-{row.version}.safetensors"
    return Export(name, head, len(head) + stored - skip, row.artifact_id, skip)


def parts(app: App, export: Export) -> Iterator[models_pb2.ExportModelResponse]:
    """The file in messages of at most 1 MiB; the first one tells its name and size. Raises DataCorrupt."""
    first = models_pb2.ExportModelResponse(file_name=export.file_name, size_bytes=export.size_bytes)
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
        chunk = artifacts.read_chunk(app.database, export.artifact_id, number)
        data, skip, number = chunk[skip:], max(skip - len(chunk), 0), number + 1
        if not chunk or len(data) > left:
            raise DataCorrupt(f"artifact {export.artifact_id} is not what it was a moment ago")
        left -= len(data)
        if data:
            yield data


def _describe(app: App, row: ModelRow) -> model_files_pb2.ModelFile:
    with app.database.read() as connection:
        job = job_store.find_by_id(connection, row.job_id)
        rows = model_store.find_rows(connection, row.id)
        history = metric_store.history(connection, row.job_id)
        told = event_store.of_kind(connection, row.job_id, "finding")
    if job is None:
        raise DataCorrupt(f"jobs/{row.job_id}, which made {row.name}, is not there")
    figures = sum(len(series.values) for series in history)
    if figures > description.MOST_FIGURES:
        raise _too_large(f"{row.name} has a history of {figures:,} figures", description.MOST_FIGURES)
    findings = [json_format.Parse(event.body_json, tables_pb2.Finding()) for event in told]
    kept = rows if rows is not None and rows.row_count <= MOST_ROWS else None
    return description.describe(row, job, job_findings=findings, history=history, rows=kept)


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


def _too_large(what: str, limit: int) -> TooLarge:
    return TooLarge(
        f"name: {what}; a file tells at most {limit:,}: train it with fewer epochs or measures to export it",
        metadata={"limit": str(limit)},
    )
