"""The network's defaults, and what does not go together in it."""

import itertools
from typing import assert_never

from service.modelling.resolving.draft import Draft, default
from traind.v1 import networks_pb2

Network = networks_pb2.Network
MOST_LAYERS = 512


def resolve_network(draft: Draft) -> None:
    """Fill in what is not said."""
    network = draft.spec.network
    kind = network.WhichOneof("kind")
    match kind:
        case "linear":
            default(network.linear, "bias", value=True)
            network.linear.initialisation = network.linear.initialisation or Network.UNIFORM
        case "perceptron":
            default(network.perceptron, "bias", value=True)
        case "mlp":
            _resolve_mlp(draft, network.mlp)
        case None:
            draft.refuse("network", "name one of linear, perceptron, mlp")
        case _:
            assert_never(kind)


def _resolve_mlp(draft: Draft, mlp: networks_pb2.Mlp) -> None:
    default(mlp, "bias", value=True)
    mlp.activation = mlp.activation or Network.RELU
    mlp.normalisation = mlp.normalisation or Network.NO_NORMALISATION
    mlp.initialisation = mlp.initialisation or Network.UNIFORM
    path, hidden = "network.mlp", list(mlp.hidden)
    if len(hidden) > MOST_LAYERS:
        draft.refuse(f"{path}.hidden", f"has {len(hidden)} layers, allowed are {MOST_LAYERS}")
    if mlp.residual and not any(one == other for one, other in itertools.pairwise(hidden)):
        draft.refuse(
            f"{path}.residual",
            f"adds what a layer was given to what it puts out, so two neighbouring hidden layers must be of one width "
            f"and these are {hidden[:8]}; make two equal, for instance [64, 64]",
        )
    for name in ("dropout", "normalisation"):
        if not hidden and getattr(mlp, name) not in {0, Network.NO_NORMALISATION}:
            draft.refuse(f"{path}.{name}", "acts on hidden layers and there are none; add one, or leave it out")


def embeddings(draft: Draft) -> list[str]:
    """Names of the columns that are embedded."""
    groups = draft.groups.items()
    return [name for name, group in groups if group.encode.WhichOneof("kind") == "embedding"]
