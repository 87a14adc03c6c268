"""Data sets: made of uploads, found, listed, previewed, deleted."""

import hashlib
import json
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import empty_pb2, json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service import references, uploads
from service.app import App
from service.callers import Caller
from service.data import table as tables
from service.data.ingest import Ingested, ingest_table, profile_table
from service.data.objects import disk_full_refused, hash_file
from service.data.reading.encodings import known_encoding
from service.data.reading.header import known_delimiter
from service.errors import DatasetInUse, invalid
from service.paging import page_of
from service.points import point
from service.store import datasets as dataset_store
from service.store.records import DatasetRow, UploadRow
from traind.v1 import datasets_pb2, profiles_pb2, tables_pb2

PREVIEW_ROWS = 10
# Older versions than these are found to be the same only after they were read again.
COMPARED_VERSIONS = 100
NAMED_JOBS = 5


@dataclass(frozen=True)
class _Content:
    """An upload that is all there, and what tells whether it came before."""

    upload: UploadRow
    path: Path
    sha256: str
    options_sha256: str


def create_dataset(app: App, caller: Caller, request: datasets_pb2.CreateDatasetRequest) -> datasets_pb2.Dataset:
    """Read a finished upload as a table and keep both; the same bytes, read in the same way, are the same version.

    The upload ends with it. Where the table is refused nothing is left but the upload.
    """
    source = request.source
    display_name = _display_name(source.display_name) or request.dataset_id
    with uploads.hold_upload(app, caller, source.upload, "source.upload") as (upload, path), disk_full_refused():
        content = _Content(upload, path, uploads.whole_file(upload, path, "source.upload"), _options_hash(source))
        row = _same(app, request.dataset_id, content)
        if row is None:
            ingested = ingest_table(
                path,
                tmp=app.objects.tmp,
                schema=source.schema,
                format=_format(source),
                encoding=source.encoding,
                delimiter=source.delimiter,
            )
            try:
                row = _keep(app, request, content, ingested, display_name)
            finally:
                ingested.table.unlink(missing_ok=True)
        uploads.drop_upload(app, caller, source.upload)
    return _encode(row)


def get_dataset(app: App, caller: Caller, request: datasets_pb2.GetDatasetRequest) -> datasets_pb2.Dataset:
    """One version; the newest where none is named."""
    return _encode(find_dataset(app, caller, request.name, "name"))


def list_datasets(
    app: App, caller: Caller, request: datasets_pb2.ListDatasetsRequest
) -> datasets_pb2.ListDatasetsResponse:
    """A page of the caller's data sets, newest first."""
    with app.database.read() as connection:
        datasets, more = page_of(
            request, lambda limit, before: dataset_store.list_page(connection, caller.user_id, limit, before), _encode
        )
    return datasets_pb2.ListDatasetsResponse(datasets=datasets, next_page_token=more)


def preview_dataset(
    app: App, caller: Caller, request: datasets_pb2.PreviewDatasetRequest
) -> datasets_pb2.PreviewDatasetResponse:
    """The first rows; fewer than asked where they would not fit into a message."""
    row = find_dataset(app, caller, request.name, "name")
    columns = tables.head(app.objects.fetch(row.table_sha256), request.row_count or PREVIEW_ROWS)
    return datasets_pb2.PreviewDatasetResponse(columns=columns)


def profile_dataset(app: App, caller: Caller, request: datasets_pb2.ProfileDatasetRequest) -> profiles_pb2.Profile:
    """Every column by figures."""
    return find_profile(app, find_dataset(app, caller, request.name, "name"))


def delete_dataset(app: App, caller: Caller, request: datasets_pb2.DeleteDatasetRequest) -> empty_pb2.Empty:
    """Delete a version, or every one; refused while a job that has not ended uses it."""
    reference = references.parse_reference("datasets", request.name, caller.user_name, "name")
    find_dataset(app, caller, request.name, "name")
    with app.objects.locked():
        with app.database.write() as connection:
            # The deletion comes first: from then on no job can be added that uses them, so the question is exact.
            rows = dataset_store.delete(connection, caller.user_id, reference.slug, reference.version)
            _refuse_use(request.name, dataset_store.in_use(connection, [row.id for row in rows]))
        point("C18")
        _remove_unused(app, {sha256 for row in rows for sha256 in (row.sha256, row.table_sha256)})
    return empty_pb2.Empty()


def find_dataset(app: App, caller: Caller, text: str, field: str) -> DatasetRow:
    """The data set that a caller means. Raises NotFound, or InvalidField naming `field`."""
    reference = references.parse_reference("datasets", text, caller.user_name, field)
    row = None
    if reference.owner_name == caller.user_name:
        with app.database.read() as connection:
            row = dataset_store.find(connection, caller.user_id, reference.slug, reference.version)
    if row is None:
        raise references.not_found("datasets", text)
    return row


def columns_of(row: DatasetRow) -> list[tables_pb2.Column]:
    """Its columns, in the order of the file."""
    return [json_format.ParseDict(column, tables_pb2.Column()) for column in json.loads(row.columns_json)]


def open_table(app: App, row: DatasetRow, names: Sequence[str] | None = None) -> tables.Table:
    """Its rows, of the named columns. Raises DataCorrupt when the stored bytes are not what they were."""
    return tables.load_table(app.objects.fetch(row.table_sha256), names)


