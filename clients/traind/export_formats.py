"""What a model can be exported as, by the names that people write."""

from __future__ import annotations

from traind.v1 import models_pb2

_Format = models_pb2.ExportModelRequest.Format

# How a file of each ends.
ENDINGS = {"safetensors": ".safetensors", "onnx": ".onnx", "script": ".zip"}


def encode_format(name: str) -> _Format.ValueType:
    """The contract's format of a name. Raises ValueError naming those that there are."""
    if name not in ENDINGS:
        raise ValueError(f"format is {name!r}; a model is exported as one of {', '.join(map(repr, ENDINGS))}")
    return _Format.Value(name.upper())
