"""The gradient loop against loops written by hand in plain torch, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch

from service.modelling import losses, networks, optimizers
from tests.service.modelling.cases import spec_of
from worker import loop
from worker.checkpoints import LearnState
from worker.loop import Plan, Rows

ROWS, INPUTS, SEED = 50, 4, 3
DRAW = np.random.default_rng(1)
X = DRAW.standard_normal((ROWS, INPUTS))
HELD = DRAW.standard_normal((17, INPUTS))

OPTIMIZERS = {
    "gradientDescent": ({"lr": 0.05}, lambda p: torch.optim.SGD(p, lr=0.05, foreach=False)),
    "sgd": (
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weightDecay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False),
    ),
    "adam": (
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        lambda p: torch.optim.Adam(p, lr=0.01, foreach=False, fused=False),
    ),
}
LOSSES = {
    "mse": ("regression", 1, X[:, 0] - 2 * X[:, 1], HELD[:, 0] - 2 * HELD[:, 1]),
    "mae": ("regression", 1, X[:, 0] - 2 * X[:, 1], HELD[:, 0] - 2 * HELD[:, 1]),
    "bce": ("binary", 1, (X[:, 0] > 0).astype(int), (HELD[:, 0] > 0).astype(int)),
    "crossEntropy": ("multiclass", 3, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0), (HELD[:, 0] > 0).astype(int)),
}
PLAIN_LOSSES = {
    "mse": torch.nn.MSELoss,
    "mae": torch.nn.L1Loss,
    "bce": torch.nn.BCEWithLogitsLoss,
    "crossEntropy": torch.nn.CrossEntropyLoss,
}
NETWORKS = {
    "linear": {"linear": {"bias": True}},
    "mlp": {"mlp": {"hidden": [6], "activation": "TANH", "bias": True}},
}


def begun(network, outputs, optimizer="adam", dtype=torch.float64, **rates):
    """A state before its first epoch."""
    built = networks.build_network(spec_of({"network": NETWORKS[network]}).network, INPUTS, outputs, dtype)
    state = LearnState.begin(built, SEED)
    networks.draw_weights(built, state.order)
    spec = {"learn": {"gradient": {"optimizer": {optimizer: rates or OPTIMIZERS[optimizer][0]}}}}
    state.optimizer = optimizers.build_optimizer(spec_of(spec).learn.gradient.optimizer, built.parameters())
    return state


def plan_of(loss="mse", reduction="MEAN", epochs=3, batch_size=16, keep_best=True):
    spec = spec_of({"loss": {loss: {"reduction": reduction}}}).loss
    classes = LOSSES[loss][0] != "regression"
    return Plan(losses.build_loss(spec), reduction == "MEAN", classes, epochs, batch_size, keep_best)


def rows_of(loss, dtype=torch.float64):
    task, _, t, t_held = LOSSES[loss]
    return Rows.make(X, t, task, dtype, "cpu"), Rows.make(HELD, t_held, task, dtype, "cpu")


def never():
    return False


def plain_loop(network, loss, optimizer, reduction, batch_size, epochs):
    """The same learning as one would write it for oneself; answers history and weights."""
    task, outputs, t, t_held = LOSSES[loss]
    start = begun(network, outputs)
    sizes = [INPUTS, outputs] if network == "linear" else [INPUTS, 6, outputs]
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
    net = layers[0] if network == "linear" else torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), start.network.parameters(), strict=True):
            mine.copy_(theirs)
    step = OPTIMIZERS[optimizer][1](net.parameters())
    criterion = PLAIN_LOSSES[loss](reduction=reduction.lower())

    def targets(values):
        return torch.tensor(values) if task == "multiclass" else torch.tensor(values, dtype=torch.float64)[:, None]

    x, t, held, t_held = torch.tensor(X), targets(t), torch.tensor(HELD), targets(t_held)
    history = []
    for _ in range(epochs):
        order = torch.randperm(ROWS, generator=start.order) if batch_size < ROWS else torch.arange(ROWS)
        total = 0.0
        for batch in order.split(batch_size):
            step.zero_grad()
            figure = criterion(net(x[batch]), t[batch])
            figure.backward()
            step.step()
            total += figure.item() * (len(batch) if reduction == "MEAN" else 1)
        with torch.no_grad():
            answers = net(held)
            record = {"train_loss": total / (ROWS if reduction == "MEAN" else 1)}
            record["val_loss"] = criterion(answers, t_held).item()
            if task != "regression":
                chosen = answers.argmax(1) if task == "multiclass" else (answers > 0).double()
                record["val_accuracy"] = (chosen == t_held).double().mean().item()
        history.append(record)
    return history, [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("reduction", "batch_size"), [("MEAN", 16), ("SUM", 16), ("MEAN", ROWS)])
def test_against_plain_torch(network, loss, optimizer, reduction, batch_size):
    history, weights = plain_loop(network, loss, optimizer, reduction, batch_size, epochs=3)
    state = begun(network, LOSSES[loss][1], optimizer)
    records = list(loop.descend(state, plan_of(loss, reduction, 3, batch_size), *rows_of(loss), never))
    assert [record.epoch for record in records] == [1, 2, 3]
    for record, expected in zip(records, history, strict=True):
        found = {name: value for (name, _), value in record.metrics.items()}
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    for mine, theirs in zip(state.network.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.detach(), theirs, rtol=1e-12, atol=1e-12)


def test_splits_of_the_figures():
    state = begun("mlp", 1)
    (record,) = loop.descend(state, plan_of("bce", epochs=1), *rows_of("bce"), never)
    assert list(record.metrics) == [("train_loss", "train"), ("val_loss", "val"), ("val_accuracy", "val")]
    (record,) = loop.descend(begun("mlp", 1), plan_of("mse", epochs=1), rows_of("mse")[0], None, never)
    assert list(record.metrics) == [("train_loss", "train")]


def test_all_rows_in_a_batch_give_the_loss_before_the_step():
    state = begun("linear", 1, "gradientDescent")
    train, _ = rows_of("mse")
    with torch.no_grad():
        before = float(torch.nn.MSELoss()(state.network(train.x), train.t))
    (record,) = loop.descend(state, plan_of(epochs=1, batch_size=ROWS), train, None, never)
    assert record.metrics["train_loss", "train"] == pytest.approx(before, rel=1e-12)


def test_same_seed_same_bits():
    def learned():
        state = begun("mlp", 1, dtype=torch.float32)
        records = list(loop.descend(state, plan_of(), *rows_of("mse", torch.float32), never))
        return [record.metrics for record in records], [
            p.detach().numpy().tobytes() for p in state.network.parameters()
        ]

    first = learned()
    torch.rand(5)
    assert learned() == first


def test_large_held_out_parts_are_measured_whole():
    state = begun("mlp", 1)
    many = np.random.default_rng(4).standard_normal((2 * loop.ROWS_AT_ONCE + 5, INPUTS))
    held = Rows.make(many, (many[:, 0] > 0).astype(int), "binary", torch.float64, "cpu")
    figures = loop.measure(state.network, plan_of("bce"), held)
    with torch.no_grad():
        outputs = state.network(held.x)
    assert figures["val_loss", "val"] == pytest.approx(float(torch.nn.BCEWithLogitsLoss()(outputs, held.t)), rel=1e-12)
    assert figures["val_accuracy", "val"] == ((outputs > 0) == (held.t > 0)).double().mean()


def kept(keep_best, held_out=True, epochs=12):
    """A rate so large that the validation loss goes up and down."""
    state = begun("mlp", 1, "sgd", lr=0.9)
    train, held = rows_of("mse")
    seen = []
    for record in loop.descend(
        state, plan_of(epochs=epochs, keep_best=keep_best), train, held if held_out else None, never
    ):
        weights = {name: weight.clone() for name, weight in state.network.state_dict().items()}
        seen.append((record.metrics.get(("val_loss", "val")), weights))
    return state, seen


def test_best_epoch_is_kept():
    state, seen = kept(keep_best=True)
    figures = [figure for figure, _ in seen]
    best = figures.index(min(figures))
    assert best + 1 < len(figures), "the last epoch shall not be the best one here"
    assert (state.best_epoch, state.best_value) == (best + 1, min(figures))
    for name, weight in state.weights.items():
        assert torch.equal(weight, seen[best][1][name])


@pytest.mark.parametrize(("keep_best", "held_out"), [(False, True), (True, False)])
def test_last_epoch_is_kept(keep_best, held_out):
    state, seen = kept(keep_best, held_out)
    assert state.best_epoch == 12
    for name, weight in state.weights.items():
        assert torch.equal(weight, seen[-1][1][name])


def test_stop_is_asked_before_each_batch():
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 10

    state = begun("mlp", 1)
    records = list(loop.descend(state, plan_of(epochs=5, batch_size=16), *rows_of("mse"), stop))
    # Four batches an epoch: the tenth question comes in the third epoch, which is lost.
    assert [record.epoch for record in records] == [1, 2]
    assert state.epoch == 2
    assert len(asked) == 10


def diverging(lr, epochs, dtype=torch.float32):
    state = begun("linear", 1, "gradientDescent", dtype, lr=lr)
    train, _ = rows_of("mse", dtype)
    records = list(loop.descend(state, plan_of(epochs=epochs, batch_size=ROWS), train, None, never))
    return state, [record.metrics["train_loss", "train"] for record in records]


def test_divergence_goes_on_until_nan():
    state, history = diverging(5.0, 1000)
    bad = state.first_bad_epoch
    assert all(map(math.isfinite, history[: bad - 1]))
    assert history[bad - 1] == math.inf
    assert math.isnan(history[-1])
    assert not any(map(math.isnan, history[:-1]))
    assert len(history) <= 2 * bad
    assert loop.diverged(state)


def test_divergence_ends_with_the_epochs():
    state, history = diverging(5.0, 1000)
    epochs = state.first_bad_epoch
    state, history = diverging(5.0, epochs)
    assert len(history) == epochs
    assert history[-1] == math.inf
    assert not loop.diverged(state)
    assert state.first_bad_epoch == epochs


def test_a_bad_validation_loss_is_divergence_too():
    # The training loss never becomes NaN, so it ends at twice its first bad epoch.
    state = begun("linear", 1, "gradientDescent", torch.float32, lr=1e-6)
    train, _ = rows_of("mse", torch.float32)
    held = Rows(torch.full((2, INPUTS), 1e30), torch.zeros(2, 1))
    records = list(loop.descend(state, plan_of(epochs=50, batch_size=ROWS), train, held, never))
    assert state.first_bad_epoch == 1
    assert len(records) == 2
