"""What a model says of tensors."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt

from service.app import App
from service.callers import Caller
from service.errors import InvalidField, TooLarge, invalid, shown
from service.modelling.predictor import Predicted, Predictor
from service.modelling.signature import BYTES, DEVIATION, LABEL, PREDICTION, PROBABILITIES, Signature
from service.serving.batching import QUICK_WORK, Question, is_small
from service.serving.columns import matrix_of, table_of
from service.serving.lookup import MustWait, find, reference_of
from service.serving.tensors import Tensor

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a model."""

    model: str
    version: str
    # Empty = one is made.
    id: str
    inputs: Sequence[Tensor]
    # Names of outputs; none = all.
    outputs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What it answers."""

    # `{owner}.{id}`.
    model: str
    version: str
    id: str
    outputs: Sequence[Tensor]


def ask(
    app: App,
    caller: Caller,
    request: Request,
    encode: Callable[[Answer], Told],
    *,
    may_wait: bool,
    most_bytes: int,
) -> Told | Question[Told]:
    """Predict for every row of the inputs, by exactly the transformation that was trained with.

    Answers at once where the model does so by NumPy; else there is a question, to be answered with others like it.
    Raises MustWait where `may_wait` is false and either would take long; InvalidField naming the input; TooLarge where
    the answer would have more than `most_bytes`; and as `find` does.
    """
    text = reference_of(request.model, request.version)
    named, predictor = find(app, caller, text, "model_name", may_wait=may_wait)
    signature = predictor.signature
    wanted = _wanted(signature, request.outputs)
    matrix = matrix_of(signature, request.inputs)
    rows = len(matrix) if matrix is not None else max((tensor.shape[0] for tensor in request.inputs), default=0)
    _check_size(signature, rows, most_bytes)

    def tell(predicted: Predicted) -> Told:
        outputs = [tensor_of(name, predictor, predicted) for name in wanted]
        model = f"{named.owner_name}.{named.slug}"
        return encode(Answer(model, str(named.version), request.id or uuid.uuid4().hex, outputs))

    if matrix is not None:
        predicted = quickly(predictor, matrix, may_wait=may_wait)
        if predicted is not None:
            return tell(predicted)
    if not may_wait and not is_small(rows, len(signature.columns)):
        raise MustWait
    return Question(named, predictor, table_of(signature, request.inputs, matrix), tell)


def quickly(predictor: Predictor, matrix: npt.NDArray[Any], *, may_wait: bool) -> Predicted | None:
    """By NumPy, for columns of numbers [rows, columns]; None where this model or these numbers need the general way.

    Raises MustWait where `may_wait` is false and it would take long.
    """
    quick = predictor.quick
    if quick is None:
        return None
    if not may_wait and len(matrix) * predictor.parameter_count > QUICK_WORK:
        raise MustWait
    outputs = quick.answer(matrix)
    return None if outputs is None else predictor.tell(outputs, [])


def _wanted(signature: Signature, asked: Sequence[str]) -> Sequence[str]:
    names = signature.output_names
    for at, name in enumerate(asked):
        if name not in names:
            raise invalid(f"outputs[{at}].name", f"{shown(name)} is unknown; the model answers {', '.join(names)}")
        if name in asked[:at]:
            raise _twice(at, name)
    return asked or names


def _twice(at: int, name: str) -> InvalidField:
    return invalid(f"outputs[{at}].name", f"{shown(name)} stands twice; ask for it once")


def _check_size(signature: Signature, rows: int, most_bytes: int) -> None:
    size = rows * signature.width * 8
    if size > most_bytes:
        most = most_bytes // (signature.width * 8)
        raise TooLarge(
            f"inputs: {rows:,} rows make an answer of {size:,} bytes, and {most_bytes:,} fit into one: send at most "
            f"{most:,} rows a call, or predict a data set by a job",
            metadata={"field": "inputs", "rows": str(rows), "limit": str(most)},
        )


def tensor_of(name: str, predictor: Predictor, predicted: Predicted) -> Tensor:
    """One output: numbers and probabilities [rows, width], labels and their places [rows, 1]."""
    if name == LABEL:
        labels = [predictor.target.classes[code] for code in predicted.values.tolist()]
        return Tensor(name, BYTES, (len(labels), 1), labels)
    found = {PREDICTION: predicted.values, PROBABILITIES: predicted.probabilities, DEVIATION: predicted.deviations}
    values = found[name]
    assert values is not None, name
    if values.ndim == 1:
        values = values.reshape(-1, 1)
    return Tensor(name, "INT64" if values.dtype.kind == "i" else "FP64", values.shape, values)
