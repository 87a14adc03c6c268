"""How a step follows from the gradient, and how the rate changes: defaults, and what does not go together."""

from typing import assert_never

from service.modelling.resolving.draft import Draft, default
from traind.v1 import learning_pb2, networks_pb2, optimizers_pb2

_ADAM = {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
# Of the optional fields of each kind.
DEFAULTS: dict[str, dict[str, float]] = {
    "gradient_descent": {"lr": 0.01},
    "sgd": {"lr": 0.01},
    "adam": _ADAM,
    "adamw": _ADAM | {"weight_decay": 0.01},
    "adagrad": {"lr": 0.01, "eps": 1e-10},
    "rmsprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8},
    "lbfgs": {"lr": 1.0, "max_iterations": 20, "history_size": 10},
}
# These look at all rows in every step.
FULL_BATCH = ("gradient_descent", "lbfgs")


def resolve_optimizer(draft: Draft, gradient: learning_pb2.Gradient) -> None:
    """The optimizer that was named, or Adam."""
    optimizer, path = gradient.optimizer, "learn.gradient.optimizer"
    kind = optimizer.WhichOneof("kind") or "adam"
    chosen = getattr(optimizer, kind)
    chosen.SetInParent()
    for name, value in DEFAULTS[kind].items():
        default(chosen, name, value=value)
    if kind == "sgd" and optimizer.sgd.nesterov and not optimizer.sgd.momentum:
        draft.refuse(f"{path}.sgd.nesterov", "needs a momentum above 0; set momentum, for instance 0.9")
    if kind == "lbfgs":
        _check_lbfgs(draft, gradient)
    _resolve_batch(draft, gradient, kind)
    if gradient.HasField("schedule"):
        _resolve_schedule(draft, gradient.schedule)


def _check_lbfgs(draft: Draft, gradient: learning_pb2.Gradient) -> None:
    why, mlp = (
        "its line search needs one function in all inner steps; leave it out, or use adam",
        draft.spec.network.mlp,
    )
    if gradient.HasField("clip"):
        draft.refuse("learn.gradient.clip", f"does not go with lbfgs: {why}")
    if mlp.dropout:
        draft.refuse("network.mlp.dropout", f"does not go with lbfgs: {why}")
    if mlp.normalisation == networks_pb2.Network.BATCH:
        draft.refuse("network.mlp.normalisation", f"BATCH does not go with lbfgs: {why}")


def _resolve_batch(draft: Draft, gradient: learning_pb2.Gradient, kind: str) -> None:
    path = "learn.gradient.batch_size"
    if kind in FULL_BATCH:
        if gradient.HasField("batch_size"):
            draft.refuse(path, f"{kind} takes all rows in every step; leave batch_size out, or use sgd")
    elif gradient.HasField("batch_size") and gradient.batch_size > draft.row_count:
        draft.refuse(path, f"is {gradient.batch_size} and the data set has {draft.row_count} rows; at most so many")
    else:
        default(gradient, "batch_size", value=max(1, min(32, draft.row_count)))
        normalised = draft.spec.network.mlp.normalisation == networks_pb2.Network.BATCH
        if normalised and gradient.batch_size < 2:
            draft.refuse(path, "is 1 and normalisation BATCH needs at least 2 rows; use LAYER, or larger batches")


def _resolve_schedule(draft: Draft, schedule: optimizers_pb2.Schedule) -> None:
    kind = schedule.WhichOneof("kind")
    match kind:
        case "step":
            default(schedule.step, "every", value=10)
            default(schedule.step, "factor", value=0.1)
        case "exponential":
            default(schedule.exponential, "factor", value=0.95)
        case "cosine":
            default(schedule.cosine, "final_share", value=0.0)
        case "one_cycle":
            default(schedule.one_cycle, "warm_up_share", value=0.3)
            if schedule.warm_up_steps:
                path = "learn.gradient.schedule.warm_up_steps"
                draft.refuse(path, "one_cycle warms up by itself; leave it out, or set one_cycle.warm_up_share")
        case "reduce_on_plateau":
            for name, value in (("factor", 0.1), ("patience", 10), ("threshold", 1e-4)):
                default(schedule.reduce_on_plateau, name, value=value)
        case None:
            pass
        case _:
            assert_never(kind)
