"""Tensors of the Open Inference Protocol: their datatypes, their raw bytes, and the elements of BYTES."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import invalid, shown
from service.modelling.signature import BYTES

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
# A shape above this cannot stand for any bytes that could come.
MOST_ELEMENTS = 1 << 40
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `values`: an array of the datatype in the shape, perhaps read-only; of BYTES a flat list of texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[str]

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.datatype not in {BYTES, "BOOL"}


def count_of(shape: Sequence[int], path: str) -> int:
    """How many elements a shape holds. Raises InvalidField."""
    if any(size < 0 for size in shape):
        raise invalid(f"{path}.shape", f"is {list(shape)[:8]}; sizes must be 0 or more, -1 stands in metadata only")
    count = math.prod(shape)
    if not shape or len(shape) > 2 or count > MOST_ELEMENTS:
        raise invalid(f"{path}.shape", f"is {list(shape)[:8]}; write [rows] or [rows, columns]")
    return count


def dtype_of(datatype: str, path: str) -> np.dtype[Any]:
    """The NumPy type of a datatype that is not BYTES. Raises InvalidField naming those there are."""
    found = DTYPES.get(datatype)
    if found is None:
        raise invalid(f"{path}.datatype", f"is {shown(datatype)}; there are {', '.join(DTYPES)} and BYTES")
    return found


def from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: bytes | memoryview, path: str) -> Tensor:
    """A tensor of its raw bytes; numbers are not copied. Raises InvalidField where type, shape and bytes do not fit."""
    count = count_of(shape, path)
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _texts(raw, count, path))
    dtype = dtype_of(datatype, path)
    if len(raw) != count * dtype.itemsize:
        raise invalid(
            path,
            f"has {len(raw):,} bytes, and {datatype} of shape {list(shape)} takes {count * dtype.itemsize:,}",
        )
    if datatype == "BOOL":
        return Tensor(name, datatype, shape, (np.frombuffer(raw, np.uint8) != 0).reshape(shape))
    return Tensor(name, datatype, shape, np.frombuffer(raw, dtype).reshape(shape))


def to_raw(tensor: Tensor) -> bytes:
    """The raw bytes of a tensor: row-major, little-endian."""
    if isinstance(tensor.values, list):
        parts = [text.encode() for text in tensor.values]
        return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))
    return tensor.values.tobytes()


def _texts(raw: bytes | memoryview, count: int, path: str) -> list[str]:
    data, at, texts = bytes(raw), 0, []
    if count * 4 > len(data):
        raise invalid(path, f"has {len(data):,} bytes, and {count:,} elements of BYTES take at least {count * 4:,}")
    for index in range(count):
        if at + 4 > len(data):
            raise invalid(path, f"ends before element {index} of {count:,}; each stands behind its length in 4 bytes")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise invalid(path, f"element {index} should have {length:,} bytes, and {len(data) - at:,} are left")
        texts.append(decode_text(data[at : at + length], index, path))
        at += length
    if at != len(data):
        raise invalid(path, f"has {len(data) - at:,} bytes behind its {count:,} elements")
    return texts


def decode_text(data: bytes, index: int, path: str) -> str:
    """An element of BYTES as text. Raises InvalidField."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"{path}[{index}]", f"is no UTF-8 at byte {error.start}; encode text as UTF-8") from None
