"""Data sets: made of uploads, found, listed, previewed, deleted."""

import hashlib
import json
import shutil
from collections.abc import Sequence

from google.protobuf import empty_pb2, json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service import references, uploads
from service.app import App, Caller
from service.data import table as tables
from service.data.ingest import Ingested, ingest_csv
from service.data.objects import hash_file
from service.errors import DatasetInUse, invalid
from service.store import datasets as dataset_store
from service.store.records import DatasetRow, UploadRow
from traind.v1 import datasets_pb2, tables_pb2


def create_dataset(app: App, caller: Caller, request: datasets_pb2.CreateDatasetRequest) -> datasets_pb2.Dataset:
    """Read a finished upload as a table and keep both; the same bytes are the same version again."""
    upload = uploads.find_upload(app, caller, request.source.upload, "source.upload")
    path = uploads.path_of(app, upload.id)
    sha256 = hash_file(path)
    _check_whole(app, upload, sha256)
    options = hashlib.sha256(
        json.dumps([request.source.encoding.upper(), [[c.name, c.type] for c in request.source.schema]]).encode()
    ).hexdigest()
    row = _same(app, caller, request.dataset_id, sha256, options)
    if row is None:
        ingested = ingest_csv(
            path, tmp=app.settings.tmp_dir, schema=request.source.schema, encoding=request.source.encoding
        )
        copy = app.objects.new_tmp(".csv")
        shutil.copyfile(path, copy)
        row = _keep(app, caller, request, upload, ingested, (sha256, options), copy)
    uploads.drop_upload(app, caller, request.source.upload)
    return _encode(row)


def get_dataset(app: App, caller: Caller, request: datasets_pb2.GetDatasetRequest) -> datasets_pb2.Dataset:
    """One version; the newest where none is named."""
    return _encode(find_dataset(app, caller, request.name, "name"))


def list_datasets(
    app: App, caller: Caller, request: datasets_pb2.ListDatasetsRequest
) -> datasets_pb2.ListDatasetsResponse:
    """A page of the caller's data sets, newest first."""
    limit = references.page_limit(request.page_size)
    before = references.decode_page_token(request.page_token)
    with app.database.read() as connection:
        rows = dataset_store.list_page(connection, caller.user_id, limit + 1, before)
    more = references.encode_page_token(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else ""
    return datasets_pb2.ListDatasetsResponse(datasets=[_encode(row) for row in rows[:limit]], next_page_token=more)


def preview_dataset(
    app: App, caller: Caller, request: datasets_pb2.PreviewDatasetRequest
) -> datasets_pb2.PreviewDatasetResponse:
    """The first rows."""
    row = find_dataset(app, caller, request.name, "name")
    app.objects.verify(row.table_sha256)
    head = tables.head(app.objects.path(row.table_sha256), request.row_count or 10)
    return datasets_pb2.PreviewDatasetResponse(columns=head)


def delete_dataset(app: App, caller: Caller, request: datasets_pb2.DeleteDatasetRequest) -> empty_pb2.Empty:
    """Delete a version, or every one; refused while a job that has not ended uses it."""
    found = find_dataset(app, caller, request.name, "name")
    version = references.parse_reference("datasets", request.name, caller.user_name, "name").version
    with app.objects.locked():
        with app.database.write() as connection:
            rows = dataset_store.delete(connection, caller.user_id, found.slug, version)
            using = dataset_store.in_use(connection, [row.id for row in rows])
            if using:
                named = ", ".join(f"jobs/{job}" for job in using[:5])
                raise DatasetInUse(
                    f"{len(using)} jobs that have not ended use it ({named}); cancel them or wait",
                    metadata={"jobs": str(len(using))},
                )
        for sha256 in {sha for row in rows for sha in (row.sha256, row.table_sha256)}:
            with app.database.read() as connection:
                used = dataset_store.object_in_use(connection, sha256)
            if not used:
                app.objects.delete(sha256)
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
    app.objects.verify(row.table_sha256)
    return tables.load_table(app.objects.path(row.table_sha256), names)


def _check_whole(app: App, upload: UploadRow, sha256: str) -> None:
    declared = upload.size_bytes if upload.size_bytes != app.settings.max_upload_bytes else 0
    if declared and upload.received != declared:
        raise invalid("source.upload", f"has {upload.received} of {declared} bytes; write the rest first")
    if upload.sha256 and upload.sha256 != sha256:
        raise invalid("source.upload", f"has SHA-256 {sha256} and {upload.sha256} was announced; upload it again")


def _same(app: App, caller: Caller, slug: str, sha256: str, options: str) -> DatasetRow | None:
    with app.database.read() as connection:
        row = dataset_store.find(connection, caller.user_id, slug, None)
    return row if row and row.sha256 == sha256 and row.options_sha256 == options else None


def _keep(
    app: App,
    caller: Caller,
    request: datasets_pb2.CreateDatasetRequest,
    upload: UploadRow,
    ingested: Ingested,
    hashes: tuple[str, str],
    copy: object,
) -> DatasetRow:
    with app.objects.locked():
        app.objects.put(copy, hashes[0])  # type: ignore[arg-type]
        table_sha256 = app.objects.put(ingested.table)
        with app.database.write() as connection:
            return dataset_store.add_version(
                connection,
                owner_id=caller.user_id,
                slug=request.dataset_id,
                display_name=request.source.display_name or request.dataset_id,
                sha256=hashes[0],
                options_sha256=hashes[1],
                size_bytes=upload.received,
                row_count=ingested.row_count,
                columns_json=json.dumps([json_format.MessageToDict(c) for c in ingested.columns], ensure_ascii=False),
                table_sha256=table_sha256,
                encoding=request.source.encoding or "UTF-8",
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
    )
