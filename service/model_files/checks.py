"""Whether what a model's file tells is a model that this server could have made: nothing of a file is taken on trust.

What a caller could not have been answered by a server of this version is refused: a spec outside the contract's rules,
preprocessing whose steps do not fit their columns, weights that do not fit the network of the spec.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service import references
from service.calling import requests
from service.calling.rules import broken_rules
from service.data.preprocessing import Fitted
from service.data.preprocessing.fitted import FittedColumn
from service.data.preprocessing.steps import Code, Fill, FillCategory, OneHot, Ordinal
from service.data.splits import MOST_SPLIT_ROWS
from service.data.table import CATEGORICAL, NUMERIC
from service.data.targets import Target
from service.errors import DataCorrupt, InvalidField, TooManyParameters, shown
from service.model_files.bounds import check_bounds
from service.model_files.description import MOST_FIGURES, NUMBER
from service.model_files.layout import read_json, refused
from service.modelling import networks, specs, tensors
from service.modelling.predictor import decode_preprocessing, encode_preprocessing, input_columns, output_columns
from service.store.records import ModelRows, encode_messages
from traind.v1 import learning_pb2, model_files_pb2, networks_pb2, preprocess_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column
Spec = specs_pb2.TrainSpec

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{0,64}")
_DATE_PARTS = frozenset(preprocess_pb2.ColumnGroup.DatePart.keys()[1:])
# Stand for weights that a spec leaves out, for the rules demand some, and for a spec whose rules were looked at.
_SOME = learning_pb2.Given(weights={"weight": tables_pb2.Tensor(shape=[1], values=[0.0])})
_ANY_SPEC = Spec(target=["y"], network=networks_pb2.Network(linear=networks_pb2.Linear()))


@dataclass(frozen=True)
class Checked:
    """A description that holds together."""

    file: model_files_pb2.ModelFile
    fitted: Fitted
    target: Target
    # The weights that belong to it: names with shapes, and what their numbers are stored as.
    shapes: Mapping[str, tuple[int, ...]]
    stored_as: tuple[str, int]
    # Name, split, a value for each epoch.
    history: Sequence[tuple[str, str, list[float]]]
    rows: ModelRows | None

    @property
    def epoch(self) -> int:
        """Epochs that were done."""
        return len(self.history[0][2]) if self.history else 0


def check_file(file: model_files_pb2.ModelFile, most_parameters: int) -> Checked:
    """Check everything but the weights. Raises InvalidModelFile, TooManyParameters."""
    check_bounds(file)
    balanced = file.resolved.loss.cross_entropy.class_weights.balanced
    for name in ("train", "resolved", "spec"):
        _check_spec(getattr(file, name), name, weighed=balanced and name == "spec")
    _check_texts(file)
    fitted, target = _check_preprocessing(file.preprocessing)
    _check_fit(file.spec, fitted, target)
    _check_columns(file, fitted, target)
    if balanced:
        _check_class_weights(file.spec, target)
    shapes = _check_size(file, fitted, target, most_parameters)
    checked = Checked(
        file,
        fitted,
        target,
        shapes,
        tensors.stored_as(networks.torch_dtype(file.spec)),
        _check_history(file),
        _check_rows(file),
    )
    if file.best_epoch > checked.epoch or checked.epoch > file.epochs:
        raise refused(f"tells of the best epoch {file.best_epoch} and of {checked.epoch} of {file.epochs} epochs")
    _check_confusion(file.confusion, target)
    if file.HasField("golden"):
        _check_golden(file.golden, fitted, target)
    return checked


def _check_texts(file: model_files_pb2.ModelFile) -> None:
    told = model_files_pb2.ModelFile()
    told.CopyFrom(file)
    # Rules of the specs are told by `_check_spec`, which knows what is left out of them.
    for spec in (told.train, told.resolved, told.spec):
        spec.CopyFrom(_ANY_SPEC)
    if broken := broken_rules(told):
        raise refused(f"breaks a rule: {broken[0].field} {broken[0].description}")
    try:
        requests.check(told.origin)
        model = references.parse_reference("models", file.origin.model, file.origin.user, "origin.model")
    except InvalidField as error:
        raise refused(f"tells of no origin: {error.message}") from None
    if model.alias or not references.SLUG.fullmatch(model.slug):
        raise refused(f"tells of a model {shown(file.origin.model)}, which no server could have named so")
    if requests.holds_controls(file.display_name):
        raise refused(f"has a display name that cannot be shown: {shown(file.display_name)}")
    if not _VERSION.fullmatch(file.engine):
        raise refused(f"was trained by {shown(file.engine)}, which is no version")
    _check_figures(file)


def _check_figures(file: model_files_pb2.ModelFile) -> None:
    for names in ([metric.name for metric in file.metrics], [series.name for series in file.history]):
        wrong = [name for name in names if not _NAME.fullmatch(name)]
        if wrong or len(set(names)) < len(names):
            raise refused(f"has figures of one name, or of a name that is none: {shown(', '.join(wrong or names))}")
    wrong_splits = [series.split for series in file.history if not _NAME.fullmatch(series.split)]
    if wrong_splits:
        raise refused(f"has a history of {shown(wrong_splits[0])}, which is no part of the rows")


def _check_spec(given: Spec, name: str, *, weighed: bool) -> None:
    """`weighed`: the weights of its classes were found and not asked for; `_check_class_weights` looks at them."""
    spec = Spec()
    spec.CopyFrom(given)
    if weighed and spec.loss.HasField("cross_entropy"):
        spec.loss.cross_entropy.ClearField("class_weights")
    if spec.learn.HasField("given") and not spec.learn.given.weights:
        spec.learn.given.CopyFrom(_SOME)
    try:
        requests.check(spec)
    except InvalidField as error:
        first = error.violations[0]
        raise refused(f"has a spec that no job could have: {name}.{first.field} {first.description}") from None


def _check_preprocessing(text: str) -> tuple[Fitted, Target]:
    told = read_json(text.encode(), "preprocessing")
    try:
        fitted, target = decode_preprocessing(text)
        again = json.loads(encode_preprocessing(fitted, target))
    except (DataCorrupt, ValueError, OverflowError):
        again = None
    # What was not understood, or understood as something else, is not there again.
    if told != again:
        raise refused("has a preprocessing with steps that this server does not know, or with numbers beyond 64 bits")
    for column in fitted.columns:
        if not _is_whole(column):
            raise refused(f"has a preprocessing whose steps do not fit the column {shown(column.name)}")
    return fitted, target


def _is_whole(column: FittedColumn) -> bool:
    """Whether the steps are those of a column of its type."""
    encodings = [step for step in column.steps if isinstance(step, OneHot | Ordinal | Code)]
    plain = len(column.number_steps) == len(column.steps)
    if column.indicator and not column.takes_missing:
        return False
    if column.type in NUMERIC:
        return plain and not column.parts and all(not isinstance(step, Fill) for step in column.steps[1:])
    if column.type in CATEGORICAL:
        others = [step for step in column.steps if not isinstance(step, OneHot | Ordinal | Code)]
        known = column.categories
        fills = len(others) <= 1 and all(isinstance(step, FillCategory) for step in others)
        wide = all(not isinstance(step, Code) or step.width >= 1 for step in encodings)
        return fills and wide and len(encodings) == 1 and not column.parts and len(set(known)) == len(known)
    parts = [part.part for part in column.parts]
    dates = column.type == Column.TIMESTAMP and not column.steps
    return dates and 0 < len(parts) == len(set(parts)) and _DATE_PARTS.issuperset(parts)


def _check_fit(spec: Spec, fitted: Fitted, target: Target) -> None:
    """Spec, preprocessing and target are those of one model."""
    kind, loss = spec.network.WhichOneof("kind"), spec.loss.WhichOneof("kind")
    if kind == "mlp" and spec.network.mlp.activation not in networks.ACTIVATIONS:
        raise refused("has a network without an activation that this server knows")
    if not spec.dtype or (kind == "perceptron") != (loss is None):
        raise refused("has a spec that is not the resolved one of a model: dtype or loss are missing or too many")
    names = [column.name for column in fitted.columns]
    if names != list(spec.inputs) or target.names != list(spec.target) or len(set(names)) < len(names):
        raise refused("has a preprocessing of other columns than its spec")
    if not _are_classes_of(spec, target):
        raise refused(f"has a target of {len(target.classes)} classes that does not fit its loss")
    if kind == "perceptron" and fitted.layout.embedded:
        raise refused("has embeddings before a perceptron, which has none")


def _check_columns(file: model_files_pb2.ModelFile, fitted: Fitted, target: Target) -> None:
    told, made = (file.inputs, file.outputs), (input_columns(fitted), output_columns(target))
    if [encode_messages(columns) for columns in told] != [encode_messages(columns) for columns in made]:
        raise refused("tells of other columns than its preprocessing has")


def _check_class_weights(spec: Spec, target: Target) -> None:
    """Those of a balanced loss are of the target's classes, of as many of them as there were rows of."""
    weights = spec.loss.cross_entropy.class_weights.weights
    if not weights.keys() <= set(target.classes) or not all(0 < weight < math.inf for weight in weights.values()):
        raise refused("has class weights of other classes than its target's, or some that are not above 0 and finite")


