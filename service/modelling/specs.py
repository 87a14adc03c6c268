"""What a training spec means: `resolve` fills in every default and refuses what cannot be learned."""

from collections.abc import Sequence
from typing import assert_never

from service.modelling import findings
from service.modelling.columns import all_told, class_count, input_layout
from service.modelling.given import given_misfits
from service.modelling.inputs import InputLayout
from service.modelling.networks import Task, output_width, torch_dtype, weight_shapes
from service.modelling.resolving.columns import resolve_inputs, resolve_targets
from service.modelling.resolving.draft import Draft
from service.modelling.resolving.learning import resolve_learning
from service.modelling.resolving.loss import CLASS_LOSSES, NUMBER_LOSSES, resolve_loss
from service.modelling.resolving.measures import check_measures
from service.modelling.resolving.network import resolve_network
from service.modelling.resolving.preprocess import resolve_preprocess, resolve_target_steps
from service.modelling.resolving.split import FEWEST_ROWS_TO_SPLIT, holds_classes, resolve_split
from traind.v1 import losses_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column


def resolve(
    spec: specs_pb2.TrainSpec, columns: Sequence[Column], row_count: int, device: str = "cpu"
) -> specs_pb2.TrainSpec:
    """The spec as it runs on a kind of device, every default filled in.

    Raises InvalidField with all violations that were found, at most 20, by their paths below `job.train`.
    """
    resolved = specs_pb2.TrainSpec()
    resolved.CopyFrom(spec)
    draft = Draft(resolved, columns, row_count, device)
    resolve_preprocess(draft)
    targets = resolve_targets(draft)
    resolve_inputs(draft)
    resolve_network(draft)
    if targets:
        resolve_loss(draft, targets)
        resolve_target_steps(draft, numbers=not holds_classes(draft, targets))
        check_measures(draft, classes=holds_classes(draft, targets))
    resolve_split(draft, targets)
    resolve_learning(draft)
    _resolve_dtype(resolved)
    draft.raise_if_wrong()
    if resolved.learn.WhichOneof("way") == "given" and _widths_known(draft):
        shapes = weight_shapes(resolved.network, *widths(resolved, columns))
        draft.violations += given_misfits(resolved.learn.given, shapes, torch_dtype(resolved))
        draft.raise_if_wrong()
    return resolved


def _resolve_dtype(spec: specs_pb2.TrainSpec) -> None:
    exact = spec.learn.WhichOneof("way") == "exact"
    spec.dtype = spec.dtype or (specs_pb2.TrainSpec.FLOAT64 if exact else specs_pb2.TrainSpec.FLOAT32)


def _widths_known(draft: Draft) -> bool:
    """Whether `widths` is sure before the rows are read."""
    used = [draft.by_name[name] for name in (*draft.spec.inputs, *draft.spec.target)]
    classes = task_of(draft.spec) == "multiclass" and class_count(used[-1]) is None
    return not classes and all(map(all_told, used)) and not any(column.missing_count for column in used)


def task_of(resolved: specs_pb2.TrainSpec) -> Task:
    """What the outputs of a resolved spec stand for."""
    if resolved.network.WhichOneof("kind") == "perceptron":
        return "binary"
    loss = resolved.loss.WhichOneof("kind")
    if loss == "cross_entropy":
        return "multiclass"
    return "binary" if loss == "bce" else "regression"


def widths(resolved: specs_pb2.TrainSpec, columns: Sequence[Column]) -> tuple[InputLayout, int]:
    """Inputs and outputs of the network.

    How many classes an INTEGER target has is known only when the rows are read; it counts as two until then, and
    categories count as far as they are told. The trainer counts again.
    """
    target = next(column for column in columns if column.name == resolved.target[0])
    return input_layout(resolved, columns), output_width(resolved, class_count(target) or 2)


def epochs_of(resolved: specs_pb2.TrainSpec) -> int:
    """Epochs that a resolved spec asks for; 0 where nothing is iterated."""
    way = resolved.learn.WhichOneof("way")
    match way:
        case "gradient":
            return resolved.learn.gradient.epochs
        case "perceptron_rule":
            return resolved.learn.perceptron_rule.epochs
        case "exact" | "given" | None:
            return 0
        case _:
            assert_never(way)


def auto_findings(spec: specs_pb2.TrainSpec, resolved: specs_pb2.TrainSpec, row_count: int) -> list[tables_pb2.Finding]:
    """What a person should know about the choices that `resolve` made."""
    chosen = not spec.split.WhichOneof("kind") and resolved.split.WhichOneof("kind") == "none"
    return [findings.no_hold_out(row_count, FEWEST_ROWS_TO_SPLIT)] if chosen else []


def loss_misfit(loss: losses_pb2.Loss, trained: losses_pb2.Loss) -> str:
    """Why a model that was trained with `trained` cannot be measured by `loss`; empty if it can.

    Whether a model of `cross_entropy` has the two classes that `bce` needs is seen when it is measured.
    """
    kind, known = loss.WhichOneof("kind"), trained.WhichOneof("kind")
    if known is None:
        return "does not fit a perceptron, which answers classes and no probabilities; leave it out"
    if kind == "gaussian_nll" and known != kind:
        return "gaussian_nll needs a model that tells its own variance, trained with it; use another loss"
    if (kind in CLASS_LOSSES) == (known in CLASS_LOSSES):
        return ""
    if known in CLASS_LOSSES:
        return f"{kind} needs a model of numbers and this one answers classes; use bce or cross_entropy"
    return f"{kind} needs a model of classes and this one answers numbers; use {NUMBER_LOSSES}"
