"""Sizes by arithmetic equal those of what is built; activations, hidden outputs and first weights are as documented."""

import math

import numpy as np
import pytest
import torch

from service.modelling import networks
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
]


@pytest.mark.parametrize("spec", SPECS)
def test_shapes_and_counts_are_those_of_the_built_network(spec):
    network = network_of(spec)
    outputs = 1 if "perceptron" in spec else 3
    built = networks.build_network(network, 7, outputs, torch.float64)
    shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    assert networks.weight_shapes(network, 7, outputs) == shapes
    assert list(networks.weight_shapes(network, 7, outputs)) == list(shapes)
    assert networks.count_parameters(network, 7, outputs) == sum(p.numel() for p in built.parameters())
    assert built(torch.ones(4, 7, dtype=torch.float64)).shape == (4, outputs)
    assert all(tensor.dtype == torch.float64 for tensor in built.state_dict().values())


def test_counts_do_not_overflow():
    widths = [1 << 20] * 512
    network = networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=widths, bias=True))
    expected = 511 * (1 << 40) + (3 + 1) * (1 << 20) + 512 * (1 << 20) + 1
    assert networks.count_parameters(network, 3, 1) == expected


def test_widths_of_columns():
    columns = [
        Column(name="n", type=Column.NUMBER),
        Column(name="i", type=Column.INTEGER),
        Column(name="b", type=Column.BOOLEAN),
        Column(name="c", type=Column.CATEGORY, categories=["x", "y", "z"]),
    ]
    assert networks.input_width(columns, ["c", "n"]) == 4
    assert networks.input_width(columns, ["n", "i", "b", "c"]) == 7
    assert [networks.output_width(task, 3) for task in ("regression", "binary", "multiclass")] == [1, 1, 3]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("IDENTITY", lambda z: z),
        ("STEP", lambda z: (z > 0).astype(float)),
        ("SIGMOID", lambda z: 1 / (1 + np.exp(-z))),
        ("TANH", np.tanh),
        ("RELU", lambda z: np.maximum(z, 0)),
    ],
)
def test_mlp_against_numpy(activation, expected):
    network = network_of({"mlp": {"hidden": [4, 3], "activation": activation, "bias": True}})
    built = networks.build_network(network, 2, 2, torch.float64)
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


def test_every_activation_is_built():
    known = set(networks_pb2.Network.Activation.values()) - {networks_pb2.Network.ACTIVATION_UNSPECIFIED}
    assert set(networks.ACTIVATIONS) == known


def test_step_is_0_at_0():
    built = networks.build_network(network_of({"perceptron": {"bias": True}}), 2, 1, torch.float32)
    assert built(torch.ones(1, 2)).item() == 0
    with torch.no_grad():
        built.bias.fill_(1e-30)
    assert built(torch.ones(1, 2)).item() == 1
    assert built.hidden(torch.ones(1, 2)) == []


def test_first_weights_are_those_of_torch_linear():
    network = network_of({"mlp": {"hidden": [400], "activation": "RELU", "bias": True}})
    built = networks.build_network(network, 100, 1, torch.float32)
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
        built = networks.build_network(network, 3, 1, torch.float64)
        networks.draw_weights(built, torch.Generator().manual_seed(seed))
        return torch.cat([tensor.flatten() for tensor in built.state_dict().values()])

    first = drawn(5)
    torch.rand(10)
    assert torch.equal(first, drawn(5))
    assert not torch.equal(first, drawn(6))


def test_devices():
    assert networks.choose_device(["cpu"]) == "cpu"
    assert networks.choose_device(["cpu", "cuda"]) == ("cuda" if torch.cuda.is_available() else "cpu")
