"""Golden rows: rows that a model answered when it was trained, and whether it answers them so still.

Weights and preprocessing are stored; what is done with them is code, which changes with versions of traind and of its
libraries. A model that answers otherwise than the one whose figures were measured is not the model that was trained.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from service.data.table import table_from_values
from service.errors import DataCorrupt, TraindError, shown
from service.modelling.predictor import Predicted, Predictor
from traind.v1 import model_files_pb2, specs_pb2, tables_pb2

Numbers = npt.NDArray[np.float64]

MOST_ROWS = 8
MOST_BYTES = 256 << 10
# How far apart answers may be: so much, and so much of the largest answer in the column. Other libraries and processors
# add numbers up in another order.
NEAR = {
    specs_pb2.TrainSpec.FLOAT32: (1e-6, 1e-5),
    specs_pb2.TrainSpec.FLOAT64: (1e-9, 1e-9),
}
# Networks that magnify what they round, by large weights of both signs, may be apart by so many times what their
# answers of 32 bits in that column are from those of 64 bits on one and the same machine.
ROUNDED = 10.0


@dataclass(frozen=True)
class _Answers:
    """Answers of one kind: [rows, columns], with a name for each column."""

    kind: str
    names: Sequence[str]
    values: Numbers


def make(predictor: Predictor, columns: Sequence[tables_pb2.ColumnValues]) -> model_files_pb2.GoldenRows | None:
    """The first rows that the model takes, at most MOST_ROWS, with its answers; None where it takes none of them.

    `columns` are as a call would send them, in the order of the inputs. Fewer rows where more would be too long.
    """
    kept = columns
    if not _taken(predictor, _some(columns, range(MOST_ROWS))):
        rows = [row for row in range(_count(columns)) if _taken(predictor, _some(columns, [row]))]
        kept = _some(columns, rows)
    for count in range(min(MOST_ROWS, _count(kept)), 0, -1):
        golden = _encode(predictor, _some(kept, range(count)))
        if golden.ByteSize() <= MOST_BYTES:
            return golden
    return None


def decode(data: bytes) -> model_files_pb2.GoldenRows:
    """What was stored. Raises DataCorrupt."""
    try:
        return model_files_pb2.GoldenRows.FromString(data)
    except DecodeError:
        raise DataCorrupt("the golden rows of a model cannot be read: restore the database from a backup") from None


def find_difference(predictor: Predictor, golden: model_files_pb2.GoldenRows) -> str | None:
    """Where a model answers otherwise than is told, in words for people; None where it answers the same."""
    try:
        columns = [
            tables_pb2.ColumnValues(name=wanted.name, numbers=c.numbers, strings=c.strings, missing=c.missing)
            for wanted, c in zip(predictor.inputs, golden.columns, strict=True)
        ]
        table = table_from_values(columns, predictor.inputs)
        now = list(_answers(predictor, predictor.predict(table)))
    except TraindError as error:
        return f"it refuses a golden row, {error}"
    except ValueError:
        return f"its golden rows have {len(golden.columns)} columns, and it takes {len(predictor.inputs)}"
    then = _told(golden)
    if difference := _first(predictor, now, then, [np.zeros(1)] * len(now)):
        if predictor.spec.dtype == specs_pb2.TrainSpec.FLOAT64:
            return difference
        exact = _doubled(predictor)
        rounded = [
            ROUNDED * np.abs(one.values - other.values).max(axis=0)
            for one, other in zip(now, _answers(exact, exact.predict(table)), strict=True)
        ]
        return _first(predictor, now, then, rounded)
    return None


def _first(
    predictor: Predictor, now: Sequence[_Answers], then: dict[str, Numbers], rounded: Sequence[Numbers]
) -> str | None:
    """The first answer that is too far from what is told."""
    if [answers.kind for answers in now] != list(then):
        return f"it tells {', '.join(answers.kind for answers in now)}, and told {', '.join(then)}"
    least, share = NEAR[predictor.spec.dtype]
    for answers, slack in zip(now, rounded, strict=True):
        told = then[answers.kind]
        if told.shape != answers.values.shape:
            return f"its {answers.kind} are of shape {list(answers.values.shape)}, and were of {list(told.shape)}"
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(answers.values - told)
            largest = np.abs(np.where(np.isfinite(told), told, 0.0)).max(axis=0, initial=0.0)
            allowed = np.broadcast_to(np.fmax(least + share * largest, slack), told.shape)
            same = (answers.values == told) | (np.isnan(answers.values) & np.isnan(told)) | (apart <= allowed)
        if not same.all():
            row, place = (int(index) for index in np.argwhere(~same)[0])
            return (
                f"{answers.kind} {shown(answers.names[place])} of golden row {row + 1} is "
                f"{answers.values[row, place]:.9g} and was {told[row, place]:.9g}, {apart[row, place]:.3g} apart where "
                f"{allowed[row, place]:.3g} are allowed"
            )
    return None


def _answers(predictor: Predictor, predicted: Predicted) -> Iterator[_Answers]:
    """What is compared: numbers with their deviations, probabilities, or classes where there are no probabilities."""
    target = predictor.target
    if predicted.probabilities is not None:
        yield _Answers("probabilities", target.classes, predicted.probabilities)
    else:
        values = np.asarray(predicted.values, np.float64).reshape(len(predicted.values), -1)
        yield _Answers("predictions", target.names, values)
    if predicted.deviations is not None:
        yield _Answers("deviations", target.names, predicted.deviations)


def _told(golden: model_files_pb2.GoldenRows) -> dict[str, Numbers]:
    kinds = ["probabilities"] if golden.HasField("probabilities") else ["predictions"]
    kinds += ["deviations"] if golden.HasField("deviations") else []
    return {kind: _array(getattr(golden, kind)) for kind in kinds}


def _array(tensor: tables_pb2.Tensor) -> Numbers:
    """Values in their shape; as a list where they do not fit it."""
    values = np.array(tensor.values, np.float64)
    shape = tuple(tensor.shape)
    fits = len(shape) == 2 and min(shape) >= 0 and shape[0] * shape[1] == len(values)
    return values.reshape(shape) if fits else values


def _doubled(predictor: Predictor) -> Predictor:
    """The same model, computing with 64 bits."""
    spec = specs_pb2.TrainSpec()
    spec.CopyFrom(predictor.spec)
    spec.dtype = specs_pb2.TrainSpec.FLOAT64
    return replace(predictor, spec=spec, network=copy.deepcopy(predictor.network).double())


def _encode(predictor: Predictor, columns: Sequence[tables_pb2.ColumnValues]) -> model_files_pb2.GoldenRows:
    predicted = predictor.predict(table_from_values(columns, predictor.inputs))
    values = np.asarray(predicted.values, np.float64).reshape(len(predicted.values), -1)
    golden = model_files_pb2.GoldenRows(
        columns=[
            model_files_pb2.GoldenColumn(numbers=c.numbers, strings=c.strings, missing=c.missing) for c in columns
        ],
        predictions=_tensor(values),
    )
    if predicted.probabilities is not None:
        golden.probabilities.CopyFrom(_tensor(predicted.probabilities))
    if predicted.deviations is not None:
        golden.deviations.CopyFrom(_tensor(predicted.deviations))
    return golden


def _tensor(values: Numbers) -> tables_pb2.Tensor:
    return tables_pb2.Tensor(shape=values.shape, values=values.ravel().tolist())


def _taken(predictor: Predictor, columns: Sequence[tables_pb2.ColumnValues]) -> bool:
    """Whether the model takes all of the rows: it may refuse categories that only held-out rows have."""
    try:
        predictor.features(table_from_values(columns, predictor.inputs))
    except TraindError:
        return False
    return True


def _count(columns: Sequence[tables_pb2.ColumnValues]) -> int:
    return max(len(columns[0].numbers), len(columns[0].strings)) if columns else 0


def _some(columns: Sequence[tables_pb2.ColumnValues], rows: Sequence[int]) -> list[tables_pb2.ColumnValues]:
    """Some rows, in that order; those beyond the last are left out."""
    chosen = [row for row in rows if row < _count(columns)]
    return [
        tables_pb2.ColumnValues(
            name=column.name,
            numbers=[column.numbers[row] for row in chosen] if column.numbers else (),
            strings=[column.strings[row] for row in chosen] if column.strings else (),
            missing=[column.missing[row] for row in chosen] if column.missing else (),
        )
        for column in columns
    ]
