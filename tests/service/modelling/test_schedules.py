"""Schedules against torch.optim.lr_scheduler, and against their words where PyTorch's differ."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from service.modelling import schedules
from service.modelling.schedules import Waiting
from tests.service.modelling.cases import spec_of
from traind.v1 import optimizers_pb2

LR, EPOCHS, STEPS = 0.2, 12, 5
TOTAL = EPOCHS * STEPS


def rates(schedule, epochs=EPOCHS, steps=STEPS, cuts=0):
    """The rate of every step."""
    gradient = {"optimizer": {"sgd": {"lr": LR}}, "epochs": epochs, "schedule": schedule}
    rate_of = schedules.build_rate(spec_of({"learn": {"gradient": gradient}}).learn.gradient, steps)
    return [rate_of(done, cuts) for done in range(epochs * steps)]


def plain(make, each_step, epochs=EPOCHS, steps=STEPS):
    """The same by a scheduler of PyTorch that is told of each step, or of each epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make(optimizer)
    found = []
    for _ in range(epochs):
        for step in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            told = len(found) < epochs * steps if each_step else step == steps - 1
            if told:
                scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "make", "each_step"),
    [
        ({}, lambda o: lr_scheduler.ConstantLR(o, factor=1), True),
        ({"step": {"every": 3, "factor": 0.4}}, lambda o: lr_scheduler.StepLR(o, 3, 0.4), False),
        ({"exponential": {"factor": 0.9}}, lambda o: lr_scheduler.ExponentialLR(o, 0.9), False),
        ({"cosine": {"finalShare": 0}}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL), True),
        ({"cosine": {"finalShare": 0.1}}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.1 * LR), True),
        ({"oneCycle": {"warmUpShare": 0.3}}, lambda o: lr_scheduler.OneCycleLR(o, LR, TOTAL, pct_start=0.3), True),
        ({"oneCycle": {"warmUpShare": 0.77}}, lambda o: lr_scheduler.OneCycleLR(o, LR, TOTAL, pct_start=0.77), True),
        ({"warmUpSteps": 8}, lambda o: lr_scheduler.LinearLR(o, 1 / 8, 1, total_iters=7), True),
    ],
)
def test_against_torch(schedule, make, each_step):
    assert rates(schedule) == pytest.approx(plain(make, each_step), rel=1e-9, abs=1e-15)


def test_one_cycle_in_its_words():
    found = rates({"oneCycle": {"warmUpShare": 0.5}})
    assert found[0] == pytest.approx(LR / 25)
    assert max(found) == found[TOTAL // 2 - 1] == pytest.approx(LR)
    assert found[-1] == pytest.approx(LR / 250_000)


@pytest.mark.parametrize(("share", "epochs"), [(0.3, 1), (0.25, 4), (0.01, 3), (0.99, 2)])
def test_one_cycle_of_few_steps(share, epochs):
    found = rates({"oneCycle": {"warmUpShare": share}}, epochs, steps=1)
    assert all(LR / 250_000 * (1 - 1e-9) <= rate <= LR for rate in found)
    assert found[-1] == pytest.approx(LR / 250_000)


@pytest.mark.parametrize(
    "schedule", [{"step": {"every": 1, "factor": 0.5}}, {"exponential": {"factor": 0.5}}, {"cosine": {}}]
)
def test_warm_up_is_multiplied(schedule):
    usual, warm = rates(schedule), rates(schedule | {"warmUpSteps": 7})
    factors = [min(1, (done + 1) / 7) for done in range(TOTAL)]
    assert warm == pytest.approx([rate * factor for rate, factor in zip(usual, factors, strict=True)], rel=1e-12)


def test_every_kind_is_known():
    for field in optimizers_pb2.Schedule.DESCRIPTOR.oneofs_by_name["kind"].fields:
        body = {"step": {"every": 2, "factor": 0.5}, "oneCycle": {"warmUpShare": 0.5}}
        default = {"factor": 0.5} if "factor" in [f.name for f in field.message_type.fields] else {}
        found = rates({field.json_name: body.get(field.json_name, default)}, cuts=2)
        assert all(0 <= rate <= LR for rate in found)
        assert set(found) != {LR}


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_against_torch(patience):
    """Falls are larger than the threshold here; PyTorch compares with the last loss that fell, not the smallest."""
    losses = [5, 4, 4, 4.5, 3, 3, 3, 3, 3, 3, 2, 6, 6, 6, 6, 6, 6, 1, 1, 1, 1, 1, 1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=1e-4)
    waiting, cuts = Waiting(), 0
    for loss in losses:
        scheduler.step(loss)
        waiting.look(loss, schedules.falls_by_share(1e-4))
        if waiting.epochs > patience:
            waiting.epochs, cuts = 0, cuts + 1
        assert optimizer.param_groups[0]["lr"] == 0.5**cuts
    assert cuts >= 2


def waited(losses, falls):
    waiting, seen = Waiting(), []
    for loss in losses:
        waiting.look(loss, falls)
        seen.append(waiting.epochs)
    return seen


def test_what_a_fall_is():
    assert waited([1, 0.9, 0.9, 0.85, 0.7, math.nan, 0.6], schedules.falls_by(0.0)) == [0, 0, 1, 0, 0, 1, 0]
    # Below the smallest so far, not below the last that fell.
    assert waited([1, 0.95, 0.9, 0.85, 0.7], schedules.falls_by(0.1)) == [0, 1, 2, 3, 0]
    assert waited([1, 0.95, 0.9, 0.7], schedules.falls_by_share(0.1)) == [0, 1, 2, 0]
    # A negative loss that stands still does not fall.
    assert waited([-1, -1, -1.05, -1.2], schedules.falls_by_share(0.1)) == [0, 1, 2, 0]
    assert waited([math.nan, math.nan, 1], schedules.falls_by_share(0.1)) == [1, 2, 0]
