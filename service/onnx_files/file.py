"""A model as an ONNX file: a message of protobuf, with the weights as ranges of where they are stored.

A field of a message is its number and kind, its length and its bytes, and fields may come in any order: so the weights,
which would be in memory twice if they were put into messages, come last in their message and go straight to the caller.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from service.data.preprocessing import Fitted
from service.data.targets import Target
from service.errors import TooLarge, WrongState, shown
from service.file_parts import Part, StoredTensor, size_of
from service.modelling import networks, specs
from service.modelling.predictor import largest_number
from service.onnx_files.answers import (
    DEVIATION,
    LABEL,
    PREDICTION,
    PROBABILITIES,
    add_classes,
    add_numbers,
)
from service.onnx_files.columns import Columns
from service.onnx_files.graph import DOUBLE, FLOAT, IR_VERSION, ML, ML_OPSET, OPSET, Graph
from service.onnx_files.layers import Layers
from traind.v1 import specs_pb2
from traind.version import __version__

# Programs read protobuf messages of fewer bytes.
MOST_BYTES = 2**31 - 1
_CURE = "export it as SAFETENSORS or SCRIPT"
# Fields of messages, from the public onnx.proto.
_GRAPH = ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = 5
_RAW_DATA = TensorProto.RAW_DATA_FIELD_NUMBER


def onnx_parts(
    name: str,
    spec: specs_pb2.TrainSpec,
    fitted: Fitted,
    target: Target,
    tensors: Sequence[StoredTensor],
    told: Mapping[str, str],
) -> list[Part]:
    """The file of the model `name`, of a resolved spec; `told` becomes its metadata.

    Raises WrongState where a graph cannot say what the model does, TooLarge.
    """
    kind = DOUBLE if spec.dtype == specs_pb2.TrainSpec.FLOAT64 else FLOAT
    graph = _graph(name, spec, fitted, target, kind)
    model = ModelProto(
        ir_version=IR_VERSION,
        opset_import=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        producer_name="traind",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(told))
    weights: list[Part] = []
    for tensor in tensors:
        weights += [_head(graph.weight(tensor.name), kind, tensor), tensor.place]
    message = graph.message("traind").SerializeToString()
    length = len(message) + size_of(weights)
    parts = [model.SerializeToString() + _key(_GRAPH, length) + message, *weights]
    if (size := size_of(parts)) > MOST_BYTES:
        raise TooLarge(
            f"format: {name} would be an ONNX file of {size:,} bytes, and programs read at most {MOST_BYTES:,}; "
            f"{_CURE}",
            metadata={"field": "format", "limit": str(MOST_BYTES)},
        )
    return parts


def _graph(name: str, spec: specs_pb2.TrainSpec, fitted: Fitted, target: Target, kind: int) -> Graph:
    columns = [column.name for column in fitted.columns]
    for output in (PREDICTION, LABEL, PROBABILITIES) if target.classes else (PREDICTION, DEVIATION):
        if output in columns:
            raise WrongState(
                f"{name} cannot be exported as ONNX: its input column {shown(output)} is called as an output of the "
                f"graph is, and a graph has each name once; {_CURE}, or train it with a column of another name",
                metadata={"resource": name, "column": output},
            )
    graph, loss = Graph(columns), spec.loss.WhichOneof("kind")
    features = Columns(graph, kind).features(fitted, largest_number(spec))
    layers = Layers(graph, kind, np.dtype(np.float64 if kind == DOUBLE else np.float32))
    outputs = layers.outputs(spec.network, features.values, fitted.layout.width)
    if specs.task_of(spec) == "regression":
        add_numbers(graph, target, outputs, features.refused, deviations=loss == "gaussian_nll")
        return graph
    logits = networks.output_width(spec, len(target.classes))
    perceptron = spec.network.WhichOneof("kind") == "perceptron"
    add_classes(graph, target, outputs, features.refused, logits=logits, probabilities=not perceptron)
    return graph


def _head(name: str, kind: int, tensor: StoredTensor) -> bytes:
    """What stands before the bytes of a weight: it as a field of the graph, its own fields, the bytes' own length."""
    count = tensor.place.end - tensor.place.begin
    told = TensorProto(name=name, data_type=kind, dims=tensor.shape).SerializeToString() + _key(_RAW_DATA, count)
    data: bytes = _key(_INITIALIZER, len(told) + count) + told
    return data


def _key(number: int, length: int) -> bytes:
    """What stands before the bytes of a field that has a length: number, kind and the length."""
    return bytes([number << 3 | 2]) + _varint(length)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
