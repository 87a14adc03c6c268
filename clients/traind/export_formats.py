"""What a model can be exported as, by the names that people write."""

from __future__ import annotations

from traind.errors import InvalidSpec
from traind.v1 import models_pb2

_Format = models_pb2.Model.Format

# How a file of each ends.
ENDINGS = {"safetensors": ".safetensors", "onnx": ".onnx", "script": ".zip"}


def encode_format(name: str) -> _Format.ValueType:
    """The contract's format of a name. Raises InvalidSpec naming those that there are."""
    if name not in ENDINGS:
        raise InvalidSpec(f"there is no format {name!r}", field="format", fix=f"one of {', '.join(ENDINGS)}")
    return _Format.Value(name.upper())
