"""Everything needed to go on with a learning bit for bit, in one named dict, and that dict as bytes."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.errors import DataCorrupt
from service.modelling.checkpoint_heads import MISSING_PART, read_head
from service.modelling.networks import TraindNetwork
from service.modelling.schedules import Waiting
from service.modelling.tensors import check_shapes, decode_tensors, encode_tensors, read_metadata

FORMAT = 4
# What checkpoints of the formats before did not have.
_SINCE_FORMAT_1 = {"seconds": 0.0, "cuts": 0} | {
    f"{name}_{part}": value
    for name in ("stopping", "plateau")
    for part, value in (("smallest", math.inf), ("epochs", 0))
}
_SINCE_FORMAT_2 = {"batch": 0, "loss_sum": 0.0}
# Before it was told, jobs went on only from their own.
_SINCE_FORMAT_3 = {"job": ""}
_NEWER: dict[int, dict[str, Any]] = {
    1: _SINCE_FORMAT_1 | _SINCE_FORMAT_2 | _SINCE_FORMAT_3,
    2: _SINCE_FORMAT_2 | _SINCE_FORMAT_3,
    3: _SINCE_FORMAT_3,
    FORMAT: {},
}

Weights = dict[str, Tensor]


class NewerFormat(Exception):
    """The checkpoint is whole, and of a version of traind that is newer than this one."""


@dataclass
class LearnState:
    """What changes while a network learns."""

    network: TraindNetwork
    # None for the perceptron rule.
    optimizer: torch.optim.Optimizer | None = None
    # Draws the order of rows of each epoch.
    order: torch.Generator = field(default_factory=torch.Generator)
    # Epochs that are done, and the one whose weights the model would have now.
    epoch: int = 0
    best_epoch: int = 0
    # Batches that are done of the epoch under way, the sum of their losses (float64 []), and where `order` stood when
    # that epoch began: the order of its rows can be drawn again from there.
    batch: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    order_before: Tensor | None = None
    # The smallest figure so far by which the best epoch is chosen, and the weights that reached it; no weights where
    # the last epoch is always the best.
    best_value: float = math.inf
    best_weights: Weights = field(default_factory=dict)
    # The first epoch with a figure that is Inf or NaN (0 = none), and the last epoch's training loss.
    first_bad_epoch: int = 0
    last_loss: float = math.inf
    # How long the loss has not fallen, for early stopping and for the rate on a plateau, and how often that was cut.
    stopping: Waiting = field(default_factory=Waiting)
    plateau: Waiting = field(default_factory=Waiting)
    cuts: int = 0
    # Seconds of learning before the clock's `since`.
    seconds_before: float = 0.0
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, network: TraindNetwork, seed: int) -> "LearnState":
        """The state before anything was drawn."""
        torch.manual_seed(seed)
        return cls(network, order=torch.Generator().manual_seed(seed))

    @property
    def weights(self) -> Weights:
        """The weights that the model would have now."""
        return self.best_weights or dict(self.network.state_dict())

    def begin_epoch(self, device: torch.device) -> Tensor:
        """Before an epoch's order is drawn; answers the sum of its losses, which is the loop's to add to."""
        if not self.batch:
            self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
            self.order_before = self.order.get_state()
        return self.loss_sum

    def end_epoch(self) -> None:
        """An epoch is done."""
        self.epoch, self.batch, self.order_before = self.epoch + 1, 0, None

    def seconds(self) -> float:
        """Seconds of learning until now; those of attempts that were lost do not count."""
        return self.seconds_before + time.monotonic() - self.since

    def keep(self, value: float, weights: Mapping[str, Tensor] | Mapping[str, np.ndarray] | None = None) -> None:
        """Remember weights, by default those of the network, as the best; `value` is what they reached."""
        chosen = self.network.state_dict() if weights is None else weights
        self.best_value, self.best_epoch = value, self.epoch
        self.best_weights = {name: torch.as_tensor(weight).detach().clone() for name, weight in chosen.items()}


@dataclass(frozen=True)
class Origin:
    """What a learning rests on and does not change: a checkpoint fits only a job with the same."""

    dataset_sha256: str
    # The resolved spec and the fitted preprocessing as JSON.
    spec: str
    preprocessing: str
    row_count: int
    # Row numbers, ascending; the others are trained with.
    held_out: np.ndarray
    # Where other values give other bits.
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = field(default_factory=torch.get_num_threads)
    torch_version: str = field(default_factory=lambda: str(torch.__version__))
    # The job's id: a job may go on from the checkpoint of another, which rests on the same but for the way to learn.
    job: str = ""


def capture(state: LearnState, origin: Origin) -> dict[str, Any]:
    """All of it in one dict, by name. Tensors are not copied: encode it before the next step."""
    mask = np.zeros(origin.row_count, np.bool_)
    mask[origin.held_out] = True
    return {
        "network": dict(state.network.state_dict()),  # buffers too
        "optimizer": _capture_optimizer(state.optimizer),
        "best_weights": state.best_weights,
        "order": state.order.get_state() if state.order_before is None else state.order_before,
        "torch_rng": torch.get_rng_state(),
        "held_out": torch.from_numpy(np.packbits(mask)),  # a bit for each row
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "batch": state.batch,
        "loss_sum": float(state.loss_sum) if state.batch else 0.0,
        "best_value": state.best_value,
        "first_bad_epoch": state.first_bad_epoch,
        "last_loss": state.last_loss,
        "stopping_smallest": state.stopping.smallest,
        "stopping_epochs": state.stopping.epochs,
        "plateau_smallest": state.plateau.smallest,
        "plateau_epochs": state.plateau.epochs,
        "cuts": state.cuts,
        "seconds": state.seconds(),
        "row_count": origin.row_count,
        "dataset_sha256": origin.dataset_sha256,
        "job": origin.job,
        "spec": origin.spec,
        "preprocessing": origin.preprocessing,
        "device": origin.device,
        "dtype": origin.dtype,
        "threads": origin.threads,
        "torch_version": origin.torch_version,
    }


def _capture_optimizer(optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    if optimizer is None:
        return {"state": {}, "param_groups": []}
    captured: dict[str, Any] = optimizer.state_dict()
    # `al` of lbfgs is scratch: each step writes it before it reads it.
    slots = {
        index: {key: value for key, value in slot.items() if key != "al"} for index, slot in captured["state"].items()
    }
    return captured | {"state": slots}


_TENSORS = ("order", "torch_rng", "held_out")
_TENSOR_GROUPS = ("network", "best_weights")
_INTEGERS = (
    "epoch",
    "best_epoch",
    "first_bad_epoch",
    "stopping_epochs",
    "plateau_epochs",
    "batch",
    "cuts",
    "row_count",
)
_KINDS = dict.fromkeys(_INTEGERS, "int") | dict.fromkeys(("dataset_sha256", "job", "spec", "preprocessing"), "str")
_FLOATS = ("best_value", "last_loss", "loss_sum", "stopping_smallest", "plateau_smallest")


def encode(captured: Mapping[str, Any]) -> bytes:
    """The dict as safetensors, with everything that is no tensor as JSON in its metadata."""
    tensors = {name: captured[name] for name in _TENSORS}
    for group in _TENSOR_GROUPS:
        tensors |= {f"{group}/{name}": tensor for name, tensor in captured[group].items()}
    slots: dict[str, dict[str, Any]] = {}
    for index, slot in captured["optimizer"]["state"].items():
        slots[str(index)] = {}
        for key, value in slot.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            elif isinstance(value, list):  # of tensors: lbfgs remembers its last steps
                tensors |= {f"optimizer/{index}/{key}/{place}": part for place, part in enumerate(value)}
                slots[str(index)][key] = [None] * len(value)
            else:
                slots[str(index)][key] = value
    rest = {name: value for name, value in captured.items() if name not in (*_TENSORS, *_TENSOR_GROUPS, "optimizer")}
    rest |= {name: float(captured[name]).hex() for name in _FLOATS}  # Inf and NaN are no JSON
    rest |= {"format": FORMAT, "slots": slots, "param_groups": captured["optimizer"]["param_groups"]}
    return encode_tensors(tensors, {"checkpoint": json.dumps(rest)})


def decode(data: bytes) -> dict[str, Any]:
    """The dict that `encode` was given. Raises NewerFormat, and DataCorrupt when the bytes are no checkpoint."""
    found = read_head(data).format
    if found > FORMAT:
        raise NewerFormat(
            f"the checkpoint has format {found}, of a newer version of traind; this one reads formats up to {FORMAT}"
        )
    if found not in _NEWER:
        raise DataCorrupt(f"the checkpoint has format {found}, which no version of traind has written")
    tensors = decode_tensors(data)
    try:
        captured: dict[str, Any] = json.loads(read_metadata(data)["checkpoint"])
        del captured["format"]
        captured |= {name: value.hex() if name in _FLOATS else value for name, value in _NEWER[found].items()}
        captured |= {name: float.fromhex(captured[name]) for name in _FLOATS}
        captured["seconds"] = float(captured["seconds"])
        captured |= {name: tensors.pop(name) for name in _TENSORS}
        captured |= {group: {} for group in _TENSOR_GROUPS}
        slots = {int(index): slot for index, slot in captured.pop("slots").items()}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            if group == "optimizer":
                index, key, *place = rest.split("/")
                if place:
                    slots[int(index)][key][int(place[0])] = tensor
                else:
                    slots.setdefault(int(index), {})[key] = tensor
            else:
                captured[group][rest] = tensor
        captured["optimizer"] = {"state": slots, "param_groups": captured.pop("param_groups")}
        fitting = all(type(captured[name]).__name__ == kind for name, kind in _KINDS.items())
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise DataCorrupt(MISSING_PART) from error
    if not fitting:
        raise DataCorrupt(MISSING_PART)
    return captured


def held_out_rows(captured: Mapping[str, Any]) -> np.ndarray:
    """Row numbers that were held out, ascending."""
    try:
        bits = np.unpackbits(captured["held_out"].numpy(), count=captured["row_count"])
    except (ValueError, TypeError):
        raise DataCorrupt("the checkpoint cannot be read: its held-out rows are no bits") from None
    return np.flatnonzero(bits).astype(np.int64)


def restore(state: LearnState, captured: Mapping[str, Any]) -> None:
    """Put a state, freshly built from the same spec, where the captured one was.

    Without `optimizer`, or `param_groups` of it, the state keeps its own, as they begin.
    Raises DataCorrupt unless names, shapes and types are those of the state.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in state.network.state_dict().items()}
    dtype = next(state.network.parameters()).dtype
    check_shapes(captured["network"], expected, dtype)
    if captured["best_weights"]:
        check_shapes(captured["best_weights"], expected, dtype)
    state.network.load_state_dict(captured["network"])
    if state.optimizer and captured["optimizer"] is not None:
        _restore_optimizer(state.optimizer, captured["optimizer"])
    device = next(state.network.parameters()).device
    state.best_weights = {name: weight.to(device) for name, weight in captured["best_weights"].items()}
    try:
        state.order.set_state(captured["order"])
        torch.set_rng_state(captured["torch_rng"])
    except (RuntimeError, TypeError) as error:
        raise DataCorrupt("the checkpoint cannot be read: a state of its random numbers is none") from error
    state.epoch, state.best_epoch, state.batch = captured["epoch"], captured["best_epoch"], captured["batch"]
    state.loss_sum = torch.tensor(captured["loss_sum"], dtype=torch.float64, device=device)
    state.order_before = captured["order"] if state.batch else None
    state.best_value, state.last_loss = captured["best_value"], captured["last_loss"]
    state.first_bad_epoch = captured["first_bad_epoch"]
    state.stopping = Waiting(captured["stopping_smallest"], captured["stopping_epochs"])
    state.plateau = Waiting(captured["plateau_smallest"], captured["plateau_epochs"])
    state.cuts = captured["cuts"]
    state.seconds_before, state.since = captured["seconds"], time.monotonic()


