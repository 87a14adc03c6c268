"""What a model says of rows that a call brings: the stored preprocessing, then the network."""

from collections.abc import Sequence

import numpy as np

from service import references
from service.app import App
from service.callers import Caller
from service.data.table import NUMERIC, table_from_values
from service.errors import TooLarge
from service.model_names import Named
from service.modelling.predictor import Predicted, Predictor
from service.serving import inferring
from service.serving.batching import Question, is_small
from service.serving.columns import Numbers
from service.serving.lookup import MustWait, find
from traind.v1 import predictions_pb2, tables_pb2

ANSWERED_NUMBERS = 400_000  # numbers of one answer: 8 bytes each fill most of the largest message, 4 MiB


def predict(app: App, caller: Caller, request: predictions_pb2.PredictRequest) -> predictions_pb2.PredictResponse:
    """Predict for every row of the request, in its order."""
    found = ask(app, caller, request, may_wait=True)
    return found.answer() if isinstance(found, Question) else found


def ask(
    app: App, caller: Caller, request: predictions_pb2.PredictRequest, *, may_wait: bool
) -> predictions_pb2.PredictResponse | Question[predictions_pb2.PredictResponse]:
    """The same at once, or as a question that can be answered with others like it.

    Raises MustWait where `may_wait` is false and either would take long.
    """
    named, predictor = find(app, caller, request.name, "name", may_wait=may_wait)
    rows = max((max(len(column.numbers), len(column.strings)) for column in request.columns), default=0)
    matrix = None if request.return_hidden else _all_numbers(request.columns, predictor.signature.columns, rows)
    if matrix is not None:
        _check_size(predictor, rows, hidden=False)
        predicted = inferring.quickly(predictor, matrix, may_wait=may_wait)
        if predicted is not None:
            return _encode(named, predictor, predicted)
    if not may_wait and (request.return_hidden or not is_small(rows, len(request.columns))):
        raise MustWait
    table = table_from_values(request.columns, predictor.signature.columns)
    _check_size(predictor, table.row_count, hidden=request.return_hidden)
    if request.return_hidden:
        return _encode(named, predictor, predictor.predict(table, hidden=True))
    return Question(named, predictor, table, lambda predicted: _encode(named, predictor, predicted))


def _all_numbers(
    columns: Sequence[tables_pb2.ColumnValues], wanted: Sequence[tables_pb2.Column], rows: int
) -> Numbers | None:
    """The columns as numbers [rows, columns], NaN where they are missing.

    None where they are not just that: the general way tells what is wrong, if something is.
    """
    given = {column.name: column for column in columns}
    if not rows or len(columns) != len(wanted) or any(column.type not in NUMERIC for column in wanted):
        return None
    matrix = np.empty((rows, len(wanted)))
    for place, column in enumerate(wanted):
        one = given.get(column.name)
        if one is None or one.strings or one.missing or len(one.numbers) != rows:
            return None
        matrix[:, place] = one.numbers
    return matrix


def _check_size(predictor: Predictor, rows: int, *, hidden: bool) -> None:
    """Refuse an answer that would not fit into one message before it is computed."""
    targets = len(predictor.target.columns) * (2 if predictor.tells_deviations else 1)
    width = targets + len(predictor.target.classes) + (sum(predictor.hidden_widths) if hidden else 0)
    if rows * width > ANSWERED_NUMBERS:
        raise TooLarge(
            f"columns: {rows:,} rows make an answer of {rows * width:,} numbers; at most {ANSWERED_NUMBERS:,} are "
            f"answered at once: send at most {ANSWERED_NUMBERS // width:,} rows a call",
            metadata={"rows": str(rows), "limit": str(ANSWERED_NUMBERS // width)},
        )


def _encode(named: Named, predictor: Predictor, predicted: Predicted) -> predictions_pb2.PredictResponse:
    answer = predictions_pb2.PredictResponse(
        model=references.version_name("models", named.owner_name, named.slug, named.version),
        predictions=_target_values(predictor, predicted.values),
    )
    if predicted.deviations is not None:
        answer.deviations.extend(_numbers(predictor, predicted.deviations))
    if predicted.probabilities is not None:
        for index, label in enumerate(predictor.target.classes):
            answer.probabilities.add(name=label, numbers=predicted.probabilities[:, index].tolist())
    for name, output in predicted.hidden:
        tensor = tables_pb2.Tensor(shape=list(output.shape), values=np.ravel(output).tolist())
        answer.hidden.add(name=name, output=tensor)
    return answer


def _target_values(predictor: Predictor, values: np.ndarray) -> list[tables_pb2.ColumnValues]:
    """Numbers as they are; classes by their names, and by their numbers where the target's column holds numbers."""
    target = predictor.target
    if not target.classes:
        return _numbers(predictor, values)
    labels = [target.classes[code] for code in values.tolist()]
    (column,) = target.columns
    if column.type in {tables_pb2.Column.INTEGER, tables_pb2.Column.NUMBER}:
        return [tables_pb2.ColumnValues(name=column.name, numbers=[float(label) for label in labels])]
    return [tables_pb2.ColumnValues(name=column.name, strings=labels)]


def _numbers(predictor: Predictor, values: np.ndarray) -> list[tables_pb2.ColumnValues]:
    """Numbers [rows, targets] as columns under the targets' names."""
    return [
        tables_pb2.ColumnValues(name=name, numbers=values[:, index].tolist())
        for index, name in enumerate(predictor.target.names)
    ]
