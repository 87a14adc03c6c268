# Written by proto/unasync_client.py from aio/datasets.py; change that one, then run make proto.
"""Data sets: `client.datasets`."""

from __future__ import annotations

import pathlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind import methods
from traind.dataset_view import DatasetView, decode_column, parse_format, parse_type
from traind.errors import ApiError, ConnectionFailed, NotFound, TimedOut, Unavailable
from traind.files import writing
from traind.listing import Listing
from traind.names import name_of
from traind.pauses import off_loop
from traind.profiles import Profile, Proposal
from traind.sources import open_source
from traind.uploading import patience, send_file
from traind.v1 import datasets_pb2, tables_pb2

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from traind.dataset_view import Columns
    from traind.transport import Transport

# In the class itself `list` is the verb.
_Datasets = list["Dataset"]


@dataclass(frozen=True, repr=False)
class Dataset(DatasetView):
    """An immutable table on the server."""

    _datasets: Datasets

    def head(self, rows: int = 10) -> Columns:
        """See Datasets.head."""
        return self._datasets.head(self, rows)

    def profile(self) -> Profile:
        """See Datasets.profile."""
        return self._datasets.profile(self)

    def propose(self, target: str) -> Proposal:
        """See Datasets.propose."""
        return self._datasets.propose(self, target)

    def download(
        self,
        path: str | os.PathLike[str],
        format: str = "",  # noqa: A002 - as the contract names it
        *,
        overwrite: bool = False,
    ) -> pathlib.Path:
        """See Datasets.download."""
        return self._datasets.download(self, path, format, overwrite=overwrite)

    def delete(self) -> None:
        """See Datasets.delete."""
        self._datasets.delete(self)


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

        `source` is the path of a file, a file opened as bytes, its bytes, a list of dicts, a dict of columns, a data
        frame of pandas or polars, an Arrow table, an array or tensor [rows, columns] with `columns` naming its columns,
        or an iterator of such tables, which is sent as one without being held as a whole.
        `name` is the id: lower-case letters, digits, hyphens.
        `format` is CSV, PARQUET, ARROW, JSON_LINES or NPZ, and found out where it is not given. Of a CSV file
        `encoding` is UTF-8 or CP949 (as Korean Excel saves), `delimiter` one of , ; | and tab, found out if not given.
        `schema` gives types by column name, `{"zip": "CATEGORY"}`, instead of detected ones.
        The same bytes under the same name are the same version again. `progress` is told bytes sent and in all.
        Raises InvalidSpec (line, column and value named), TooLarge.
        """
        source_message = datasets_pb2.DatasetSource(
            encoding=encoding,
            display_name=display_name,
            format=parse_format(format),
            delimiter=delimiter,
            schema=[tables_pb2.Column(name=column, type=parse_type(kind)) for column, kind in (schema or {}).items()],
        )
        # Where no format was given none is told: the server finds it out, and the same bytes are the same version.
        file = off_loop(open_source, source, columns)
        with file:
            sent = send_file(self._transport(), file, progress)
        source_message.upload = sent.upload
        request = datasets_pb2.CreateDatasetRequest(dataset_id=name, source=source_message)
        return self._finish(request, sent.sha256, sent.size)

    def get(self, name: str) -> Dataset:
        """The newest version of `penguins`, or `penguins:2`. Raises NotFound."""
        request = datasets_pb2.GetDatasetRequest(name=name)
        return Dataset(self._transport().call(methods.GET_DATASET, request), self)

    def list(self, *, page_size: int = 0) -> Listing[Dataset]:
        """Every version of every data set of the caller, newest first; pages are fetched as they are needed."""

        def fetch(token: str) -> tuple[_Datasets, str]:
            request = datasets_pb2.ListDatasetsRequest(page_size=page_size, page_token=token)
            page = self._transport().call(methods.LIST_DATASETS, request)
            return [Dataset(message, self) for message in page.datasets], page.next_page_token

        return Listing(fetch, "data sets")

    def head(self, name: str | Dataset, rows: int = 10) -> Columns:
        """The first rows as a dict of columns; missing values are None."""
        request = datasets_pb2.PreviewDatasetRequest(name=name_of(name), row_count=rows)
        answer = self._transport().call(methods.PREVIEW_DATASET, request)
        return {column.name: decode_column(column) for column in answer.columns}

    preview = head

    def download(
        self,
        name: str | Dataset,
        path: str | os.PathLike[str],
        format: str = "",  # noqa: A002 - as the contract names it
        *,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> pathlib.Path:
        """Write a data set into one file; answers the path.

        `format` is CSV or PARQUET, by default by the file's name: PARQUET where it ends in `.parquet`, else CSV.
        PARQUET has every value as it is; in a CSV file texts that a spreadsheet would take for a formula have an
        apostrophe before them. The file is whole or not there. Raises FileExistsError where it is there already,
        unless `overwrite`. `progress` is told the bytes received so far.
        """
        target = pathlib.Path(path)
        kind = parse_format(format or ("PARQUET" if target.suffix.lower() == ".parquet" else "CSV"))
        request = datasets_pb2.DownloadDatasetRequest(name=name_of(name), format=kind)
        received = 0
        with writing(target, overwrite=overwrite) as file:
            answers = self._transport().stream(methods.DOWNLOAD_DATASET, request, timeout=None)
            with closing(answers) as parts:
                for part in parts:
                    off_loop(file.write, part.data)
                    received += len(part.data)
                    if progress:
                        progress(received)
        return target

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
        made = self._transport().call(methods.CREATE_DATASET, request, timeout=patience(size))
        return Dataset(made, self)

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