def _restore_optimizer(optimizer: torch.optim.Optimizer, captured: Mapping[str, Any]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shapes = {index: {parameter.shape} for index, parameter in enumerate(parameters)}
    if isinstance(optimizer, torch.optim.LBFGS):  # keeps directions of all parameters in a row with the first one
        shapes = {0: {torch.Size([sum(parameter.numel() for parameter in parameters)])}}
    for index, slot in captured["state"].items():
        for value in slot.values():
            for part in value if isinstance(value, list) else [value]:
                # Every tensor of an optimizer is a number, or one for each number of its parameter.
                if isinstance(part, Tensor) and part.dim() and part.shape not in shapes.get(index, ()):
                    raise DataCorrupt("the checkpoint does not fit its network: the optimizer's shapes differ")
    try:
        groups = captured["param_groups"] or optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": captured["state"], "param_groups": groups})
    except (ValueError, KeyError, TypeError) as error:
        raise DataCorrupt("the checkpoint does not fit its network: the optimizer's parts differ") from error


def different_bits(captured: Mapping[str, Any], origin: Origin) -> list[str]:
    """Why the same steps may give other bits than before the checkpoint: `threads 1 -> 2`; empty if they will not."""
    return [
        f"{name.replace('_', ' ')} {captured[name]} -> {getattr(origin, name)}"
        for name in ("device", "threads", "torch_version")
        if captured[name] != getattr(origin, name)
    ]
