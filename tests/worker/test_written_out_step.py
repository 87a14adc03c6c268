"""What else the written-out step promises: resuming bit for bit, odd batches, extreme numbers, and who may use it."""

import itertools
import math

import numpy as np
import pytest
import torch

from service.errors import DataCorrupt
from service.modelling.written_out_rule import supports
from tests.service.modelling.cases import spec_of
from tests.worker import plain_stacks
from tests.worker.plain_stacks import ACTIVATIONS, CLASSES, INPUTS, LOSSES, OPTIMIZERS, begun, spec_for
from worker import checkpoints
from worker.checkpoints import Origin
from worker.written_out import WrittenOut
from worker.written_out.step import MOST_SIZES

ORIGIN = Origin("ab" * 32, '{"seed":3}', '{"columns":[]}', 83, np.array([0, 7, 8, 82]))
EPOCHS = 3


def epoch(step, loss, dtype=torch.float32):
    """The losses before the steps of an epoch, to the last bit."""
    return [step(x, t).item() for x, t in plain_stacks.batches(loss, dtype)]


def built(spec, loss="mse", dtype=torch.float32):
    state = begun(spec, LOSSES[loss][2], dtype)
    return state, WrittenOut(state, spec, CLASSES)


@pytest.mark.parametrize("activation", ["RELU", "GELU"])
@pytest.mark.parametrize("loss", ["mse", "bce", "cross-entropy both", "gaussian nll"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_equals_never_stopped(optimizer, loss, activation, dtype):
    spec = spec_for(loss, optimizer, activation, dropout=0.3, clip="norm")
    state, step = built(spec, loss, dtype)
    history, saved = [], []
    for _ in range(EPOCHS):
        history.append(epoch(step, loss, dtype))
        saved.append(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    for done in range(1, EPOCHS):
        torch.manual_seed(99)  # a new process has drawn other numbers
        again, resumed = built(spec, loss, dtype)
        checkpoints.restore(again, checkpoints.decode(saved[done - 1]))
        assert [epoch(resumed, loss, dtype) for _ in range(done, EPOCHS)] == history[done:]
        for name, weight in state.network.state_dict().items():
            assert torch.equal(again.network.state_dict()[name], weight), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_restoring_once_more_goes_back(optimizer):
    state, step = built(spec_for(optimizer=optimizer))
    epoch(step, "mse")
    saved = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    first = [epoch(step, "mse") for _ in range(2)]
    checkpoints.restore(state, saved)
    assert [epoch(step, "mse") for _ in range(2)] == first


def test_a_checkpoint_of_the_general_way_is_refused():
    spec = spec_for()
    state = begun(spec, 2, torch.float32)
    state.optimizer = torch.optim.Adam(state.network.parameters(), lr=0.01, fused=True)
    state.network(torch.zeros(1, INPUTS)).sum().backward()
    state.optimizer.step()
    saved = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    with pytest.raises(DataCorrupt):
        checkpoints.restore(built(spec)[0], saved)


@pytest.mark.parametrize("hidden", [None, (), (6, 5)])
def test_the_network_is_the_same_before_and_sees_each_step(hidden):
    spec = spec_for("mse", activation="TANH", hidden=hidden)
    state = begun(spec, 2)
    first = {name: weight.clone() for name, weight in state.network.state_dict().items()}
    step = WrittenOut(state, spec)
    assert all(torch.equal(weight, first[name]) for name, weight in state.network.state_dict().items())
    x, t = plain_stacks.batches("mse")[0]
    for _ in range(3):
        expected = ((state.network.eval()(x) - t) ** 2).mean().item()
        assert step(x, t).item() == pytest.approx(expected, rel=1e-12)


def test_rates_are_those_of_the_step_to_come():
    rates = [0.05, 0.001, 0.02]
    spec = spec_for("mse", "sgd momentum", "TANH")
    state, step = built(spec, dtype=torch.float64)
    theirs = begun(spec, 2)
    optimizer = torch.optim.SGD(theirs.network.parameters(), lr=1, momentum=0.9)
    for rate, (x, t) in zip(rates, plain_stacks.batches("mse"), strict=True):
        step.set_rate(rate)
        step(x, t)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        ((theirs.network(x) - t) ** 2).mean().backward()
        optimizer.step()
    for name, weight in theirs.network.state_dict().items():
        torch.testing.assert_close(state.network.state_dict()[name], weight, rtol=0, atol=1e-12)


def test_a_rate_goes_on_after_a_checkpoint():
    state, step = built(spec_for())
    step.set_rate(0.25)
    epoch(step, "mse")
    captured = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    going_on = epoch(step, "mse")
    again, resumed = built(spec_for())
    checkpoints.restore(again, captured)
    assert epoch(resumed, "mse") == going_on
    resumed.set_rate(0.0)
    before = {name: weight.clone() for name, weight in again.network.state_dict().items()}
    epoch(resumed, "mse")
    assert all(torch.equal(weight, before[name]) for name, weight in again.network.state_dict().items())


def test_batches_of_any_sizes():
    sizes = [*range(1, MOST_SIZES + 3), 1, 37]
    state, step = built(spec_for("mse", "sgd", "TANH"), dtype=torch.float64)
    theirs = begun(spec_for("mse", "sgd", "TANH"), 2)
    optimizer = torch.optim.SGD(theirs.network.parameters(), lr=0.01, weight_decay=0.1)
    for size in sizes:
        x, t = plain_stacks.X[:size], plain_stacks.NUMBERS[:size]
        step(x, t)
        optimizer.zero_grad()
        ((theirs.network(x) - t) ** 2).mean().backward()
        optimizer.step()
    for name, weight in theirs.network.state_dict().items():
        torch.testing.assert_close(state.network.state_dict()[name], weight, rtol=0, atol=1e-12)


def test_what_dropout_leaves_out_teaches_nothing():
    spec = spec_for("mse", "sgd momentum", "IDENTITY", hidden=(4,), dropout=0.5)
    state, step = built(spec, dtype=torch.float64)
    before = state.network.state_dict()["layers.0.weight"].clone()
    x, t = plain_stacks.X[:1], plain_stacks.NUMBERS[:1]
    torch.manual_seed(4)
    kept = torch.empty(1, 4, dtype=torch.float64).bernoulli_(0.5)[0].bool()
    assert 0 < kept.sum() < 4
    torch.manual_seed(4)
    step(x, t)
    changed = (state.network.state_dict()["layers.0.weight"] != before).any(1)
    assert torch.equal(changed, kept)


@pytest.mark.parametrize("variance", [-20.0, -13.0, 0.0, 5.0])
def test_the_variance_has_a_floor(variance):
    spec = spec_for("gaussian nll", "sgd", hidden=None, clip="norm")  # for a small variance pulls hard
    state = begun(spec, 4)
    with torch.no_grad():
        state.network.bias[2:] = variance
    torch.manual_seed(1)
    expected, losses = plain_stacks.learn_plainly(state, spec, "gaussian nll", "sgd", None, "norm")
    found = epoch(WrittenOut(state, spec), "gaussian nll", torch.float64)
    assert found == pytest.approx(losses, rel=1e-9)
    for name, weight in expected.items():
        torch.testing.assert_close(state.network.state_dict()[name], weight, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("logit", "bit"), list(itertools.product((-90.0, -30.0, 12.0, 30.0, 90.0), (0.0, 1.0))))
def test_bce_is_exact_where_the_network_is_sure(logit, bit):
    spec = spec_for("bce", "sgd", hidden=None)
    state = begun(spec, 1, torch.float32)
    with torch.no_grad():
        state.network.weight.zero_()
        state.network.bias.fill_(logit)
    found = WrittenOut(state, spec)(torch.zeros(2, INPUTS), torch.full((2, 1), bit)).item()
    u = -logit if bit else logit
    assert found == pytest.approx(max(u, 0) + math.log1p(math.exp(-abs(u))), rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", "mse sum", "huber", "mae", "cross-entropy", "bce"])
@pytest.mark.parametrize("hidden", [None, (6, 5)])
def test_a_descent_that_diverges_does_so_in_both_ways(loss, hidden):
    spec = spec_for(loss, "sgd", "RELU", hidden=hidden)
    state = begun(spec, LOSSES[loss][2], torch.float32)
    weights = [weight for _, weight in state.network.named_parameters()]
    with torch.no_grad():
        for weight in weights:
            weight.mul_(1e18)
    _, expected = plain_stacks.learn_plainly(state, spec, loss, "sgd", "RELU", epochs=6, dtype=torch.float32)
    step = WrittenOut(state, spec, CLASSES)
    found = [value for _ in range(6) for value in epoch(step, loss)]
    assert [math.isfinite(value) for value in found] == [math.isfinite(value) for value in expected]


# Specs that go the general way, and a word of the reason.
REFUSED = {
    "perceptron": ({"network": {"perceptron": {}}}, "`linear` and `mlp`"),
    "batch": ({"network": {"mlp": {"hidden": [4], "activation": "RELU", "normalisation": "BATCH"}}}, "BATCH"),
    "layer": ({"network": {"mlp": {"hidden": [4], "activation": "RELU", "normalisation": "LAYER"}}}, "LAYER"),
    "residual": ({"network": {"mlp": {"hidden": [4, 4], "activation": "RELU", "residual": True}}}, "residual"),
    "step": ({"network": {"mlp": {"hidden": [4], "activation": "STEP"}}}, "STEP"),
    "lbfgs": ({"learn": {"gradient": {"optimizer": {"lbfgs": {"lr": 1}}}}}, "lbfgs"),
    "exact": ({"learn": {"exact": {}}}, "gradient loop"),
    "embedding": ({"preprocess": {"groups": [{"columns": ["a"], "encode": {"embedding": {}}}]}}, "embeddings"),
}
PLAIN = {
    "network": {"mlp": {"hidden": [4], "activation": "RELU", "normalisation": "NO_NORMALISATION"}},
    "preprocess": {"scale": "STANDARD", "groups": [{"columns": ["a"], "encode": {"oneHot": {}}}]},
    "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.1}}}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_the_general_way(name):
    change, word = REFUSED[name]
    assert word in supports(spec_of(PLAIN | change))


def test_only_a_cpu_goes_the_written_out_way():
    assert supports(spec_of(PLAIN)) == ""
    assert "cuda" in supports(spec_of(PLAIN), "cuda")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_plain_stacks_go_the_written_out_way(activation, optimizer):
    assert supports(spec_for(activation=activation, optimizer=optimizer, dropout=0.5)) == ""
    assert supports(spec_for(hidden=None, optimizer=optimizer)) == ""
