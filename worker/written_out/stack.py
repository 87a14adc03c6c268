"""The layers of a plain stack over one flat buffer: one tensor holds all weights, another all their gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Each weight begins at a multiple of so many numbers, so that vector instructions find it aligned. The numbers between
# are 0 and have gradient 0, which no optimizer moves.
ALIGNED = 16


@dataclass(frozen=True)
class Layer:
    """An affine map y = W x + b, its numbers views of the flat buffers."""

    weight: Tensor  # [outputs, inputs]
    weight_t: Tensor  # [inputs, outputs]
    weight_gradient: Tensor  # [outputs, inputs]
    bias: Tensor | None  # [outputs]
    bias_gradient: Tensor | None  # [outputs]

    def sums(self, x: Tensor, out: Tensor) -> None:
        """Fill `out` [rows, outputs] with the sums of x [rows, inputs]."""
        if self.bias is None:
            torch.mm(x, self.weight_t, out=out)
        else:
            torch.addmm(self.bias, x, self.weight_t, out=out)

    def gradients(self, x: Tensor, gradient_t: Tensor, ones: Tensor) -> None:
        """Fill the gradients from what the map was given, x [rows, inputs], and the sums' [outputs, rows].

        `ones` [rows]: a product with them sums quicker than torch.sum.
        """
        torch.mm(gradient_t, x, out=self.weight_gradient)
        if self.bias_gradient is not None:
            torch.mv(gradient_t, ones, out=self.bias_gradient)


@dataclass(frozen=True)
class Stack:
    """All layers, and the buffers in which they lie."""

    values: Tensor  # [numbers]
    gradient: Tensor  # [numbers]
    layers: tuple[Layer, ...]


def flatten(network: nn.Module) -> Stack:
    """Move the weights of linear layers, in the order of a network's parameters, into one buffer.

    The network goes on with views of it: what a step changes, its validation and its `state_dict` see, and what
    `load_state_dict` puts in, the next step begins with.
    """
    parameters = dict(network.named_parameters())
    starts, size = {}, 0
    for name, parameter in parameters.items():
        starts[name] = size
        size += -(-parameter.numel() // ALIGNED) * ALIGNED
    first = next(iter(parameters.values()))
    values, gradient = (torch.zeros(size, dtype=first.dtype, device=first.device) for _ in range(2))

    def view(buffer: Tensor, name: str) -> Tensor:
        parameter = parameters[name]
        return buffer[starts[name] : starts[name] + parameter.numel()].view(parameter.shape)

    layers = []
    for name, parameter in parameters.items():
        place = view(values, name)
        place.copy_(parameter.detach())
        parameter.data = place
        if name.endswith("weight"):
            bias = f"{name.removesuffix('weight')}bias"
            there = bias in parameters
            layers.append(
                Layer(
                    weight=place,
                    weight_t=place.t(),
                    weight_gradient=view(gradient, name),
                    bias=view(values, bias) if there else None,
                    bias_gradient=view(gradient, bias) if there else None,
                )
            )
    return Stack(values, gradient, tuple(layers))
