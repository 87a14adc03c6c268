"""Networks: their sizes by arithmetic, before anything is built, and the torch modules that a spec means."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.modelling.initialisation import draw_linear, draw_vectors
from service.modelling.inputs import InputLayout
from service.modelling.layers import BatchNormalisation, Embedding, Embeddings, LayerNormalisation
from traind.v1 import networks_pb2, specs_pb2, tables_pb2

# What the outputs stand for: one number, one logit for the second of two classes, or a logit for each class.
Task = Literal["regression", "binary", "multiclass"]
Shape = tuple[int, ...]


def _step(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _identity(x: Tensor) -> Tensor:
    return x


def _softplus(x: Tensor) -> Tensor:
    # Where x > 40, ln(1 + exp(x)) is x in 64 bits too; PyTorch's own border, 20, is seen there.
    return functional.softplus(x, 1.0, 40.0)


ACTIVATIONS: dict[networks_pb2.Network.Activation.ValueType, Callable[[Tensor], Tensor]] = {
    networks_pb2.Network.IDENTITY: _identity,
    networks_pb2.Network.STEP: _step,
    networks_pb2.Network.SIGMOID: torch.sigmoid,
    networks_pb2.Network.TANH: torch.tanh,
    networks_pb2.Network.RELU: torch.relu,
    networks_pb2.Network.LEAKY_RELU: functional.leaky_relu,
    networks_pb2.Network.GELU: functional.gelu,
    networks_pb2.Network.SILU: functional.silu,
    networks_pb2.Network.SOFTPLUS: _softplus,
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


def output_width(resolved: specs_pb2.TrainSpec, classes: int) -> int:
    """Outputs of the network of a resolved spec whose target has so many classes (any number where it has none).

    One for each target and, where its variance is told too, two; one for two classes by one logit, else one for each.
    """
    kind = resolved.loss.WhichOneof("kind")
    match kind:
        case "mse" | "mae" | "huber":
            return len(resolved.target)
        case "gaussian_nll":
            return 2 * len(resolved.target)
        case "bce" | None:
            return 1
        case "cross_entropy":
            return classes
        case _:
            assert_never(kind)


def weight_shapes(network: networks_pb2.Network, layout: InputLayout, outputs: int) -> dict[str, Shape]:
    """The shape of each weight and running mean by its name, in the order in which the network has them."""
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            shapes = _layer_shapes("", layout.width, outputs, bias=network.linear.bias)
            return shapes | _embedding_shapes(layout)
        case "perceptron":
            return _layer_shapes("", layout.width, 1, bias=network.perceptron.bias)
        case "mlp":
            shapes = {}
            widths = [layout.width, *network.mlp.hidden, outputs]
            for index, (before, width) in enumerate(itertools.pairwise(widths)):
                shapes |= _layer_shapes(f"layers.{index}.", before, width, bias=network.mlp.bias)
            for index, width in enumerate(network.mlp.hidden):
                names = _NORMALISED.get(network.mlp.normalisation, ())
                shapes |= {f"norms.{index}.{name}": (width,) for name in names}
            return shapes | _embedding_shapes(layout)
        case None:
            raise AssertionError("the contract requires a kind of network")
        case _:
            assert_never(kind)


# Buffers of a normalisation: no parameters, for no gradient moves them.
_RUNNING = ("running_mean", "running_var")
_NORMALISED: dict[networks_pb2.Network.Normalisation.ValueType, tuple[str, ...]] = {
    networks_pb2.Network.BATCH: ("weight", "bias", *_RUNNING),
    networks_pb2.Network.LAYER: ("weight", "bias"),
}


def _layer_shapes(prefix: str, inputs: int, outputs: int, *, bias: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{prefix}weight": (outputs, inputs)}
    if bias:
        shapes[f"{prefix}bias"] = (outputs,)
    return shapes


def _embedding_shapes(layout: InputLayout) -> dict[str, Shape]:
    return {f"embeddings.{i}.weight": (code.categories + 1, code.width) for i, code in enumerate(layout.embedded)}


def count_parameters(network: networks_pb2.Network, layout: InputLayout, outputs: int) -> int:
    """Weights and biases of a resolved network; exact for any size, for Python's integers do not overflow."""
    shapes = weight_shapes(network, layout, outputs)
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(_RUNNING))


