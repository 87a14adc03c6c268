"""The network of every server here: 30-64-32-1 with ReLU in float32, its weights from a .npz of `weight` and `bias`."""

import itertools

import numpy as np
import torch

INPUTS, HIDDEN = 30, (64, 32)
OUTPUT = "prediction"


def load(path: str) -> torch.nn.Module:
    """A module in torch, ready to predict; it scales its inputs by what `mean` and `std` say."""
    kept = np.load(path)
    widths = (INPUTS, *HIDDEN, 1)
    layers: list[torch.nn.Module] = []
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        layer = torch.nn.Linear(before, after)
        layer.load_state_dict({name: torch.from_numpy(kept[f"{number}.{name}"]) for name in ("weight", "bias")})
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval()
