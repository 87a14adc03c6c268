"""Learning from a row-major map of a file, beside the same loop on rows in memory.

2,000,000 x 30 numbers, float32, shuffled batches of 128, one thread: the features of a large table, as a trainer writes
them into an unnamed file (service/data/scratch.py), and a copy of them in memory. Measured are the gathering of batches
alone, and epochs of an MLP 30-64-32-1 by the written-out path, which asks for batches the fastest. Both begin with the
same weights and draw the same orders, so their last losses must be equal to the last bit. Figures are CPU seconds of
this process, the system's work on pages included; pairs are interleaved.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from service.data.scratch import scratch_array
from service.modelling import networks
from service.modelling.inputs import InputLayout
from traind.v1 import learning_pb2, losses_pb2, networks_pb2, optimizers_pb2, specs_pb2
from worker import descent, loop
from worker.loop import Rows

ROWS, INPUTS, HIDDEN, BATCH, SEED = 2_000_000, 30, (64, 32), 128, 7
ROWS_AT_ONCE = 100_000
PAIRS = 7
RATIO = 0.8  # of the speed in memory; missed by more than 5 % = exit 1

SPEC = specs_pb2.TrainSpec(
    target=["t"],
    network=networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=HIDDEN, activation=networks_pb2.Network.RELU, bias=True)),
    loss=losses_pb2.Loss(bce=losses_pb2.Bce(reduction=losses_pb2.Loss.MEAN, positive_weight=1)),
    learn=learning_pb2.Learn(
        gradient=learning_pb2.Gradient(
            optimizer=optimizers_pb2.Optimizer(adam=optimizers_pb2.Adam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)),
            epochs=1,
            batch_size=BATCH,
            keep=learning_pb2.Gradient.LAST,
            path=learning_pb2.Gradient.WRITTEN_OUT,
        )
    ),
    seed=SEED,
)


def make_rows(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Features in a mapped file, written some rows at a time, and classes."""
    draw = np.random.default_rng(SEED)
    x, t = scratch_array(folder, (ROWS, INPUTS), np.float32), np.empty(ROWS, np.int64)
    for start in range(0, ROWS, ROWS_AT_ONCE):
        part = draw.standard_normal((ROWS_AT_ONCE, INPUTS))
        x[start : start + ROWS_AT_ONCE] = part
        t[start : start + ROWS_AT_ONCE] = np.sin(part[:, 0]) + part[:, 1] * part[:, 2] > 0
    return x, t


def gather(rows: Rows) -> float:
    """Every batch of an epoch, and nothing done with it."""
    seen = 0
    for x, _ in loop.batches(rows, BATCH, torch.Generator().manual_seed(SEED)):
        seen += len(x)
    assert seen == ROWS
    return 0.0


def epoch(rows: Rows) -> float:
    """An epoch from the first weights; its loss."""
    network = networks.build_network(SPEC.network, InputLayout(INPUTS), 1, torch.float32)
    state, step = descent.begin(network, SPEC, ("no", "yes"), "cpu")
    plan = descent.plan_of(SPEC, ("no", "yes"))
    for _ in loop.descend(state, plan, step, rows, None, lambda: False):
        pass
    return state.last_loss


def compare(title: str, work: Callable[[Rows], float], mapped: Rows, memory: Rows) -> float:
    """Prints the rates, and answers the map's share of the speed in memory."""
    ways = {"mapped": mapped, "memory": memory}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for pair in range(PAIRS + 1):
        results = {}
        for name in sorted(ways, reverse=bool(pair % 2)):
            begin = time.process_time()
            results[name] = work(ways[name])
            if pair:  # the first one warms up
                spent[name].append(time.process_time() - begin)
        assert results["mapped"] == results["memory"], f"the work differs: {results}"
    for name, seconds in spent.items():
        middle = statistics.median(seconds)
        print(f"| {title}, {name} | {middle:.3f} | {ROWS / middle:,.0f} | {results[name]:.9f} |")
    return statistics.median(b / a for a, b in zip(spent["mapped"], spent["memory"], strict=True))


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        x, t = make_rows(pathlib.Path(folder))
    mapped = Rows.make(x, t, "binary", torch.float32, "cpu")
    assert mapped.x.data_ptr() == x.ctypes.data, "the map was copied"
    memory = Rows(mapped.x.clone(), mapped.t)
    print(f"| median of {PAIRS} pairs | CPU s | rows/CPU-s | last loss |")
    print("|---|---|---|---|")
    gathering = compare("gathering alone", gather, mapped, memory)
    learning = compare("an epoch written out", epoch, mapped, memory)
    print(
        f"from the map batches are gathered at {gathering:.3f} and learned from at {learning:.3f} of the speed in "
        f"memory; stated: at least {RATIO} each"
    )
    return 0 if min(gathering, learning) >= RATIO * 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
