"""Data sets: `client.datasets`."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind import methods
from traind.csv_out import encode_csv
from traind.errors import ApiError, Conflict, ConnectionFailed, InvalidSpec, NotFound, TimedOut, Unavailable
from traind.events import decode_time
from traind.profiles import Profile, Proposal, type_name
from traind.tables_in import read_table
from traind.v1 import datasets_pb2, tables_pb2, uploads_pb2

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from traind.transport import Transport

CHUNK = 1 << 20
# An upload that goes slower than this is taken for a dead connection; reading a table is never slower.
SLOWEST_BYTES_PER_S = 32 << 10
BREAKS_WITHOUT_PROGRESS = 5

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Dataset:
    """An immutable table on the server."""

    message: datasets_pb2.Dataset
    _datasets: Datasets

    @property
    def name(self) -> str:
        """`datasets/{owner}.{id}/versions/{n}`."""
        return self.message.name

    @property
    def row_count(self) -> int:
        """Rows, without the header."""
        return self.message.row_count

    @property
    def columns(self) -> dict[str, str]:
        """Type of each column by its name: INTEGER, NUMBER, BOOLEAN, TIMESTAMP, CATEGORY, TEXT."""
        return {column.name: type_name(column) for column in self.message.columns}

    @property
    def sha256(self) -> str:
        """Of the file as it came."""
        return self.message.sha256

    @property
    def format(self) -> str:
        """How the file held the table: CSV, PARQUET, ARROW, JSON_LINES, NPZ."""
        return format_name(self.message.format)

    @property
    def create_time(self) -> dt.datetime:
        """When this version was made."""
        return decode_time(self.message.create_time)

    def profile(self) -> Profile:
        """See Datasets.profile."""
        return self._datasets.profile(self)

    def propose(self, target: str) -> Proposal:
        """See Datasets.propose."""
        return self._datasets.propose(self, target)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {self.row_count} rows, {len(self.message.columns)} columns>"


class Datasets:
    """The data sets of one server."""

    def __init__(self, transport: Callable[[], Transport]) -> None:
        self._transport = transport

    def create(
        self,
        source: Any,
        *,
        name: str,
        display_name: str = "",
        columns: Sequence[str] | None = None,
        encoding: str = "",
        format: str = "",  # noqa: A002 - as the contract names it
        delimiter: str = "",
        schema: Mapping[str, str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Dataset:
        """Send a table and make a data set of it.

        `source` is the path of a file, its bytes, a list of dicts, a dict of columns, a data frame, or a NumPy array
        [rows, columns] with `columns` naming its columns. `name` is the id: lower-case letters, digits, hyphens.
        `format` is CSV, PARQUET, ARROW, JSON_LINES or NPZ, and found out where it is not given. Of a CSV file
        `encoding` is UTF-8 or CP949 (as Korean Excel saves), `delimiter` one of , ; | and tab, found out if not given.
        `schema` gives types by column name, `{"zip": "CATEGORY"}`, instead of detected ones.
        The same bytes under the same name are the same version again. `progress` is told bytes sent and in all.
        Raises InvalidSpec (line, column and value named), TooLarge.
        """
        source_message = datasets_pb2.DatasetSource(
            encoding=encoding,
            display_name=display_name,
            format=_format(format),
            delimiter=delimiter,
            schema=[tables_pb2.Column(name=column, type=_type(kind)) for column, kind in (schema or {}).items()],
        )
        file = _open(source, columns)
        with file:
            sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), file.seek(0, os.SEEK_END)
            wanted = uploads_pb2.Upload(size_bytes=size, sha256=sha256)
            upload = self._transport().call(methods.CREATE_UPLOAD, uploads_pb2.CreateUploadRequest(upload=wanted))
            self._send(upload.name, file, size, progress)
        source_message.upload = upload.name
        request = datasets_pb2.CreateDatasetRequest(dataset_id=name, source=source_message)
        return self._finish(request, sha256, size)

    def get(self, name: str) -> Dataset:
        """The newest version of `penguins`, or `penguins:2`. Raises NotFound."""
        return Dataset(self._transport().call(methods.GET_DATASET, datasets_pb2.GetDatasetRequest(name=name)), self)

    def list(self) -> Iterator[Dataset]:
        """Every version of every data set of the caller, newest first; pages are fetched as they are needed."""
        token = ""
        while True:
            request = datasets_pb2.ListDatasetsRequest(page_token=token)
            page = self._transport().call(methods.LIST_DATASETS, request)
            yield from (Dataset(message, self) for message in page.datasets)
            token = page.next_page_token
            if not token:
                return

    def head(self, name: str | Dataset, rows: int = 10) -> Columns:
        """The first rows as a dict of columns; missing values are None."""
        request = datasets_pb2.PreviewDatasetRequest(name=name_of(name), row_count=rows)
        answer = self._transport().call(methods.PREVIEW_DATASET, request)
        return {column.name: decode_column(column) for column in answer.columns}

    preview = head

    def delete(self, name: str | Dataset) -> None:
        """Delete a version, or with a name without version all of them. Raises Conflict while a job uses it."""
        self._transport().call(methods.DELETE_DATASET, datasets_pb2.DeleteDatasetRequest(name=name_of(name)))

    def profile(self, name: str | Dataset) -> Profile:
        """Every column by figures, computed over every row when the data set was made."""
        request = datasets_pb2.ProfileDatasetRequest(name=name_of(name))
        return Profile(self._transport().call(methods.PROFILE_DATASET, request))

    def propose(self, name: str | Dataset, target: str) -> Proposal:
        """A spec to predict a column, with a reason for each line; `jobs.create(dataset=..., train=proposal.train)`
        submits it as it is. Raises InvalidSpec where the column cannot be predicted.
        """
        request = datasets_pb2.ProposeTrainingRequest(name=name_of(name), target=target)
        return Proposal(self._transport().call(methods.PROPOSE_TRAINING, request))

    def _make(self, request: datasets_pb2.CreateDatasetRequest, size: int) -> Dataset:
        return Dataset(self._transport().call(methods.CREATE_DATASET, request, timeout=_patience(size)), self)

    def _send(
        self, upload: str, file: io.BufferedReader | io.BytesIO, size: int, progress: Callable[[int, int], None] | None
    ) -> None:
        """Write the file's bytes; after a break ask how far it came and go on from there."""
        offset = breaks = 0
        while offset < size:
            chunks = _chunks(upload, file, offset, size, progress)
            try:
                self._transport().send(methods.WRITE_UPLOAD, chunks, timeout=_patience(size - offset))
                return
            except (ConnectionFailed, Unavailable, Conflict) as error:
                if isinstance(error, Conflict) and error.reason != "OFFSET_MISMATCH":
                    raise
                seen = self._transport().call(methods.GET_UPLOAD, uploads_pb2.GetUploadRequest(name=upload)).offset
                breaks = 0 if seen > offset else breaks + 1
                if breaks > BREAKS_WITHOUT_PROGRESS:
                    raise
                offset = seen

    def _finish(self, request: datasets_pb2.CreateDatasetRequest, sha256: str, size: int) -> Dataset:
        """Make the data set. If the answer was lost, the server has either still the upload or already the data set."""
        try:
            return self._make(request, size)
        except TimedOut:
            raise
        except (ConnectionFailed, Unavailable) as lost:
            try:
                made = self.get(request.dataset_id)
            except NotFound:
                made = None
            if made is not None and made.sha256 == sha256:
                return made
            try:
                return self._make(request, size)
            except ApiError as error:
                raise error from lost


