"""ModelInfer by a shorter way, for what most clients send call after call: one tensor of all columns, its values raw.

The message is walked by its top-level fields, as protobuf lays them out (protobuf.dev, encoding); what describes the
tensor, and what an answer begins with, is made by protobuf once and kept. Whatever is not just that, or is wrong, goes
the whole way, which answers the same and tells what is wrong.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from service.app import App
from service.callers import Caller
from service.modelling.signature import MATRIX
from service.rpc.oip import open_inference_pb2 as oip
from service.serving import inferring, tensors
from service.serving.keeping import MOST_KEPT_BYTES, Kept
from service.serving.lookup import find, reference_of
from service.serving.tensors import Tensor

# Tags of ModelInferRequest: field number and "length and bytes".
_NAME, _VERSION, _ID, _INPUT, _RAW = 0x0A, 0x12, 0x1A, 0x2A, 0x3A
_KNOWN = frozenset({_NAME, _VERSION, _ID, _INPUT, _RAW})
# And of ModelInferResponse.
_ANSWERED_ID, _ANSWERED_RAW = b"\x1a", b"\x32"
_EMPTY = (0, 0)

_Fields = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Described:
    """What an input's description says: a matrix of numbers."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, int]
    count: int
    size_bytes: int


class Shortcut:
    """The shorter way of one door. For any thread."""

    def __init__(self, app: App, most_bytes: int) -> None:
        """`most_bytes`: of an answer."""
        self._app, self._most = app, most_bytes
        self._references: Kept[tuple[bytes, bytes], str] = Kept()
        self._described: Kept[bytes, _Described] = Kept()
        # What an answer begins with, by version of a model and rows.
        self._begins: Kept[tuple[str, int], bytes] = Kept()

    def answer(self, caller: Caller, data: bytes, *, may_wait: bool) -> bytes | None:
        """The bytes of a ModelInferResponse, or None where the whole way has to be taken.

        Raises MustWait where `may_wait` is false and it would take long; and as `find` does.
        """
        fields = _walk(data)
        if fields is None or _INPUT not in fields or _RAW not in fields:
            return None
        described = self._describe(_part(data, fields[_INPUT]))
        begin, end = fields[_RAW]
        if described is None or end - begin != described.size_bytes:
            return None
        reference = self._refer(_part(data, fields.get(_NAME, _EMPTY)), _part(data, fields.get(_VERSION, _EMPTY)))
        request_id = _part(data, fields.get(_ID, _EMPTY))
        if reference is None or not request_id.isascii():
            return None
        named, predictor = find(self._app, caller, reference, "model_name", may_wait=may_wait)
        signature, (rows, columns) = predictor.signature, described.shape
        if not signature.takes_matrix or columns != len(signature.columns) or rows * signature.width * 8 > self._most:
            return None
        values = np.frombuffer(data, described.dtype, described.count, begin).reshape(described.shape)
        predicted = inferring.quickly(predictor, values, may_wait=may_wait)
        if predicted is None:
            return None
        outputs = [inferring.tensor_of(name, predictor, predicted) for name in signature.output_names]
        key = (named.id, rows)
        begins = self._begins.get(key)
        if begins is None:
            begins = _begin(f"{named.owner_name}.{named.slug}", str(named.version), outputs)
            self._begins.keep(key, begins)
        told = [begins, _ANSWERED_ID, *_sized(request_id or uuid.uuid4().hex.encode())]
        for output in outputs:
            told += (_ANSWERED_RAW, *_sized(tensors.to_raw(output)))
        return b"".join(told)

    def _describe(self, data: bytes) -> _Described | None:
        """What an InferInputTensor says, where it is a matrix of numbers without anything else."""
        known = self._described.get(data)
        if known is not None or len(data) > MOST_KEPT_BYTES:
            return known
        try:
            tensor = oip.ModelInferRequest.InferInputTensor.FromString(data)
        except DecodeError:
            return None
        dtype, shape = tensors.DTYPES.get(tensor.datatype), tuple(tensor.shape)
        if dtype is None or dtype.kind == "b" or tensor.name != MATRIX or tensor.HasField("contents"):
            return None
        if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > tensors.MOST_ELEMENTS:
            return None
        count = shape[0] * shape[1]
        made = _Described(dtype, (shape[0], shape[1]), count, count * dtype.itemsize)
        self._described.keep(data, made)
        return made

    def _refer(self, name: bytes, version: bytes) -> str | None:
        known = self._references.get((name, version))
        if known is not None:
            return known
        try:
            reference = reference_of(name.decode(), version.decode())
        except UnicodeDecodeError:
            return None
        if len(name) + len(version) <= MOST_KEPT_BYTES:
            self._references.keep((name, version), reference)
        return reference


def _walk(data: bytes) -> _Fields | None:
    """Where each field's bytes begin and end; None for what has others than those known here, or one twice."""
    found: dict[int, tuple[int, int]] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            tag, size = data[at], data[at + 1]
            at += 2
            if tag not in _KNOWN or tag in found:
                return None
            if size > 127:
                size, at = _long(data, size, at)
            found[tag] = at, at + size
            at += size
    except IndexError:
        return None
    return found if at == end else None


def _long(data: bytes, first: int, at: int) -> tuple[int, int]:
    """A length of several bytes, seven bits each, the lowest first; and where it ends. Four of them are enough."""
    size = first & 127
    for shift in (7, 14, 21):
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return size, at
    raise IndexError


def _part(data: bytes, place: tuple[int, int]) -> bytes:
    return data[place[0] : place[1]]


def _sized(data: bytes) -> tuple[bytes, bytes]:
    """A field's length and its bytes."""
    size = len(data)
    if size < 128:
        return bytes((size,)), data
    length = bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes(length), data


def _begin(model: str, version: str, outputs: Sequence[Tensor]) -> bytes:
    """An answer without its id and its values."""
    message = oip.ModelInferResponse(model_name=model, model_version=version)
    for output in outputs:
        message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    return message.SerializeToString()
