"""Trained models: `client.models`."""

from __future__ import annotations

import pathlib
import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind import methods
from traind.aio.listing import AsyncListing
from traind.aio.pauses import off_loop
from traind.aio.uploading import patience, send_file
from traind.errors import ConnectionFailed
from traind.export_formats import encode_format
from traind.files import writing
from traind.measured import Split, decode_split
from traind.model_view import Alias, Evaluation, ModelView, answer_bytes, encode_loss, nested
from traind.names import model_of, name_of
from traind.predictions import decode_prediction
from traind.rows import encode_rows, parts
from traind.tables_in import read_table
from traind.v1 import losses_pb2, models_pb2, predictions_pb2

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from traind.aio.datasets import AsyncDataset
    from traind.aio.transport import AsyncTransport

# In the class itself `list` is the verb.
_Models = list["AsyncModel"]
_Aliases = list["Alias"]


@dataclass(frozen=True, repr=False)
class AsyncModel(ModelView):
    """A trained model, immutable."""

    _models: AsyncModels

    async def predict(self, data: Any, *, hidden: bool = False, full: bool = False) -> Any:
        """See Models.predict."""
        return await self._models.predict(self, data, hidden=hidden, full=full)

    async def evaluate(self, dataset: str | AsyncDataset, loss: Any = None, dof: int | None = None) -> Evaluation:
        """See Models.evaluate."""
        return await self._models.evaluate(self, dataset, loss, dof)

    async def weights(self) -> dict[str, list[Any]]:
        """See Models.weights."""
        return await self._models.weights(self)

    async def split(self) -> Split:
        """See Models.split."""
        return await self._models.split(self)

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "safetensors",  # noqa: A002 - the field's name
        overwrite: bool = False,
    ) -> pathlib.Path:
        """See Models.export."""
        return await self._models.export(self, path, format=format, overwrite=overwrite)

    async def set_alias(self, alias: str, *, etag: str = "") -> Alias:
        """Point an alias to this version; see Models.set_alias."""
        return await self._models.set_alias(self, alias, self.version, etag=etag)

    async def delete_alias(self, alias: str, *, etag: str = "") -> None:
        """See Models.delete_alias."""
        await self._models.delete_alias(self, alias, etag=etag)

    async def delete(self) -> None:
        """See Models.delete."""
        await self._models.delete(self)


