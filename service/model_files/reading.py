"""A model's file from its first byte to a model that answers: refused as early, and with as little read, as can be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.data.table import table_from_values
from service.errors import TraindError
from service.model_files.checks import Checked, check_file
from service.model_files.description import decode
from service.model_files.layout import check_entries, encode_header, read_layout, refused
from service.modelling import golden, networks, tensors
from service.modelling.predictor import Predictor
from traind.v1 import model_files_pb2, tables_pb2

Column = tables_pb2.Column
# A value of a row that every model takes, or refuses in words.
_MOMENT = "2024-02-29T12:00:00Z"
# How a model that holds together on paper may fail in the middle of its work.
_NO_ANSWER = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class ReadModel:
    """A model out of a file."""

    checked: Checked
    # A safetensors file of the weights alone, as a trained model's are stored. The predictor's weights lie in it.
    weights: bytearray
    predictor: Predictor


@dataclass(frozen=True)
class Head:
    """What stands before the weights, looked at."""

    checked: Checked
    # Name -> dtype, shape and offsets, as safetensors has them.
    entries: dict[str, Any]
    # Where the weights begin.
    begin: int


def read_head(file: BinaryIO, size: int, most_parameters: int) -> Head:
    """Read and check everything before the weights, of a file of `size` bytes that may end there.

    Raises InvalidModelFile, TooManyParameters.
    """
    layout = read_layout(file, size)
    checked = check_file(decode(layout.metadata), most_parameters)
    entries = check_entries(layout, checked.shapes, *checked.stored_as, size)
    return Head(checked, entries, layout.begin)


def read_model(path: Path, most_parameters: int) -> ReadModel:
    """Read a whole file. Raises InvalidModelFile, TooManyParameters."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = read_head(file, size, most_parameters)
        weights, places = _read_weights(file, head, size)
    checked = head.checked
    found = tensors.views(weights, places, networks.torch_dtype(checked.file.spec))
    predictor = Predictor.build(checked.file.spec, checked.fitted, checked.target, found, shared=True)
    if tensors.weights_sha256(found) != checked.file.weights_sha256:
        raise refused("has weights that do not match their SHA-256: they were changed or damaged on their way")
    if not tensors.all_finite(found):
        raise refused("has weights that are NaN or infinite, and would answer nothing else")
    _try(predictor)
    _check_golden(predictor, checked.file)
    return ReadModel(checked, weights, predictor)


def _read_weights(file: BinaryIO, head: Head, size: int) -> tuple[bytearray, dict[str, tuple[int, tuple[int, ...]]]]:
    """The weights with a header of their own, the only copy of them in memory, and where each tensor begins in it."""
    header = encode_header(head.entries)
    weights = bytearray(len(header) + size - head.begin)
    weights[: len(header)] = header
    if file.readinto(memoryview(weights)[len(header) :]) != size - head.begin:  # type: ignore[attr-defined]  # it has it
        raise refused("was cut while it was read")
    places = {
        name: (len(header) + entry["data_offsets"][0], head.checked.shapes[name])
        for name, entry in head.entries.items()
    }
    return weights, places


def _try(predictor: Predictor) -> None:
    """Raise InvalidModelFile unless a row goes all the way through the model."""
    inputs = predictor.inputs
    try:
        predictor.predict(table_from_values([_value(column) for column in inputs], inputs), hidden=True)
    except TraindError:
        return  # In words: a model may refuse this row, as it may any.
    except _NO_ANSWER:
        raise refused("has a model that cannot answer a row of its own columns") from None


def _check_golden(predictor: Predictor, file: model_files_pb2.ModelFile) -> None:
    """Raise InvalidModelFile unless the model answers its golden rows, where it has some, as it did."""
    try:
        difference = golden.find_difference(predictor, file.golden) if file.HasField("golden") else None
    except _NO_ANSWER:
        raise refused("has a model that cannot answer its golden rows") from None
    if difference is not None:
        raise refused(
            f"has a model that answers otherwise here than where it was trained: {difference}",
            f"train it again here, or take it into a server of traind {file.engine}, which trained it",
        )


def _value(column: tables_pb2.Column) -> tables_pb2.ColumnValues:
    if column.type in {Column.INTEGER, Column.NUMBER}:
        return tables_pb2.ColumnValues(name=column.name, numbers=[1.0])
    text = _MOMENT if column.type == Column.TIMESTAMP else next(iter(column.categories), "")
    return tables_pb2.ColumnValues(name=column.name, strings=[text])
