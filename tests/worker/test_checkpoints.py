"""A learning that goes on from a checkpoint equals the one that never stopped, bit for bit."""

import json
import math

import numpy as np
import pytest
import torch

from service.errors import DataCorrupt
from service.modelling.tensors import decode_tensors, encode_tensors, read_metadata, weights_sha256
from tests.worker.descents import OPTIMIZERS, learning, spec_for
from worker import checkpoints, loop
from worker.checkpoints import Origin

EPOCHS = 5
ORIGIN = Origin("ab" * 32, '{"seed":3}', '{"columns":[]}', 83, np.array([0, 7, 8, 82]))
SCHEDULES = {
    "constant": {},
    "warm": {"exponential": {"factor": 0.8}, "warmUpSteps": 6},
    "cycle": {"oneCycle": {"warmUpShare": 0.3}},
    "plateau": {"reduceOnPlateau": {"factor": 0.5, "patience": 0, "threshold": 0.5}},
}
# Their line search needs one function: no dropout and no normalisation by batches.
CALM = {"mlp": {"hidden": [6, 6], "activation": "GELU", "bias": True, "normalisation": "LAYER", "residual": True}}


def spec_by(network, optimizer, dtype="FLOAT32", schedule="constant", **gradient):
    network = CALM if network == "rich" and optimizer == "lbfgs" else network
    gradient = {"schedule": SCHEDULES[schedule], "earlyStopping": {"patience": 4}} | gradient
    return spec_for(network, "mse", optimizer, dtype, epochs=EPOCHS, **gradient)


def whole(spec, embedded):
    """The learning that never stops: its history, its weights, and a checkpoint after each epoch."""
    ours = learning(spec, embedded=embedded)
    history, saved = [], []
    for record in ours.epochs():
        history.append(record)
        saved.append(checkpoints.encode(checkpoints.capture(ours.state, ORIGIN)))
    return history, digests(ours.state), saved


def digests(state):
    return weights_sha256(state.weights), weights_sha256(state.network.state_dict()), state.best_epoch


