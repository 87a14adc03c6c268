"""What the messages of models and evaluations tell, in Python's words; models.py has their verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind.errors import InvalidSpec
from traind.events import decode_finding, decode_metrics, decode_time
from traind.measured import decode_confusion
from traind.names import model_of
from traind.profiles import type_name
from traind.specs import parse_job
from traind.v1 import losses_pb2, models_pb2

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from traind.events import Finding
    from traind.measured import Confusion


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

    def _repr_html_(self) -> str:
        from traind.html import fields_html

        title = f"{self.message.model} on {self.message.dataset}, {self.row_count:,} rows"
        notes = [(finding.code, finding.message) for finding in self.findings]
        return fields_html(title, [*self.metrics.items(), *notes])

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<Evaluation of {self.message.model} on {self.message.dataset}: {figures}>"


@dataclass(frozen=True)
class Alias:
    """A name that points to one version of a model."""

    message: models_pb2.ModelAlias

    @property
    def name(self) -> str:
        """`champion`."""
        return self.message.name.rpartition("/")[2]

    @property
    def model(self) -> str:
        """The version that it points to: `models/{owner}.{id}/versions/{n}`."""
        return f"{model_of(self.message.name)}/versions/{self.version}"

    @property
    def version(self) -> int:
        """The version that it points to."""
        return self.message.version

    @property
    def etag(self) -> str:
        """Another one each time that the alias is set: give it to set_alias to set it only if nobody else has since."""
        return self.message.etag

    @property
    def update_time(self) -> dt.datetime:
        """When it was set to this version."""
        return decode_time(self.message.update_time)

    def record(self) -> dict[str, Any]:
        """The line that tells of it in a table of aliases."""
        return {
            "alias": self.name,
            "model": self.model,
            "version": self.version,
            "etag": self.etag,
            "update_time": self.update_time,
        }

    def __repr__(self) -> str:
        return f"<Alias {self.name} of {self.model}>"


@dataclass(frozen=True)
class ModelView:
    """A trained model, immutable."""

    message: models_pb2.Model

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

    @property
    def version(self) -> int:
        """Which version of its model it is."""
        return int(self.name.rpartition("/")[2])

    @property
    def aliases(self) -> list[str]:
        """The aliases that pointed to it when it was fetched, in the order of their names."""
        return list(self.message.aliases)

    @property
    def origin(self) -> models_pb2.Origin | None:
        """Where it was trained, as its file says (`model`, `job`, `dataset`, `user`, `create_time`); None if here."""
        return self.message.origin if self.message.HasField("origin") else None

    def record(self) -> dict[str, Any]:
        """The line that tells of it in a table of models."""
        return {
            "name": self.name,
            "job": self.job,
            "dataset": self.dataset,
            "parameters": self.parameter_count,
            "create_time": self.create_time,
            **self.metrics,
        }

    def _repr_html_(self) -> str:
        from traind.html import fields_html

        told = [
            ("predicts", ", ".join(self.outputs)),
            ("from", ", ".join(self.inputs)),
            ("data set", self.dataset),
            ("parameters", self.parameter_count),
            *self.metrics.items(),
            *((finding.code, finding.message) for finding in self.findings),
        ]
        return fields_html(self.name, told)

    def __repr__(self) -> str:
        return f"<Model {self.name}: {self.parameter_count} parameters>"


def encode_loss(loss: str | Mapping[str, Any] | losses_pb2.Loss) -> losses_pb2.Loss:
    """The loss of a name, of a dictionary, or the message itself."""
    if isinstance(loss, losses_pb2.Loss):
        return loss
    if isinstance(loss, str) and loss not in losses_pb2.Loss.DESCRIPTOR.fields_by_name:
        known = ", ".join(losses_pb2.Loss.DESCRIPTOR.fields_by_name)
        raise InvalidSpec(f"there is no loss {loss!r}", field="loss", fix=f"one of {known}")
    return parse_job({"train": {"loss": {loss: {}} if isinstance(loss, str) else loss}}).train.loss


def answer_bytes(model: models_pb2.Model, hidden: bool) -> int:
    """About how many bytes the answer takes for one row."""
    widths = sum(model.spec.network.mlp.hidden) if hidden else 0
    return 64 + 8 * (widths + sum(2 + len(column.categories) for column in model.outputs))


def nested(shape: list[int], values: list[float]) -> Any:
    """Values in their shape, as lists of lists."""
    if not shape:
        return values[0]
    if len(shape) == 1:
        return values
    step = len(values) // max(shape[0], 1)
    return [nested(shape[1:], values[i * step : (i + 1) * step]) for i in range(shape[0])]
