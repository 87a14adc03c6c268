"""A learning that goes on from a checkpoint equals the one that never stopped, bit for bit."""

import json
import math

import numpy as np
import pytest
import torch

from service.errors import DataCorrupt
from service.modelling.tensors import encode_tensors, weights_sha256
from tests.worker.test_loop import NETWORKS, OPTIMIZERS, ROWS, begun, never, plan_of, rows_of
from worker import checkpoints, loop
from worker.checkpoints import Origin

EPOCHS = 5
ORIGIN = Origin("ab" * 32, '{"seed":3}', '{"columns":[]}', 83, np.array([0, 7, 8, 82]))
PLAN = {"loss": "mse", "epochs": EPOCHS, "batch_size": 16}


def whole(network, optimizer, dtype=torch.float32):
    """The learning that never stops: its history, its weights, and a checkpoint after each epoch."""
    state = begun(network, 1, optimizer, dtype)
    history, saved = [], []
    for record in loop.descend(state, plan_of(**PLAN), *rows_of("mse", dtype), never):
        history.append(record)
        saved.append(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    return history, digests(state), saved


def digests(state):
    return weights_sha256(state.weights), weights_sha256(state.network.state_dict()), state.best_epoch


def resumed(network, optimizer, data, dtype=torch.float32, change=None):
    """What a new process makes of a checkpoint."""
    torch.manual_seed(99)
    state = begun(network, 1, optimizer, dtype)
    captured = checkpoints.decode(data)
    if change:
        change(captured)
    checkpoints.restore(state, captured)
    return list(loop.descend(state, plan_of(**PLAN), *rows_of("mse", dtype), never)), digests(state)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_equals_never_stopped(network, optimizer, dtype):
    history, weights, saved = whole(network, optimizer, dtype)
    for epoch in range(1, EPOCHS + 1):
        records, found = resumed(network, optimizer, saved[epoch - 1], dtype)
        assert records == history[epoch:]
        assert found == weights


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_twice(optimizer):
    history, weights, saved = whole("mlp", optimizer)
    state = begun("mlp", 1, optimizer, torch.float32)
    checkpoints.restore(state, checkpoints.decode(saved[0]))
    walk = loop.descend(state, plan_of(**PLAN), *rows_of("mse", torch.float32), never)
    assert next(walk) == history[1]
    again = checkpoints.encode(checkpoints.capture(state, ORIGIN))
    assert resumed("mlp", optimizer, again) == (history[2:], weights)


def without_optimizer(captured):
    captured["optimizer"]["state"] = {}


def with_another_rate(captured):
    captured["optimizer"]["param_groups"][0]["lr"] *= 1.5


def with_another_order(captured):
    captured["order"] = torch.Generator().manual_seed(8).get_state()


def without_best(captured):
    captured["best_value"], captured["best_weights"], captured["best_epoch"] = -math.inf, {}, 0


def without_network(captured):
    captured["network"] = {name: torch.zeros_like(weight) for name, weight in captured["network"].items()}


@pytest.mark.parametrize(
    "change", [without_optimizer, with_another_rate, with_another_order, without_best, without_network]
)
def test_every_part_is_needed(change):
    history, weights, saved = whole("mlp", "adam")
    assert resumed("mlp", "adam", saved[1], change=change) != (history[2:], weights)


def test_one_named_dict():
    state = begun("mlp", 1, "adam", torch.float32)
    list(loop.descend(state, plan_of(**PLAN), *rows_of("mse", torch.float32), never))
    captured = checkpoints.capture(state, ORIGIN)
    found = checkpoints.decode(checkpoints.encode(captured))
    assert set(found) == set(captured)
    assert set(found) == {
        *("network", "optimizer", "best_weights", "order", "torch_rng", "held_out", "epoch", "best_epoch"),
        *("best_value", "first_bad_epoch", "last_loss", "row_count", "dataset_sha256", "spec", "preprocessing"),
        *("device", "dtype", "threads", "torch_version"),
    }
    assert found["optimizer"]["param_groups"][0]["betas"] == [0.9, 0.999]
    assert set(found["optimizer"]["state"]) == {0, 1, 2, 3}
    assert set(found["optimizer"]["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert torch.equal(found["torch_rng"], torch.get_rng_state())
    assert (found["threads"], found["torch_version"]) == (torch.get_num_threads(), torch.__version__)
    assert checkpoints.held_out_rows(found).tolist() == [0, 7, 8, 82]


def test_global_generator_goes_on():
    state = begun("linear", 1)
    torch.manual_seed(5)
    torch.rand(3)
    captured = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    expected = torch.rand(4)
    checkpoints.restore(begun("linear", 1), captured)
    assert torch.equal(torch.rand(4), expected)


def test_bad_numbers_survive():
    state = begun("linear", 1)
    state.last_loss, state.best_value, state.first_bad_epoch, state.epoch = math.nan, math.inf, 4, 5
    found = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    assert math.isnan(found["last_loss"])
    assert found["best_value"] == math.inf
    again = begun("linear", 1)
    checkpoints.restore(again, found)
    assert (again.first_bad_epoch, again.epoch) == (4, 5)
    assert loop.diverged(again)


def test_where_bits_may_differ():
    state = begun("linear", 1)
    captured = checkpoints.capture(state, ORIGIN)
    assert checkpoints.different_bits(captured, ORIGIN) == []
    captured |= {"threads": ORIGIN.threads + 1, "torch_version": "1.0", "device": "cuda"}
    assert checkpoints.different_bits(captured, ORIGIN) == [
        "device cuda -> cpu",
        f"threads {ORIGIN.threads + 1} -> {ORIGIN.threads}",
        f"torch version 1.0 -> {ORIGIN.torch_version}",
    ]


def saved_bytes(network="mlp", optimizer="adam"):
    state = begun(network, 1, optimizer)
    list(loop.descend(state, plan_of(epochs=1, batch_size=ROWS), *rows_of("mse"), never))
    return checkpoints.encode(checkpoints.capture(state, ORIGIN))


def test_bytes_that_are_no_checkpoint():
    good = saved_bytes()
    wrong = [b"", good[:100], good[:-5], encode_tensors({"a": torch.zeros(1)})]
    wrong.append(encode_tensors({"order": torch.zeros(1)}, {"checkpoint": json.dumps({"format": 1})}))
    wrong.append(encode_tensors({"a": torch.zeros(1)}, {"checkpoint": "[]"}))
    for data in wrong:
        with pytest.raises(DataCorrupt):
            checkpoints.decode(data)


def test_a_checkpoint_of_another_version():
    data = encode_tensors({"a": torch.zeros(1)}, {"checkpoint": json.dumps({"format": 2})})
    with pytest.raises(DataCorrupt, match="another version of traind"):
        checkpoints.decode(data)


@pytest.mark.parametrize(("network", "optimizer"), [("linear", "adam"), ("mlp", "sgd")])
def test_a_checkpoint_of_another_network_or_optimizer(network, optimizer):
    captured = checkpoints.decode(saved_bytes())
    state = begun(network, 1, optimizer)
    if optimizer == "sgd":
        captured["optimizer"]["param_groups"] = [{"lr": 1.0}]
    with pytest.raises(DataCorrupt):
        checkpoints.restore(state, captured)


def test_a_checkpoint_whose_optimizer_has_other_shapes():
    captured = checkpoints.decode(saved_bytes())
    captured["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1, 1)
    with pytest.raises(DataCorrupt):
        checkpoints.restore(begun("mlp", 1), captured)
    captured["optimizer"]["state"] = {9: {"exp_avg": torch.zeros(1, 1)}}
    with pytest.raises(DataCorrupt):
        checkpoints.restore(begun("mlp", 1), captured)
