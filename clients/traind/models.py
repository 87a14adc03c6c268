"""Trained models: `client.models`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind import methods
from traind.datasets import name_of
from traind.errors import InvalidSpec
from traind.events import decode_finding, decode_metrics, decode_time
from traind.measured import Confusion, Split, decode_confusion, decode_split
from traind.predictions import Prediction, decode_prediction
from traind.profiles import type_name
from traind.rows import encode_rows, parts
from traind.specs import parse_job
from traind.tables_in import read_table
from traind.v1 import losses_pb2, models_pb2, predictions_pb2

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping

    from traind.datasets import Dataset
    from traind.events import Finding
    from traind.transport import Transport


@dataclass(frozen=True)
class Evaluation:
    """A model's figures on a data set."""

    message: models_pb2.Evaluation

    @property
    def metrics(self) -> dict[str, float]:
        """`loss`; for numbers `mae`, `mse`, `rmse`, `r2`, `residual_mse`; for classes `accuracy`, `balanced_accuracy`,
        `precision`, `recall`, `f1`, and where probabilities are known `roc_auc`, `log_loss`.
        """
        return decode_metrics(self.message.metrics)

    @property
    def findings(self) -> list[Finding]:
        """What a person should know."""
        return [decode_finding(finding) for finding in self.message.findings]

    @property
    def row_count(self) -> int:
        """Rows that were measured."""
        return self.message.row_count

    @property
    def confusion(self) -> Confusion | None:
        """How often which class was answered for which; None for numbers, and for more than 100 classes."""
        return decode_confusion(self.message.confusion) if self.message.HasField("confusion") else None

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<Evaluation of {self.message.model} on {self.message.dataset}: {figures}>"


@dataclass(frozen=True)
class Model:
    """A trained model, immutable."""

    message: models_pb2.Model
    _models: Models

    @property
    def name(self) -> str:
        """`models/{owner}.{id}/versions/{n}`."""
        return self.message.name

    @property
    def job(self) -> str:
        """The job that made it."""
        return self.message.job

    @property
    def dataset(self) -> str:
        """The data set it was trained with."""
        return self.message.dataset

    @property
    def inputs(self) -> dict[str, str]:
        """Type of each column that it predicts from, by name, in order."""
        return {column.name: type_name(column) for column in self.message.inputs}

    @property
    def outputs(self) -> dict[str, str]:
        """Type of each column that it predicts, by name."""
        return {column.name: type_name(column) for column in self.message.outputs}

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures, in sample as `train_...`, of held-out rows as `val_...`."""
        return decode_metrics(self.message.metrics)

    @property
    def findings(self) -> list[Finding]:
        """What a person should know."""
        return [decode_finding(finding) for finding in self.message.findings]

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.message.parameter_count

    @property
    def weights_sha256(self) -> str:
        """Over all weights: equal hashes are equal models."""
        return self.message.weights_sha256

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights it has; 0 where nothing was iterated."""
        return self.message.best_epoch

    @property
    def confusion(self) -> dict[str, Confusion]:
        """How often which class was answered for which, by split (`train`, `val`); empty for numbers."""
        return {matrix.split: decode_confusion(matrix) for matrix in self.message.confusion}

    @property
    def create_time(self) -> dt.datetime:
        """When it was made."""
        return decode_time(self.message.create_time)

    def predict(self, data: Any, *, hidden: bool = False, full: bool = False) -> Any:
        """See Models.predict."""
        return self._models.predict(self, data, hidden=hidden, full=full)

    def evaluate(self, dataset: str | Dataset, loss: Any = None, dof: int | None = None) -> Evaluation:
        """See Models.evaluate."""
        return self._models.evaluate(self, dataset, loss, dof)

    def weights(self) -> dict[str, list[Any]]:
        """See Models.weights."""
        return self._models.weights(self)

    def split(self) -> Split:
        """See Models.split."""
        return self._models.split(self)

    def __repr__(self) -> str:
        return f"<Model {self.name}: {self.parameter_count} parameters>"


