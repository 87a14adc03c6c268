"""Parts of networks beside linear layers; the names of their weights are those that the contract tells."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.modelling.inputs import InputLayout

EPS = 1e-5
# Share of the newest batch in the running means.
MOMENTUM = 0.1


class LayerNormalisation(nn.Module):
    """Each row by its own mean and variance (Ba et al. 2016), then weight * x + bias; the identity's at first."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(width, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPS)


class BatchNormalisation(LayerNormalisation):
    """Each column by the batch's mean and variance (Ioffe and Szegedy 2015), in prediction by their running means.

    The deviations of a single row are 0 and teach nothing, so a batch of one row is treated as in prediction.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, dtype)
        self.register_buffer("running_mean", torch.zeros(width, dtype=dtype))
        self.register_buffer("running_var", torch.ones(width, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]; moves the running means while training."""
        by_batch = self.training and len(x) > 1
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, by_batch, MOMENTUM, EPS
        )


class Embedding(nn.Module):
    """A learned vector for each category; row 0 is for what training did not see: it has no gradient and stays 0."""

    def __init__(self, categories: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(categories + 1, width, dtype=dtype))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes as numbers [rows] -> [rows, width]."""
        return functional.embedding(codes.long(), self.weight, padding_idx=0)


class Embeddings(nn.ModuleList):
    """Puts the vector of each code in the place of the code: [rows, features] -> [rows, layout.width]."""

    def __init__(self, layout: InputLayout, dtype: torch.dtype) -> None:
        super().__init__(Embedding(code.categories, code.width, dtype) for code in layout.embedded)
        self._places = [code.place for code in layout.embedded]

    def forward(self, x: Tensor) -> Tensor:
        """Numbers stay, in their order, around the vectors."""
        parts, start = [], 0
        for place, embedding in zip(self._places, self, strict=True):
            parts += [x[:, start:place], embedding(x[:, place])]
            start = place + 1
        return torch.cat([*parts, x[:, start:]], 1)