def _open(source: Any, columns: Sequence[str] | None) -> io.BufferedReader | io.BytesIO:
    """The bytes of a CSV file, at their beginning."""
    if isinstance(source, bytes | bytearray):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        try:
            return pathlib.Path(source).open("rb")
        except OSError as error:
            raise InvalidSpec(f"{source} cannot be read: {error.strerror}") from None
    return io.BytesIO(encode_csv(read_table(source, columns)))


def _chunks(
    upload: str,
    file: io.BufferedReader | io.BytesIO,
    offset: int,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[uploads_pb2.WriteUploadRequest]:
    file.seek(offset)
    sent = offset
    while data := file.read(CHUNK):
        first = sent == offset
        yield uploads_pb2.WriteUploadRequest(name=upload if first else "", offset=offset if first else 0, data=data)
        sent += len(data)
        if progress:
            progress(sent, size)


def _patience(size: int) -> float:
    """Seconds that sending or reading so many bytes may take."""
    return 60 + size / SLOWEST_BYTES_PER_S


def name_of(thing: Any) -> str:
    """The name of a Dataset, Model or Job, or the text itself."""
    return thing if isinstance(thing, str) else str(thing.name)


def format_name(kind: int) -> str:
    """`PARQUET`; a format that this client does not know yet stays a number."""
    found = datasets_pb2.Dataset.Format.DESCRIPTOR.values_by_number.get(kind)
    return found.name if found and kind else f"FORMAT_{kind}" if kind else ""


def _format(name: str) -> datasets_pb2.Dataset.Format.ValueType:
    """The format of a name in any case; `json-lines` is JSON_LINES."""
    spelled = name.upper().replace("-", "_")
    if not name:
        return datasets_pb2.Dataset.FORMAT_UNSPECIFIED
    if spelled in datasets_pb2.Dataset.Format.keys()[1:]:
        return datasets_pb2.Dataset.Format.Value(spelled)
    raise InvalidSpec(
        f"there is no format {name!r}",
        field="format",
        fix=f"one of {', '.join(datasets_pb2.Dataset.Format.keys()[1:])}",
    )


def _type(name: str) -> tables_pb2.Column.Type.ValueType:
    if name.upper() in tables_pb2.Column.Type.keys()[1:]:
        return tables_pb2.Column.Type.Value(name.upper())
    raise InvalidSpec(
        f"there is no type {name!r}", field="schema", fix=f"one of {', '.join(tables_pb2.Column.Type.keys()[1:])}"
    )


def decode_column(column: tables_pb2.ColumnValues) -> list[Any]:
    """A column's values; missing ones are None."""
    values: list[Any] = [*column.numbers] if column.numbers else [*column.strings]
    for row, gone in enumerate(column.missing):
        if gone:
            values[row] = None
    return values
