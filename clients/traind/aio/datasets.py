"""Data sets: `client.datasets`."""

from __future__ import annotations

import pathlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind import methods
from traind.aio.listing import AsyncListing
from traind.aio.pauses import off_loop
from traind.aio.uploading import patience, send_file
from traind.dataset_view import DatasetView, decode_column, parse_format, parse_type
from traind.errors import ApiError, ConnectionFailed, NotFound, TimedOut, Unavailable
from traind.files import writing
from traind.names import name_of
from traind.profiles import Profile, Proposal
from traind.sources import open_source
from traind.v1 import datasets_pb2, tables_pb2

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from traind.aio.transport import AsyncTransport
    from traind.dataset_view import Columns

# In the class itself `list` is the verb.
_Datasets = list["AsyncDataset"]


@dataclass(frozen=True, repr=False)
class AsyncDataset(DatasetView):
    """An immutable table on the server."""

    _datasets: AsyncDatasets

    async def head(self, rows: int = 10) -> Columns:
        """See Datasets.head."""
        return await self._datasets.head(self, rows)

    async def profile(self) -> Profile:
        """See Datasets.profile."""
        return await self._datasets.profile(self)

    async def propose(self, target: str) -> Proposal:
        """See Datasets.propose."""
        return await self._datasets.propose(self, target)

    async def download(
        self,
        path: str | os.PathLike[str],
        format: str = "",  # noqa: A002 - as the contract names it
        *,
        overwrite: bool = False,
    ) -> pathlib.Path:
        """See Datasets.download."""
        return await self._datasets.download(self, path, format, overwrite=overwrite)

    async def delete(self) -> None:
        """See Datasets.delete."""
        await self._datasets.delete(self)


class AsyncDatasets:
    """The data sets of one server."""

    def __init__(self, transport: Callable[[], AsyncTransport]) -> None:
        self._transport = transport

    async def create(
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
    ) -> AsyncDataset:
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
        file = await off_loop(open_source, source, columns)
        with file:
            sent = await send_file(self._transport(), file, progress)
        source_message.upload = sent.upload
        request = datasets_pb2.CreateDatasetRequest(dataset_id=name, source=source_message)
        return await self._finish(request, sent.sha256, sent.size)

    async def get(self, name: str) -> AsyncDataset:
        """The newest version of `penguins`, or `penguins:2`. Raises NotFound."""
        request = datasets_pb2.GetDatasetRequest(name=name)
        return AsyncDataset(await self._transport().call(methods.GET_DATASET, request), self)

    def list(self, *, page_size: int = 0) -> AsyncListing[AsyncDataset]:
        """Every version of every data set of the caller, newest first; pages are fetched as they are needed."""

        async def fetch(token: str) -> tuple[_Datasets, str]:
            request = datasets_pb2.ListDatasetsRequest(page_size=page_size, page_token=token)
            page = await self._transport().call(methods.LIST_DATASETS, request)
            return [AsyncDataset(message, self) for message in page.datasets], page.next_page_token

        return AsyncListing(fetch, "data sets")

    async def head(self, name: str | AsyncDataset, rows: int = 10) -> Columns:
        """The first rows as a dict of columns; missing values are None."""
        request = datasets_pb2.PreviewDatasetRequest(name=name_of(name), row_count=rows)
        answer = await self._transport().call(methods.PREVIEW_DATASET, request)
        return {column.name: decode_column(column) for column in answer.columns}

    preview = head

    async def download(
        self,
        name: str | AsyncDataset,
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
            async with aclosing(answers) as parts:
                async for part in parts:
                    await off_loop(file.write, part.data)
                    received += len(part.data)
                    if progress:
                        progress(received)
        return target

    async def delete(self, name: str | AsyncDataset) -> None:
        """Delete a version, or with a name without version all of them. Raises Conflict while a job uses it."""
        await self._transport().call(methods.DELETE_DATASET, datasets_pb2.DeleteDatasetRequest(name=name_of(name)))

    async def profile(self, name: str | AsyncDataset) -> Profile:
        """Every column by figures, computed over every row when the data set was made."""
        request = datasets_pb2.ProfileDatasetRequest(name=name_of(name))
        return Profile(await self._transport().call(methods.PROFILE_DATASET, request))

    async def propose(self, name: str | AsyncDataset, target: str) -> Proposal:
        """A spec to predict a column, with a reason for each line; `jobs.create(dataset=..., train=proposal.train)`
        submits it as it is. Raises InvalidSpec where the column cannot be predicted.
        """
        request = datasets_pb2.ProposeTrainingRequest(name=name_of(name), target=target)
        return Proposal(await self._transport().call(methods.PROPOSE_TRAINING, request))

    async def _make(self, request: datasets_pb2.CreateDatasetRequest, size: int) -> AsyncDataset:
        made = await self._transport().call(methods.CREATE_DATASET, request, timeout=patience(size))
        return AsyncDataset(made, self)

    async def _finish(self, request: datasets_pb2.CreateDatasetRequest, sha256: str, size: int) -> AsyncDataset:
        """Make the data set. If the answer was lost, the server has either still the upload or already the data set."""
        try:
            return await self._make(request, size)
        except TimedOut:
            raise
        except (ConnectionFailed, Unavailable) as lost:
            try:
                made = await self.get(request.dataset_id)
            except NotFound:
                made = None
            if made is not None and made.sha256 == sha256:
                return made
            try:
                return await self._make(request, size)
            except ApiError as error:
                raise error from lost
