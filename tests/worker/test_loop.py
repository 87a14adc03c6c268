"""The gradient loop against loops written by hand in plain torch, in float64."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from tests.worker.descents import CLASSES, INPUTS, LOSSES, OPTIMIZERS, ROWS, X, learning, spec_for, whole_loss
from worker import loop
from worker.loop import Rows

PLAIN_OPTIMIZERS = {
    "gradientDescent": lambda p: torch.optim.SGD(p, lr=0.05, foreach=False),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, foreach=False, fused=False),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False, fused=False),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.01, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=4, history_size=3, line_search_fn="strong_wolfe"),
}


def plain_gaussian(reduction):
    loss = torch.nn.GaussianNLLLoss(reduction=reduction)
    return lambda y, t: loss(y[:, :2], t, y[:, 2:].exp())


def plain_cross_entropy(reduction):
    """A mean over the factors of the rows' classes."""
    factors = torch.tensor([0.5, 1, 3], dtype=torch.float64)
    of_rows = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)

    def loss(y, t):
        total = (factors[t] * of_rows(y, t)).sum()
        return total / factors[t].sum() if reduction == "mean" else total

    return loss


PLAIN_LOSSES = {
    "mse": lambda reduction: torch.nn.MSELoss(reduction=reduction),
    "mae": lambda reduction: torch.nn.L1Loss(reduction=reduction),
    "huber": lambda reduction: torch.nn.HuberLoss(reduction=reduction, delta=0.7),
    "gaussianNll": plain_gaussian,
    "bce": lambda reduction: torch.nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=torch.tensor([2.5])),
    "crossEntropy": plain_cross_entropy,
}


def optimizer_field(name):
    return {"gradientDescent": "gradient_descent"}.get(name, name)


def share_of(loss, reduction, t):
    """What a batch's figure counts as."""
    if reduction == "SUM":
        return 1.0
    return torch.tensor([0.5, 1, 3])[t].sum().item() if loss == "crossEntropy" else len(t)