def find_profile(app: App, row: DatasetRow) -> profiles_pb2.Profile:
    """Its profile, computed now where it was made before profiles were. Raises DataCorrupt."""
    with app.database.read() as connection:
        kept = dataset_store.find_profile(connection, row.id)
    if kept is None:
        app.objects.verify(row.table_sha256)
        with disk_full_refused():
            kept = profile_table(app.objects.path(row.table_sha256), tmp=app.objects.tmp).SerializeToString()
        with app.database.write() as connection:
            dataset_store.set_profile(connection, row.id, kept)
    profile = profiles_pb2.Profile.FromString(kept)
    profile.dataset = row.name
    return profile


def _format(source: datasets_pb2.DatasetSource) -> str:
    """The name of the format that was asked for; empty where none was."""
    return datasets_pb2.Dataset.Format.Name(source.format) if source.format else ""


def _display_name(text: str) -> str:
    """A name for people, in NFC."""
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        raise invalid("source.display_name", "holds a control character or a line end; remove it")
    return unicodedata.normalize("NFC", text)


def _options_hash(source: datasets_pb2.DatasetSource) -> str:
    """What stands for the way in which a file is read.

    Formats and delimiters that were not asked for are left out, so that data sets of before have the hash they had.
    """
    encoding = known_encoding(source.encoding) or "UTF-8"
    schema = sorted((column.name, int(column.type)) for column in source.schema if column.type)
    asked = [_format(source), known_delimiter(source.delimiter)]
    options = [encoding, schema, *(asked if any(asked) else [])]
    return hashlib.sha256(json.dumps(options).encode()).hexdigest()


def _same(app: App, slug: str, content: _Content) -> DatasetRow | None:
    """The version that was made of the same bytes in the same way, so that they need not be read again."""
    owner_id = content.upload.owner_id
    with app.database.read() as connection:
        newest = dataset_store.find(connection, owner_id, slug, None)
        last = newest.version if newest else 0
        for version in range(last, max(last - COMPARED_VERSIONS, 0), -1):
            row = dataset_store.find(connection, owner_id, slug, version)
            if row and (row.sha256, row.options_sha256) == (content.sha256, content.options_sha256):
                return row
    return None


def _keep(
    app: App,
    request: datasets_pb2.CreateDatasetRequest,
    content: _Content,
    ingested: Ingested,
    display_name: str,
) -> DatasetRow:
    """Store file, table and row; on any failure none of them."""
    table_sha256 = hash_file(ingested.table)
    # A copy and no link: the upload stays if anything fails, and more may be written to it then.
    copy = app.objects.new_tmp(".file")
    try:
        shutil.copyfile(content.path, copy)
        with app.objects.locked():
            try:
                app.objects.put(copy, content.sha256)
                app.objects.put(ingested.table, table_sha256)
                point("C17")
                return _add_row(app, request, content, ingested, display_name, table_sha256)
            finally:
                # Those of a row that was not added, or had come meanwhile with a table of its own.
                _remove_unused(app, {content.sha256, table_sha256})
    finally:
        copy.unlink(missing_ok=True)


def _add_row(
    app: App,
    request: datasets_pb2.CreateDatasetRequest,
    content: _Content,
    ingested: Ingested,
    display_name: str,
    table_sha256: str,
) -> DatasetRow:
    columns = [json_format.MessageToDict(column) for column in ingested.columns]
    with app.database.write() as connection:
        return dataset_store.add_version(
            connection,
            owner_id=content.upload.owner_id,
            slug=request.dataset_id,
            display_name=display_name,
            sha256=content.sha256,
            options_sha256=content.options_sha256,
            size_bytes=content.upload.received,
            row_count=ingested.row_count,
            columns_json=json.dumps(columns, ensure_ascii=False),
            table_sha256=table_sha256,
            encoding=ingested.encoding,
            format=ingested.format,
            profile=ingested.profile.SerializeToString(),
        )


def _remove_unused(app: App, hashes: Iterable[str]) -> None:
    """Remove the bytes that no row uses; the folder must be locked, so that none comes meanwhile."""
    for sha256 in hashes:
        with app.database.read() as connection:
            used = dataset_store.object_in_use(connection, sha256)
        if not used:
            app.objects.delete(sha256)


def _refuse_use(name: str, job_ids: Sequence[str]) -> None:
    """Raise DatasetInUse if there are jobs that have not ended."""
    if not job_ids:
        return
    named = ", ".join(f"jobs/{job_id}" for job_id in job_ids[:NAMED_JOBS])
    more = f" and {len(job_ids) - NAMED_JOBS} more" if len(job_ids) > NAMED_JOBS else ""
    raise DatasetInUse(
        f"{name} is used by jobs that have not ended: {named}{more}; cancel them or wait for their end",
        metadata={"jobs": str(len(job_ids)), "job": f"jobs/{job_ids[0]}"},
    )


def _encode(row: DatasetRow) -> datasets_pb2.Dataset:
    created = Timestamp()
    created.FromMicroseconds(round(row.created_at * 1_000_000))
    return datasets_pb2.Dataset(
        name=references.version_name("datasets", row.owner_name, row.slug, row.version),
        display_name=row.display_name,
        state=datasets_pb2.Dataset.State.Value(row.state),
        columns=columns_of(row),
        row_count=row.row_count,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        create_time=created,
        format=datasets_pb2.Dataset.Format.Value(row.format),
        encoding=row.encoding,
    )
