"""The whole of a model that answers: fitted preprocessing, network and target in one object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from google.protobuf import json_format
from torch import Tensor

from service.data import preprocessing, targets
from service.data.preprocessing import Fitted
from service.data.table import Table
from service.data.targets import Target
from service.errors import DataCorrupt, invalid
from service.modelling import findings, losses, metrics, networks, specs, tensors
from service.modelling.networks import Task, TraindNetwork
from traind.v1 import losses_pb2, specs_pb2, tables_pb2

# Rows that pass through the network at once: enough to be fast, few enough to stay in the processor's cache.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Predicted:
    """Answers, row by row, all in float64 but the codes of classes."""

    # Numbers, or int64 codes into the target's classes: [rows].
    values: np.ndarray
    # Of the classes in their order: [rows, classes]; None for numbers and for a perceptron.
    probabilities: np.ndarray | None
    # Of each hidden layer, after its activation: (`layers.{i}`, [rows, width]).
    hidden: list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Predictor:
    """Predicts by exactly the transformation that was trained with. Safe to call from several threads."""

    spec: specs_pb2.TrainSpec
    fitted: Fitted
    target: Target
    network: TraindNetwork

    @classmethod
    def build(
        cls, spec: specs_pb2.TrainSpec, fitted: Fitted, target: Target, weights: Mapping[str, Tensor]
    ) -> "Predictor":
        """A model of a resolved spec. Raises DataCorrupt when the weights do not fit its network."""
        outputs = networks.output_width(spec, len(target.classes))
        dtype = networks.torch_dtype(spec)
        tensors.check_shapes(weights, networks.weight_shapes(spec.network, fitted.layout, outputs), dtype)
        network = networks.build_network(spec.network, fitted.layout, outputs, dtype)
        network.load_state_dict(dict(weights))
        network.requires_grad_(requires_grad=False).eval()
        return cls(spec, fitted, target, network)

    @classmethod
    def from_stored(cls, spec_json: str, preprocessing_json: str, weights: bytes) -> "Predictor":
        """A model out of its row's texts and its artifact. Raises DataCorrupt."""
        spec = json_format.Parse(spec_json, specs_pb2.TrainSpec())
        fitted, target = decode_preprocessing(preprocessing_json)
        return cls.build(spec, fitted, target, tensors.decode_tensors(weights))

    @property
    def task(self) -> Task:
        """What the outputs stand for."""
        return specs.task_of(self.spec)

    @property
    def perceptron(self) -> bool:
        """Whether the outputs are classes, and no logits."""
        return self.spec.network.WhichOneof("kind") == "perceptron"

    @property
    def inputs(self) -> list[tables_pb2.Column]:
        """The columns that a prediction takes, with the categories that training knew."""
        return [tables_pb2.Column(name=c.name, type=c.type, categories=c.categories) for c in self.fitted.columns]

    @property
    def prediction(self) -> tables_pb2.Column:
        """The column that a prediction answers: a number, or one of the classes."""
        if not self.target.classes:
            return tables_pb2.Column(name=self.target.name, type=tables_pb2.Column.NUMBER)
        return tables_pb2.Column(name=self.target.name, type=self.target.type, categories=self.target.classes)

    @property
    def columns(self) -> list[str]:
        """Names of the inputs and of the target: what `evaluate` reads of a table."""
        return [*(column.name for column in self.fitted.columns), self.target.name]

    @property
    def hidden_widths(self) -> list[int]:
        """Width of each hidden layer."""
        return list(self.spec.network.mlp.hidden)

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def forward(self, features: np.ndarray) -> np.ndarray:
        """Outputs for preprocessed features float64 [rows, inputs]: numbers or logits, float64 [rows, outputs]."""
        with torch.inference_mode():
            parts = torch.split(self._tensor(features), ROWS_AT_ONCE)
            return np.concatenate([self.network(part).double().numpy() for part in parts])

    def outputs(self, table: Table) -> np.ndarray:
        """Outputs for every row of a table with the columns `inputs`, as `forward` answers them."""
        return self.forward(preprocessing.apply(self.fitted, table))

    def predict(self, table: Table, hidden: bool = False) -> Predicted:
        """Answers for every row of a table with the columns `inputs`. Raises InvalidField on values it cannot take."""
        features = preprocessing.apply(self.fitted, table)
        outputs = self.forward(features)
        with torch.inference_mode():
            layers = self.network.hidden(self._tensor(features)) if hidden else []
        seen = [(name, layer.double().numpy()) for name, layer in layers]
        if self.task == "regression":
            return Predicted(outputs[:, 0], None, seen)
        probabilities = None if self.perceptron else np.exp(metrics.log_probabilities(outputs))
        return Predicted(class_codes(outputs), probabilities, seen)

    def _tensor(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(features).to(networks.torch_dtype(self.spec))

    def evaluate(
        self, table: Table, loss: losses_pb2.Loss | None = None, dof: int | None = None
    ) -> tuple[dict[str, float], list[tables_pb2.Finding]]:
        """Figures over every row of a table with the columns `columns`, and what a person should know of them.

        `loss`: what is told as `loss`, absent = the one it was trained with. `dof`: what `residual_mse` divides by,
        absent = rows - parameters. Raises InvalidField where loss or values do not fit.
        """
        chosen = loss if loss is not None and loss.WhichOneof("kind") else self.spec.loss
        if chosen is not self.spec.loss and (problem := specs.loss_misfit(chosen, self.spec.loss)):
            raise invalid("loss", problem)
        values = targets.encode(self.target, table)
        return self.measure(self.outputs(table), values, chosen, dof)

    def measure(
        self, outputs: np.ndarray, values: np.ndarray, loss: losses_pb2.Loss, dof: int | None = None
    ) -> tuple[dict[str, float], list[tables_pb2.Finding]]:
        """As `evaluate`, of outputs [rows, outputs] and encoded targets [rows] that are already there."""
        figures = {"loss": _loss_figure(loss, self.target.classes, outputs, values)}
        if self.task != "regression":
            logs = None if self.perceptron else metrics.log_probabilities(outputs)
            return figures | metrics.class_metrics(class_codes(outputs), values, logs), []
        freedom = len(values) - self.parameter_count if dof is None else dof
        figures |= metrics.regression_metrics(outputs[:, 0], values, freedom)
        return figures, [findings.no_degrees_of_freedom(len(values), self.parameter_count)] if freedom < 1 else []


def class_codes(outputs: np.ndarray) -> np.ndarray:
    """The likeliest class of each row [rows]: of one output the second where it is above 0, else the largest logit."""
    return (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def encode_preprocessing(fitted: Fitted, target: Target) -> str:
    """What a model keeps beside spec and weights, as JSON."""
    return json.dumps({"fitted": json.loads(fitted.to_json()), "target": json.loads(target.to_json())})


def decode_preprocessing(text: str) -> tuple[Fitted, Target]:
    """What `encode_preprocessing` wrote. Raises DataCorrupt."""
    try:
        stored = json.loads(text)
        fitted, target = json.dumps(stored["fitted"]), json.dumps(stored["target"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataCorrupt("the preprocessing of a model cannot be read") from error
    return Fitted.from_json(fitted), Target.from_json(target)


def _loss_figure(loss: losses_pb2.Loss, classes: Sequence[str], outputs: np.ndarray, values: np.ndarray) -> float:
    """The loss of all rows, in float64. One logit and two say the same of two classes, so either loss takes either."""
    kind, width = loss.WhichOneof("kind"), outputs.shape[1]
    if kind == "bce" and width != 1:
        if width != 2:
            raise invalid("loss", f"bce tells 2 classes apart and the model has {width}; use crossEntropy")
        outputs = outputs[:, 1:] - outputs[:, :1]  # [rows, 1]
    elif kind == "cross_entropy" and width == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)  # [rows, 2]
    task: Task = "multiclass" if kind == "cross_entropy" else "regression"
    targets_of_loss = losses.target_tensor(task, values, torch.float64)
    return float(losses.build_loss(loss, classes)(torch.from_numpy(outputs), targets_of_loss))
