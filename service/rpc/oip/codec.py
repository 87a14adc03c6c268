"""ModelInfer's messages as requests and answers of service/serving, and back."""

from typing import Any

import numpy as np

from service.errors import invalid
from service.modelling.signature import BYTES
from service.rpc.oip import open_inference_pb2 as oip
from service.serving import tensors
from service.serving.inferring import Answer, Request
from service.serving.tensors import Tensor

# Where the values of a datatype stand in InferTensorContents.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def decode(message: oip.ModelInferRequest) -> Request:
    """What a message asks. Raises InvalidField."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid(
            "raw_input_contents",
            f"has {len(raw)} entries for {len(message.inputs)} inputs; send one for each, in their order, or none",
        )
    inputs = [
        _from_raw(tensor, raw[at], f"inputs[{at}]") if raw else _from_contents(tensor, f"inputs[{at}]")
        for at, tensor in enumerate(message.inputs)
    ]
    wanted = [output.name for output in message.outputs]
    return Request(message.model_name, message.model_version, message.id, inputs, wanted)


def encode(answer: Answer) -> bytes:
    """An answer as the bytes of a ModelInferResponse; its values are raw, which every client reads."""
    message = oip.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.id)
    for tensor in answer.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(tensors.to_raw(tensor))
    return message.SerializeToString()


def _from_raw(tensor: oip.ModelInferRequest.InferInputTensor, raw: bytes, path: str) -> Tensor:
    if tensor.HasField("contents"):
        raise invalid(f"{path}.contents", "came beside raw_input_contents; send the values in one of them")
    return tensors.from_raw(tensor.name, tensor.datatype, tuple(tensor.shape), raw, path)


def _from_contents(tensor: oip.ModelInferRequest.InferInputTensor, path: str) -> Tensor:
    shape = tuple(tensor.shape)
    count = tensors.count_of(shape, path)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        tensors.dtype_of(tensor.datatype, path)
        raise invalid(f"{path}.contents", f"has no place for {tensor.datatype}; send it by raw_input_contents")
    for other, _values in tensor.contents.ListFields():
        if other.name != field:
            raise invalid(f"{path}.contents.{other.name}", f"holds values, and those of {tensor.datatype} are {field}")
    values: Any = getattr(tensor.contents, field)
    if len(values) != count:
        raise invalid(f"{path}.contents.{field}", f"has {len(values):,} values; shape {list(shape)} takes {count:,}")
    if tensor.datatype == BYTES:
        texts = [tensors.decode_text(data, at, f"{path}.contents.{field}") for at, data in enumerate(values)]
        return Tensor(tensor.name, BYTES, shape, texts)
    dtype = tensors.DTYPES[tensor.datatype]
    if dtype.kind in "iu" and len(values) and not _fits(values, dtype):
        raise invalid(f"{path}.contents.{field}", f"has a number that {tensor.datatype} cannot hold")
    return Tensor(tensor.name, tensor.datatype, shape, np.array(values, dtype).reshape(shape))


def _fits(values: Any, dtype: "np.dtype[Any]") -> bool:
    bounds = np.iinfo(dtype)
    return bool(bounds.min <= min(values) and max(values) <= bounds.max)
