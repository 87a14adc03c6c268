"""Which learnings can go the written-out way; without torch, so that a spec can be resolved by it."""

from typing import assert_never

from traind.v1 import networks_pb2, optimizers_pb2, specs_pb2

_NORMALISED = (networks_pb2.Network.BATCH, networks_pb2.Network.LAYER)


def supports(resolved: specs_pb2.TrainSpec, device: str = "cpu") -> str:
    """Why the steps of a resolved spec cannot be computed by the written-out way on `device`; empty if they can."""
    if resolved.learn.WhichOneof("way") != "gradient":
        return "only the gradient loop has steps that could be written out"
    if device != "cpu":
        return f"it is for a CPU, and this learning runs on {device}"
    if any(group.encode.HasField("embedding") for group in resolved.preprocess.groups):
        return "embeddings are learned by the general way only"
    return _of_network(resolved.network) or _of_optimizer(resolved.learn.gradient.optimizer)


def _of_network(network: networks_pb2.Network) -> str:
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            return ""
        case "mlp":
            return _of_mlp(network.mlp)
        case "perceptron" | None:
            return "it is for `linear` and `mlp`"
        case _:
            assert_never(kind)


def _of_mlp(mlp: networks_pb2.Mlp) -> str:
    if mlp.normalisation in _NORMALISED:
        return f"normalisation {networks_pb2.Network.Normalisation.Name(mlp.normalisation)} is not written out"
    if mlp.residual:
        return "residual connections are not written out"
    if mlp.hidden and mlp.activation == networks_pb2.Network.STEP:
        return "the activation STEP has no gradient"
    return ""


def _of_optimizer(optimizer: optimizers_pb2.Optimizer) -> str:
    kind = optimizer.WhichOneof("kind")
    match kind:
        case "gradient_descent" | "sgd" | "adam" | "adamw" | "adagrad" | "rmsprop":
            return ""
        case "lbfgs":
            return "lbfgs searches along a line, which is not written out"
        case None:
            raise AssertionError("a resolved spec has an optimizer")
        case _:
            assert_never(kind)
