"""The largest stable rate against its meaning: below it gradient descent settles, above it it explodes."""

import math

import numpy as np
import pytest

from service.modelling import rates
from tests.service.modelling.cases import HOUSE_SPEC, HOUSES, resolved, table_of
from traind.v1 import tables_pb2

Finding = tables_pb2.Finding
TABLE = table_of(HOUSES)
X = np.array([HOUSES[name] for name in ("area", "rooms", "station_km")], np.float64).T
T = np.array(HOUSES["price"])


def spec_of_rate(lr, optimizer="gradientDescent", **spec):
    learn = {"gradient": {"optimizer": {optimizer: {"lr": lr}}}}
    return resolved(HOUSE_SPEC | {"learn": learn} | spec, TABLE)


def test_raw_house_rows():
    largest = rates.largest_stable_rate(spec_of_rate(0.001), X)
    assert largest == pytest.approx(8.7e-4, rel=0.005)
    hessian = 2 * X.T @ X / 3
    assert largest == pytest.approx(2 / np.linalg.eigvalsh(hessian).max(), rel=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reduction", ["MEAN", "SUM"])
def test_descent_settles_below_and_explodes_above(bias, reduction):
    spec = spec_of_rate(1, network={"linear": {"bias": bias}}, loss={"mse": {"reduction": reduction}})
    largest = rates.largest_stable_rate(spec, X)
    columns = np.column_stack([X, np.ones(3)]) if bias else X
    share = 1 / 3 if reduction == "MEAN" else 1

    def loss_after(lr):
        w = np.zeros(columns.shape[1])
        for _ in range(3000):
            w -= lr * 2 * share * columns.T @ (columns @ w - T)
        return ((columns @ w - T) ** 2).sum()

    assert loss_after(0.99 * largest) < (T**2).sum()
    assert loss_after(1.01 * largest) > 1e10 * (T**2).sum()


def test_of_a_batch_and_with_weight_decay():
    mean = rates.largest_stable_rate(spec_of_rate(1, "sgd"), X)
    assert mean == rates.largest_stable_rate(spec_of_rate(1), X)
    learn = {"gradient": {"optimizer": {"sgd": {"lr": 1}}, "batchSize": 1}}
    spec = resolved(HOUSE_SPEC | {"learn": learn, "loss": {"mse": {"reduction": "SUM"}}}, TABLE)
    assert rates.largest_stable_rate(spec, X) == pytest.approx(mean, rel=1e-12)
    learn = {"gradient": {"optimizer": {"sgd": {"lr": 1, "weightDecay": 5}}}}
    decayed = rates.largest_stable_rate(resolved(HOUSE_SPEC | {"learn": learn}, TABLE), X)
    assert decayed == pytest.approx(2 / (2 / mean + 5), rel=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        spec_of_rate(1, "adam"),
        spec_of_rate(1, loss={"mae": {}}),
        spec_of_rate(1, network={"mlp": {"hidden": [2]}}),
        resolved(HOUSE_SPEC | {"learn": {"gradient": {"optimizer": {"sgd": {"lr": 1, "momentum": 0.9}}}}}, TABLE),
    ],
)
def test_not_known(spec):
    assert rates.largest_stable_rate(spec, X) is None
    finding = rates.diverged_finding(spec, X, 4)
    assert finding.code == Finding.DIVERGED
    assert dict(finding.figures) == {"epoch": 4, "lr": 1, "proposed_lr": pytest.approx(0.1)}
    assert "epoch 4" in finding.message
    assert "Try 0.1." in finding.message


def test_the_largest_loss_of_64_bits_follows_the_targets():
    wide, narrow = (resolved(HOUSE_SPEC | {"dtype": dtype}, TABLE) for dtype in ("FLOAT64", "FLOAT32"))
    most = float(np.finfo(np.float32).max)
    assert rates.largest_loss(wide, np.array([[0.1], [0.2]])) == most
    assert rates.largest_loss(wide, np.array([[3e10], [4e10]])) == pytest.approx(most * 2.5e21)
    assert rates.largest_loss(wide, np.array([0, 1, 1])) == 2 * most
    assert rates.largest_loss(narrow, np.array([[3e10]])) == math.inf


def test_not_computed_where_it_costs_too_much():
    assert rates.largest_stable_rate(spec_of_rate(1), np.broadcast_to(1.0, (100_000, 500))) is None
    assert rates.largest_stable_rate(spec_of_rate(1), np.zeros((3, 3))) is None


def test_proposed_rate_is_half_the_largest_stable_one():
    finding = rates.diverged_finding(spec_of_rate(0.001), X, 170)
    assert finding.figures["proposed_lr"] == finding.figures["largest_stable_lr"] / 2
    assert finding.figures["largest_stable_lr"] == pytest.approx(8.7e-4, rel=0.005)
    assert "epoch 170" in finding.message
    assert "too large, above the largest stable one, 0.000871. Try 0.000436." in finding.message
    # A batch can explode below the rate that is stable for all rows.
    assert rates.diverged_finding(spec_of_rate(1e-4, "sgd"), X, 1).figures["proposed_lr"] == pytest.approx(1e-5)


def test_crawling():
    finding = rates.crawl_finding(spec_of_rate(1e-5), X)
    assert finding.code == Finding.RATE_TOO_SMALL
    assert finding.figures["lr"] == 1e-5
    assert finding.figures["proposed_lr"] == finding.figures["largest_stable_lr"] / 2
    assert "1.15% of the largest stable one" in finding.message
    largest = finding.figures["largest_stable_lr"]
    assert rates.crawl_finding(spec_of_rate(0.0501 * largest), X) is None
    assert rates.crawl_finding(spec_of_rate(0.0499 * largest), X) is not None
    assert rates.crawl_finding(spec_of_rate(1e-5, "sgd"), X) is None
    assert rates.crawl_finding(spec_of_rate(1e-5, network={"mlp": {"hidden": [2]}}), X) is None


def test_of_several_targets(monkeypatch):
    """A mean over two targets is half as steep; parts of rows are summed to the same."""
    two = resolved(HOUSE_SPEC | {"learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 1}}}}}, TABLE)
    two.target.append("rent")
    assert rates.largest_stable_rate(two, X) == pytest.approx(2 * rates.largest_stable_rate(spec_of_rate(1), X))
    whole = rates.largest_stable_rate(spec_of_rate(1), X)
    monkeypatch.setattr(rates, "ROWS_AT_ONCE", 2)
    assert rates.largest_stable_rate(spec_of_rate(1), X) == pytest.approx(whole, rel=1e-12)


def test_not_known_where_steps_are_held_back_or_inputs_are_learned():
    clipped = spec_of_rate(1)
    clipped.learn.gradient.clip.norm = 1
    embedded = spec_of_rate(1)
    embedded.preprocess.groups.add(columns=["rooms"]).encode.embedding.width = 2
    for spec in (clipped, embedded):
        assert rates.largest_stable_rate(spec, X) is None
        assert rates.crawl_finding(spec, X) is None
