"""The network as a class that can be read, whose weights have the names that the file of weights has."""

from collections.abc import Iterator

from service.modelling.inputs import InputLayout
from service.modelling.layers import EPS
from service.modelling.networks import SOFTPLUS_STRAIGHT
from service.script_files.lines import call, function, indented, wrapped
from traind.v1 import networks_pb2

Network = networks_pb2.Network

_ACTIVATIONS = {
    Network.IDENTITY: "{}",
    Network.STEP: "step({})",
    Network.SIGMOID: "torch.sigmoid({})",
    Network.TANH: "torch.tanh({})",
    Network.RELU: "torch.relu({})",
    Network.LEAKY_RELU: "functional.leaky_relu({})",
    Network.GELU: "functional.gelu({})",
    Network.SILU: "functional.silu({})",
    Network.SOFTPLUS: f"functional.softplus({{}}, 1.0, {SOFTPLUS_STRAIGHT})",
}
_NORMS = {Network.BATCH: "nn.BatchNorm1d", Network.LAYER: "nn.LayerNorm"}
_STEP = ["return (x > 0).to(x.dtype)"]


def network_lines(network: networks_pb2.Network, layout: InputLayout, outputs: int, dtype: str) -> list[str]:
    """The class `Network`, and `NETWORK` with its weights."""
    if network.WhichOneof("kind") == "mlp":
        lines, strict = _mlp(network.mlp, layout, outputs), network.mlp.normalisation != Network.BATCH
    else:
        bias = network.perceptron.bias if network.WhichOneof("kind") == "perceptron" else network.linear.bias
        lines, strict = _linear(layout, outputs, bias=bias), True
    load = (
        ["NETWORK.load_state_dict(load_file(WEIGHTS))"]
        if strict
        # PyTorch counts batches where it normalises by them, which predicting does not need.
        else ["NETWORK.load_state_dict(load_file(WEIGHTS), strict=False)  # no counts of batches, which none needs"]
    )
    return [*lines, f"NETWORK = Network().to({dtype})", *load, "NETWORK.eval()", "", ""]


def _linear(layout: InputLayout, outputs: int, *, bias: bool) -> list[str]:
    embeddings = _embeddings(layout)
    begin = [
        "class Network(nn.Linear):",
        '    """W x + b."""',
        "",
        "    def __init__(self):",
        f"        super().__init__({layout.width}, {outputs}{_bias(bias)})",
        *indented(indented(embeddings)),
        "",
    ]
    if not embeddings:
        return [*begin, ""]
    forward = [*_embedded(layout), "return super().forward(x)"]
    return [*begin, *indented(function("forward(self, x)", _told(layout, outputs), forward))]


def _mlp(mlp: networks_pb2.Mlp, layout: InputLayout, outputs: int) -> list[str]:
    layer = f"nn.Linear(i, o{_bias(mlp.bias)})"
    begin = [
        "super().__init__()",
        *call("widths = [", [layout.width, *mlp.hidden, outputs], "]"),
        f"self.layers = nn.ModuleList({layer} for i, o in zip(widths, widths[1:]))",
    ]
    normalised = _NORMS.get(mlp.normalisation) if mlp.hidden else None
    if normalised:
        begin.append(f"self.norms = nn.ModuleList({normalised}(width, eps={EPS}) for width in widths[1:-1])")
    begin += _embeddings(layout)
    forward = [*_embedded(layout), *_hidden(mlp, normalised=bool(normalised)), "return self.layers[-1](x)"]
    lines = function("step(x)", "1 where x > 0, else 0.", _STEP) if mlp.activation == Network.STEP else []
    return [
        *lines,
        "class Network(nn.Module):",
        '    """Linear layers with an activation between them."""',
        "",
        "    def __init__(self):",
        *indented(indented(begin)),
        "",
        *indented(function("forward(self, x)", _told(layout, outputs), forward)),
    ]


def _bias(bias: bool) -> str:
    return "" if bias else ", bias=False"


def _hidden(mlp: networks_pb2.Mlp, *, normalised: bool) -> Iterator[str]:
    if not mlp.hidden:
        return
    sums = "norm(layer(x))" if normalised else "layer(x)"
    activated = _ACTIVATIONS[mlp.activation].format(sums)
    each = "zip(self.layers, self.norms)" if normalised else "self.layers[:-1]"
    one = "layer, norm" if normalised else "layer"
    if not mlp.residual:
        yield from (f"for {one} in {each}:", f"    x = {activated}")
        return
    pair = f"({one})" if normalised else one
    yield f"for index, {pair} in enumerate({each}):"
    yield f"    y = {activated}"
    yield "    x = x + y if index > 0 and x.shape == y.shape else y"


def _told(layout: InputLayout, outputs: int) -> str:
    return f"[rows, {layout.features}] -> [rows, {outputs}]."


def _embeddings(layout: InputLayout) -> list[str]:
    if not layout.embedded:
        return []
    made = [f"nn.Embedding({code.categories + 1}, {code.width})" for code in layout.embedded]
    return wrapped("self.embeddings = nn.ModuleList([", made, "])")


def _embedded(layout: InputLayout) -> list[str]:
    """The line that puts the vector of each code in the place of the code."""
    parts, start = [], 0
    for index, code in enumerate(layout.embedded):
        if code.place > start:
            parts.append(f"x[:, {start}:{code.place}]")
        parts.append(f"self.embeddings[{index}](x[:, {code.place}].long())")
        start = code.place + 1
    if not parts:
        return []
    return wrapped("x = torch.cat([", [*parts, *([f"x[:, {start}:]"] if start < layout.features else [])], "], 1)")
