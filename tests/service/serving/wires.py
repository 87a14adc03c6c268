"""Stock calls of the Open Inference Protocol, by gRPC and by HTTP, made of raw bytes: no client of ours between."""

import contextlib
import json

import grpc
import numpy as np

from service.rpc.oip import open_inference_pb2 as oip
from service.serving.tensors import DTYPES

SERVICE = "inference.GRPCInferenceService"


class Rpc:
    """The protocol at a gRPC port."""

    def __init__(self, port, token):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def call(self, method, request, answer, timeout=20, service=SERVICE, metadata=None):
        done = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=answer.FromString if answer else None,
        )
        return done(request, timeout=timeout, metadata=self.metadata if metadata is None else metadata)

    def infer(self, model, inputs, version="", **more):
        """Outputs by name."""
        answer = self.call("ModelInfer", request_of(model, inputs, version, **more), oip.ModelInferResponse)
        return answer, outputs_of(answer)

    def refusal(self, method, request, **more):
        try:
            self.call(method, request, None, **more)
        except grpc.RpcError as error:
            return error
        raise AssertionError("it was not refused")


@contextlib.contextmanager
def rpc(port, token):
    wire = Rpc(port, token)
    try:
        yield wire
    finally:
        wire.channel.close()


def request_of(model, inputs, version="", outputs=(), request_id="", contents=False):
    """`inputs`: arrays by name, or (datatype, array); lists of texts are BYTES."""
    message = oip.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    message.outputs.extend(oip.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    for name, given in inputs.items():
        datatype, values = typed(given)
        shape = [len(values)] if datatype == "BYTES" else list(values.shape)
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        if contents:
            tensor.contents.CopyFrom(contents_of(datatype, values))
        else:
            message.raw_input_contents.append(raw_of(datatype, values))
    return message


def typed(given):
    if isinstance(given, tuple):
        return given
    if isinstance(given, list):
        return "BYTES", given
    return next(name for name, dtype in DTYPES.items() if dtype == given.dtype), given


def raw_of(datatype, values):
    if datatype != "BYTES":
        return np.ascontiguousarray(values).tobytes()
    parts = [text if isinstance(text, bytes) else text.encode() for text in values]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def contents_of(datatype, values):
    field = {
        "BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents",
        "BOOL": "bool_contents", "UINT64": "uint64_contents",
    }.get(datatype, "int_contents" if datatype.startswith("INT") else "uint_contents")  # fmt: skip
    told = [text.encode() for text in values] if datatype == "BYTES" else values.reshape(-1).tolist()
    return oip.InferTensorContents(**{field: told})


def outputs_of(answer):
    found = {}
    for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        found[tensor.name] = decoded(tensor.datatype, list(tensor.shape), raw)
    return found


def decoded(datatype, shape, raw):
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    texts, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        texts.append(raw[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts


def json_of(inputs):
    """The same inputs as the protocol's JSON has them."""
    told = []
    for name, given in inputs.items():
        datatype, values = typed(given)
        shape = [len(values)] if datatype == "BYTES" else list(values.shape)
        data = values if datatype == "BYTES" else values.reshape(-1).tolist()
        told.append({"name": name, "datatype": datatype, "shape": shape, "data": data})
    return told


def binary_of(inputs, **more):
    """(body, bytes of its JSON): the inputs in binary behind it."""
    told, behind = [], []
    for name, given in inputs.items():
        datatype, values = typed(given)
        raw = raw_of(datatype, values)
        shape = [len(values)] if datatype == "BYTES" else list(values.shape)
        size = {"binary_data_size": len(raw)}
        told.append({"name": name, "datatype": datatype, "shape": shape, "parameters": size})
        behind.append(raw)
    head = json.dumps({"inputs": told} | more).encode()
    return b"".join([head, *behind]), len(head)


def binary_outputs(body, size):
    """Outputs by name of a binary answer."""
    told, at, found = json.loads(body[:size]), size, {}
    for output in told["outputs"]:
        count = output["parameters"]["binary_data_size"]
        found[output["name"]] = decoded(output["datatype"], output["shape"], body[at : at + count])
        at += count
    assert at == len(body)
    return found
