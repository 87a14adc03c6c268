"""The whole of a model that answers: fitted preprocessing, network and target in one object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from google.protobuf import json_format
from torch import Tensor

from service.data import preprocessing
from service.data.preprocessing import Fitted, Tally
from service.data.table import Table
from service.data.targets import Target
from service.errors import DataCorrupt
from service.modelling import networks, quick, signature, specs, tensors
from service.modelling.metrics import class_codes, log_probabilities
from service.modelling.networks import Task, TraindNetwork
from service.modelling.quick import Quick
from service.modelling.signature import Signature
from traind.v1 import specs_pb2, tables_pb2

# Rows that pass through the network at once: enough to be fast, few enough to stay in the processor's cache.
ROWS_AT_ONCE = 8192
# Larger networks gain nothing by it.
MOST_QUICK_PARAMETERS = 1_000_000
# The smallest variance that a model of gaussian_nll tells.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Predicted:
    """Answers, row by row, all in float64 but the codes of classes."""

    # Numbers [rows, targets] in the targets' units, or int64 codes into the target's classes [rows].
    values: np.ndarray
    # Of the classes in their order: [rows, classes]; None for numbers and for a perceptron.
    probabilities: np.ndarray | None
    # Of a model of gaussian_nll, in the targets' units: [rows, targets].
    deviations: np.ndarray | None
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
        cls,
        spec: specs_pb2.TrainSpec,
        fitted: Fitted,
        target: Target,
        weights: Mapping[str, Tensor],
        *,
        shared: bool = False,
    ) -> "Predictor":
        """A model of a resolved spec. Raises DataCorrupt when the weights do not fit its network.

        `shared`: the network has the weights themselves and no copies of them, and takes no memory of its own.
        """
        outputs = networks.output_width(spec, len(target.classes))
        dtype = networks.torch_dtype(spec)
        tensors.check_shapes(weights, networks.weight_shapes(spec.network, fitted.layout, outputs), dtype)
        with torch.device("meta" if shared else "cpu"):
            network = networks.build_network(spec.network, fitted.layout, outputs, dtype)
        network.load_state_dict(dict(weights), assign=shared)
        network.requires_grad_(requires_grad=False).eval()
        return cls(spec, fitted, target, network)

    @classmethod
    def from_stored(cls, spec_json: str, preprocessing_json: str, weights: bytes) -> "Predictor":
        """A model out of its row's texts and its artifact. Raises DataCorrupt."""
        spec = json_format.Parse(spec_json, specs_pb2.TrainSpec())
        fitted, target = decode_preprocessing(preprocessing_json)
        return cls.build(spec, fitted, target, tensors.decode_tensors(weights))

    @cached_property
    def task(self) -> Task:
        """What the outputs stand for."""
        return specs.task_of(self.spec)

    @cached_property
    def perceptron(self) -> bool:
        """Whether the outputs are classes, and no logits."""
        return self.spec.network.WhichOneof("kind") == "perceptron"

    @cached_property
    def tells_deviations(self) -> bool:
        """Whether the network has a second output for each target: the logarithm of its variance."""
        return self.spec.loss.WhichOneof("kind") == "gaussian_nll"

    @property
    def inputs(self) -> list[tables_pb2.Column]:
        """The columns that a prediction takes, with the categories that training knew."""
        return input_columns(self.fitted)

    @property
    def predictions(self) -> list[tables_pb2.Column]:
        """The columns that a prediction answers: numbers, or one of the classes."""
        return output_columns(self.target)

    @property
    def columns(self) -> list[str]:
        """Names of the inputs and of the targets: what `evaluate` reads of a table."""
        return [*(column.name for column in self.fitted.columns), *self.target.names]

    @cached_property
    def signature(self) -> Signature:
        """The tensors that it takes and answers."""
        deviations, probabilities = self.tells_deviations, not self.perceptron
        return signature.make(self.inputs, self.target, deviations=deviations, probabilities=probabilities)

    @cached_property
    def quick(self) -> Quick | None:
        """The same model in plain NumPy, where it is small and dense and all its inputs are numbers."""
        weights = {name: weight.numpy() for name, weight in self.network.state_dict().items()}
        if self.parameter_count > MOST_QUICK_PARAMETERS or any(array.dtype.kind != "f" for array in weights.values()):
            return None
        return quick.make(self.fitted, self.spec.network, weights, largest_number(self.spec), self.forward)

    @property
    def hidden_widths(self) -> list[int]:
        """Width of each hidden layer."""
        return list(self.spec.network.mlp.hidden)

    @cached_property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def forward(self, features: np.ndarray) -> np.ndarray:
        """Outputs for features [rows, features]: numbers or logits, float64 [rows, outputs]."""
        with torch.inference_mode():
            if len(features) <= ROWS_AT_ONCE:
                return self.network(self._tensor(features)).double().numpy()
            outputs = [
                self.network(self._tensor(features[start : start + ROWS_AT_ONCE])).double().numpy()
                for start in range(0, len(features), ROWS_AT_ONCE)
            ]
            return np.concatenate(outputs)

    def features(self, table: Table, rows: np.ndarray | None = None, tally: Tally | None = None) -> np.ndarray:
        """The features of rows of a table with the columns `inputs`: float64 [rows, features]."""
        return preprocessing.apply(self.fitted, table, rows, limit=largest_number(self.spec), tally=tally)

    def outputs(self, table: Table, rows: np.ndarray | None = None) -> np.ndarray:
        """Outputs for rows (None = all) of a table, as `forward` answers them."""
        return self.forward(self.features(table, rows))

    def predict(self, table: Table, hidden: bool = False) -> Predicted:
        """Answers for every row of a table with the columns `inputs`. Raises InvalidField on values it cannot take."""
        features = self.features(table)
        return self.tell(self.forward(features), self._hidden(features) if hidden else [])

    def tell(self, outputs: np.ndarray, seen: list[tuple[str, np.ndarray]]) -> Predicted:
        """What outputs [rows, outputs] say; `seen` are the outputs of the hidden layers."""
        if self.task == "regression":
            deviations = self.deviations(outputs) if self.tells_deviations else None
            return Predicted(self.answers(outputs), None, deviations, seen)
        probabilities = None if self.perceptron else np.exp(log_probabilities(outputs))
        return Predicted(class_codes(outputs), probabilities, None, seen)

    def _hidden(self, features: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The outputs of the hidden layers, by name."""
        with torch.inference_mode():
            return [(name, layer.double().numpy()) for name, layer in self.network.hidden(self._tensor(features))]

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers [rows, targets], in the targets' units, of a network's outputs [rows, outputs]."""
        return self.target.from_loss_units(outputs[:, : len(self.target.columns)])

    def deviations(self, outputs: np.ndarray) -> np.ndarray:
        """Standard deviations [rows, targets], in the targets' units, of outputs that tell means and ln variances."""
        means, log_variances = np.split(outputs, 2, axis=1)
        with np.errstate(over="ignore"):
            spread = np.sqrt(np.maximum(np.exp(log_variances), LEAST_VARIANCE))
        return self.target.deviations(means, spread)

    def _tensor(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(features).to(networks.torch_dtype(self.spec))


def input_columns(fitted: Fitted) -> list[tables_pb2.Column]:
    """The columns that a prediction takes, with the categories that training knew."""
    return [tables_pb2.Column(name=c.name, type=c.type, categories=c.categories) for c in fitted.columns]


def output_columns(target: Target) -> list[tables_pb2.Column]:
    """The columns that a prediction answers: numbers, or one of the classes."""
    if not target.classes:
        return [tables_pb2.Column(name=name, type=tables_pb2.Column.NUMBER) for name in target.names]
    return [tables_pb2.Column(name=c.name, type=c.type, categories=target.classes) for c in target.columns]


def largest_number(spec: specs_pb2.TrainSpec) -> float:
    """The largest feature or target that the dtype of a resolved spec can hold: beyond it every figure would be NaN."""
    narrow = spec.dtype == specs_pb2.TrainSpec.FLOAT32
    return float(np.finfo(np.float32 if narrow else np.float64).max)


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
