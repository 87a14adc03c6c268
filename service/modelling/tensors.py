"""Tensors as bytes: safetensors, nothing that runs code when it is read."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from service.errors import DataCorrupt

LARGEST_HEADER = 1 << 20
MOST_TENSORS = 10_000


def encode_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors, moved to the CPU, and texts beside them, as one safetensors file."""
    # Clones have no storage in common, which the format could not tell.
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(apart, dict(metadata) if metadata else None)
    return data


def decode_tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises DataCorrupt when it is none, or beyond our limits."""
    _read_header(data)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError):
        raise DataCorrupt("stored tensors cannot be read: they are no safetensors file") from None
    return tensors


def read_metadata(data: bytes) -> dict[str, str]:
    """The texts beside the tensors of a safetensors file; a file may say that it has none."""
    metadata: dict[str, str] | None = _read_header(data).get("__metadata__")
    return metadata or {}


def from_arrays(arrays: Mapping[str, np.ndarray], dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies of arrays as tensors of a dtype."""
    return {name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()}


def check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> None:
    """Raise DataCorrupt unless names, shapes and dtype are those that the builder of the network expects."""
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != dict(expected) or any(tensor.dtype != dtype for tensor in tensors.values()):
        raise DataCorrupt("stored weights do not fit their network: names, shapes or dtype differ")


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over each tensor in the order of names: name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        head = {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        digest.update(json.dumps(head, sort_keys=True).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no number is NaN or infinite. Takes no memory of the size of a tensor."""
    # NaN is the smallest and the largest number wherever it is one of them.
    extremes = (extreme for tensor in tensors.values() if tensor.numel() for extreme in torch.aminmax(tensor))
    return all(bool(torch.isfinite(extreme)) for extreme in extremes)


def finite_bytes(parts: Iterable[bytes], stored: str) -> bool:
    """Whether no number is NaN or infinite in the bytes of tensors, which come in parts of any length.

    `stored` as `stored_as` tells it. All parts are looked at, whatever the first ones hold.
    """
    dtype, left, finite = np.dtype({"F64": "<f8", "F32": "<f4"}[stored]), b"", True
    for part in parts:
        data = left + part
        whole = len(data) // dtype.itemsize * dtype.itemsize
        finite = bool(np.isfinite(np.frombuffer(data, dtype, whole // dtype.itemsize)).all()) and finite
        left = data[whole:]
    return finite


def views(data: bytearray, places: Mapping[str, tuple[int, Sequence[int]]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors that lie in `data`, no copies of it: by name the place of the first byte, and the shape."""
    return {
        name: torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=place).reshape(tuple(shape))
        if math.prod(shape)
        else torch.empty(tuple(shape), dtype=dtype)
        for name, (place, shape) in places.items()
    }


def stored_as(dtype: torch.dtype) -> tuple[str, int]:
    """What a safetensors file calls a floating-point type of networks, and the bytes of one number."""
    return ("F64", 8) if dtype == torch.float64 else ("F32", 4)


def _read_header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(LARGEST_HEADER, len(data) - 8):
        raise DataCorrupt(f"stored tensors cannot be read: their header is cut or above {LARGEST_HEADER:,} bytes")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise DataCorrupt("stored tensors cannot be read: their header is no JSON") from None
    if not isinstance(header, dict) or len(header) > MOST_TENSORS + 1:
        raise DataCorrupt(f"stored tensors cannot be read: more than {MOST_TENSORS:,} of them")
    return header