def _are_classes_of(spec: Spec, target: Target) -> bool:
    classes = target.classes
    if specs.task_of(spec) == "regression":
        return not classes and all(column.type in NUMERIC for column in target.columns)
    if len(target.columns) != 1 or target.columns[0].steps or len(set(classes)) < len(classes):
        return False
    (column,) = target.columns
    if column.type in NUMERIC and not all(map(_is_number, classes)):
        return False
    return len(classes) == 2 if specs.task_of(spec) == "binary" else len(classes) >= 2


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _check_size(
    file: model_files_pb2.ModelFile, fitted: Fitted, target: Target, most: int
) -> dict[str, tuple[int, ...]]:
    """The weights that the spec's network has. Raises TooManyParameters."""
    network: networks_pb2.Network = file.spec.network
    layout, outputs = fitted.layout, networks.output_width(file.spec, len(target.classes))
    count = networks.count_parameters(network, layout, outputs)
    if count > most:
        raise TooManyParameters(
            f"upload: the model has {count:,} parameters; this server allows {most:,}: ask the administrator to raise "
            "TRAIND_MAX_PARAMETERS",
            metadata={"parameters": str(count), "limit": str(most)},
        )
    if count != file.parameter_count:
        raise refused(f"tells of {file.parameter_count:,} parameters; its spec makes {count:,}")
    return networks.weight_shapes(network, layout, outputs)


