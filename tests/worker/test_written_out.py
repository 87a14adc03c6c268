"""The written-out way against autograd, in plain torch: the same weights after an epoch."""

import itertools

import pytest
import torch

from service.modelling.written_out_rule import supports
from tests.worker import plain_stacks
from tests.worker.plain_stacks import ACTIVATIONS, CLASSES, CLIPS, LOSSES, OPTIMIZERS, begun, spec_for
from traind.v1 import networks_pb2
from worker.written_out import WrittenOut
from worker.written_out.activations import ACTIVATIONS as WRITTEN

# The largest difference of a weight.
BOUND = {torch.float64: 1e-10, torch.float32: 1e-5}


def check(loss, optimizer, activation="RELU", clip="none", dtype=torch.float64, epochs=1, seed=11, **network):
    """Learn both ways and compare."""
    spec = spec_for(loss, optimizer, activation, clip=clip, **network)
    assert supports(spec) == ""
    state = begun(spec, LOSSES[loss][2], dtype)
    torch.manual_seed(seed)
    expected, losses = plain_stacks.learn_plainly(state, spec, loss, optimizer, activation, clip, epochs, dtype)
    first = {name: weight.clone() for name, weight in state.network.state_dict().items()}

    step = WrittenOut(state, spec, CLASSES)
    torch.manual_seed(seed)
    found_losses = [step(x, t).item() for x, t in plain_stacks.batches(loss, dtype) * epochs]
    found = state.network.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=BOUND[dtype])
    assert found_losses == pytest.approx(losses, rel=BOUND[dtype], abs=BOUND[dtype])
    assert any(not torch.equal(first[name], found[name]) for name in first), "nothing was learned"
    return state, step


def test_every_activation_with_a_gradient_is_written_out():
    names = {networks_pb2.Network.Activation.Name(kind) for kind in WRITTEN}
    assert names == set(ACTIVATIONS) == {*networks_pb2.Network.Activation.keys()} - {"ACTIVATION_UNSPECIFIED", "STEP"}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_autograd(activation, loss):
    for optimizer in OPTIMIZERS:
        check(loss, optimizer, activation)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", [None, (), (7,), (3, 8, 4)])
def test_equals_autograd_at_every_depth(hidden, loss):
    for bias, optimizer in itertools.product((True, False), ("sgd momentum", "adam")):
        check(loss, optimizer, "TANH", hidden=hidden, bias=bias)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equals_autograd_with_clipped_gradients(optimizer, clip):
    check("mse", optimizer, "SILU", clip)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_autograd_in_float32(activation, optimizer):
    check("bce", optimizer, activation, dtype=torch.float32)


@pytest.mark.parametrize("loss", LOSSES)
def test_equals_autograd_in_float32_under_every_loss(loss):
    check(loss, "sgd", "TANH", dtype=torch.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_draws_what_autograd_draws(activation, dtype):
    state, _ = check("mse", "adam", activation, dropout=0.4, dtype=dtype, epochs=3)
    without, _ = check("mse", "adam", activation, dropout=0.0, dtype=dtype, epochs=3)
    assert not torch.equal(
        state.network.state_dict()["layers.0.weight"], without.network.state_dict()["layers.0.weight"]
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equals_autograd_over_many_epochs(optimizer):
    check("mse", optimizer, "TANH", epochs=20)
