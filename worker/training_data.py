"""From the stored table to what a network learns from: rows split, preprocessing fitted on the training rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service import ledger
from service.data import preprocessing, splits, targets
from service.data.opening import open_objects
from service.data.preprocessing import Fitted, Tally
from service.data.scratch import scratch_array
from service.data.table import FileTable, Table, load_table
from service.data.targets import Target
from service.errors import InvalidTable, NotFound, invalid, shown
from service.modelling import findings, specs
from service.modelling.measuring import complete_rows
from service.modelling.memory import FEATURES_IN_MEMORY
from service.modelling.predictor import largest_number
from service.settings import Settings
from service.store import datasets
from service.store.database import Database
from service.store.records import DatasetRow, ModelRows
from traind.v1 import specs_pb2, tables_pb2

LARGE_BYTES = FEATURES_IN_MEMORY


@dataclass(frozen=True)
class Sample:
    """Rows as arrays."""

    # [rows, features]: float64, or where there are many over a mapped file and in the network's dtype.
    x: np.ndarray
    # The targets in the loss's units: float64 [rows, targets], or int64 class codes [rows].
    t: np.ndarray
    # The targets in their own units; the same as `t` for classes.
    y: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """What a spec makes of a table."""

    train: Sample
    held_out: Sample | None
    # Rows of the table.
    row_count: int
    # Their numbers, ascending; what was left out for missing values is in neither.
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    fitted: Fitted
    target: Target
    # Inputs that hold one value only in the training rows.
    constant: list[str]
    # What a person should know: rows that were left out, categories that training did not see.
    findings: list[tables_pb2.Finding] = field(default_factory=list)


def columns_needed(spec: specs_pb2.TrainSpec) -> list[str]:
    """Names of the columns that a resolved spec reads."""
    split = spec.split.column.column or spec.split.time.column
    return list(dict.fromkeys([*spec.inputs, *spec.target, *([split] if split else [])]))


def prepare(
    table: Table,
    spec: specs_pb2.TrainSpec,
    kept: tuple[Fitted, np.ndarray] | None = None,
    scratch: Path | None = None,
) -> TrainingData:
    """Split, fit and apply. `kept`: preprocessing and held-out rows of a checkpoint, used instead of new ones.

    Large features lie in an unnamed file in the folder `scratch`, in memory without one. Raises InvalidField or
    InvalidTable for rows that cannot be learned from as the spec asks.
    """
    steps = spec.preprocess.target
    classes = specs.task_of(spec) != "regression"
    target = targets.find_target(table, spec.target, steps, None, classes=classes)
    rows = _usable_rows(table, spec, target)
    if target.classes:
        target = targets.find_target(table, spec.target, steps, rows, classes=True)
        _check_classes(spec, target)
    values = target.encode(table, rows)  # [rows, targets] or [rows]
    if kept is None:
        train_rows, held_rows = splits.split_rows(table, rows, spec.split, values if classes else None, spec.seed)
        fitted = preprocessing.fit(table, list(spec.inputs), spec.preprocess, train_rows)
    else:
        fitted, held_rows = kept
        train_rows = np.setdiff1d(rows, held_rows, assume_unique=True)
    train_values, held_values = (values[np.searchsorted(rows, part)] for part in (train_rows, held_rows))
    target = targets.fit_target(target, train_values, steps)
    _check_varied(spec, target, train_values)
    tally, large = Tally(), _is_large(fitted, len(rows))
    folder = scratch if large else None
    train = _sample(fitted, table, target, train_rows, train_values, spec, folder)
    held_out = None
    if len(held_rows):
        held_out = _sample(fitted, table, target, held_rows, held_values, spec, folder, tally)
    constant = [name for name in spec.inputs if _constant(table, name, train_rows)]
    found = [findings.rows_dropped(table.row_count - len(rows), len(rows))] if len(rows) < table.row_count else []
    found += [findings.unseen_categories(tally.unseen)] if tally.unseen else []
    return TrainingData(train, held_out, table.row_count, train_rows, held_rows, fitted, target, constant, found)


def _usable_rows(table: Table, spec: specs_pb2.TrainSpec, target: Target) -> np.ndarray:
    rules = preprocessing.rules_of(spec.preprocess)
    rows = complete_rows(table, [name for name in spec.inputs if rules.of(name).drops], target)
    if not len(rows):
        raise InvalidTable(
            f"every one of the {table.row_count} rows lacks a value in a column whose rows are left out then "
            "(DROP_ROW); impute these columns, or leave them out"
        )
    return rows


def _check_classes(spec: specs_pb2.TrainSpec, target: Target) -> None:
    if specs.task_of(spec) == "binary" and len(target.classes) != 2:
        raise invalid(
            "job.train.target[0]",
            f"column {shown(target.names[0])} has {len(target.classes)} classes and exactly 2 are needed; "
            "use cross_entropy with linear or mlp",
        )


def _check_varied(spec: specs_pb2.TrainSpec, target: Target, values: np.ndarray) -> None:
    if spec.learn.WhichOneof("way") == "given":
        return
    for index, (name, column) in enumerate(zip(target.names, np.atleast_2d(values.T), strict=True)):
        if not column.size or column.min() == column.max():
            raise invalid(
                f"job.train.target[{index}]",
                f"column {shown(name)} holds one value only; there is nothing to learn",
            )


def _is_large(fitted: Fitted, rows: int) -> bool:
    return rows * fitted.width * np.dtype(np.float64).itemsize > LARGE_BYTES


def _sample(
    fitted: Fitted,
    table: Table,
    target: Target,
    rows: np.ndarray,
    values: np.ndarray,
    spec: specs_pb2.TrainSpec,
    folder: Path | None,
    tally: Tally | None = None,
) -> Sample:
    limit, out = largest_number(spec), None
    if folder is not None:
        dtype = np.float32 if spec.dtype == specs_pb2.TrainSpec.FLOAT32 else np.float64
        out = scratch_array(folder, (len(rows), fitted.width), dtype)
    x = preprocessing.apply(
        fitted, table, rows, unseen="zeros", limit=limit, out=out, tally=tally, path="job.train.inputs"
    )
    t = target.to_loss_units(values)
    if not target.classes:
        for index, name in enumerate(target.names):
            _check_finite(f"job.train.target[{index}]", name, t[:, index], rows, limit)
    return Sample(x, t, values)


def _check_finite(path: str, name: str, values: np.ndarray, rows: np.ndarray, limit: float) -> None:
    wrong = np.flatnonzero(~(np.abs(values) <= limit))
    if wrong.size:
        raise invalid(
            path,
            f"column {shown(name)} has {wrong.size} values that are Inf, NaN or beyond {limit:.3g} after scaling, the "
            f"first in row {int(rows[wrong[0]]) + 1}; leave these rows out, or use dtype FLOAT64 for large numbers",
        )


def _constant(table: Table, name: str, rows: np.ndarray) -> bool:
    """Whether a column has one value only, and no value missing, in some rows."""
    column = table.column(name).take(rows)
    return not column.missing_count and bool((column.values == column.values[0]).all())


def rows_of(data: TrainingData) -> ModelRows:
    """Which rows were trained with and which held out, as a model records it."""
    train, held_out = (_row_bits(data.row_count, rows) for rows in (data.train_rows, data.held_out_rows))
    return ModelRows(data.row_count, train, held_out)


def _row_bits(row_count: int, rows: np.ndarray) -> bytes:
    """A bit for each row of a table, the least significant of a byte first: whether it is one of `rows`."""
    mask = np.zeros(row_count, np.bool_)
    mask[rows] = True
    return np.packbits(mask, bitorder="little").tobytes()


def open_table(
    settings: Settings, database: Database, claim: ledger.Claim, names: Iterable[str]
) -> tuple[DatasetRow, FileTable]:
    """Columns of the job's data set. Raises NotFound when it is gone, DataCorrupt when its bytes are not its own."""
    with database.read() as connection:
        dataset = datasets.find_by_id(connection, claim.job.dataset_id)
    if dataset is None:
        raise NotFound(f"the data set {claim.job.dataset_name} is not there any more; upload it again")
    return dataset, load_table(open_objects(settings).fetch(dataset.table_sha256), list(names))