def _check_history(file: model_files_pb2.ModelFile) -> list[tuple[str, str, list[float]]]:
    lengths = {len(series.values) for series in file.history}
    count = sum(len(series.values) for series in file.history) // NUMBER.itemsize
    if count > MOST_FIGURES:
        raise refused(
            f"has a history of {count:,} figures, where at most {MOST_FIGURES:,} are taken", limit=MOST_FIGURES
        )
    if len(lengths) > 1 or any(length % NUMBER.itemsize or not length for length in lengths):
        raise refused("has a history whose series have no epochs, or not as many as the others")
    if lengths and ("train_loss", "train") not in {(series.name, series.split) for series in file.history}:
        raise refused("has a history without train_loss")
    return [(s.name, s.split, np.frombuffer(s.values, NUMBER).tolist()) for s in file.history]


def _check_rows(file: model_files_pb2.ModelFile) -> ModelRows | None:
    if not file.HasField("rows"):
        return None
    rows = file.rows
    width = (rows.row_count + 7) // 8
    told = 0 < rows.row_count <= MOST_SPLIT_ROWS and len(rows.train_rows) == len(rows.val_rows) == width
    train, val = int.from_bytes(rows.train_rows, "little"), int.from_bytes(rows.val_rows, "little")
    if not told or train & val or (train | val) >> rows.row_count:
        raise refused(f"tells of {rows.row_count:,} rows, and not once of each whether it was trained with or held out")
    return ModelRows(rows.row_count, rows.train_rows, rows.val_rows)


def _check_golden(golden: model_files_pb2.GoldenRows, fitted: Fitted, target: Target) -> None:
    """Rows of the model's columns with an answer to each; what the model says of them is asked with its weights."""
    counts = {max(len(column.numbers), len(column.strings)) for column in golden.columns}
    rows = counts.pop() if len(counts) == 1 and len(golden.columns) == len(fitted.columns) else 0
    shapes = [(golden.predictions, len(target.names))]
    shapes += [(golden.probabilities, len(target.classes))] if golden.HasField("probabilities") else []
    shapes += [(golden.deviations, len(target.names))] if golden.HasField("deviations") else []
    fits = all(list(tensor.shape) == [rows, width] and len(tensor.values) == rows * width for tensor, width in shapes)
    if not rows or not fits:
        raise refused("has golden rows that are not of its columns, or without an answer to each")


def _check_confusion(matrices: Sequence[tables_pb2.ConfusionMatrix], target: Target) -> None:
    for matrix in matrices:
        count = len(target.classes)
        fits = list(matrix.classes) == list(target.classes) and list(matrix.counts.shape) == [count, count]
        if not count or not fits or len(matrix.counts.values) != count * count or not _NAME.fullmatch(matrix.split):
            raise refused("has a table of answers that is not of its target's classes")
    if len({matrix.split for matrix in matrices}) < len(matrices):
        raise refused("has two tables of answers of the same rows")
