"""Measures a model: every figure that fits, in the target's own units, and the loss in the loss's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from service.data.table import Table
from service.data.targets import Target
from service.errors import invalid
from service.modelling import findings, losses, metrics, networks, specs
from service.modelling.predictor import Predictor
from service.modelling.resolving.loss import fill_loss
from traind.v1 import losses_pb2, specs_pb2, tables_pb2

# Rows of a table that are measured at once: their features are never all in memory.
ROWS_AT_ONCE = 65536
# (outputs [rows, outputs], split) -> figures by name.
EpochMeasures = Callable[[np.ndarray, str], dict[str, float]]
# Of more classes no confusion matrix is kept.
MOST_CONFUSED = 100


@dataclass(frozen=True)
class Measured:
    """What was found of some rows."""

    figures: dict[str, float]
    findings: list[tables_pb2.Finding]
    # How often which class was answered for which; None for numbers and for many classes.
    confusion: tables_pb2.ConfusionMatrix | None
    # Rows that were measured.
    rows: int


def evaluate(
    predictor: Predictor, table: Table, loss: losses_pb2.Loss | None = None, dof: int | None = None
) -> Measured:
    """Figures over every row of a table with the predictor's columns but those that the model leaves out.

    `loss`: what is told as `loss`, absent = the one it was trained with. `dof`: what `residual_mse` divides by,
    absent = rows - parameters. Raises InvalidField where loss or values do not fit.
    """
    chosen = predictor.spec.loss
    if loss is not None and loss.WhichOneof("kind"):
        if problem := specs.loss_misfit(loss, predictor.spec.loss):
            raise invalid("loss", problem)
        chosen = losses_pb2.Loss()
        chosen.CopyFrom(loss)
        fill_loss(chosen)
    rows = complete_rows(table, predictor.fitted.dropping, predictor.target)
    own = predictor.target.encode(table, rows)
    values = predictor.target.to_loss_units(own)
    blocks = [
        predictor.outputs(table, rows[start : start + ROWS_AT_ONCE])
        for start in range(0, max(len(rows), 1), ROWS_AT_ONCE)
    ]
    measured = measure(predictor, np.concatenate(blocks), own, values, chosen, dof)
    if len(rows) < table.row_count:
        measured.findings.append(findings.rows_dropped(table.row_count - len(rows), len(rows)))
    return measured


def measure(
    predictor: Predictor,
    outputs: np.ndarray,
    own: np.ndarray,
    values: np.ndarray,
    loss: losses_pb2.Loss,
    dof: int | None = None,
) -> Measured:
    """As `evaluate`, of outputs [rows, outputs] that are already there.

    `own` are the targets in their own units, `values` in the loss's: numbers [rows, targets], or codes [rows].
    """
    figures = {"loss": _loss_figure(predictor, loss, outputs, values)}
    if predictor.task == "regression":
        return _measure_numbers(predictor, figures, outputs, own, dof)
    figures |= metrics.measure_classes(outputs, own, probabilities=not predictor.perceptron)
    return Measured(figures, [], confusion_of(outputs, own, predictor.target.classes), len(own))


def _measure_numbers(
    predictor: Predictor, figures: dict[str, float], outputs: np.ndarray, own: np.ndarray, dof: int | None
) -> Measured:
    # Each target has its share of the parameters.
    freedom = len(own) - predictor.parameter_count / own.shape[1] if dof is None else dof
    figures |= metrics.regression_metrics(predictor.answers(outputs), own, freedom)
    told = [] if freedom > 0 else [findings.no_degrees_of_freedom(len(own), predictor.parameter_count)]
    return Measured(figures, told, None, len(own))


def confusion_of(outputs: np.ndarray, t: np.ndarray, classes: Sequence[str]) -> tables_pb2.ConfusionMatrix | None:
    """The matrix of outputs [rows, outputs] for classes t [rows]; None for more than 100 classes."""
    if len(classes) > MOST_CONFUSED:
        return None
    counts = metrics.confusion(metrics.class_codes(outputs), t, len(classes))
    values = tables_pb2.Tensor(shape=counts.shape, values=counts.ravel().tolist())
    return tables_pb2.ConfusionMatrix(classes=classes, counts=values)


def epoch_measures(spec: specs_pb2.TrainSpec, target: Target, own: Mapping[str, np.ndarray]) -> EpochMeasures | None:
    """What `every_epoch` of a resolved spec asks for: (outputs [rows, outputs], split) -> figures by name.

    `own`: by split, the targets in their own units, in the order of the outputs' rows. None where nothing is asked for.
    """
    names = [specs_pb2.TrainSpec.Measure.Name(measure).lower() for measure in spec.every_epoch]
    if not names:
        return None
    task = specs.task_of(spec)

    def told(outputs: np.ndarray, split: str) -> dict[str, float]:
        if task == "regression":
            answers = target.from_loss_units(outputs[:, : len(target.columns)])
            return metrics.regression_metrics(answers, own[split], names=names)
        perceptron = spec.network.WhichOneof("kind") == "perceptron"
        return metrics.measure_classes(outputs, own[split], names, probabilities=not perceptron)

    return told


def complete_rows(table: Table, dropping: Sequence[str], target: Target) -> np.ndarray:
    """The rows that the model does not leave out, ascending int64: those with a value in `dropping`, and a target."""
    gone = [column.missing for column in map(table.column, dropping) if column.missing is not None]
    if target.drops and (missing := target.missing(table)) is not None:
        gone.append(missing)
    if not gone:
        return np.arange(table.row_count, dtype=np.int64)
    return np.flatnonzero(~np.logical_or.reduce(gone)).astype(np.int64, copy=False)


def _loss_figure(predictor: Predictor, loss: losses_pb2.Loss, outputs: np.ndarray, values: np.ndarray) -> float:
    """The loss of all rows, in float64."""
    kind = loss.WhichOneof("kind")
    fitting = _outputs_for(kind, outputs, values, len(predictor.target.columns))
    task: networks.Task = "multiclass" if kind == "cross_entropy" else "regression"
    targets = losses.target_tensor(task, values, torch.float64)
    return float(losses.build_loss(loss, predictor.target.classes)(torch.from_numpy(fitting), targets))


def _outputs_for(kind: str | None, outputs: np.ndarray, values: np.ndarray, targets: int) -> np.ndarray:
    """Outputs as a loss of that kind takes them.

    One logit and two say the same of two classes, so either loss takes either; the means of gaussian_nll are answers.
    """
    width = outputs.shape[1]
    if kind == "bce" and width != 1:
        if width != 2:
            raise invalid("loss", f"bce tells 2 classes apart and the model has {width}; use crossEntropy")
        difference: np.ndarray = outputs[:, 1:] - outputs[:, :1]  # [rows, 1]
        return difference
    if kind == "cross_entropy" and width == 1:
        return np.concatenate([np.zeros_like(outputs), outputs], axis=1)  # [rows, 2]
    if values.ndim == 2 and kind == "gaussian_nll" and width != 2 * targets:
        raise invalid("loss", "gaussian_nll needs a model that was trained with it, for it tells variances; use mse")
    means: np.ndarray = outputs[:, :targets] if values.ndim == 2 and kind != "gaussian_nll" else outputs
    return means