def resumed(spec, data, embedded=False, change=None):
    """What a new process makes of a checkpoint."""
    ours = learning(spec, embedded=embedded)
    torch.manual_seed(99)
    captured = checkpoints.decode(data)
    if change:
        change(captured)
    checkpoints.restore(ours.state, captured)
    return list(ours.epochs()), digests(ours.state)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("network", ["mlp", "rich", "linear"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["FLOAT32", "FLOAT64"])
def test_resumed_equals_never_stopped(network, optimizer, dtype, schedule):
    """Each network with embeddings but the plain mlp."""
    spec, embedded = spec_by(network, optimizer, dtype, schedule), network != "mlp"
    history, weights, saved = whole(spec, embedded)
    assert len(history) >= 4
    for epoch, data in enumerate(saved, 1):
        records, found = resumed(spec, data, embedded)
        assert records == history[epoch:]
        assert found == weights


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_twice(optimizer):
    spec = spec_by("rich", optimizer)
    history, weights, saved = whole(spec, embedded=True)
    ours = learning(spec, embedded=True)
    checkpoints.restore(ours.state, checkpoints.decode(saved[0]))
    walk = ours.epochs()
    assert next(walk) == history[1]
    again = checkpoints.encode(checkpoints.capture(ours.state, ORIGIN))
    assert resumed(spec, again, embedded=True) == (history[2:], weights)


def without_optimizer(captured):
    captured["optimizer"]["state"] = {}


def with_another_draw(captured):
    captured["torch_rng"] = torch.Generator().manual_seed(8).get_state()


def without_running_means(captured):
    captured["network"]["norms.1.running_mean"] += 1


def without_cuts(captured):
    captured["cuts"] = 0


def without_waiting(captured):
    captured["stopping_epochs"] = -9


def without_plateau(captured):
    captured["plateau_smallest"] = math.inf


def with_another_order(captured):
    captured["order"] = torch.Generator().manual_seed(8).get_state()


def without_best(captured):
    captured["best_value"], captured["best_weights"], captured["best_epoch"] = -math.inf, {}, 0


def without_network(captured):
    captured["network"] = {name: torch.zeros_like(weight) for name, weight in captured["network"].items()}


CHANGES = [
    *(without_optimizer, with_another_order, with_another_draw, without_best, without_network, without_running_means),
    *(without_cuts, without_waiting, without_plateau),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_part_is_needed(change):
    # Steps so long that the loss rises again: then the rate is cut, and early stopping ends the learning.
    plateau = {"reduceOnPlateau": {"factor": 0.5, "patience": 0, "threshold": 0.0}}
    rates = {"lr": 0.5, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    gradient = {"epochs": 30, "schedule": plateau, "earlyStopping": {"patience": 4}}
    spec = spec_for("rich", "mse", "adam", "FLOAT32", rates=rates, **gradient)
    history, weights, saved = whole(spec, embedded=False)
    assert 4 < len(history) < 30
    at = len(history) - 3
    assert checkpoints.decode(saved[at - 1])["cuts"] > 0
    assert resumed(spec, saved[at - 1]) == (history[at:], weights)
    assert resumed(spec, saved[at - 1], change=change) != (history[at:], weights)


def test_one_named_dict():
    ours = learning(spec_by("mlp", "adam"))
    ours.run()
    state = ours.state
    captured = checkpoints.capture(state, ORIGIN)
    found = checkpoints.decode(checkpoints.encode(captured))
    assert set(found) == set(captured)
    assert set(found) == {
        *("network", "optimizer", "best_weights", "order", "torch_rng", "held_out", "epoch", "best_epoch"),
        *("best_value", "first_bad_epoch", "last_loss", "row_count", "dataset_sha256", "spec", "preprocessing"),
        *("stopping_smallest", "stopping_epochs", "plateau_smallest", "plateau_epochs", "cuts", "seconds"),
        *("device", "dtype", "threads", "torch_version", "batch", "loss_sum", "job"),
    }
    assert found["optimizer"]["param_groups"][0]["betas"] == [0.9, 0.999]
    assert set(found["optimizer"]["state"]) == {0, 1, 2, 3}
    assert set(found["optimizer"]["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert torch.equal(found["torch_rng"], torch.get_rng_state())
    assert (found["threads"], found["torch_version"]) == (torch.get_num_threads(), torch.__version__)
    assert checkpoints.held_out_rows(found).tolist() == [0, 7, 8, 82]


@pytest.mark.alone
def test_seconds_go_on():
    state = learning(spec_by("mlp", "adam")).state
    state.seconds_before = 100.0
    captured = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    assert 100 <= captured["seconds"] < 160
    again = learning(spec_by("mlp", "adam")).state
    checkpoints.restore(again, captured)
    assert captured["seconds"] <= again.seconds() < captured["seconds"] + 60


def linear_state():
    return learning(spec_by("linear", "adam")).state


def test_global_generator_goes_on():
    state = linear_state()
    torch.manual_seed(5)
    torch.rand(3)
    captured = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    expected = torch.rand(4)
    checkpoints.restore(linear_state(), captured)
    assert torch.equal(torch.rand(4), expected)


def test_bad_numbers_survive():
    state = linear_state()
    state.last_loss, state.best_value, state.first_bad_epoch, state.epoch = math.nan, math.inf, 4, 5
    found = checkpoints.decode(checkpoints.encode(checkpoints.capture(state, ORIGIN)))
    assert math.isnan(found["last_loss"])
    assert found["best_value"] == math.inf
    again = linear_state()
    checkpoints.restore(again, found)
    assert (again.first_bad_epoch, again.epoch) == (4, 5)
    assert loop.diverged(again)


def test_where_bits_may_differ():
    state = linear_state()
    captured = checkpoints.capture(state, ORIGIN)
    assert checkpoints.different_bits(captured, ORIGIN) == []
    captured |= {"threads": ORIGIN.threads + 1, "torch_version": "1.0", "device": "cuda"}
    assert checkpoints.different_bits(captured, ORIGIN) == [
        "device cuda -> cpu",
        f"threads {ORIGIN.threads + 1} -> {ORIGIN.threads}",
        f"torch version 1.0 -> {ORIGIN.torch_version}",
    ]


def test_a_checkpoint_of_the_first_format():
    """It is read as one whose loss fell in every epoch."""
    spec = spec_for("mlp", "mse", "adam", "FLOAT32", epochs=EPOCHS)
    history, weights, saved = whole(spec, embedded=False)
    tensors, texts = decode_tensors(saved[1]), json.loads(read_metadata(saved[1])["checkpoint"])
    new = ("job", "stopping_smallest", "stopping_epochs", "plateau_smallest", "plateau_epochs", "cuts", "seconds")
    old = {name: value for name, value in texts.items() if name not in new} | {"format": 1}
    data = encode_tensors(tensors, {"checkpoint": json.dumps(old)})
    assert resumed(spec, data) == (history[2:], weights)


def saved_bytes(optimizer="adam"):
    ours = learning(spec_for("mlp", "mse", optimizer, epochs=1))
    ours.run()
    return checkpoints.encode(checkpoints.capture(ours.state, ORIGIN))


def test_bytes_that_are_no_checkpoint():
    good = saved_bytes()
    wrong = [b"", good[:100], good[:-5], encode_tensors({"a": torch.zeros(1)})]
    wrong.append(encode_tensors({"order": torch.zeros(1)}, {"checkpoint": json.dumps({"format": 1})}))
    wrong.append(encode_tensors({"a": torch.zeros(1)}, {"checkpoint": "[]"}))
    for data in wrong:
        with pytest.raises(DataCorrupt):
            checkpoints.decode(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epoch", "3"), ("cuts", 1.5), ("row_count", True), ("seconds", []), ("spec", None), ("preprocessing", {})],
)
def test_a_part_of_another_kind(name, value):
    tensors, texts = decode_tensors(saved_bytes()), json.loads(read_metadata(saved_bytes())["checkpoint"])
    with pytest.raises(DataCorrupt, match="of another kind"):
        checkpoints.decode(encode_tensors(tensors, {"checkpoint": json.dumps(texts | {name: value})}))


@pytest.mark.parametrize("name", ["order", "torch_rng"])
def test_random_numbers_without_their_state(name):
    for wrong in (torch.zeros(3, dtype=torch.uint8), torch.zeros(5056)):
        captured = checkpoints.decode(saved_bytes()) | {name: wrong}
        with pytest.raises(DataCorrupt, match="random numbers"):
            checkpoints.restore(learning(spec_for("mlp", "mse", "adam")).state, captured)


def test_held_out_rows_that_are_no_bits():
    for wrong in ({"held_out": torch.zeros(3)}, {"row_count": -(10**6)}):
        with pytest.raises(DataCorrupt, match="no bits"):
            checkpoints.held_out_rows(checkpoints.decode(saved_bytes()) | wrong)


def test_a_checkpoint_of_another_version():
    """A newer one is left alone, whatever it holds; of an unknown one nothing is to be hoped for."""
    for made, error, told in (
        (5, checkpoints.NewerFormat, "format 5, of a newer version of traind; this one reads formats up to 4"),
        (0, DataCorrupt, "format 0, which no version"),
    ):
        head = json.dumps({"format": made, "epoch": 3})
        with pytest.raises(error, match=told):
            checkpoints.decode(encode_tensors({"a": torch.zeros(1)}, {"checkpoint": head}))


@pytest.mark.parametrize(("network", "optimizer"), [("linear", "adam"), ("mlp", "sgd")])
def test_a_checkpoint_of_another_network_or_optimizer(network, optimizer):
    captured = checkpoints.decode(saved_bytes())
    state = learning(spec_for(network, "mse", optimizer)).state
    if optimizer == "sgd":
        captured["optimizer"]["param_groups"] = [{"lr": 1.0}]
    with pytest.raises(DataCorrupt):
        checkpoints.restore(state, captured)


def test_a_checkpoint_whose_optimizer_has_other_shapes():
    captured = checkpoints.decode(saved_bytes())
    captured["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1, 1)
    with pytest.raises(DataCorrupt):
        checkpoints.restore(learning().state, captured)
    captured["optimizer"]["state"] = {9: {"exp_avg": torch.zeros(1, 1)}}
    with pytest.raises(DataCorrupt):
        checkpoints.restore(learning().state, captured)


def test_a_checkpoint_whose_remembered_steps_have_other_shapes():
    captured = checkpoints.decode(saved_bytes("lbfgs"))
    captured["optimizer"]["state"][0]["old_dirs"][0] = torch.zeros(2)
    with pytest.raises(DataCorrupt):
        checkpoints.restore(learning(optimizer="lbfgs").state, captured)
