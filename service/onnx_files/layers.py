"""The network of a spec as nodes; its weights have the names that networks.proto tells."""

import itertools
from collections.abc import Callable

import numpy as np

from service.modelling.layers import EPS
from service.modelling.networks import SOFTPLUS_STRAIGHT
from service.onnx_files.graph import FLOAT, Graph
from traind.v1 import networks_pb2

Network = networks_pb2.Network


class Layers:
    """Adds a network to a graph, in the type `kind` of its weights."""

    def __init__(self, graph: Graph, kind: int, dtype: np.dtype) -> None:
        self._graph, self._kind, self._dtype = graph, kind, dtype

    def outputs(self, network: networks_pb2.Network, x: str, inputs: int) -> str:
        """Outputs [N, outputs] of what the first layer sees [N, inputs]; of a perceptron the sum before its step."""
        match network.WhichOneof("kind"):
            case "linear":
                return self._linear("", x, bias=network.linear.bias)
            case "perceptron":
                return self._linear("", x, bias=network.perceptron.bias)
            case _:
                return self._mlp(network.mlp, x, inputs)

    def _mlp(self, mlp: networks_pb2.Mlp, x: str, inputs: int) -> str:
        graph, activate = self._graph, _ACTIVATIONS[mlp.activation]
        for index, (before, width) in enumerate(itertools.pairwise([inputs, *mlp.hidden])):
            y = self._normalised(mlp, index, self._linear(f"layers.{index}.", x, bias=mlp.bias))
            y = activate(self, y)
            x = graph.add("Add", x, y) if mlp.residual and index > 0 and before == width else y
        return self._linear(f"layers.{len(mlp.hidden)}.", x, bias=mlp.bias)

    def _linear(self, prefix: str, x: str, *, bias: bool) -> str:
        names = ("weight", "bias") if bias else ("weight",)
        return self._graph.add("Gemm", x, *(self._graph.weight(prefix + name) for name in names), transB=1)

    def _normalised(self, mlp: networks_pb2.Mlp, index: int, y: str) -> str:
        names = [
            self._graph.weight(f"norms.{index}.{name}") for name in ("weight", "bias", "running_mean", "running_var")
        ]
        match mlp.normalisation:
            case Network.BATCH:
                return self._graph.add("BatchNormalization", y, *names, epsilon=EPS)
            case Network.LAYER:
                return self._graph.add("LayerNormalization", y, *names[:2], axis=-1, epsilon=EPS)
            case _:
                return y

    def number(self, value: float) -> str:
        """A number in the network's type."""
        return self._graph.constant(np.array(value, self._dtype))

    def step(self, y: str) -> str:
        """1 where y > 0, else 0."""
        return self._graph.cast(self._graph.add("Greater", y, self.number(0)), self._kind)

    def leaky_relu(self, y: str) -> str:
        """The operator of this name is for 32 bits only in some runtimes."""
        return self._graph.add("Max", y, self._graph.add("Mul", y, self.number(0.01)))

    def gelu(self, y: str) -> str:
        """Y Phi(y); the error function is for 32 bits only in some runtimes, which costs 1e-7."""
        graph = self._graph
        erf = graph.cast(graph.add("Mul", y, self.number(0.5**0.5)), FLOAT)
        erf = graph.cast(graph.add("Erf", erf), self._kind)
        half = graph.add("Mul", y, self.number(0.5))
        return graph.add("Add", half, graph.add("Mul", half, erf))

    def silu(self, y: str) -> str:
        """Y sigmoid(y)."""
        return self._graph.add("Mul", y, self._graph.add("Sigmoid", y))

    def softplus(self, y: str) -> str:
        """ln(1 + exp(y)), and y where it is large."""
        graph = self._graph
        bounded = graph.add("Min", y, self.number(SOFTPLUS_STRAIGHT))
        grown = graph.add("Log", graph.add("Add", graph.add("Exp", bounded), self.number(1)))
        return graph.add("Where", graph.add("Greater", y, self.number(SOFTPLUS_STRAIGHT)), y, grown)

    def plain(self, kind: str, y: str) -> str:
        """An operator as it is."""
        return self._graph.add(kind, y)


_ACTIVATIONS: dict[networks_pb2.Network.Activation.ValueType, Callable[[Layers, str], str]] = {
    Network.IDENTITY: lambda _, y: y,
    Network.STEP: Layers.step,
    Network.SIGMOID: lambda layers, y: layers.plain("Sigmoid", y),
    Network.TANH: lambda layers, y: layers.plain("Tanh", y),
    Network.RELU: lambda layers, y: layers.plain("Relu", y),
    Network.LEAKY_RELU: Layers.leaky_relu,
    Network.GELU: Layers.gelu,
    Network.SILU: Layers.silu,
    Network.SOFTPLUS: Layers.softplus,
}
