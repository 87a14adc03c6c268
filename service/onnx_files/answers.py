"""What the outputs of a network say: numbers in the targets' own units, or classes. Refused rows are not answered."""

import numpy as np

from service.data.targets import Target
from service.modelling.predictor import LEAST_VARIANCE
from service.onnx_files.arithmetic import zeros
from service.onnx_files.graph import DOUBLE, INT64, ML, STRING, Graph
from service.onnx_files.steps import undo_steps

PREDICTION, DEVIATION, PROBABILITIES, LABEL = "prediction", "deviation", "probabilities", "label"


def add_numbers(graph: Graph, target: Target, outputs: str, refused: str, *, deviations: bool) -> None:
    """`prediction` [N, targets], and `deviation` where the network has a second output for each target."""
    outputs, count = graph.cast(outputs, DOUBLE), len(target.columns)
    means, spreads = [], []
    for index, column in enumerate(target.columns):
        mean, slope = undo_steps(graph, column.steps, _slice(graph, outputs, index), column.reach)
        means.append(mean)
        if deviations:
            spread = _spread(graph, _slice(graph, outputs, count + index))
            spreads.append(spread if slope is None else graph.add("Mul", spread, slope))
    for name, values in ((PREDICTION, means), (DEVIATION, spreads)):
        if values:
            beside = graph.add("Concat", *values, axis=1)
            graph.add("Where", refused, graph.number(np.nan), beside, name=name)
            graph.output(name, DOUBLE, ["N", count])


def _slice(graph: Graph, outputs: str, index: int) -> str:
    """One output as [N, 1]."""
    return graph.add("Slice", outputs, *(graph.constant(np.array([place])) for place in (index, index + 1, 1)))


def _spread(graph: Graph, log_variance: str) -> str:
    variance = graph.add("Max", graph.add("Exp", log_variance), graph.number(LEAST_VARIANCE))
    return graph.add("Sqrt", variance)


def add_classes(graph: Graph, target: Target, outputs: str, refused: str, *, logits: int, probabilities: bool) -> None:
    """`prediction` and `label` [N], and `probabilities` [N, classes] where the outputs are `logits` of them."""
    outputs, axis = graph.cast(outputs, DOUBLE), graph.constant(np.array([1]))
    if logits == 1:
        codes = graph.cast(graph.add("Greater", graph.add("Squeeze", outputs, axis), graph.number(0.0)), INT64)
    else:
        codes = graph.add("ArgMax", outputs, axis=1, keepdims=0)
    graph.add("Where", graph.add("Squeeze", refused, axis), graph.whole(-1), codes, name=PREDICTION)
    graph.output(PREDICTION, INT64, ["N"])
    graph.add(
        "LabelEncoder",
        PREDICTION,
        name=LABEL,
        domain=ML,
        keys_int64s=list(range(len(target.classes))),
        values_strings=list(target.classes),
        default_string="",
    )
    graph.output(LABEL, STRING, ["N"])
    if probabilities:
        every = graph.add("Concat", zeros(graph, outputs), outputs, axis=1) if logits == 1 else outputs
        shares = graph.add("Softmax", every, axis=1)
        graph.add("Where", refused, graph.number(np.nan), shares, name=PROBABILITIES)
        graph.output(PROBABILITIES, DOUBLE, ["N", len(target.classes)])
