"""Networks: their sizes by arithmetic, before anything is built, and the torch modules that a spec means."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from traind.v1 import networks_pb2, specs_pb2, tables_pb2

# What the outputs stand for: one number, one logit for the second of two classes, or a logit for each class.
Task = Literal["regression", "binary", "multiclass"]
Shape = tuple[int, ...]


def _step(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[networks_pb2.Network.Activation.ValueType, Callable[[Tensor], Tensor]] = {
    networks_pb2.Network.IDENTITY: _identity,
    networks_pb2.Network.STEP: _step,
    networks_pb2.Network.SIGMOID: torch.sigmoid,
    networks_pb2.Network.TANH: torch.tanh,
    networks_pb2.Network.RELU: torch.relu,
}


def input_width(columns: Sequence[tables_pb2.Column], inputs: Sequence[str]) -> int:
    """Features that the network sees: one for a number, one for each category, two for a boolean."""
    by_name = {column.name: column for column in columns}
    return sum(_column_width(by_name[name]) for name in inputs)


def _column_width(column: tables_pb2.Column) -> int:
    match column.type:
        case tables_pb2.Column.CATEGORY:
            return len(column.categories)
        case tables_pb2.Column.BOOLEAN:
            return 2
        case _:
            return 1


def output_width(task: Task, classes: int) -> int:
    """One output for numbers and for two classes by one logit, else one for each class."""
    return classes if task == "multiclass" else 1


def weight_shapes(network: networks_pb2.Network, inputs: int, outputs: int) -> dict[str, Shape]:
    """The shape of each weight by its name, in the order in which the network has them."""
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            return _layer_shapes("", inputs, outputs, bias=network.linear.bias)
        case "perceptron":
            return _layer_shapes("", inputs, 1, bias=network.perceptron.bias)
        case "mlp":
            shapes: dict[str, Shape] = {}
            widths = [inputs, *network.mlp.hidden, outputs]
            for index, (before, width) in enumerate(itertools.pairwise(widths)):
                shapes |= _layer_shapes(f"layers.{index}.", before, width, bias=network.mlp.bias)
            return shapes
        case None:
            raise AssertionError("the contract requires a kind of network")
        case _:
            assert_never(kind)


def _layer_shapes(prefix: str, inputs: int, outputs: int, *, bias: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{prefix}weight": (outputs, inputs)}
    if bias:
        shapes[f"{prefix}bias"] = (outputs,)
    return shapes


def count_parameters(network: networks_pb2.Network, inputs: int, outputs: int) -> int:
    """Weights and biases of a resolved network; exact for any size, for Python's integers do not overflow."""
    return sum(math.prod(shape) for shape in weight_shapes(network, inputs, outputs).values())


class TraindNetwork(nn.Module):
    """forward(x [rows, inputs]) -> [rows, outputs]; its weights have the names that networks.proto tells."""

    def hidden(self, x: Tensor) -> list[tuple[str, Tensor]]:  # noqa: ARG002 - only networks with hidden layers use it
        """What each hidden layer puts out after its activation: (`layers.{i}`, [rows, width])."""
        return []

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs; states the type that nn.Module leaves open."""
        outputs: Tensor = super().__call__(x)
        return outputs


class LinearNetwork(TraindNetwork):
    """y = W x + b."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, dtype=dtype))
        self.bias: nn.Parameter | None
        self.register_parameter("bias", nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """The affine map of each row."""
        return functional.linear(x, self.weight, self.bias)  # [rows, outputs]


class PerceptronNetwork(LinearNetwork):
    """y = step(w x + b): 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        """1 where the sum is above 0."""
        return _step(super().forward(x))  # [rows, 1]


class MlpNetwork(TraindNetwork):
    """Linear layers with an activation after each but the last."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: networks_pb2.Network.Activation.ValueType,
        *,
        bias: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(LinearNetwork(i, o, bias=bias, dtype=dtype) for i, o in pairs)
        self._activate = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Through all layers."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self._activate(layer(x))  # [rows, width]
        outputs: Tensor = last(x)  # [rows, outputs]
        return outputs

    def hidden(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """What each hidden layer puts out after its activation."""
        found: list[tuple[str, Tensor]] = []
        for index, layer in enumerate(self.layers[:-1]):
            x = self._activate(layer(x))
            found.append((f"layers.{index}", x))  # [rows, width]
        return found


def build_network(network: networks_pb2.Network, inputs: int, outputs: int, dtype: torch.dtype) -> TraindNetwork:
    """The network of a resolved spec, all weights 0; `draw_weights` or `load_state_dict` fills them."""
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            return LinearNetwork(inputs, outputs, bias=network.linear.bias, dtype=dtype)
        case "perceptron":
            return PerceptronNetwork(inputs, 1, bias=network.perceptron.bias, dtype=dtype)
        case "mlp":
            widths = [inputs, *network.mlp.hidden, outputs]
            return MlpNetwork(widths, network.mlp.activation, bias=network.mlp.bias, dtype=dtype)
        case None:
            raise AssertionError("the contract requires a kind of network")
        case _:
            assert_never(kind)


def draw_weights(network: TraindNetwork, generator: torch.Generator) -> None:
    """First weights, uniform in +-1/sqrt(inputs of the layer): the distribution of torch.nn.Linear, seeded."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, LinearNetwork):
                bound = 1 / math.sqrt(max(module.weight.shape[1], 1))
                for parameter in module.parameters(recurse=False):
                    parameter.uniform_(-bound, bound, generator=generator)


def torch_dtype(spec: specs_pb2.TrainSpec) -> torch.dtype:
    """The floating-point type of a resolved spec."""
    return torch.float64 if spec.dtype == specs_pb2.TrainSpec.FLOAT64 else torch.float32


def choose_device(devices: Sequence[str]) -> str:
    """Where to learn: on a GPU where the settings allow it and there is one."""
    return "cuda" if "cuda" in devices and torch.cuda.is_available() else "cpu"
