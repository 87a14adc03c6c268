"""Data sets as files, made while they are sent: a stretch of rows at a time is in memory, and none on the disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service import datasets
from service.app import App
from service.callers import Caller
from service.data import table_files
from service.errors import invalid
from traind.v1 import datasets_pb2

# Bytes of a file in one message.
PART_BYTES = 1 << 20
CSV, PARQUET = datasets_pb2.Dataset.CSV, datasets_pb2.Dataset.PARQUET


@dataclass(frozen=True)
class Download:
    """A data set on its way out."""

    file_name: str
    format: "datasets_pb2.Dataset.Format.ValueType"
    table: Path


def open_download(app: App, caller: Caller, request: datasets_pb2.DownloadDatasetRequest) -> Download:
    """Find a data set and verify its bytes. Raises InvalidField, NotFound, DataCorrupt."""
    kind = request.format or CSV
    if kind not in {CSV, PARQUET}:
        name = datasets_pb2.Dataset.Format.Name(kind)
        raise invalid("format", f"is {name}; a data set is sent as CSV or PARQUET, take one of these")
    row = datasets.find_dataset(app, caller, request.name, "name")
    name = f"{row.owner_name}.{row.slug}-{row.version}.{'parquet' if kind == PARQUET else 'csv'}"
    return Download(name, kind, app.objects.fetch(row.table_sha256))


def parts(download: Download) -> Iterator[datasets_pb2.DownloadDatasetResponse]:
    """The file in messages of at most 1 MiB; the first one tells its name."""
    first = datasets_pb2.DownloadDatasetResponse(file_name=download.file_name)
    write = table_files.parquet if download.format == PARQUET else table_files.csv
    for data in write(download.table):
        for start in range(0, len(data), PART_BYTES):
            first.data = data[start : start + PART_BYTES]
            yield first
            first = datasets_pb2.DownloadDatasetResponse()
