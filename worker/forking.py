"""Going on from the checkpoint of another job, its parent, whose way to learn may have been another."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from google.protobuf import json_format

from service.errors import DataCorrupt
from service.modelling import schedules
from service.store.records import JobRow
from traind.v1 import learning_pb2, optimizers_pb2, specs_pb2

# Parts of the gradient's way that say how long is learned and what is kept meanwhile, not how; but for `epochs` where a
# schedule spans them.
_BOUNDS: tuple[Literal["epochs", "max_seconds", "checkpoints"], ...] = ("epochs", "max_seconds", "checkpoints")
# Numbers of optimizers of which it depends what they remember of each weight.
_REMEMBER = ("momentum", "centered", "amsgrad", "history_size")


def is_of_parent(captured: Mapping[str, Any], job: JobRow) -> bool:
    """Whether a checkpoint is the one that the job was given when it was taken, and not yet one of its own."""
    return job.parent_id is not None and bool(captured["job"] != job.id)


def adapted(captured: Mapping[str, Any], job: JobRow) -> tuple[dict[str, Any], bool]:
    """A parent's checkpoint as the job goes on from it, and whether it learns on just as the parent would have.

    Time is counted anew. Where the way to learn changed, an epoch under way begins anew, and what belongs to the old
    way is left behind: what the optimizer remembered, if it is of another kind; waits of the schedule and of early
    stopping; the best weights, if others are to be kept. Where time may end within the first epoch, the weights of the
    last one that is done are the best so far; `best_epoch` is 0 where the checkpoint has moved on from them.
    Raises DataCorrupt if more than the way to learn is different.
    """
    old, new = _parse(captured["spec"]), _parse(job.resolved_json)
    before, now = learning_pb2.Learn(), learning_pb2.Learn()
    for spec, learn in ((old, before), (new, now)):
        learn.CopyFrom(spec.learn)
        spec.ClearField("learn")
    if old != new:
        raise DataCorrupt("the checkpoint is of another job: more than the way to learn is different")
    own = dict(captured) | {"seconds": 0.0}
    if _without_bounds(before) == _without_bounds(now):
        return own | _best_so_far(own, captured, now), True
    own |= {"batch": 0, "loss_sum": 0.0, "first_bad_epoch": 0, "stopping_smallest": math.inf, "stopping_epochs": 0}
    if before.gradient.schedule != now.gradient.schedule:
        own |= {"plateau_smallest": math.inf, "plateau_epochs": 0, "cuts": 0}
    if before.gradient.keep != now.gradient.keep:
        own |= {"best_value": math.inf, "best_weights": {}, "best_epoch": captured["epoch"]}
    same_memory = before.gradient.path == now.gradient.path and _memory(before) == _memory(now)
    own["optimizer"] = {"state": captured["optimizer"]["state"], "param_groups": None} if same_memory else None
    return own | _best_so_far(own, captured, now), False


def _best_so_far(own: Mapping[str, Any], captured: Mapping[str, Any], now: learning_pb2.Learn) -> dict[str, Any]:
    """What a model would be of if time ended before the first epoch of the job does; empty where that is known."""
    if own["best_weights"] or not now.gradient.HasField("max_seconds"):
        return {}
    if not captured["batch"]:
        last = captured["network"]
    else:
        last = captured["best_weights"] if captured["best_epoch"] == captured["epoch"] else {}
    if not captured["epoch"] or not last:
        return {"best_weights": {}, "best_epoch": 0}
    return {"best_weights": last, "best_epoch": captured["epoch"]}


def _parse(spec: str) -> specs_pb2.TrainSpec:
    try:
        return json_format.Parse(spec, specs_pb2.TrainSpec())
    except json_format.ParseError as error:
        raise DataCorrupt("the checkpoint cannot be read: its spec is none") from error


def _without_bounds(learn: learning_pb2.Learn) -> learning_pb2.Learn:
    rest = learning_pb2.Learn()
    rest.CopyFrom(learn)
    match rest.WhichOneof("way"):
        case "gradient":
            spans = schedules.spans_all_epochs(rest.gradient.schedule)
            for name in _BOUNDS:
                if name != "epochs" or not spans:
                    rest.gradient.ClearField(name)
        case "perceptron_rule":
            rest.perceptron_rule.ClearField("epochs")
    return rest


def _memory(learn: learning_pb2.Learn) -> tuple[str | None, list[tuple[str, bool | float]]]:
    """The kind of optimizer and what decides which numbers it keeps of each weight."""
    optimizer: optimizers_pb2.Optimizer = learn.gradient.optimizer
    kind = optimizer.WhichOneof("kind")
    if kind is None:
        return None, []
    numbers = getattr(optimizer, kind)
    kept = [name for name in _REMEMBER if name in numbers.DESCRIPTOR.fields_by_name]
    return kind, [(name, _switch(name, getattr(numbers, name))) for name in kept]


def _switch(name: str, value: float) -> bool | float:
    return value if name == "history_size" else bool(value)
