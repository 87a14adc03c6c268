"""Rosenblatt's perceptron rule, with a pocket for the best weights."""

from collections.abc import Callable, Iterator

import numpy as np

from worker.checkpoints import LearnState
from worker.loop import EpochRecord
from worker.training_data import Sample

# Rows between two questions whether to stop.
ROWS_PER_QUESTION = 1024
# Corrections of an epoch after which the pocket looks at the weights; it looks at the end of the epoch too.
LOOKS = 100


def learn(
    state: LearnState, train: Sample, held_out: Sample | None, *, epochs: int, seed: int, stop: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Row by row w + (t - y) x, in an order drawn for each epoch, until some weights make no error.

    Rows that no line separates never let the weights rest, and those at an epoch's end are no better than others. So
    an epoch's figures are those of the best weights that were seen in it: `train_loss` is their share of wrong rows.
    The best weights of all epochs are the model's. `stop` is asked every 1024 rows.
    """
    weight, bias = (_array(state, "weight"), _array(state, "bias"))  # [1, inputs], [1]: the network's own memory
    x, t = train.x.astype(weight.dtype), train.t.astype(weight.dtype)  # [rows, inputs], [rows]
    while state.epoch < epochs and not at_rest(state):
        pocket = _Pocket(x, t)
        for turn, row in enumerate(_order(len(x), seed, state.epoch)):
            if turn % ROWS_PER_QUESTION == 0 and stop():
                return
            error = t[row] - (x[row] @ weight[0] + bias[0] > 0)  # t - y: -1, 0 or 1
            if error:
                weight[0] += error * x[row]
                if "bias" in state.network.state_dict():
                    bias[0] += error
                pocket.look(weight, bias)
        pocket.look(weight, bias, always=True)
        state.end_epoch()
        state.last_loss = pocket.errors
        if pocket.errors < state.best_value:
            kept = {"weight": pocket.weight, "bias": pocket.bias}
            state.keep(pocket.errors, {name: kept[name] for name in state.network.state_dict()})
        yield EpochRecord(state.epoch, pocket.metrics(held_out))


def at_rest(state: LearnState) -> bool:
    """Whether the best weights make no error, so that the rule would never change them."""
    return state.best_value == 0


class _Pocket:
    """The best weights of an epoch."""

    def __init__(self, x: np.ndarray, t: np.ndarray) -> None:
        self.x, self.t = x, t
        self.errors = np.inf
        self.weight, self.bias = np.zeros((1, x.shape[1]), x.dtype), np.zeros(1, x.dtype)
        self._looks = 0

    def look(self, weight: np.ndarray, bias: np.ndarray, *, always: bool = False) -> None:
        """Keep these weights if they make fewer errors than those that are kept."""
        self._looks += 1
        if self._looks > LOOKS and not always:
            return
        errors = _error_rate(self.x, self.t, weight, bias)
        if errors < self.errors:
            self.errors, self.weight, self.bias = errors, weight.copy(), bias.copy()

    def metrics(self, held_out: Sample | None) -> dict[tuple[str, str], float]:
        """The figures of the kept weights."""
        figures = {("train_loss", "train"): self.errors, ("train_accuracy", "train"): 1 - self.errors}
        if held_out is not None:
            errors = _error_rate(held_out.x.astype(self.x.dtype), held_out.t, self.weight, self.bias)
            figures |= {("val_loss", "val"): errors, ("val_accuracy", "val"): 1 - errors}
        return figures


def _error_rate(x: np.ndarray, t: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
    return float(((x @ weight[0] + bias[0] > 0) != t).mean())


def _array(state: LearnState, name: str) -> np.ndarray:
    """A weight of the network as an array over the same memory; zeros where it has none of that name."""
    tensors = state.network.state_dict()
    return np.asarray(tensors[name].numpy() if name in tensors else np.zeros(1))


def _order(rows: int, seed: int, epoch: int) -> list[int]:
    """A permutation that seed and epoch alone decide, so that nothing needs to be kept to go on."""
    order: list[int] = np.argsort(np.random.PCG64([seed, epoch]).random_raw(rows), kind="stable").tolist()
    return order
