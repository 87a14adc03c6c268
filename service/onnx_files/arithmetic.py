"""Functions that ONNX has no operator for, of numbers of 64 bits."""

import numpy as np
from onnx import numpy_helper

from service.onnx_files.graph import Graph

# Below it three terms of the series are nearer than what rounding leaves of the plain formula.
NEAR = 1e-5


def log1p(graph: Graph, x: str) -> str:
    """ln(1 + x), exact for small x too; -Inf at -1 and NaN below."""
    inner = graph.add("Sub", graph.number(0.5), graph.add("Div", x, graph.number(3.0)))
    series = graph.add("Mul", x, graph.add("Sub", graph.number(1.0), graph.add("Mul", x, inner)))
    return _near(graph, x, series, graph.add("Log", graph.add("Add", x, graph.number(1.0))))


def expm1(graph: Graph, x: str) -> str:
    """exp(x) - 1, exact for small x too."""
    inner = graph.add("Add", graph.number(0.5), graph.add("Div", x, graph.number(6.0)))
    series = graph.add("Mul", x, graph.add("Add", graph.number(1.0), graph.add("Mul", x, inner)))
    return _near(graph, x, series, graph.add("Sub", graph.add("Exp", x), graph.number(1.0)))


def _near(graph: Graph, x: str, series: str, plain: str) -> str:
    return graph.add("Where", graph.add("Less", graph.add("Abs", x), graph.number(NEAR)), series, plain)


def zeros(graph: Graph, like: str) -> str:
    """0 in the shape of another value, whatever that holds."""
    return graph.add("ConstantOfShape", graph.add("Shape", like), value=numpy_helper.from_array(np.zeros(1)))


def divide(graph: Graph, a: str, b: int) -> str:
    """Whole numbers divided by one above 0, rounded down."""
    return graph.add("Div", graph.add("Sub", a, modulo(graph, a, b)), graph.whole(b))


def modulo(graph: Graph, a: str, b: int) -> str:
    """What is left of whole numbers divided by one above 0: from 0 to below it."""
    return graph.add("Mod", a, graph.whole(b))


def linear(graph: Graph, a: str, factor: int, more: int) -> str:
    """A * factor + more, of whole numbers."""
    return graph.add("Add", graph.add("Mul", a, graph.whole(factor)), graph.whole(more))
