"""A model's file from its first byte to a model that answers: refused as early, and with as little read, as can be."""

from dataclasses import dataclass
from pathlib import Path

from service.data.table import table_from_values
from service.errors import DataCorrupt, TraindError
from service.model_files.checks import Checked, check_file
from service.model_files.description import decode
from service.model_files.layout import check_entries, encode_header, read_layout, refused
from service.modelling import tensors
from service.modelling.predictor import Predictor
from service.store.records import encode_messages
from traind.v1 import tables_pb2

Column = tables_pb2.Column
# A value of a row that every model takes, or refuses in words.
_MOMENT = "2024-02-29T12:00:00Z"


@dataclass(frozen=True)
class ReadModel:
    """A model out of a file."""

    checked: Checked
    # A safetensors file of the weights alone, as a trained model's are stored.
    weights: bytes
    predictor: Predictor


def read_model(path: Path, most_parameters: int) -> ReadModel:
    """Read a whole file. Raises InvalidModelFile, TooManyParameters."""
    size = path.stat().st_size
    with path.open("rb") as file:
        layout = read_layout(file, size)
        checked = check_file(decode(layout.metadata), most_parameters)
        dtype, item_bytes = checked.stored_as
        check_entries(layout, checked.shapes, dtype, item_bytes, size)
        weights = encode_header(layout.entries) + file.read()
    try:
        found = tensors.decode_tensors(weights)
        predictor = Predictor.build(checked.file.spec, checked.fitted, checked.target, found)
    except DataCorrupt:
        raise refused("has weights that are not where its header says") from None
    if tensors.weights_sha256(found) != checked.file.weights_sha256:
        raise refused("has weights that do not match their SHA-256: they were changed or damaged on their way")
    if not tensors.all_finite(found):
        raise refused("has weights that are NaN or infinite, and would answer nothing else")
    _try(predictor, checked)
    return ReadModel(checked, weights, predictor)


def _try(predictor: Predictor, checked: Checked) -> None:
    """Raise InvalidModelFile unless the columns are those told and a row goes all the way through the model."""
    told, made = (checked.file.inputs, checked.file.outputs), (predictor.inputs, predictor.predictions)
    if [encode_messages(columns) for columns in told] != [encode_messages(columns) for columns in made]:
        raise refused("tells of other columns than its preprocessing has")
    try:
        predictor.predict(table_from_values([_value(column) for column in made[0]], made[0]), hidden=True)
    except TraindError:
        return  # In words: a model may refuse this row, as it may any.
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        raise refused("has a model that cannot answer a row of its own columns") from None


def _value(column: tables_pb2.Column) -> tables_pb2.ColumnValues:
    if column.type in {Column.INTEGER, Column.NUMBER}:
        return tables_pb2.ColumnValues(name=column.name, numbers=[1.0])
    text = _MOMENT if column.type == Column.TIMESTAMP else next(iter(column.categories), "")
    return tables_pb2.ColumnValues(name=column.name, strings=[text])
