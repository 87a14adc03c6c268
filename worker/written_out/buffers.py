"""The tensors in which a plain stack computes, made once for each size of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.written_out.losses import BoundLoss, Ends
from worker.written_out.stack import Layer, Stack


@dataclass(frozen=True)
class Hidden:
    """A hidden layer and its buffers."""

    layer: Layer
    # The layer's sums; where the activation's gradient follows from its result, its result instead.
    sums: Tensor  # [rows, width]
    # The same tensor where the sums need not be kept.
    activations: Tensor  # [rows, width]
    # 0 where dropout leaves an activation out, else 1 / (1 - dropout); None without dropout.
    mask: Tensor | None  # [rows, width]
    # What the next layer is given; the same tensor as the activations without dropout.
    outputs: Tensor  # [rows, width]
    # Of the loss by the outputs, then by the sums.
    gradient: Tensor  # [rows, width]
    gradient_t: Tensor  # [width, rows]

    @classmethod
    def make(cls, layer: Layer, rows: int, *, keep_sums: bool, dropout: bool) -> "Hidden":
        """Buffers for batches of `rows`."""

        def empty() -> Tensor:
            return layer.weight.new_empty(rows, len(layer.weight))

        sums, gradient = empty(), empty()
        activations = empty() if keep_sums else sums
        mask, outputs = (empty(), empty()) if dropout else (None, activations)
        return cls(layer, sums, activations, mask, outputs, gradient, gradient.t())


@dataclass(frozen=True)
class Work:
    """All buffers for batches of one size."""

    hidden: tuple[Hidden, ...]
    downward: tuple[Hidden, ...]  # the same, the last one first
    ends: Ends
    loss: BoundLoss
    ones: Tensor  # [rows]


def ends_of(stack: Stack, rows: int) -> Ends:
    """Buffers for what the last layer puts out."""
    outputs = stack.layers[-1].weight.new_empty(rows, len(stack.layers[-1].weight))
    gradient = torch.empty_like(outputs)
    return Ends(outputs, gradient, gradient.t())