def plain_loop(ours, loss, optimizer, reduction, epochs):
    """The same learning as one would write it for oneself; answers history and weights."""
    weights = [weight.detach().clone() for weight in ours.state.network.parameters()]
    sizes = [weights[0].shape[1], *(weight.shape[0] for weight in weights[::2])]
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
    net = layers[0] if len(layers) == 1 else torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), weights, strict=True):
            mine.copy_(theirs)
    step = PLAIN_OPTIMIZERS[optimizer](net.parameters())
    step.param_groups[0]["lr"] = getattr(ours.plan.gradient.optimizer, optimizer_field(optimizer)).lr
    criterion = PLAIN_LOSSES[loss](reduction.lower())
    order = torch.Generator()
    order.set_state(ours.state.order.get_state())
    batch_size = ours.plan.gradient.batch_size or ROWS
    history = []
    for _ in range(epochs):
        rows = torch.randperm(ROWS, generator=order) if batch_size < ROWS else torch.arange(ROWS)
        total, count = 0.0, 0.0
        for batch in rows.split(batch_size):

            def closure(x=ours.train.x[batch], t=ours.train.t[batch]):
                step.zero_grad()
                figure = criterion(net(x), t)
                figure.backward()
                return figure

            share = share_of(loss, reduction, ours.train.t[batch])
            total, count = total + step.step(closure).item() * share, count + share
        with torch.no_grad():
            answers = net(ours.held_out.x)
            record = {"train_loss": total / count if reduction == "MEAN" else total}
            record["val_loss"] = criterion(answers, ours.held_out.t).item()
            if ours.plan.classes:
                chosen = answers.argmax(1) if answers.shape[1] > 1 else (answers > 0).double()
                record["val_accuracy"] = (chosen == ours.held_out.t).double().mean().item()
        history.append(record)
    return history, [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize("network", ["linear", "mlp"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("reduction", ["MEAN", "SUM"])
def test_against_plain_torch(network, loss, optimizer, reduction):
    rates = OPTIMIZERS[optimizer]
    if reduction == "SUM" and optimizer != "lbfgs":
        rates = rates | {"lr": rates["lr"] / ROWS}
    ours = learning(network=network, loss=loss, optimizer=optimizer, reduction=reduction, rates=rates)
    history, weights = plain_loop(ours, loss, optimizer, reduction, 3)
    found = ours.run()
    assert len(found) == 3
    for figures, expected in zip(found, history, strict=True):
        assert figures == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for mine, theirs in zip(ours.state.network.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.detach(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", ["sgd", "gradientDescent"])
def test_means_are_exact_whatever_the_batches(loss, optimizer):
    """With a rate near 0 the running loss of every batch size is the loss of all rows."""
    batch = {} if optimizer == "gradientDescent" else {"batchSize": 7}
    ours = learning(network="mlp", loss=loss, optimizer=optimizer, rates={"lr": 1e-300}, epochs=1, **batch)
    with torch.no_grad():
        expected = whole_loss(ours.spec, ours.state.network(ours.train.x), ours.train.t)
        expected_val = whole_loss(ours.spec, ours.state.network(ours.held_out.x), ours.held_out.t)
    (figures,) = ours.run()
    assert figures["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert figures["val_loss"] == pytest.approx(expected_val, rel=1e-12)


@pytest.mark.parametrize("clip", [{"norm": 0.05}, {"value": 0.01}])
def test_clipped_gradients(clip):
    ours = learning(loss="mse", optimizer="sgd", rates={"lr": 0.1}, clip=clip, epochs=1, batchSize=ROWS)
    before = [weight.detach().clone() for weight in ours.state.network.parameters()]
    torch.nn.functional.mse_loss(ours.state.network(ours.train.x), ours.train.t).backward()
    gradients = [weight.grad.clone() for weight in ours.state.network.parameters()]
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    assert norm > 0.05
    ours.run()
    for weight, first, gradient in zip(ours.state.network.parameters(), before, gradients, strict=True):
        bounded = gradient * (0.05 / norm) if "norm" in clip else gradient.clamp(-0.01, 0.01)
        # torch adds 1e-6 to the norm it divides by
        torch.testing.assert_close(weight.detach(), first - 0.1 * bounded, rtol=1e-4, atol=1e-8)


def test_splits_of_the_figures():
    (record,) = learning(loss="bce", epochs=1).epochs()
    assert list(record.metrics) == [("train_loss", "train"), ("val_loss", "val"), ("val_accuracy", "val")]
    (record,) = learning(loss="mse", epochs=1, held_out=False).epochs()
    assert list(record.metrics) == [("train_loss", "train")]


def test_what_is_asked_for_of_every_epoch():
    ours = learning(network="rich", loss="crossEntropy", epochs=2)
    seen = []

    def figures(outputs, split):
        seen.append((split, outputs))
        return {"largest": float(outputs.max()), "accuracy": -1.0}

    ours.plan = dataclasses.replace(ours.plan, every_epoch=figures)
    for record in ours.epochs():
        ours.state.network.eval()
        for (split, outputs), rows in zip(seen[-2:], (ours.train, ours.held_out), strict=True):
            with torch.no_grad():
                np.testing.assert_array_equal(outputs, ours.state.network(rows.x).numpy())
            assert record.metrics[f"{split}_largest", split] == outputs.max()
        assert record.metrics["train_accuracy", "train"] == -1
        assert record.metrics["val_accuracy", "val"] >= 0, "what the loop measures itself stays"
    assert [split for split, _ in seen] == ["train", "val"] * 2


def test_figures_that_are_nan_by_their_nature_are_no_divergence():
    ours = learning(epochs=4)
    ours.plan = dataclasses.replace(ours.plan, every_epoch=lambda *_: {"r2": math.nan})
    assert len(ours.run()) == 4
    assert not ours.state.first_bad_epoch


def test_all_rows_in_a_batch_give_the_loss_before_the_step():
    ours = learning(network="linear", optimizer="gradientDescent", epochs=1)
    with torch.no_grad():
        before = float(torch.nn.MSELoss()(ours.state.network(ours.train.x), ours.train.t))
    assert ours.run()[0]["train_loss"] == pytest.approx(before, rel=1e-12)


def bits(ours):
    return [weight.detach().numpy().tobytes() for weight in ours.state.network.state_dict().values()]


@pytest.mark.parametrize("network", ["mlp", "rich"])
def test_same_seed_same_bits(network):
    def learned():
        ours = learning(network=network, dtype="FLOAT32")
        return ours.run(), bits(ours)

    first = learned()
    torch.rand(5)
    assert learned() == first


def test_parts_that_are_gathered_at_once_change_nothing(monkeypatch):
    whole = learning(dtype="FLOAT32")
    history = whole.run()
    monkeypatch.setattr(loop, "BYTES_AT_ONCE", 2 * 16 * 4 * INPUTS)
    parts = learning(dtype="FLOAT32")
    assert parts.run() == history
    assert bits(parts) == bits(whole)


def test_rows_of_a_mapped_file_are_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    rows = Rows.make(mapped, LOSSES["mse"][2], "regression", torch.float32, "cpu")
    assert rows.x.data_ptr() == mapped.ctypes.data
    ours, usual = learning(dtype="FLOAT32"), learning(dtype="FLOAT32")
    assert ours.run(train=rows) == usual.run()


def test_large_held_out_parts_are_measured_whole():
    ours = learning(loss="bce")
    many = np.random.default_rng(4).standard_normal((2 * loop.ROWS_AT_ONCE + 5, INPUTS))
    held = Rows.make(many, (many[:, 0] > 0).astype(int), "binary", torch.float64, "cpu")
    figures = loop.measure(ours.state.network, ours.plan, ours.train, held)
    with torch.no_grad():
        outputs = ours.state.network(held.x)
    assert figures["val_loss", "val"] == pytest.approx(whole_loss(ours.spec, outputs, held.t), rel=1e-12)
    assert figures["val_accuracy", "val"] == ((outputs > 0) == (held.t > 0)).double().mean()


def kept(keep, held_out=True, epochs=12, **gradient):
    """A rate so large that the validation loss goes up and down."""
    ours = learning(optimizer="sgd", rates={"lr": 0.9}, keep=keep, held_out=held_out, epochs=epochs, **gradient)
    seen = []
    for record in ours.epochs():
        weights = {name: weight.clone() for name, weight in ours.state.network.state_dict().items()}
        seen.append((record.metrics.get(("val_loss", "val")), weights))
    return ours.state, seen


def test_best_epoch_is_kept():
    state, seen = kept("BEST")
    figures = [figure for figure, _ in seen]
    best = figures.index(min(figures))
    assert best + 1 < len(figures), "the last epoch shall not be the best one here"
    assert (state.best_epoch, state.best_value) == (best + 1, min(figures))
    for name, weight in state.weights.items():
        assert torch.equal(weight, seen[best][1][name])


@pytest.mark.parametrize(("keep", "held_out"), [("LAST", True), ("BEST", False)])
@pytest.mark.parametrize("gradient", [{}, {"maxSeconds": 1000}])
def test_last_epoch_is_kept(keep, held_out, gradient):
    state, seen = kept(keep, held_out, **gradient)
    assert state.best_epoch == 12
    for name, weight in state.weights.items():
        assert torch.equal(weight, seen[-1][1][name])


def test_stop_is_asked_before_each_batch():
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 10

    ours = learning(epochs=5)
    records = list(ours.epochs(stop=stop))
    # Four batches an epoch: the tenth question comes in the third epoch, which is lost.
    assert [record.epoch for record in records] == [1, 2]
    assert ours.state.epoch == 2
    assert len(asked) == 10


def diverging(epochs, dtype="FLOAT32"):
    ours = learning(
        network="linear", optimizer="gradientDescent", rates={"lr": 10.0}, epochs=epochs, dtype=dtype, held_out=False
    )
    return ours.state, [figures["train_loss"] for figures in ours.run()]


def test_divergence_goes_on_until_nan():
    state, history = diverging(1000)
    bad = state.first_bad_epoch
    assert all(map(math.isfinite, history[: bad - 1]))
    assert history[bad - 1] == math.inf
    assert math.isnan(history[-1])
    assert not any(map(math.isnan, history[:-1]))
    assert len(history) <= 2 * bad
    assert loop.diverged(state)


def test_divergence_ends_with_the_epochs():
    state, history = diverging(1000)
    epochs = state.first_bad_epoch
    state, history = diverging(epochs)
    assert len(history) == epochs
    assert history[-1] == math.inf
    assert not loop.diverged(state)
    assert state.first_bad_epoch == epochs


def test_a_bad_validation_loss_is_divergence_too():
    # The training loss never becomes NaN, so it ends at twice its first bad epoch.
    ours = learning(network="linear", optimizer="gradientDescent", rates={"lr": 1e-6}, epochs=50, dtype="FLOAT32")
    held = Rows(torch.full((2, INPUTS), 1e30), torch.zeros(2, 2))
    assert len(ours.run(held_out=held)) == 2
    assert ours.state.first_bad_epoch == 1


@pytest.mark.parametrize("min_delta", [0.0, 0.01])
def test_early_stopping(min_delta):
    stopping = {"patience": 3, "minDelta": min_delta}
    free = [figures["val_loss"] for figures in learning(network="mlp", optimizer="adamw", epochs=400).run()]
    ours = learning(network="mlp", optimizer="adamw", epochs=400, earlyStopping=stopping)
    found = [figures["val_loss"] for figures in ours.run()]
    waited, smallest, expected = 0, math.inf, None
    for epoch, value in enumerate(free, 1):
        waited = 0 if value < smallest - min_delta else waited + 1
        smallest = min(smallest, value)
        if waited == 3:
            expected = epoch
            break
    assert expected is not None
    assert expected < 400
    assert found == free[:expected]
    assert loop.stopped_early(ours.state, ours.plan.gradient)
    assert loop.over(ours.state, ours.plan)
    assert ours.state.best_epoch == found.index(min(found)) + 1


def test_the_rate_on_a_plateau():
    plateau = {"factor": 0.5, "patience": 0, "threshold": 0.2}
    ours = learning(network="mlp", optimizer="adam", epochs=12, schedule={"reduceOnPlateau": plateau})
    rates, history = [], []
    for record in ours.epochs():
        rates.append(ours.state.optimizer.param_groups[0]["lr"])
        history.append(record.metrics["val_loss", "val"])
    lr, smallest, expected = 0.01, math.inf, []
    for value in history:
        expected.append(lr)
        lr *= 1.0 if value < smallest * (1 - 0.2) else 0.5
        smallest = min(smallest, value)
    assert rates == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 2


def test_time_ends_before_an_epoch():
    ours = learning(epochs=5, maxSeconds=1000)
    walk = ours.epochs()
    next(walk)
    ours.state.seconds_before = 1000
    assert list(walk) == []
    assert ours.state.epoch == 1
    assert loop.out_of_time(ours.state, ours.plan.gradient)


def test_weights_of_the_last_epoch_survive_one_that_time_ends():
    ours = learning(epochs=5, maxSeconds=1000, held_out=False)
    asked = []
    walk = ours.epochs(stop=lambda: asked.append(1) or len(asked) == 7)
    next(walk)
    after_first = {name: weight.clone() for name, weight in ours.state.network.state_dict().items()}
    assert list(walk) == []
    assert not torch.equal(ours.state.network.state_dict()["layers.0.weight"], after_first["layers.0.weight"])
    for name, weight in ours.state.weights.items():
        assert torch.equal(weight, after_first[name])
    assert ours.state.best_epoch == 1


def test_classes_of_the_cases():
    """Every class of the weighted cross-entropy is there, so that each factor is tried."""
    assert set(LOSSES["crossEntropy"][2]) == set(range(len(CLASSES)))
    assert spec_for(loss="crossEntropy").loss.cross_entropy.class_weights.weights["c"] == 3
