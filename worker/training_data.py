"""From the stored table to what a network learns from: rows split, preprocessing fitted on the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service import ledger
from service.data import preprocessing, splits, targets
from service.data.opening import open_objects
from service.data.preprocessing import Fitted
from service.data.table import Table, load_table
from service.data.targets import Target
from service.errors import NotFound, invalid, shown
from service.modelling import specs
from service.settings import Settings
from service.store import datasets
from service.store.database import Database
from service.store.records import DatasetRow
from traind.v1 import specs_pb2


@dataclass(frozen=True)
class Sample:
    """Rows as arrays."""

    x: np.ndarray  # float64 [rows, features]
    t: np.ndarray  # float64 numbers or int64 class codes [rows]


@dataclass(frozen=True)
class TrainingData:
    """What a spec makes of a table."""

    train: Sample
    held_out: Sample | None
    held_out_rows: np.ndarray  # row numbers in the table, ascending
    fitted: Fitted
    target: Target
    # Inputs that hold one value only in the training rows.
    constant: list[str]


def prepare(table: Table, spec: specs_pb2.TrainSpec, kept: tuple[Fitted, np.ndarray] | None = None) -> TrainingData:
    """Split, fit and apply. `kept`: preprocessing and held-out rows of a checkpoint, used instead of new ones.

    Raises InvalidField or InvalidTable for rows that cannot be learned from as the spec asks.
    """
    task = specs.task_of(spec)
    target = targets.fit_target(table, spec.target[0], task != "regression")
    if task == "binary" and len(target.classes) != 2:
        raise invalid(
            "job.train.target[0]",
            f"column {shown(target.name)} has {len(target.classes)} classes and exactly 2 are needed; "
            "use cross_entropy with linear or mlp",
        )
    values = targets.encode(target, table)
    if kept is None:
        labels = None if task == "regression" else values
        train_rows, held_rows = splits.split_rows(table.row_count, spec.split, labels, spec.seed)
        fitted = preprocessing.fit(table, list(spec.inputs), spec.preprocess, train_rows)
    else:
        fitted, held_rows = kept
        train_rows = np.setdiff1d(np.arange(table.row_count, dtype=np.int64), held_rows, assume_unique=True)
    train = _sample(fitted, table, values, train_rows, spec)
    if spec.learn.WhichOneof("way") != "given" and train.t.min() == train.t.max():
        raise invalid(
            "job.train.target[0]", f"column {shown(target.name)} holds one value only; there is nothing to learn"
        )
    held_out = _sample(fitted, table, values, held_rows, spec) if len(held_rows) else None
    constant = [name for name in spec.inputs if _constant(table.column(name).values[train_rows])]
    return TrainingData(train, held_out, held_rows, fitted, target, constant)


def _sample(fitted: Fitted, table: Table, values: np.ndarray, rows: np.ndarray, spec: specs_pb2.TrainSpec) -> Sample:
    x = preprocessing.apply(fitted, table, rows, unseen="zeros")
    t = values[rows]
    # What the dtype cannot hold would make every figure NaN.
    narrow = spec.dtype == specs_pb2.TrainSpec.FLOAT32
    limit = float(np.finfo(np.float32 if narrow else np.float64).max)
    for index, name in enumerate(fitted.feature_names):
        _check_finite("job.train.inputs", name, x[:, index], rows, limit)
    if t.dtype == np.float64:
        _check_finite("job.train.target[0]", spec.target[0], t, rows, limit)
    return Sample(x, t)


def _check_finite(path: str, name: str, values: np.ndarray, rows: np.ndarray, limit: float) -> None:
    wrong = np.flatnonzero(~(np.abs(values) <= limit))
    if wrong.size:
        raise invalid(
            path,
            f"column {shown(name)} has {wrong.size} values that are Inf, NaN or beyond {limit:.3g} after scaling, the "
            f"first in row {int(rows[wrong[0]]) + 1}; leave these rows out, or use dtype FLOAT64 for large numbers",
        )


def _constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def open_table(
    settings: Settings, database: Database, claim: ledger.Claim, names: Sequence[str]
) -> tuple[DatasetRow, Table]:
    """Columns of the job's data set. Raises NotFound when it is gone, DataCorrupt when its bytes are not its own."""
    with database.read() as connection:
        dataset = datasets.find_by_id(connection, claim.job.dataset_id)
    if dataset is None:
        raise NotFound(f"the data set {claim.job.dataset_name} is not there any more; upload it again")
    return dataset, load_table(open_objects(settings).fetch(dataset.table_sha256), names)
