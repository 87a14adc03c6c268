"""Small dense networks on numbers in plain NumPy: a call of a few rows costs what its arithmetic costs.

The same operations in the same order as preprocessing/applying.py and networks.py do them, on all columns at once. What
is not covered here answers by the general way, and so does a model whose answers here are not those of its module: that
is compared when it is loaded.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.preprocessing import Fitted
from service.data.preprocessing.steps import Clip, Fill, MinMax, NumberStep, Robust, Standard
from service.data.table import NUMERIC
from traind.v1 import networks_pb2

Numbers = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

# A layer's weights up to this size are copied in the order in which a row times matrix reads them: a quarter quicker.
SMALL_BYTES = 16 << 10
# Rows that are compared with the module, drawn with this seed.
COMPARED_ROWS, SEED = 64, 1
# How far an answer may be from the module's, relative to the largest of them, by bytes of a number.
TOLERANCE = {4: 1e-5, 8: 1e-12}


@dataclass(frozen=True)
class Layer:
    """One layer, its weights as a row times matrix takes them."""

    weight: Array  # [inputs, outputs], where it is large a view of the stored weights
    bias: Array | None  # [outputs]
    # None = the identity.
    activate: Callable[[Array], Array] | None
    # Whether its inputs are added to what it answers.
    adds: bool


@dataclass(frozen=True)
class Quick:
    """The whole way of a model from columns of numbers to outputs. Safe to call from several threads."""

    low: Numbers  # [columns], -Inf where nothing is clipped
    high: Numbers
    fill: Numbers  # [columns], NaN where nothing stands for a missing number
    shift: Numbers  # [columns]
    scale: Numbers  # [columns]
    constant: npt.NDArray[np.bool_]  # [columns] that become 0
    limit: float
    dtype: np.dtype[Any]
    layers: tuple[Layer, ...]
    clips: bool
    fills: bool
    zeroes: bool

    def answer(self, columns: Array) -> Numbers | None:
        """Outputs for columns of numbers of any type, as `forward` answers them; None as `features` does."""
        with np.errstate(over="ignore", invalid="ignore"):
            features = self.features(columns.astype(np.float64, copy=False))
            return None if features is None else self.forward(features)

    def features(self, columns: Numbers) -> Numbers | None:
        """Features [rows, columns] of columns of numbers [rows, columns], NaN where they are missing.

        None where a number is infinite or missing with nothing to stand for it, or a feature is too large: the general
        way tells which. NumPy may warn of what overflows; see `answer`.
        """
        if self.fills:
            columns = np.where(np.isnan(columns), self.fill, columns)
        if self.clips and not np.isinf(columns).any():
            columns = np.clip(columns, self.low, self.high)
        features: Numbers = columns - self.shift
        features /= self.scale
        if self.zeroes and np.isfinite(columns).all():
            features[:, self.constant] = 0.0
        # Where the squares come to at most the limit, so does each number; of NaN and Inf neither is at most anything.
        if np.vdot(features, features) <= self.limit or (np.abs(features) <= self.limit).all():
            return features
        return None

    def forward(self, features: Numbers) -> Numbers:
        """Outputs for features [rows, columns]: numbers or logits, float64 [rows, outputs]."""
        x: Array = features.astype(self.dtype, copy=False)
        for layer in self.layers:
            # The same numbers as by `@`, for half of what that costs before it multiplies.
            y = x.dot(layer.weight)
            if layer.bias is not None:
                y += layer.bias
            if layer.activate is not None:
                y = layer.activate(y)
            x = x + y if layer.adds else y
        return x.astype(np.float64, copy=False)


def make(
    fitted: Fitted,
    network: networks_pb2.Network,
    weights: Mapping[str, Array],
    limit: float,
    module: Callable[[Numbers], Numbers],
) -> Quick | None:
    """The quick way of a model, if there is one, and if it answers what `module` answers for features."""
    layers = _layers(network, weights)
    steps = [_affine(column.number_steps) for column in fitted.columns]
    plain = all(column.type in NUMERIC and not column.indicator and not column.drops for column in fitted.columns)
    if layers is None or not plain or None in steps or not steps:
        return None
    low, high, fill, shift, scale, constant = (np.array(part) for part in zip(*filter(None, steps), strict=True))
    quick = Quick(
        low=low,
        high=high,
        fill=fill,
        shift=shift,
        scale=scale,
        constant=constant,
        limit=limit,
        dtype=layers[0].weight.dtype,
        layers=tuple(layers),
        clips=bool(np.isfinite(low).any() or np.isfinite(high).any()),
        fills=not np.isnan(fill).all(),
        zeroes=bool(constant.any()),
    )
    return quick if _agrees(quick, len(steps), module) else None


def _agrees(quick: Quick, width: int, module: Callable[[Numbers], Numbers]) -> bool:
    features = np.random.default_rng(SEED).normal(scale=2.0, size=(COMPARED_ROWS, width))
    with np.errstate(over="ignore", invalid="ignore"):
        told, found = module(features), quick.forward(features)
    most = TOLERANCE[quick.dtype.itemsize] * max(float(np.abs(told).max(initial=0.0)), 1e-30)
    if bool((np.abs(told - found) <= most).all()):
        return True
    log.warning("a model answers by PyTorch: NumPy differs by %.3g", float(np.abs(told - found).max()))
    return False


# low, high, what stands for missing, shift, scale, and whether everything becomes 0.
_Affine = tuple[float, float, float, float, float, bool]


def _affine(steps: Sequence[NumberStep]) -> _Affine | None:
    """Steps of a column that are at most a fill, then bounds, then one scaling; None for others."""
    low, high, fill, shift, scale, constant = -np.inf, np.inf, np.nan, 0.0, 1.0, False
    places = [_place(step) for step in steps]
    # Each at most once, and in this order.
    if places != sorted(set(places)):
        return None
    for step in steps:
        match step:
            case Fill():
                fill = step.value
            case Clip():
                low = low if step.low is None else step.low
                high = high if step.high is None else step.high
            case Standard():
                shift, scale, constant = step.mean, step.std or 1.0, not step.std
            case MinMax():
                spread = step.high - step.low
                shift, scale, constant = step.low, spread or 1.0, not spread
            case Robust():
                shift, scale = step.median, (step.upper - step.lower) or 1.0
            case _:
                return None
    return low, high, fill, shift, scale, constant


def _place(step: NumberStep) -> int:
    match step:
        case Fill():
            return 0
        case Clip():
            return 1
        case _:
            return 2


def _layers(network: networks_pb2.Network, weights: Mapping[str, Array]) -> list[Layer] | None:
    """The layers of a plain stack; None for a network that is another."""
    if any(name.startswith("embeddings.") for name in weights):
        return None
    match network.WhichOneof("kind"):
        case "linear":
            return [_layer("", weights, None)]
        case "perceptron":
            return [_layer("", weights, _step)]
        case "mlp":
            mlp = network.mlp
            activation = mlp.activation if mlp.hidden else networks_pb2.Network.IDENTITY
            if mlp.normalisation in _NORMALISED or activation not in _ACTIVATIONS:
                return None
            layers = [
                _layer(f"layers.{i}.", weights, _ACTIVATIONS[activation], may_add=mlp.residual and i > 0)
                for i in range(len(mlp.hidden))
            ]
            return [*layers, _layer(f"layers.{len(mlp.hidden)}.", weights, None)]
        case _:
            return None


def _layer(
    prefix: str, weights: Mapping[str, Array], activate: Callable[[Array], Array] | None, *, may_add: bool = False
) -> Layer:
    weight = weights[f"{prefix}weight"].T
    if weight.nbytes <= SMALL_BYTES:
        weight = np.ascontiguousarray(weight)
    adds = may_add and weight.shape[0] == weight.shape[1]
    return Layer(weight, weights.get(f"{prefix}bias"), activate, adds)


_NORMALISED = (networks_pb2.Network.BATCH, networks_pb2.Network.LAYER)


def _step(x: Array) -> Array:
    return (x > 0).astype(x.dtype)


def _relu(x: Array) -> Array:
    np.maximum(x, 0, out=x)
    return x


def _leaky_relu(x: Array) -> Array:
    return np.where(x > 0, x, x * x.dtype.type(0.01))


def _sigmoid(x: Array) -> Array:
    # Where exp overflows the quotient is right too.
    y: Array = 1 / (1 + np.exp(-x))
    return y


def _silu(x: Array) -> Array:
    y: Array = x / (1 + np.exp(-x))
    return y


_ACTIVATIONS: Mapping[int, Callable[[Array], Array] | None] = {
    networks_pb2.Network.IDENTITY: None,
    networks_pb2.Network.STEP: _step,
    networks_pb2.Network.SIGMOID: _sigmoid,
    networks_pb2.Network.TANH: np.tanh,
    networks_pb2.Network.RELU: _relu,
    networks_pb2.Network.LEAKY_RELU: _leaky_relu,
    networks_pb2.Network.SILU: _silu,
}
