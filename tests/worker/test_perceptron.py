"""Rosenblatt's rule: finds a line where there is one, keeps the best weights where there is none."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from service.modelling import networks
from service.modelling.inputs import InputLayout
from tests.service.modelling.cases import spec_of
from worker import checkpoints, perceptron
from worker.checkpoints import LearnState, Origin
from worker.training_data import Sample

CORNERS = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
XOR = np.array([0, 1, 1, 0])


def begun(inputs=2, bias=True, dtype=torch.float32):
    spec = spec_of({"network": {"perceptron": {"bias": bias}}}).network
    return LearnState.begin(networks.build_network(spec, InputLayout(inputs), 1, dtype), 0)


def learn(x, t, state=None, *, epochs=100, seed=7, held_out=None, stop=lambda: False):
    state = state or begun(x.shape[1])
    return state, list(perceptron.learn(state, Sample(x, t), held_out, epochs=epochs, seed=seed, stop=stop))


def outputs(state, x):
    network = networks.PerceptronNetwork(x.shape[1], 1, bias="bias" in state.weights, dtype=torch.float32)
    network.load_state_dict(state.weights)
    with torch.no_grad():
        return network(torch.tensor(x, dtype=torch.float32))[:, 0].numpy()


@pytest.mark.parametrize("t", [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]])
@pytest.mark.parametrize("seed", range(5))
def test_what_a_line_separates_is_separated(t, seed):
    state, records = learn(CORNERS, np.array(t), seed=seed)
    assert records[-1].metrics == {("train_loss", "train"): 0.0, ("train_accuracy", "train"): 1.0}
    assert len(records) < 100
    assert all(record.metrics["train_loss", "train"] > 0 for record in records[:-1])
    assert outputs(state, CORNERS).tolist() == t
    assert perceptron.at_rest(state)
    assert state.best_epoch == state.epoch == len(records)


@pytest.mark.parametrize("seed", range(20))
def test_the_four_points_are_not_separated(seed):
    standard = (CORNERS - 0.5) / 0.5
    state, records = learn(standard, XOR, seed=seed)
    assert len(records) == 100
    assert state.best_value == 0.25
    assert (outputs(state, standard) == XOR).mean() == 0.75
    figures = [record.metrics["train_loss", "train"] for record in records]
    assert state.best_epoch == figures.index(0.25) + 1
    assert not perceptron.at_rest(state)


def test_the_rule_by_hand():
    """One epoch over rows whose order does not matter, for they are equal: w + (t - y) x."""
    x = np.array([[2.0, -1.0]] * 3)
    state, _ = learn(x, np.array([1, 1, 1]), epochs=1)
    assert state.network.weight.tolist() == [[2.0, -1.0]]
    assert state.network.bias.tolist() == [1.0]
    state, _ = learn(x, np.array([0, 0, 0]), state, epochs=2)
    assert state.epoch == 1, "weights that make no error are left alone"
    state.best_value = 1.0
    state, _ = learn(x, np.array([0, 0, 0]), state, epochs=2)
    assert state.network.weight.tolist() == [[0.0, 0.0]]
    assert state.network.bias.tolist() == [0.0]


def test_without_bias_the_line_goes_through_the_origin():
    state, records = learn(CORNERS, np.array([1, 0, 0, 0]), begun(bias=False), epochs=20)
    assert set(state.weights) == {"weight"}
    assert len(records) == 20
    assert state.best_value == 0.25
    state, _ = learn(CORNERS, np.array([0, 1, 0, 1]), begun(bias=False))
    assert perceptron.at_rest(state)


def test_iris_setosa_is_separated():
    iris = load_iris()
    _, records = learn(iris.data, (iris.target == 0).astype(int), epochs=200)
    assert records[-1].metrics["train_accuracy", "train"] == 1.0


def test_held_out_rows_are_measured():
    held = Sample(CORNERS[1:], np.array([0, 1, 1]))
    _, records = learn(CORNERS, np.array([0, 0, 1, 1]), held_out=held)
    assert records[-1].metrics == {
        ("train_loss", "train"): 0.0,
        ("train_accuracy", "train"): 1.0,
        ("val_loss", "val"): 0.0,
        ("val_accuracy", "val"): 1.0,
    }


def test_same_seed_same_bits():
    x = np.random.default_rng(0).standard_normal((60, 3))
    t = (x[:, 0] + 0.5 * np.random.default_rng(1).standard_normal(60) > 0).astype(int)
    first, records = learn(x, t, epochs=20)
    again, other = learn(x, t, epochs=20)
    assert records == other
    assert torch.equal(first.weights["weight"], again.weights["weight"])
    assert learn(x, t, epochs=20, seed=8)[1] != records


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_equals_never_stopped(dtype):
    x = np.random.default_rng(0).standard_normal((60, 3))
    t = (x[:, 0] + 0.5 * np.random.default_rng(1).standard_normal(60) > 0).astype(int)
    whole, records = learn(x, t, begun(3, dtype=dtype), epochs=9)
    for epoch in range(1, 9):
        part, _ = learn(x, t, begun(3, dtype=dtype), epochs=epoch)
        data = checkpoints.encode(checkpoints.capture(part, Origin("", "", "", 60, np.zeros(0, np.int64))))
        state = begun(3, dtype=dtype)
        checkpoints.restore(state, checkpoints.decode(data))
        assert learn(x, t, state, epochs=9)[1] == records[epoch:]
        assert torch.equal(state.network.weight, whole.network.weight)
        assert torch.equal(state.weights["bias"], whole.weights["bias"])
        assert state.best_epoch == whole.best_epoch


def test_stop_is_asked_among_the_rows():
    x = np.tile(CORNERS, (1024, 1))
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 7

    state, records = learn(x, np.tile(XOR, 1024), stop=stop)
    # Four questions an epoch: the seventh comes in the second epoch, which is lost.
    assert len(records) == state.epoch == 1
