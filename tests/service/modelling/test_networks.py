"""Sizes by arithmetic equal those of what is built; activations, hidden outputs and first weights are as documented."""

import math

import numpy as np
import pytest
import torch

from service.modelling import initialisation, networks
from service.modelling.inputs import Embedded, InputLayout
from tests.service.modelling.cases import Column, spec_of
from traind.v1 import networks_pb2


def network_of(spec):
    return spec_of({"network": spec}).network


SPECS = [
    {"linear": {"bias": True}},
    {"linear": {"bias": False}},
    {"perceptron": {"bias": True}},
    {"perceptron": {"bias": False}},
    {"mlp": {"hidden": [], "activation": "RELU", "bias": True}},
    {"mlp": {"hidden": [5], "activation": "TANH", "bias": True}},
    {"mlp": {"hidden": [5, 4, 3], "activation": "SIGMOID", "bias": False}},
    {"mlp": {"hidden": [5, 4], "activation": "RELU", "bias": True, "normalisation": "BATCH", "dropout": 0.5}},
    {"mlp": {"hidden": [5, 5], "activation": "RELU", "bias": True, "normalisation": "LAYER", "residual": True}},
]
# Codes in the second and the last of five features.
EMBEDDED = InputLayout(5, [Embedded(1, 3, 2), Embedded(4, 6, 3)])


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("layout", [InputLayout(7), EMBEDDED])
def test_shapes_and_counts_are_those_of_the_built_network(spec, layout):
    if "perceptron" in spec:
        layout = InputLayout(7)
    network = network_of(spec)
    outputs = 1 if "perceptron" in spec else 3
    built = networks.build_network(network, layout, outputs, torch.float64)
    shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    assert networks.weight_shapes(network, layout, outputs) == shapes
    assert list(networks.weight_shapes(network, layout, outputs)) == list(shapes)
    assert networks.count_parameters(network, layout, outputs) == sum(p.numel() for p in built.parameters())
    assert built(torch.ones(4, layout.features, dtype=torch.float64)).shape == (4, outputs)
    assert all(tensor.dtype == torch.float64 for tensor in built.state_dict().values())


def test_names_of_the_contract():
    built = networks.build_network(network_of(SPECS[7]), EMBEDDED, 1, torch.float32)
    norms = [f"norms.{i}.{name}" for i in (0, 1) for name in ("weight", "bias", "running_mean", "running_var")]
    layers = [f"layers.{i}.{name}" for i in (0, 1, 2) for name in ("weight", "bias")]
    assert list(built.state_dict()) == [*layers, *norms, "embeddings.0.weight", "embeddings.1.weight"]
    linear = networks.build_network(network_of(SPECS[0]), EMBEDDED, 1, torch.float32)
    assert list(linear.state_dict()) == ["weight", "bias", "embeddings.0.weight", "embeddings.1.weight"]
    assert linear.state_dict()["embeddings.1.weight"].shape == (7, 3)
    assert linear.weight.shape == (1, 8)


def test_counts_do_not_overflow():
    widths = [1 << 20] * 512
    network = networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=widths, bias=True))
    expected = 511 * (1 << 40) + (3 + 1) * (1 << 20) + 512 * (1 << 20) + 1
    assert networks.count_parameters(network, InputLayout(3), 1) == expected