class TraindNetwork(nn.Module):
    """forward(x [rows, features]) -> [rows, outputs]; its weights have the names that networks.proto tells."""

    # How `draw_weights` draws.
    initialisation: networks_pb2.Network.Initialisation.ValueType = networks_pb2.Network.UNIFORM

    def hidden(self, x: Tensor) -> list[tuple[str, Tensor]]:  # noqa: ARG002 - only networks with hidden layers use it
        """What each hidden layer hands to the next one: (`layers.{i}`, [rows, width])."""
        return []

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs; states the type that nn.Module leaves open."""
        outputs: Tensor = super().__call__(x)
        return outputs


class LinearNetwork(TraindNetwork):
    """y = W x + b, of features some of which may be codes of embeddings."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype, layout: InputLayout | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, dtype=dtype))
        self.bias: nn.Parameter | None
        self.register_parameter("bias", nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else None)
        self.embeddings = _embeddings(layout, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The affine map of each row."""
        if self.embeddings is not None:
            x = self.embeddings(x)  # [rows, inputs]
        return functional.linear(x, self.weight, self.bias)  # [rows, outputs]


class PerceptronNetwork(LinearNetwork):
    """y = step(w x + b): 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        """1 where the sum is above 0."""
        return _step(super().forward(x))  # [rows, 1]


class MlpNetwork(TraindNetwork):
    """Linear layers; after each but the last normalisation, activation, dropout and the addition of its inputs."""

    def __init__(self, mlp: networks_pb2.Mlp, layout: InputLayout, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        pairs = list(itertools.pairwise([layout.width, *mlp.hidden, outputs]))
        self.layers = nn.ModuleList(LinearNetwork(i, o, bias=mlp.bias, dtype=dtype) for i, o in pairs)
        self.norms = _norms(mlp, dtype)
        self.embeddings = _embeddings(layout, dtype)
        self.initialisation = mlp.initialisation or networks_pb2.Network.UNIFORM
        self._activate = ACTIVATIONS[mlp.activation]
        self._dropout = mlp.dropout
        # The inputs of the first layer are no outputs of a hidden one, whatever their number.
        self._adds = [mlp.residual and index > 0 and i == o for index, (i, o) in enumerate(pairs[:-1])]

    def forward(self, x: Tensor) -> Tensor:
        """Through all layers."""
        x = self._embedded(x)  # [rows, inputs]
        for hidden in self._hidden(x):
            x = hidden
        outputs: Tensor = self.layers[-1](x)  # [rows, outputs]
        return outputs

    def hidden(self, x: Tensor) -> list[tuple[str, Tensor]]:
        """What each hidden layer hands to the next one."""
        return [(f"layers.{index}", hidden) for index, hidden in enumerate(self._hidden(self._embedded(x)))]

    def _embedded(self, x: Tensor) -> Tensor:
        return x if self.embeddings is None else self.embeddings(x)

    def _hidden(self, x: Tensor) -> Iterator[Tensor]:
        """The outputs of one hidden layer after the other, each [rows, width]."""
        norms = self.norms or itertools.repeat(None)
        for layer, norm, adds in zip(self.layers, norms, self._adds, strict=False):
            y = layer(x)
            if norm is not None:
                y = norm(y)
            y = self._activate(y)
            if self._dropout:
                y = functional.dropout(y, self._dropout, self.training)
            x = x + y if adds else y
            yield x


def _embeddings(layout: InputLayout | None, dtype: torch.dtype) -> Embeddings | None:
    return Embeddings(layout, dtype) if layout is not None and layout.embedded else None


def _norms(mlp: networks_pb2.Mlp, dtype: torch.dtype) -> nn.ModuleList | None:
    match mlp.normalisation:
        case networks_pb2.Network.BATCH:
            return nn.ModuleList(BatchNormalisation(width, dtype) for width in mlp.hidden)
        case networks_pb2.Network.LAYER:
            return nn.ModuleList(LayerNormalisation(width, dtype) for width in mlp.hidden)
        case _:
            return None


def build_network(
    network: networks_pb2.Network, layout: InputLayout, outputs: int, dtype: torch.dtype
) -> TraindNetwork:
    """The network of a resolved spec, all weights 0 and normalisations the identity's.

    `draw_weights` or `load_state_dict` fills them.
    """
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            linear = LinearNetwork(layout.width, outputs, bias=network.linear.bias, dtype=dtype, layout=layout)
            linear.initialisation = network.linear.initialisation or networks_pb2.Network.UNIFORM
            return linear
        case "perceptron":
            return PerceptronNetwork(layout.width, 1, bias=network.perceptron.bias, dtype=dtype)
        case "mlp":
            return MlpNetwork(network.mlp, layout, outputs, dtype)
        case None:
            raise AssertionError("the contract requires a kind of network")
        case _:
            assert_never(kind)


def draw_weights(network: TraindNetwork, generator: torch.Generator) -> None:
    """First weights, as the network's `initialisation` says, in the order of its layers."""
    for module in network.modules():
        if isinstance(module, LinearNetwork):
            draw_linear(module.weight, module.bias, network.initialisation, generator)
        elif isinstance(module, Embedding):
            draw_vectors(module.weight, generator)


def torch_dtype(spec: specs_pb2.TrainSpec) -> torch.dtype:
    """The floating-point type of a resolved spec."""
    return torch.float64 if spec.dtype == specs_pb2.TrainSpec.FLOAT64 else torch.float32


def choose_device(devices: Sequence[str]) -> str:
    """Where to learn: on a GPU where the settings allow it and there is one."""
    return "cuda" if "cuda" in devices and torch.cuda.is_available() else "cpu"
