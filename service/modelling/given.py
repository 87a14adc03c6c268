"""Weights that come with the spec: whether they are the network's, and as tensors."""

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from service.errors import Violation, shown
from service.modelling.networks import Shape
from traind.v1 import learning_pb2, tables_pb2

PATH = "job.train.learn.given.weights"


def given_misfits(given: learning_pb2.Given, expected: Mapping[str, Shape], dtype: torch.dtype) -> Iterator[Violation]:
    """What is wrong with given weights: all of the network's must come, in their shapes, and finite in `dtype`."""
    for name in sorted(set(given.weights) - set(expected)):
        yield Violation(f"{PATH}[{shown(name)}]", f"the network has no such weight; it has {_listed(expected)}")
    for name, shape in expected.items():
        problem = (
            _misfit(name, given.weights[name], shape, torch.finfo(dtype).max)
            if name in given.weights
            else f"missing; shape {list(shape)}"
        )
        if problem:
            yield Violation(f"{PATH}[{shown(name)}]", problem)


def _misfit(name: str, tensor: tables_pb2.Tensor, shape: Shape, largest: float) -> str:
    if tuple(tensor.shape) != shape:
        return f"has shape {list(tensor.shape)}; the network's is {list(shape)}"
    if len(tensor.values) != math.prod(shape):
        return f"has {len(tensor.values)} values; its shape {list(shape)} holds {math.prod(shape)}"
    if not all(map(math.isfinite, tensor.values)):
        return "holds NaN or Inf; every value must be finite"
    extreme = max(tensor.values, key=abs, default=0.0)
    if abs(extreme) > largest:
        return f"holds {extreme:g}, and FLOAT32 at most {largest:g}; set dtype to FLOAT64"
    if name.startswith("embeddings.") and any(tensor.values[: shape[1]]):
        return "has a row 0 that is not 0; it is for categories that training did not see and must be all 0"
    if name.endswith(".running_var") and min(tensor.values) < 0:
        return f"holds {min(tensor.values):g}; a variance must be at least 0"
    return ""


def given_tensors(given: learning_pb2.Given, dtype: torch.dtype) -> dict[str, Tensor]:
    """Given weights as tensors in their shapes."""
    return {
        name: torch.tensor(list(tensor.values), dtype=dtype).reshape(list(tensor.shape))
        for name, tensor in given.weights.items()
    }


def _listed(names: Iterable[str]) -> str:
    *first, last = [shown(name) for name in names][:8] or ["none"]
    return ", ".join([*first, last])
