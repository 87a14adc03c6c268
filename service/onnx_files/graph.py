"""A graph of ONNX while it is built: every value has a name, and a constant is there once."""

import itertools
from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

# What runtimes of the last years take, and all that is needed.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
ML = "ai.onnx.ml"
DOUBLE, FLOAT, INT64, BOOL, STRING = (
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.STRING,
)


class Graph:
    """Nodes in the order in which they are computed. No name of its own begins as one of `taken`."""

    def __init__(self, taken: Collection[str]) -> None:
        self._mark = "_"
        while any(name.startswith(self._mark) for name in taken):
            self._mark += "_"
        self._numbers = itertools.count()
        self._constants: dict[tuple[Any, ...], Any] = {}
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def weight(self, name: str) -> str:
        """The name here of a weight of the network."""
        return self._mark + name

    def input(self, name: str, kind: int, told: str) -> str:
        """A column [N], as [N, 1]; `told` says for people what it takes."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, ["N"], told))
        return self.add("Unsqueeze", name, self.constant(np.array([1])))

    def output(self, name: str, kind: int, shape: list[str | int]) -> None:
        """Answer the value `name`."""
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def add(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        """A node of one output; answers its name."""
        output = name or f"{self._mark}{next(self._numbers)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def cast(self, value: str, kind: int) -> str:
        """A value as another type."""
        return self.add("Cast", value, to=kind)

    def constant(self, array: np.ndarray) -> str:
        """Numbers, whose name is the same wherever the same are asked for."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{self._mark}{next(self._numbers)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def number(self, value: float) -> str:
        """One number of 64 bits."""
        return self.constant(np.array(value, np.float64))

    def whole(self, value: int) -> str:
        """One whole number of 64 bits."""
        return self.constant(np.array(value, np.int64))

    def message(self, name: str) -> GraphProto:
        """The graph, without the weights of the network."""
        return helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
