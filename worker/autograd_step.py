"""A step by PyTorch's autograd, for every network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from service.modelling.losses import LossFunction
from service.modelling.networks import TraindNetwork
from traind.v1 import optimizers_pb2


class AutogradStep:
    """Gradient, clipping, optimizer. An optimizer that searches along a line asks for the gradient several times."""

    def __init__(
        self,
        network: TraindNetwork,
        loss: LossFunction,
        optimizer: torch.optim.Optimizer,
        clip: optimizers_pb2.GradientClip | None = None,
    ) -> None:
        self._network, self._loss, self._optimizer = network, loss, optimizer
        self._clip = build_clip(clip, list(network.parameters()))
        self._searches = isinstance(optimizer, torch.optim.LBFGS)

    def __call__(self, x_batch: Tensor, t_batch: Tensor) -> Tensor:
        """One step with features [rows, features] and targets as the loss takes them: the loss before it, []."""
        if self._searches:
            # Declared for closures that answer numbers; those that answer tensors are answered with one.
            found: Tensor = self._optimizer.step(lambda: self._gradient(x_batch, t_batch))  # type: ignore[assignment, arg-type, return-value]
            return found.detach()
        loss = self._gradient(x_batch, t_batch)
        if self._clip is not None:
            self._clip()
        self._optimizer.step()
        return loss.detach()

    def set_rate(self, lr: float) -> None:
        """The learning rate of the steps to come."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def _gradient(self, x: Tensor, t: Tensor) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._network(x), t)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        return loss


def build_clip(clip: optimizers_pb2.GradientClip | None, parameters: Sequence[Tensor]) -> Callable[[], object] | None:
    """What bounds the gradients of parameters in place; None where nothing does."""
    kind = clip.WhichOneof("kind") if clip is not None else None
    if clip is None or kind is None:
        return None
    if kind == "norm":
        return lambda: clip_grad_norm_(parameters, clip.norm)
    return lambda: clip_grad_value_(parameters, clip.value)
