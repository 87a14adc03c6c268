"""The gradient loop, history and a checkpoint for each epoch included, beside the fast plain loop in PyTorch.

MLP 30-64-32-1 on 100,000 rows, 5 epochs, Adam 1e-3, float32, batch 128, one thread. Both loops begin with the same
weights and draw the same orders, so that they do the same work: their last losses must be equal to 1e-6. Ours learns
by worker/loop.py, encodes a checkpoint after each epoch and publishes it through the ledger into a SQLite database.
Figures are CPU seconds of this process; pairs are interleaved epoch by epoch.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from service import ledger
from service.modelling import networks
from service.modelling.inputs import InputLayout
from service.settings import Settings
from service.store import datasets, jobs, users
from service.store import metrics as metric_store
from service.store.database import Database
from traind.v1 import learning_pb2, losses_pb2, networks_pb2, optimizers_pb2, specs_pb2
from worker import checkpoints, descent, loop
from worker.checkpoints import LearnState, Origin
from worker.loop import Rows, Step
from worker.publishing import Publisher

ROWS, INPUTS, HIDDEN, EPOCHS, BATCH, LR, SEED = 100_000, 30, (64, 32), 5, 128, 1e-3, 7
PAIRS = 7
RATIO = 0.95  # of the plain loop's speed; missed by more than 5 % = exit 1
TOLERANCE = 1e-6

SPEC = specs_pb2.TrainSpec(
    target=["t"],
    network=networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=HIDDEN, activation=networks_pb2.Network.RELU, bias=True)),
    loss=losses_pb2.Loss(bce=losses_pb2.Bce(reduction=losses_pb2.Loss.MEAN)),
    learn=learning_pb2.Learn(
        gradient=learning_pb2.Gradient(
            optimizer=optimizers_pb2.Optimizer(adam=optimizers_pb2.Adam(lr=LR, beta1=0.9, beta2=0.999, eps=1e-8)),
            epochs=EPOCHS,
            batch_size=BATCH,
            keep=learning_pb2.Gradient.BEST,
            path=learning_pb2.Gradient.GENERAL,
        )
    ),
    seed=SEED,
)


def make_rows() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(SEED)
    x = draw.standard_normal((ROWS, INPUTS))
    return x, (np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * draw.standard_normal(ROWS) > 0).astype(np.int64)


def begin() -> tuple[LearnState, Step]:
    network = networks.build_network(SPEC.network, InputLayout(INPUTS), 1, torch.float32)
    return descent.begin(network, SPEC, ("no", "yes"), "cpu")


def plain_loop(x: Tensor, t: Tensor) -> Iterator[float]:
    """What one writes by hand when one knows how: rows permuted in memory, slices, fused Adam, one sum an epoch."""
    start, _ = begin()
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise([INPUTS, *HIDDEN, 1])]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), start.network.parameters(), strict=True):
            mine.copy_(theirs)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=True)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        order = torch.randperm(ROWS, generator=start.order)
        xs, ts = x[order], t[order]
        total = torch.zeros(())
        for i in range(0, ROWS, BATCH):
            xb, tb = xs[i : i + BATCH], ts[i : i + BATCH]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(net(xb), tb)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(xb)
        yield float(total) / ROWS


def our_loop(rows: Rows, origin: Origin, publisher: Publisher) -> Iterator[float]:
    """An epoch as a trainer does it: learned, its checkpoint encoded, both published."""
    state, step = begin()
    plan = descent.plan_of(SPEC, ("no", "yes"))
    for record in loop.descend(state, plan, step, rows, None, lambda: False):
        publisher.epoch(
            record, lambda: checkpoints.encode(checkpoints.capture(state, origin)), state.best_epoch, last=True
        )
        yield state.last_loss


def timed(epochs: Iterator[float]) -> tuple[float, float]:
    """CPU seconds of the next epoch, and its loss."""
    begin = time.process_time()
    loss = next(epochs)
    return time.process_time() - begin, loss


class Bench:
    """A SQLite database with a user and a data set, and as many jobs as pairs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder)})
        self.database = Database(self.settings.database_url)
        self.database.migrate()
        with self.database.write() as connection:
            self.user = users.add_user(connection, "bench")
            self.dataset = datasets.add_version(
                connection,
                owner_id=self.user.id,
                slug="bench",
                display_name="bench",
                sha256="0" * 64,
                options_sha256="0" * 64,
                size_bytes=0,
                row_count=ROWS,
                columns_json="[]",
                table_sha256="0" * 64,
                encoding="UTF-8",
            )

    def claim(self) -> ledger.Claim:
        with self.database.write() as connection:
            jobs.add(
                connection,
                owner_id=self.user.id,
                dataset_id=self.dataset.id,
                dataset_name="datasets/bench.bench/versions/1",
                kind="train",
                display_name="",
                model_slug="bench",
                task_json="{}",
                resolved_json="{}",
                parameter_count=0,
                epochs=EPOCHS,
                request_id=None,
                request_hash=None,
            )
        claim = ledger.claim(self.database, "bench", 3600)
        assert claim is not None
        return claim

    def epochs_stored(self, claim: ledger.Claim) -> int:
        with self.database.read() as connection:
            (series,) = metric_store.history(connection, claim.job.id)
        return len(series.steps)


def main() -> int:
    torch.set_num_threads(1)
    x, t = make_rows()
    rows = Rows.make(x, t, "binary", torch.float32, "cpu")
    origin = Origin("0" * 64, "{}", "{}", ROWS, np.arange(0, ROWS, 5))
    spent: dict[str, list[float]] = {"plain": [], "ours": []}
    last: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder))
        for pair in range(PAIRS + 1):
            claim = bench.claim()
            publisher = Publisher(bench.database, claim, bench.settings.lease_s)
            loops = {"plain": plain_loop(rows.x, rows.t), "ours": our_loop(rows, origin, publisher)}
            seconds = dict.fromkeys(loops, 0.0)
            for epoch in range(EPOCHS):  # epoch beside epoch, so that a busy moment of the machine hits both
                for name in sorted(loops, reverse=bool((pair + epoch) % 2)):
                    took, last[name] = timed(loops[name])
                    seconds[name] += took
            assert abs(last["ours"] - last["plain"]) < TOLERANCE, f"the work differs: {last}"
            assert bench.epochs_stored(claim) == EPOCHS
            if pair:  # the first one warms up
                for name, value in seconds.items():
                    spent[name].append(value)
    ratio = statistics.median(b / a for a, b in zip(spent["ours"], spent["plain"], strict=True))
    print(f"| loop, median of {PAIRS} pairs | CPU s | rows/CPU-s | last loss |")
    print("|---|---|---|---|")
    for name, title in (("plain", "fast plain loop"), ("ours", "traind, history and checkpoints included")):
        middle = statistics.median(spent[name])
        print(f"| {title} | {middle:.3f} | {ROWS * EPOCHS / middle:,.0f} | {last[name]:.9f} |")
    print(f"traind runs at {ratio:.3f} of the plain loop's speed; stated: at least {RATIO}")
    return 0 if ratio >= RATIO * 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
