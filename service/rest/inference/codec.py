"""The protocol's JSON, with tensors in it or in binary behind it, as requests and answers of service/serving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import orjson

from service.errors import MalformedBody, invalid, shown
from service.modelling.signature import BYTES
from service.serving import tensors
from service.serving.inferring import Answer, Request
from service.serving.keeping import MOST_KEPT_BYTES, Kept
from service.serving.tensors import Tensor

# Kinds of NumPy arrays that JSON makes, by what a datatype holds.
_KINDS = {"BOOL": "b", "FP16": "fiu", "FP32": "fiu", "FP64": "fiu"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and which of its outputs go in binary."""

    request: Request
    # Unless an output says otherwise.
    binary: bool
    by_name: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the JSON of a body says whose inputs are all in binary."""

    # Name, datatype, shape, where its bytes begin and end, and what it is called in an error.
    inputs: Sequence[tuple[str, str, tuple[int, ...], int, int, str]]
    # Of all of them together.
    size_bytes: int
    # Empty = one is made.
    id: str
    outputs: Sequence[str]
    binary: bool
    by_name: Mapping[str, bool]

    def ask(self, tail: memoryview, model: str, version: str) -> Asked:
        made = [
            tensors.from_raw(name, datatype, shape, tail[begin:end], path)
            for name, datatype, shape, begin, end, path in self.inputs
        ]
        return Asked(Request(model, version, self.id, made, self.outputs), self.binary, self.by_name)


_plans: Kept[bytes, _Plan] = Kept()


def decode(head: bytes, tail: memoryview, model: str, version: str) -> Asked:
    """What a body asks: its JSON, and the bytes of tensors behind it. Raises MalformedBody, InvalidField."""
    plan = _plans.get(head)
    if plan is not None and plan.size_bytes == len(tail):
        return plan.ask(tail, model, version)
    told = _parse(head)
    inputs = _list(told, "inputs", required=True)
    outputs = _list(told, "outputs", required=False)
    made, planned, at = [], [], 0
    for place, one in enumerate(inputs):
        path = f"inputs[{place}]"
        size = _parameters(one, path).get("binary_data_size")
        if size is None:
            made.append(_from_json(one, path))
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail) - at:
            raise invalid(
                f"{path}.parameters.binary_data_size",
                f"is {shown(size)}; {len(tail) - at:,} bytes are left behind the JSON",
            )
        if "data" in one:
            raise invalid(f"{path}.data", "came beside binary_data_size; send the values in one of them")
        tensor = _from_binary(one, tail[at : at + size], path)
        made.append(tensor)
        planned.append((tensor.name, tensor.datatype, tensor.shape, at, at + size, path))
        at += size
    if at != len(tail):
        raise MalformedBody(f"{len(tail) - at:,} bytes stand behind the JSON that no input's binary_data_size names")
    names = [_text(one, "name", f"outputs[{place}]") for place, one in enumerate(outputs)]
    by_name = {
        name: bool(parameters["binary_data"])
        for name, one, place in zip(names, outputs, range(len(names)), strict=True)
        if "binary_data" in (parameters := _parameters(one, f"outputs[{place}]"))
    }
    binary = bool(_parameters(told, "").get("binary_data_output", False))
    request_id = told.get("id") or ""
    if not isinstance(request_id, str):
        raise invalid("id", f"is {shown(request_id)}; it must be text")
    if len(planned) == len(made) and len(head) <= MOST_KEPT_BYTES:
        _plans.keep(head, _Plan(planned, at, request_id, names, binary, by_name))
    return Asked(Request(model, version, request_id, made, names), binary, by_name)


def encode(answer: Answer, asked: Asked) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of its JSON where something stands behind that."""
    outputs, behind = [], []
    for tensor in answer.outputs:
        told: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        if asked.by_name.get(tensor.name, asked.binary):
            raw = tensors.to_raw(tensor)
            told["parameters"] = {"binary_data_size": len(raw)}
            behind.append(raw)
        elif isinstance(tensor.values, list):
            told["data"] = tensor.values
        else:
            told["data"] = np.ascontiguousarray(tensor.values).reshape(-1)
        outputs.append(told)
    head = orjson.dumps(
        {"model_name": answer.model, "model_version": answer.version, "id": answer.id, "outputs": outputs},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    return (b"".join([head, *behind]), len(head)) if behind else (head, None)


def _parse(head: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if not isinstance(told, dict):
        raise MalformedBody("the body must be a JSON object with `inputs`")
    return told


def _list(told: Mapping[str, Any], name: str, *, required: bool) -> Sequence[dict[str, Any]]:
    found = told.get(name) or []
    if required and not found:
        raise invalid(name, "is required: a list of tensors")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid(name, "must be a list of objects")
    return found


def _parameters(told: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    found = told.get("parameters") or {}
    if not isinstance(found, dict):
        raise invalid(f"{path}.parameters".lstrip("."), f"is {shown(found)}; it must be an object")
    return found


def _text(told: Mapping[str, Any], name: str, path: str) -> str:
    found = told.get(name)
    if not isinstance(found, str):
        raise invalid(
            f"{path}.{name}", "is required, a text" if found is None else f"is {shown(found)}; it must be text"
        )
    return found


def _shape(told: Mapping[str, Any], path: str) -> tuple[int, ...]:
    found = told.get("shape")
    if not isinstance(found, list) or not all(type(size) is int for size in found):
        raise invalid(f"{path}.shape", f"is {shown(found)}; it must be a list of whole numbers")
    return tuple(found)


def _from_binary(told: Mapping[str, Any], raw: memoryview, path: str) -> Tensor:
    return tensors.from_raw(_text(told, "name", path), _text(told, "datatype", path), _shape(told, path), raw, path)


def _from_json(told: Mapping[str, Any], path: str) -> Tensor:
    name, datatype, shape = _text(told, "name", path), _text(told, "datatype", path), _shape(told, path)
    count, data = tensors.count_of(shape, path), told.get("data")
    if not isinstance(data, list):
        raise invalid(f"{path}.data", "is required, a list of values; or send them in binary with binary_data_size")
    if datatype == BYTES:
        texts = _flat(data, path)
        _check_count(len(texts), count, shape, path)
        return Tensor(name, datatype, shape, texts)
    values = _array(data, datatype, path)
    _check_count(values.size, count, shape, path)
    return Tensor(name, datatype, shape, values.reshape(shape))


def _array(data: list[Any], datatype: str, path: str) -> "np.ndarray[Any, Any]":
    """Nested or flat lists as an array of the datatype; `null` is a missing number."""
    dtype = tensors.dtype_of(datatype, path)
    try:
        values = np.array(data)
    except (ValueError, OverflowError):
        _refuse(path, datatype, "lists of different lengths")
    if values.dtype == object and dtype.kind == "f":
        values = _with_missing(values, path, datatype)
    if values.size and values.dtype.kind not in _KINDS.get(datatype, "iu"):
        _refuse(
            path, datatype, {"b": "true or false", "U": "text", "f": "fractions"}.get(values.dtype.kind, "other values")
        )
    if dtype.kind in "iu" and values.size:
        bounds = np.iinfo(dtype)
        if int(values.min()) < bounds.min or int(values.max()) > bounds.max:
            _refuse(path, datatype, "a number that it cannot hold")
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _with_missing(values: "np.ndarray[Any, Any]", path: str, datatype: str) -> "np.ndarray[Any, Any]":
    if not all(one is None or type(one) in {int, float} for one in values.reshape(-1)):
        _refuse(path, datatype, "other values than numbers and null")
    return np.where(values == None, np.nan, values).astype(np.float64)  # noqa: E711 - element by element


def _flat(data: list[Any], path: str) -> list[str]:
    texts = [text for row in data for text in (row if isinstance(row, list) else [row])]
    if not all(isinstance(text, str) for text in texts):
        _refuse(path, BYTES, "other values than texts")
    return texts


def _check_count(found: int, count: int, shape: Sequence[int], path: str) -> None:
    if found != count:
        raise invalid(f"{path}.data", f"has {found:,} values; shape {list(shape)} takes {count:,}")


def _refuse(path: str, datatype: str, what: str) -> NoReturn:
    raise invalid(f"{path}.data", f"holds {what}, and the datatype is {datatype}")
