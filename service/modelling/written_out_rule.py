"""Which networks can learn by the written-out steps; said without importing what runs them."""

from traind.v1 import networks_pb2, specs_pb2


def supports(spec: specs_pb2.TrainSpec) -> str:
    """Why a resolved spec needs autograd; empty if its steps can be written out."""
    kind, mlp = spec.network.WhichOneof("kind"), spec.network.mlp
    if kind not in {"linear", "mlp"}:
        return f"the network is {kind}, and only linear and mlp can"
    if mlp.normalisation not in {0, networks_pb2.Network.NO_NORMALISATION}:
        return "the network has normalisation"
    if mlp.residual:
        return "the network has residual connections"
    if any(group.encode.WhichOneof("kind") == "embedding" for group in spec.preprocess.groups):
        return "the network has embeddings"
    if spec.learn.gradient.optimizer.WhichOneof("kind") == "lbfgs":
        return "the optimizer is lbfgs"
    return ""
