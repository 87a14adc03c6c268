"""The way to learn: does it fit network, loss and rows?"""

from typing import assert_never

from service.modelling.resolving.draft import Draft, default
from service.modelling.resolving.network import embeddings
from service.modelling.resolving.optimizer import resolve_optimizer
from service.modelling.written_out_rule import supports
from traind.v1 import learning_pb2, networks_pb2

Gradient = learning_pb2.Gradient

# A lost worker costs at most so many seconds of learning.
CHECKPOINT_S = 60.0


def resolve_learning(draft: Draft) -> None:
    """The way that was named, or the one for the network; after split, network and loss."""
    learn, network = draft.spec.learn, draft.spec.network.WhichOneof("kind")
    way = learn.WhichOneof("way")
    if way is None:
        way = "perceptron_rule" if network == "perceptron" else "gradient"
        getattr(learn, way).SetInParent()
    embedded = embeddings(draft)
    if embedded and (network == "perceptron" or way not in {"gradient", "given"}):
        where = f"preprocess.groups: {embedded[0]} is embedded, which is learned by the gradient loop"
        draft.refuse("learn", f"{way} does not go with {where}; use one_hot or ordinal, or learn.gradient")
    match way:
        case "gradient":
            _resolve_gradient(draft, learn.gradient, network)
        case "exact":
            _resolve_exact(draft, network)
        case "perceptron_rule":
            default(learn.perceptron_rule, "epochs", value=100)
            if network not in {None, "perceptron"}:
                draft.refuse("learn.perceptron_rule", f"needs a perceptron and the network is {network}; use gradient")
        case "given":
            pass
        case _:
            assert_never(way)
    if way != "gradient" and draft.spec.every_epoch:
        draft.refuse("every_epoch", f"is told by the gradient loop and this is {way}; leave it out")


def _resolve_gradient(draft: Draft, gradient: Gradient, network: str | None) -> None:
    if network == "perceptron":
        draft.refuse("learn.gradient", "the step of a perceptron has no gradient; use perceptron_rule")
    mlp = draft.spec.network.mlp
    if network == "mlp" and mlp.hidden and mlp.activation == networks_pb2.Network.STEP:
        draft.refuse(
            "network.mlp.activation",
            "STEP has no gradient to descend; use SIGMOID, TANH or RELU, or give the weights with learn.given",
        )
    default(gradient, "epochs", value=10)
    gradient.keep = gradient.keep or Gradient.BEST
    default(gradient.checkpoints, "every_epochs", value=1)
    default(gradient.checkpoints, "every_seconds", value=CHECKPOINT_S)
    if gradient.HasField("early_stopping"):
        default(gradient.early_stopping, "patience", value=10)
        if draft.spec.split.WhichOneof("kind") == "none":
            draft.refuse(
                "learn.gradient.early_stopping",
                "looks at val_loss and no row is held out; set split.hold_out, or leave it out",
            )
    resolve_optimizer(draft, gradient)
    _resolve_path(draft, gradient)


def _resolve_path(draft: Draft, gradient: Gradient) -> None:
    if draft.violations:
        return
    why_not = supports(draft.spec, draft.device)
    if gradient.path == Gradient.WRITTEN_OUT and why_not:
        draft.refuse("learn.gradient.path", f"WRITTEN_OUT cannot be: {why_not}; leave it out, or use GENERAL")
    gradient.path = gradient.path or (Gradient.GENERAL if why_not else Gradient.WRITTEN_OUT)


def _resolve_exact(draft: Draft, network: str | None) -> None:
    if network not in {None, "linear"}:
        draft.refuse("learn.exact", f"only a linear network has an exact solution and this is {network}; use linear")
    loss = draft.spec.loss.WhichOneof("kind")
    if loss not in {None, "mse"}:
        draft.refuse("learn.exact", f"solves for mse with numbers as target and the loss is {loss}; use gradient")
