"""First weights: how they are drawn, by the seed alone."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from traind.v1 import networks_pb2

Network = networks_pb2.Network


def _uniform(weight: Tensor, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(weight.shape[1])
    weight.uniform_(-bound, bound, generator=generator)


# (weight [outputs, inputs], generator) -> fills the weight. nn.init has gain 1 and counts inputs unless told otherwise.
INITIALISATIONS: dict[networks_pb2.Network.Initialisation.ValueType, Callable[[Tensor, torch.Generator], object]] = {
    Network.UNIFORM: _uniform,
    Network.XAVIER_UNIFORM: lambda weight, generator: nn.init.xavier_uniform_(weight, generator=generator),
    Network.XAVIER_NORMAL: lambda weight, generator: nn.init.xavier_normal_(weight, generator=generator),
    Network.KAIMING_UNIFORM: lambda weight, generator: nn.init.kaiming_uniform_(
        weight, nonlinearity="relu", generator=generator
    ),
    Network.KAIMING_NORMAL: lambda weight, generator: nn.init.kaiming_normal_(
        weight, nonlinearity="relu", generator=generator
    ),
    Network.ORTHOGONAL: lambda weight, generator: nn.init.orthogonal_(weight, generator=generator),
    Network.ZEROS: lambda weight, _: nn.init.zeros_(weight),
}


@torch.no_grad()
def draw_linear(
    weight: Tensor,
    bias: Tensor | None,
    kind: networks_pb2.Network.Initialisation.ValueType,
    generator: torch.Generator,
) -> None:
    """First weights of a layer, weight [outputs, inputs] and bias [outputs]; only UNIFORM draws biases too."""
    if not weight.numel():
        return
    INITIALISATIONS[kind](weight, generator)
    if bias is not None and kind == Network.UNIFORM:
        bound = 1 / math.sqrt(weight.shape[1])
        bias.uniform_(-bound, bound, generator=generator)
    elif bias is not None:
        bias.zero_()


@torch.no_grad()
def draw_vectors(weight: Tensor, generator: torch.Generator) -> None:
    """First vectors of an embedding [categories + 1, width], normal as those of torch.nn.Embedding; row 0 stays 0."""
    weight.normal_(generator=generator)
    weight[0] = 0
