"""The written-out way of plain stacks beside the loops that people would write or use instead.

MLP 30-64-32-1 for two classes on 100,000 rows, Adam 1e-3, float32, one thread, batches of 128 and of 32. Ours is
worker/loop.py with the written-out step. Beside it: the fast plain loop (rows permuted in memory, slices, fused Adam,
one sum an epoch), the textbook loop (DataLoader over a TensorDataset, Adam as it comes, `.item()` at each step) and
scikit-learn's MLPClassifier (its own Adam, no penalty, no early stopping).

The work is equal: ours and the fast loop begin with the same weights and draw the same orders, so that their first
epoch's losses are equal to 1e-5; after all epochs the losses of all on 20,000 rows that none learned from are equal to
0.01. Figures are CPU seconds of this process. The ways take turns epoch by epoch, so that a busy moment of the machine
hits all; the first epoch warms up and does not count, each other is a pair.
"""

import os

# Before torch and scikit-learn's BLAS are imported.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from google.protobuf import json_format
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from service.modelling import losses, networks
from service.modelling.inputs import InputLayout
from traind.v1 import specs_pb2
from worker import loop
from worker.checkpoints import LearnState
from worker.loop import Plan, Rows
from worker.written_out import WrittenOut

ROWS, HELD_OUT, INPUTS, HIDDEN, LR, SEED = 100_000, 20_000, 30, (64, 32), 1e-3, 7
PAIRS = 7
# How many times as fast ours must be; missed by more than 5 % = exit 1.
RATIOS = {"plain": 2.5, "scikit-learn": 2.0, "textbook": 8.0}
SAME_LOSS, SAME_HELD_OUT_LOSS = 1e-5, 1e-2

# An epoch's training loss, and a look at the logits [rows, 1] of other rows.
Epochs = Iterator[float]
Learner = tuple[Epochs, Callable[[Tensor], Tensor]]


def make_rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features [rows, inputs] and bits [rows, 1]."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((count, INPUTS))
    bits = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * draw.standard_normal(count) > 0
    return torch.from_numpy(x).float(), torch.from_numpy(bits).float().unsqueeze(1)


def spec_of(batch: int) -> specs_pb2.TrainSpec:
    mlp = {"hidden": list(HIDDEN), "activation": "RELU", "bias": True}
    optimizer = {"adam": {"lr": LR, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}}
    gradient = {"optimizer": optimizer, "epochs": PAIRS + 1, "batchSize": batch, "keep": "LAST"}
    spec = {"network": {"mlp": mlp}, "loss": {"bce": {"reduction": "MEAN"}}, "learn": {"gradient": gradient}}
    return json_format.ParseDict(spec, specs_pb2.TrainSpec())


def first_state() -> LearnState:
    network = networks.build_network(spec_of(1).network, InputLayout(INPUTS), 1, torch.float32)
    state = LearnState.begin(network, SEED)
    networks.draw_weights(network, state.order)
    return state


def torch_net(state: LearnState) -> nn.Sequential:
    """The same network with the same weights, of torch's own parts."""
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise([INPUTS, *HIDDEN, 1])]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), state.network.parameters(), strict=True):
            mine.copy_(theirs)
    return net


def ours(x: Tensor, t: Tensor, batch: int) -> Learner:
    spec, state = spec_of(batch), first_state()
    step = WrittenOut(state, spec)
    plan = Plan(losses.build_loss(spec.loss), classes=True, gradient=spec.learn.gradient)
    records = loop.descend(state, plan, step, Rows(x, t), None, lambda: False)
    return (record.metrics["train_loss", "train"] for record in records), state.network


def plain(x: Tensor, t: Tensor, batch: int) -> Learner:
    """What one writes by hand when one knows how."""
    start = first_state()
    net, loss_of = torch_net(start), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=True)

    def epochs() -> Epochs:
        while True:
            order = torch.randperm(ROWS, generator=start.order)
            xs, ts = x[order], t[order]
            total = torch.zeros(())
            for i in range(0, ROWS, batch):
                xb, tb = xs[i : i + batch], ts[i : i + batch]
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(net(xb), tb)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(xb)
            yield float(total) / ROWS

    return epochs(), net


def textbook(x: Tensor, t: Tensor, batch: int) -> Learner:
    """What most people write."""
    net, loss_of = torch_net(first_state()), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    loader = DataLoader(TensorDataset(x, t), batch_size=batch, shuffle=True)

    def epochs() -> Epochs:
        while True:
            total = 0.0
            for xb, tb in loader:
                optimizer.zero_grad()
                loss = loss_of(net(xb), tb)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(xb)
            yield total / ROWS

    return epochs(), net


def scikit_learn(x: Tensor, t: Tensor, batch: int) -> Learner:
    features, codes = x.numpy(), t.numpy().ravel().astype(int)
    net = MLPClassifier(HIDDEN, batch_size=batch, learning_rate_init=LR, alpha=0, random_state=SEED)

    def epochs() -> Epochs:
        while True:
            net.partial_fit(features, codes, classes=[0, 1])  # one epoch, and the same Adam goes on
            yield float(net.loss_)

    def logits(rows: Tensor) -> Tensor:
        return torch.from_numpy(net.predict_proba(rows.numpy())[:, 1:]).double().logit(1e-12)

    return epochs(), logits


LEARNERS = {"ours": ours, "plain": plain, "scikit-learn": scikit_learn, "textbook": textbook}
TITLES = {
    "ours": "traind, the written-out way",
    "plain": "fast plain loop",
    "scikit-learn": "scikit-learn MLPClassifier",
    "textbook": "textbook DataLoader loop",
}


def measure(batch: int) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    """CPU seconds and losses of each epoch, and the last loss of rows that were held out, by way."""
    (x, t), (x_held, t_held) = make_rows(ROWS, SEED), make_rows(HELD_OUT, SEED + 1)
    learners = {name: make(x, t, batch) for name, make in LEARNERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    told: dict[str, list[float]] = {name: [] for name in learners}
    for epoch in range(PAIRS + 1):
        for name in sorted(learners, reverse=bool(epoch % 2)):
            begin = time.process_time()
            told[name].append(next(learners[name][0]))
            seconds[name].append(time.process_time() - begin)
    with torch.no_grad():
        held_out = {
            name: functional.binary_cross_entropy_with_logits(logits(x_held).double(), t_held.double()).item()
            for name, (_, logits) in learners.items()
        }
    return {name: spent[1:] for name, spent in seconds.items()}, told, held_out


def check_equal_work(told: dict[str, list[float]], held_out: dict[str, float]) -> None:
    assert abs(told["ours"][0] - told["plain"][0]) < SAME_LOSS, f"the work differs: {told}"
    for name, loss in held_out.items():
        assert abs(loss - held_out["ours"]) < SAME_HELD_OUT_LOSS, f"the work differs: {name}, {held_out}"


def main() -> int:
    torch.set_num_threads(1)
    missed = False
    for batch in (128, 32):
        seconds, told, held_out = measure(batch)
        check_equal_work(told, held_out)
        print(f"| batch {batch}, {PAIRS} pairs | CPU s an epoch | rows/CPU-s | val. loss | ours is faster | stated |")
        print("|---|---|---|---|---|---|")
        for name, title in TITLES.items():
            middle = statistics.median(seconds[name])
            ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True))
            stated = RATIOS.get(name, 1.0)
            missed |= ratio < stated * 0.95
            print(f"| {title} | {middle:.3f} | {ROWS / middle:,.0f} | {held_out[name]:.4f} | {ratio:.2f} | {stated} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