class Models:
    """The models of one server."""

    def __init__(self, transport: Callable[[], Transport]) -> None:
        self._transport = transport

    def get(self, name: str) -> Model:
        """The newest version of `churn`, or `churn:3`, or `models/kim.churn/versions/3`. Raises NotFound."""
        return Model(self._transport().call(methods.GET_MODEL, models_pb2.GetModelRequest(name=name)), self)

    def list(self) -> Iterator[Model]:
        """Every version of every model of the caller, newest first; pages are fetched as they are needed."""
        token = ""
        while True:
            page = self._transport().call(methods.LIST_MODELS, models_pb2.ListModelsRequest(page_token=token))
            yield from (Model(message, self) for message in page.models)
            token = page.next_page_token
            if not token:
                return

    def weights(self, model: str | Model) -> dict[str, Any]:
        """Weights by name as nested lists in their shapes. Raises TooLarge above 200,000 parameters."""
        answer = self._transport().call(methods.GET_WEIGHTS, models_pb2.GetWeightsRequest(name=name_of(model)))
        return {name: _nested(list(t.shape), list(t.values)) for name, t in answer.weights.items()}

    def split(self, model: str | Model) -> Split:
        """Which rows of its data set a model was trained with and which were held out."""
        return decode_split(self._transport().call(methods.GET_SPLIT, models_pb2.GetSplitRequest(name=name_of(model))))

    def predict(self, model: str | Model, data: Any, *, hidden: bool = False, full: bool = False) -> Any:
        """Predict for the rows of `data`, with the preprocessing that was fitted in training.

        `data` is a NumPy array [rows, inputs] (or one row), a list of rows, a dict of columns, a list of dicts, a data
        frame, or the path of a CSV file; columns that the model does not know are left out. The answer has one value
        for each row, in the form of the question: an array for an array, a Series for a data frame, else a list; of a
        model with several targets a row of values, and for a data frame a frame. `full=True` answers a Prediction with
        probabilities and deviations; `hidden=True` one with the hidden layers' outputs too.
        Raises InvalidSpec naming column and row.
        """
        asked = model if isinstance(model, Model) else self.get(model)
        inputs = asked.message.inputs
        table = read_table(data, [column.name for column in inputs])
        columns = encode_rows(table, inputs)
        answers = [
            self._transport().call(
                methods.PREDICT,
                predictions_pb2.PredictRequest(name=asked.name, columns=part, return_hidden=hidden),
            )
            for part in parts(columns, _answer_bytes(asked.message, hidden))
        ]
        found = decode_prediction(answers, asked.message.outputs, table)
        return found if full or hidden else found.values

    def evaluate(
        self,
        model: str | Model,
        dataset: str | Dataset,
        loss: str | Mapping[str, Any] | losses_pb2.Loss | None = None,
        dof: int | None = None,
    ) -> Evaluation:
        """Measure a model on every row of a data set.

        `loss` is `mae`, `{"mse": {"reduction": "SUM"}}`; None = the one it was trained with. `dof` are the degrees of
        freedom of `residual_mse` = SSE / dof; None = rows - parameters.
        """
        request = models_pb2.EvaluateModelRequest(name=name_of(model), dataset=name_of(dataset), dof=dof)
        if loss is not None:
            request.loss.CopyFrom(_loss(loss))
        return Evaluation(self._transport().call(methods.EVALUATE_MODEL, request))


def _loss(loss: str | Mapping[str, Any] | losses_pb2.Loss) -> losses_pb2.Loss:
    if isinstance(loss, losses_pb2.Loss):
        return loss
    if isinstance(loss, str) and loss not in losses_pb2.Loss.DESCRIPTOR.fields_by_name:
        known = ", ".join(losses_pb2.Loss.DESCRIPTOR.fields_by_name)
        raise InvalidSpec(f"there is no loss {loss!r}", field="loss", fix=f"one of {known}")
    return parse_job({"train": {"loss": {loss: {}} if isinstance(loss, str) else loss}}).train.loss


def _answer_bytes(model: models_pb2.Model, hidden: bool) -> int:
    """About how many bytes the answer takes for one row."""
    widths = sum(model.spec.network.mlp.hidden) if hidden else 0
    return 64 + 8 * (widths + sum(2 + len(column.categories) for column in model.outputs))


def _nested(shape: list[int], values: list[float]) -> Any:
    if not shape:
        return values[0]
    if len(shape) == 1:
        return values
    step = len(values) // max(shape[0], 1)
    return [_nested(shape[1:], values[i * step : (i + 1) * step]) for i in range(shape[0])]


__all__ = ["Confusion", "Evaluation", "Model", "Models", "Prediction", "Split"]