def test_widths_of_columns():
    columns = [
        Column(name="n", type=Column.NUMBER),
        Column(name="i", type=Column.INTEGER),
        Column(name="b", type=Column.BOOLEAN),
        Column(name="c", type=Column.CATEGORY, categories=["x", "y", "z"]),
    ]
    assert networks.input_width(columns, ["c", "n"]) == 4
    assert networks.input_width(columns, ["n", "i", "b", "c"]) == 7


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [
        ({"loss": {"mse": {}}}, 2),
        ({"loss": {"huber": {}}}, 2),
        ({"loss": {"gaussianNll": {}}}, 4),
        ({"loss": {"bce": {}}, "target": ["a"]}, 1),
        ({"loss": {"crossEntropy": {}}, "target": ["a"]}, 5),
        ({"network": {"perceptron": {}}, "target": ["a"]}, 1),
    ],
)
def test_outputs_by_the_loss(spec, outputs):
    assert networks.output_width(spec_of({"target": ["a", "b"]} | spec), 5) == outputs


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("IDENTITY", lambda z: z),
        ("STEP", lambda z: (z > 0).astype(float)),
        ("SIGMOID", lambda z: 1 / (1 + np.exp(-z))),
        ("TANH", np.tanh),
        ("RELU", lambda z: np.maximum(z, 0)),
        ("LEAKY_RELU", lambda z: np.where(z > 0, z, 0.01 * z)),
        ("GELU", lambda z: z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2),
        ("SILU", lambda z: z / (1 + np.exp(-z))),
        ("SOFTPLUS", lambda z: np.logaddexp(0, z)),
    ],
)
def test_mlp_against_numpy(activation, expected):
    network = network_of({"mlp": {"hidden": [4, 3], "activation": activation, "bias": True}})
    built = networks.build_network(network, InputLayout(2), 2, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(3))
    weights = {name: tensor.numpy() for name, tensor in built.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((6, 2))
    first = expected(x @ weights["layers.0.weight"].T + weights["layers.0.bias"])
    second = expected(first @ weights["layers.1.weight"].T + weights["layers.1.bias"])
    y = second @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(built(torch.from_numpy(x)).numpy(), y, atol=1e-12)
        hidden = built.hidden(torch.from_numpy(x))
    assert [name for name, _ in hidden] == ["layers.0", "layers.1"]
    np.testing.assert_allclose(hidden[0][1].numpy(), first, atol=1e-12)
    np.testing.assert_allclose(hidden[1][1].numpy(), second, atol=1e-12)


def test_softplus_is_exact_for_large_sums_too():
    x = torch.linspace(-50, 60, 1000, dtype=torch.float64)
    found = networks.ACTIVATIONS[networks_pb2.Network.SOFTPLUS](x)
    np.testing.assert_allclose(found.numpy(), np.logaddexp(0, x.numpy()), rtol=1e-14, atol=1e-20)


def test_every_initialisation_and_normalisation_is_built():
    known = set(networks_pb2.Network.Initialisation.values()) - {networks_pb2.Network.INITIALISATION_UNSPECIFIED}
    assert set(initialisation.INITIALISATIONS) == known
    for name in networks_pb2.Network.Normalisation.keys()[2:]:
        network = network_of({"mlp": {"hidden": [3], "activation": "RELU", "normalisation": name}})
        assert networks.build_network(network, InputLayout(2), 1, torch.float32).norms is not None


def test_every_activation_is_built():
    known = set(networks_pb2.Network.Activation.values()) - {networks_pb2.Network.ACTIVATION_UNSPECIFIED}
    assert set(networks.ACTIVATIONS) == known


def test_step_is_0_at_0():
    built = networks.build_network(network_of({"perceptron": {"bias": True}}), InputLayout(2), 1, torch.float32)
    assert built(torch.ones(1, 2)).item() == 0
    with torch.no_grad():
        built.bias.fill_(1e-30)
    assert built(torch.ones(1, 2)).item() == 1
    assert built.hidden(torch.ones(1, 2)) == []


def test_first_weights_are_those_of_torch_linear():
    network = network_of({"mlp": {"hidden": [400], "activation": "RELU", "bias": True}})
    built = networks.build_network(network, InputLayout(100), 1, torch.float32)
    assert not any(tensor.any() for tensor in built.state_dict().values())
    networks.draw_weights(built, torch.Generator().manual_seed(1))
    drawn = built.state_dict()
    oracle = torch.nn.Linear(100, 400)
    bound = 1 / math.sqrt(100)
    for name, theirs in (("layers.0.weight", oracle.weight), ("layers.0.bias", oracle.bias)):
        assert drawn[name].abs().max() <= bound
        assert drawn[name].abs().max() == pytest.approx(theirs.detach().abs().max().item(), rel=0.02)
    assert drawn["layers.0.weight"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert drawn["layers.1.weight"].abs().max() <= 1 / math.sqrt(400)


def test_first_weights_follow_the_seed_alone():
    network = network_of({"mlp": {"hidden": [4], "activation": "RELU", "bias": True}})

    def drawn(seed):
        built = networks.build_network(network, InputLayout(3), 1, torch.float64)
        networks.draw_weights(built, torch.Generator().manual_seed(seed))
        return torch.cat([tensor.flatten() for tensor in built.state_dict().values()])

    first = drawn(5)
    torch.rand(10)
    assert torch.equal(first, drawn(5))
    assert not torch.equal(first, drawn(6))


def test_devices():
    assert networks.choose_device(["cpu"]) == "cpu"
    assert networks.choose_device(["cpu", "cuda"]) == ("cuda" if torch.cuda.is_available() else "cpu")


def rich(**mlp):
    """An mlp with drawn weights."""
    spec = {"mlp": {"hidden": [6, 6], "activation": "TANH", "bias": True} | mlp}
    built = networks.build_network(network_of(spec), InputLayout(4), 2, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(3))
    return built


def plain(built, norm, residual=False):
    """The same function by torch's own modules."""

    def forward(x):
        for index, layer in enumerate(built.layers[:-1]):
            y = norm[index](torch.nn.functional.linear(x, layer.weight, layer.bias))
            y = torch.tanh(y)
            x = x + y if residual and index else y
        return torch.nn.functional.linear(x, built.layers[-1].weight, built.layers[-1].bias)

    return forward


BATCHES = torch.from_numpy(np.random.default_rng(2).standard_normal((5, 9, 4)))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", ["BATCH", "LAYER"])
def test_normalisation_against_torch(kind, residual):
    built = rich(normalisation=kind, residual=residual)
    make = torch.nn.BatchNorm1d if kind == "BATCH" else torch.nn.LayerNorm
    norms = [make(6, dtype=torch.float64) for _ in range(2)]
    with torch.no_grad():
        for mine, theirs in zip(built.norms, norms, strict=True):
            mine.weight.uniform_(0.5, 2)
            mine.bias.uniform_(-1, 1)
            theirs.weight.copy_(mine.weight)
            theirs.bias.copy_(mine.bias)
    built.train()
    for x in BATCHES:
        torch.testing.assert_close(built(x), plain(built, norms, residual)(x), rtol=1e-12, atol=1e-12)
    if kind == "BATCH":
        for mine, theirs in zip(built.norms, norms, strict=True):
            torch.testing.assert_close(mine.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(mine.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)
    built.eval()
    for norm in norms:
        norm.eval()
    torch.testing.assert_close(built(BATCHES[0]), plain(built, norms, residual)(BATCHES[0]), rtol=1e-12, atol=1e-12)


def test_a_batch_of_one_row_is_normalised_as_in_prediction():
    built = rich(normalisation="BATCH").train()
    built(BATCHES[0])
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    alone = built(BATCHES[1][:1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())
    assert torch.equal(alone, built.eval()(BATCHES[1][:1]))


def test_only_neighbours_of_one_width_are_added():
    """The inputs are as many as the first layer is wide, and are not added all the same."""
    built = rich(hidden=[4, 4, 3], residual=True)
    (_, first), (_, second), (_, third) = built.hidden(BATCHES[0])
    layers = [lambda x, layer=layer: torch.tanh(layer(x)) for layer in built.layers]
    torch.testing.assert_close(first, layers[0](BATCHES[0]))
    torch.testing.assert_close(second, first + layers[1](first))
    torch.testing.assert_close(third, layers[2](second))


def test_dropout_leaves_out_its_share_and_scales_up_the_rest():
    built = rich(hidden=[2000], dropout=0.25).train()
    torch.manual_seed(1)
    x = BATCHES[0][:1]
    whole = torch.tanh(built.layers[0](x))
    ((_, dropped),) = built.hidden(x)
    left = dropped != 0
    assert left.double().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(dropped[left], whole[left] / 0.75)
    built.eval()
    torch.testing.assert_close(built.hidden(x)[0][1], whole)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[5]])
def test_vectors_stand_in_the_place_of_their_codes(spec):
    built = networks.build_network(network_of(spec), EMBEDDED, 3, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(3))
    codes = [np.array([0, 1, 3]), np.array([6, 2, 0])]
    numbers = np.random.default_rng(0).standard_normal((3, 3))
    x = np.column_stack([numbers[:, 0], codes[0], numbers[:, 1], numbers[:, 2], codes[1]])
    vectors = [built.state_dict()[f"embeddings.{i}.weight"].numpy()[codes[i]] for i in (0, 1)]
    wide = np.column_stack([numbers[:, 0], vectors[0], numbers[:, 1], numbers[:, 2], vectors[1]])
    without = networks.build_network(network_of(spec), InputLayout(8), 3, torch.float64)
    weights = {name: tensor for name, tensor in built.state_dict().items() if not name.startswith("embeddings")}
    without.load_state_dict(weights)
    torch.testing.assert_close(built(torch.from_numpy(x)), without(torch.from_numpy(wide)))
    assert not vectors[0][0].any(), "code 0 is for what training did not see"


def test_what_training_did_not_see_learns_nothing():
    built = networks.build_network(network_of(SPECS[0]), EMBEDDED, 1, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(3))
    built(torch.tensor([[1.0, 0, 1, 1, 2]], dtype=torch.float64)).sum().backward()
    assert not built.embeddings[0].weight.grad.any()
    assert built.embeddings[1].weight.grad[2].all()


@pytest.mark.parametrize(
    ("kind", "std", "bound"),
    [
        ("XAVIER_UNIFORM", math.sqrt(2 / 500), math.sqrt(6 / 500)),
        ("XAVIER_NORMAL", math.sqrt(2 / 500), None),
        ("KAIMING_UNIFORM", math.sqrt(2 / 100), math.sqrt(6 / 100)),
        ("KAIMING_NORMAL", math.sqrt(2 / 100), None),
        ("ZEROS", 0, 0),
        ("UNIFORM", 0.1 / math.sqrt(3), 0.1),
    ],
)
@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_initialisations(kind, std, bound, network):
    spec = {"linear": {"bias": True}} if network == "linear" else {"mlp": {"hidden": [400], "bias": True}}
    spec[network]["initialisation"] = kind
    if network == "mlp":
        spec["mlp"]["activation"] = "RELU"
    built = networks.build_network(network_of(spec), InputLayout(100), 400, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(1))
    layer = built if network == "linear" else built.layers[0]
    weight = layer.weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * std)
    if bound is not None:
        assert bound * 0.99 <= weight.abs().max().item() <= bound
    assert layer.bias.any() == (kind == "UNIFORM")


@pytest.mark.parametrize(("inputs", "outputs"), [(20, 8), (8, 20)])
def test_orthogonal_rows_or_columns(inputs, outputs):
    network = network_of({"linear": {"bias": True, "initialisation": "ORTHOGONAL"}})
    built = networks.build_network(network, InputLayout(inputs), outputs, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(1))
    weight = built.weight.detach()
    product = weight @ weight.T if inputs > outputs else weight.T @ weight
    torch.testing.assert_close(product, torch.eye(8, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_first_vectors_are_those_of_torch_embedding():
    built = networks.build_network(network_of(SPECS[0]), InputLayout(1, [Embedded(0, 4000, 5)]), 1, torch.float64)
    networks.draw_weights(built, torch.Generator().manual_seed(1))
    vectors = built.embeddings[0].weight.detach()
    assert not vectors[0].any()
    assert vectors[1:].std().item() == pytest.approx(1, rel=0.02)
    assert vectors[1:].mean().item() == pytest.approx(0, abs=0.02)