class AsyncModels:
    """The models of one server."""

    def __init__(self, transport: Callable[[], AsyncTransport]) -> None:
        self._transport = transport

    async def get(self, name: str) -> AsyncModel:
        """The newest version of `churn`; or `churn:3`, `churn@champion`, `models/kim.churn/versions/3`.

        Raises NotFound.
        """
        return AsyncModel(await self._transport().call(methods.GET_MODEL, models_pb2.GetModelRequest(name=name)), self)

    def list(self, *, page_size: int = 0) -> AsyncListing[AsyncModel]:
        """Every version of every model of the caller, newest first; pages are fetched as they are needed."""

        async def fetch(token: str) -> tuple[_Models, str]:
            request = models_pb2.ListModelsRequest(page_size=page_size, page_token=token)
            page = await self._transport().call(methods.LIST_MODELS, request)
            return [AsyncModel(message, self) for message in page.models], page.next_page_token

        return AsyncListing(fetch, "models")

    async def delete(self, model: str | AsyncModel) -> None:
        """Delete one version, `churn:3`; its number is never given again.

        Raises Conflict while an alias points to it.
        """
        await self._transport().call(methods.DELETE_MODEL, models_pb2.DeleteModelRequest(name=name_of(model)))

    async def set_alias(self, model: str | AsyncModel, alias: str, version: int, *, etag: str = "") -> Alias:
        """Point an alias of a model to one of its versions: from then on `churn@champion` means that one.

        With the `etag` of an Alias only if nobody has set or deleted it since; raises Conflict else.
        """
        request = models_pb2.SetAliasRequest(name=model_of(name_of(model)), alias=alias, version=version, etag=etag)
        return Alias(await self._transport().call(methods.SET_ALIAS, request))

    async def alias(self, model: str | AsyncModel, alias: str) -> Alias:
        """Where an alias points, and its etag. Raises NotFound."""
        request = models_pb2.GetAliasRequest(name=f"{model_of(name_of(model))}/aliases/{alias}")
        return Alias(await self._transport().call(methods.GET_ALIAS, request))

    async def aliases(self, model: str | AsyncModel) -> _Aliases:
        """All aliases of a model, by name."""
        request = models_pb2.ListAliasesRequest(parent=model_of(name_of(model)))
        return [Alias(one) for one in (await self._transport().call(methods.LIST_ALIASES, request)).aliases]

    async def delete_alias(self, model: str | AsyncModel, alias: str, *, etag: str = "") -> None:
        """Delete an alias; its version stays. With an `etag` as in set_alias."""
        name = f"{model_of(name_of(model))}/aliases/{alias}"
        await self._transport().call(methods.DELETE_ALIAS, models_pb2.DeleteAliasRequest(name=name, etag=etag))

    async def weights(self, model: str | AsyncModel) -> dict[str, Any]:
        """Weights by name as nested lists in their shapes. Raises TooLarge above 200,000 parameters."""
        answer = await self._transport().call(methods.GET_WEIGHTS, models_pb2.GetWeightsRequest(name=name_of(model)))
        return {name: nested(list(t.shape), list(t.values)) for name, t in answer.weights.items()}

    async def split(self, model: str | AsyncModel) -> Split:
        """Which rows of its data set a model was trained with and which were held out."""
        return decode_split(
            await self._transport().call(methods.GET_SPLIT, models_pb2.GetSplitRequest(name=name_of(model)))
        )

    async def predict(self, model: str | AsyncModel, data: Any, *, hidden: bool = False, full: bool = False) -> Any:
        """Predict for the rows of `data`, with the preprocessing that was fitted in training.

        `data` is a NumPy array [rows, inputs] (or one row), a list of rows, a dict of columns, a list of dicts, a data
        frame, or the path of a CSV file; columns that the model does not know are left out. The answer has one value
        for each row, in the form of the question: an array for an array, a Series for a data frame, else a list; of a
        model with several targets a row of values, and for a data frame a frame. `full=True` answers a Prediction with
        probabilities and deviations; `hidden=True` one with the hidden layers' outputs too.
        Raises InvalidSpec naming column and row.
        """
        asked = model if isinstance(model, AsyncModel) else await self.get(model)
        inputs = asked.message.inputs
        table = read_table(data, [column.name for column in inputs])
        columns = encode_rows(table, inputs)
        answers = [
            await self._transport().call(
                methods.PREDICT,
                predictions_pb2.PredictRequest(name=asked.name, columns=part, return_hidden=hidden),
            )
            for part in parts(columns, answer_bytes(asked.message, hidden))
        ]
        found = decode_prediction(answers, asked.message.outputs, table)
        return found if full or hidden else found.values

    async def evaluate(
        self,
        model: str | AsyncModel,
        dataset: str | AsyncDataset,
        loss: str | Mapping[str, Any] | losses_pb2.Loss | None = None,
        dof: int | None = None,
    ) -> Evaluation:
        """Measure a model on every row of a data set.

        `loss` is `mae`, `{"mse": {"reduction": "SUM"}}`; None = the one it was trained with. `dof` are the degrees of
        freedom of `residual_mse` = SSE / dof; None = rows - parameters.
        """
        request = models_pb2.EvaluateModelRequest(name=name_of(model), dataset=name_of(dataset), dof=dof)
        if loss is not None:
            request.loss.CopyFrom(encode_loss(loss))
        return Evaluation(await self._transport().call(methods.EVALUATE_MODEL, request))

    async def export(
        self,
        model: str | AsyncModel,
        path: str | os.PathLike[str],
        *,
        format: str = "safetensors",  # noqa: A002 - the field's name
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> pathlib.Path:
        """Write a model into one file. Answers the path.

        `format`: "safetensors", which `import_` of any server takes, with everything that is known of the model;
        "onnx", one graph from the columns to the answers; "script", a zip of a readable PyTorch script and its
        weights.

        The file is whole or not there. Raises FileExistsError where it is there already, unless `overwrite`, and
        InvalidSpec for another format. `progress` is told bytes received and in all.
        """
        target = pathlib.Path(path)
        request = models_pb2.ExportModelRequest(name=name_of(model), format=encode_format(format))
        size = received = 0
        with writing(target, overwrite=overwrite) as file:
            async with aclosing(self._transport().stream(methods.EXPORT_MODEL, request, timeout=None)) as parts:
                async for part in parts:
                    size = size or part.size_bytes
                    await off_loop(file.write, part.data)
                    received += len(part.data)
                    if progress:
                        progress(received, size)
            if received != size:
                raise ConnectionFailed(f"only {received:,} of {size:,} bytes of the model came", fix="export it again")
        return target

    async def import_(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> AsyncModel:
        """Make a model of a file that `export` wrote, here or on another server; it predicts the same, bit for bit.

        `name` is its id, by default that which it had there; it becomes the next version of that. `model.origin` tells
        where it was trained. `progress` is told bytes sent and in all. Raises InvalidSpec where the file is none, is
        damaged, or of a newer version.
        """
        with await off_loop(pathlib.Path(path).open, "rb") as file:
            sent = await send_file(self._transport(), file, progress)
        request = models_pb2.ImportModelRequest(upload=sent.upload, model_id=name, request_id=str(uuid.uuid4()))
        made = await self._transport().call(methods.IMPORT_MODEL, request, timeout=patience(sent.size))
        return AsyncModel(made, self)
