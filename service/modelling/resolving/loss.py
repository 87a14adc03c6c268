"""What is minimised: does it fit the targets?"""

from collections.abc import Sequence
from typing import assert_never

from service.errors import shown
from service.modelling.columns import all_told, class_count
from service.modelling.resolving.draft import Column, Draft, default, nearest
from traind.v1 import losses_pb2

CLASS_LOSSES = ("bce", "cross_entropy")
NUMBER_LOSSES = "mse, mae, huber or gaussian_nll"


def resolve_loss(draft: Draft, targets: Sequence[Column]) -> None:
    """The loss that was named, or the one for the target."""
    loss = draft.spec.loss
    kind = loss.WhichOneof("kind")
    if draft.spec.network.WhichOneof("kind") == "perceptron":
        if kind is not None:
            draft.refuse("loss", "a perceptron is measured by its share of errors; leave the loss out")
            draft.spec.ClearField("loss")
        return
    if kind is not None:
        _check(draft, kind, targets)
    if kind is None:
        getattr(loss, _default_loss(targets)).SetInParent()
    fill_loss(loss)
    if loss.WhichOneof("kind") == "cross_entropy":
        _check_class_weights(draft, loss.cross_entropy.class_weights, targets[0])


def _check(draft: Draft, kind: str, targets: Sequence[Column]) -> None:
    target = targets[0]
    classes, name = class_count(target), shown(target.name)
    if kind not in CLASS_LOSSES:
        if classes is not None:
            cure = "bce or cross_entropy" if classes == 2 else "cross_entropy"
            draft.refuse("loss", f"{kind} needs numbers and column {name} holds {classes} classes; use {cure}")
    elif len(targets) > 1:
        draft.refuse("loss", f"{kind} needs one column of classes and there are {len(targets)} of numbers; use mse")
    elif target.type == Column.NUMBER:
        draft.refuse("loss", f"{kind} needs classes and column {name} holds numbers; use {NUMBER_LOSSES}")
    elif kind == "bce" and classes is not None and classes != 2:
        draft.refuse("loss", f"bce tells 2 classes apart and column {name} has {classes}; use cross_entropy")


def fill_loss(loss: losses_pb2.Loss) -> None:
    """Say what a loss that was named leaves out."""
    kind = loss.WhichOneof("kind")
    if kind is not None:
        chosen = getattr(loss, kind)
        chosen.reduction = chosen.reduction or losses_pb2.Loss.MEAN
    match kind:
        case "huber":
            default(loss.huber, "delta", value=1.0)
        case "bce":
            default(loss.bce, "positive_weight", value=1.0)
        case "cross_entropy" | "mse" | "mae" | "gaussian_nll" | None:
            pass
        case _:
            assert_never(kind)


def _check_class_weights(draft: Draft, given: losses_pb2.ClassWeights, target: Column) -> None:
    path = "loss.cross_entropy.class_weights"
    if given.balanced and given.weights:
        draft.refuse(f"{path}.weights", "must be empty where balanced is true; leave one of them out")
    known = ("false", "true") if target.type == Column.BOOLEAN else tuple(target.categories)
    if (target.type == Column.CATEGORY and not all_told(target)) or target.type == Column.INTEGER:
        return
    for name in sorted(given.weights):
        if name not in known:
            draft.refuse(
                f"{path}.weights[{shown(name)}]", f"is no class of {shown(target.name)}; {nearest(name, known)}"
            )


def _default_loss(targets: Sequence[Column]) -> str:
    classes = class_count(targets[0])
    if classes is None:
        return "mse"
    return "bce" if classes == 2 else "cross_entropy"
