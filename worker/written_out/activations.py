"""Activations and their gradients, in place."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from traind.v1 import networks_pb2

_ATEN = torch.ops.aten
# The slope of LEAKY_RELU below 0, and softplus's steepness and where it is taken for straight, as torch has them.
_SLOPE, _BETA, _STRAIGHT = 0.01, 1.0, 20.0


@dataclass(frozen=True)
class Activation:
    """What a hidden layer does to its sums."""

    # (sums z [rows, width], activations [rows, width]): fills the latter. With `of_result` both are one tensor.
    forward: Callable[[Tensor, Tensor], object]
    # (gradient [rows, width], kept [rows, width]): turns the gradient by the activations, in place, into that by the
    # sums. `kept` are the activations with `of_result`, else the sums.
    backward: Callable[[Tensor, Tensor], object]
    # Whether the gradient follows from the result, so that the sums need not be kept.
    of_result: bool = True


def _nothing(_first: Tensor, _second: Tensor) -> None:
    pass


_RELU_BACK = _ATEN.threshold_backward.grad_input
_LEAKY_BACK = _ATEN.leaky_relu_backward.grad_input
_SIGMOID_BACK = _ATEN.sigmoid_backward.grad_input
_TANH_BACK = _ATEN.tanh_backward.grad_input
_GELU, _GELU_BACK = _ATEN.gelu.out, _ATEN.gelu_backward.grad_input
_SILU, _SILU_BACK = _ATEN.silu.out, _ATEN.silu_backward.grad_input
_SOFTPLUS, _SOFTPLUS_BACK = _ATEN.softplus.out, _ATEN.softplus_backward.grad_input

# All but STEP, which has no gradient.
ACTIVATIONS: dict[networks_pb2.Network.Activation.ValueType, Activation] = {
    networks_pb2.Network.IDENTITY: Activation(_nothing, _nothing),
    networks_pb2.Network.SIGMOID: Activation(
        lambda z, a: torch.sigmoid(z, out=a), lambda g, a: _SIGMOID_BACK(g, a, grad_input=g)
    ),
    networks_pb2.Network.TANH: Activation(
        lambda z, a: torch.tanh(z, out=a), lambda g, a: _TANH_BACK(g, a, grad_input=g)
    ),
    networks_pb2.Network.RELU: Activation(lambda z, _: torch.relu_(z), lambda g, a: _RELU_BACK(g, a, 0, grad_input=g)),
    # The slope is above 0, so that a result has its sum's sign.
    networks_pb2.Network.LEAKY_RELU: Activation(
        lambda z, _: torch.nn.functional.leaky_relu_(z, _SLOPE),
        lambda g, a: _LEAKY_BACK(g, a, _SLOPE, True, grad_input=g),  # noqa: FBT003 - torch takes it by place
    ),
    networks_pb2.Network.GELU: Activation(
        lambda z, a: _GELU(z, out=a), lambda g, z: _GELU_BACK(g, z, grad_input=g), of_result=False
    ),
    networks_pb2.Network.SILU: Activation(
        lambda z, a: _SILU(z, out=a), lambda g, z: _SILU_BACK(g, z, grad_input=g), of_result=False
    ),
    networks_pb2.Network.SOFTPLUS: Activation(
        lambda z, a: _SOFTPLUS(z, _BETA, _STRAIGHT, out=a),
        lambda g, z: _SOFTPLUS_BACK(g, z, _BETA, _STRAIGHT, grad_input=g),
        of_result=False,
    ),
}
