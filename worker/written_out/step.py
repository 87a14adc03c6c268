"""A whole step of a plain stack, written out: forward, loss, backward, clip and update over flat buffers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.modelling import optimizers
from traind.v1 import networks_pb2, specs_pb2
from worker.checkpoints import LearnState
from worker.written_out.activations import ACTIVATIONS
from worker.written_out.buffers import Hidden, Work, ends_of
from worker.written_out.losses import bind_loss
from worker.written_out.optimizers import bind_clip, bind_update
from worker.written_out.stack import flatten

# Batches have the spec's size, and the last one of an epoch its own. Buffers of more sizes than this are made anew.
MOST_SIZES = 4


class WrittenOut:
    """The loop's step for a spec that `written_out_rule.supports`, several times as fast as autograd.

    It equals autograd's to rounding, draws the same numbers for dropout, and needs no more than `state` to go on
    after a checkpoint bit for bit.
    """

    def __init__(self, state: LearnState, spec: specs_pb2.TrainSpec, classes: Sequence[str] = ()) -> None:
        """Move the network's weights into a flat buffer and give `state` an optimizer of that one tensor.

        To be called once the first weights are drawn, and before a checkpoint is restored. `spec` is resolved, with
        `class_weights` by name; `classes` are the target's, in the order of their codes.
        """
        gradient = spec.learn.gradient
        self._spec, self._classes = spec, classes
        self._stack = flatten(state.network)
        *self._hidden, self._last = self._stack.layers
        # Without hidden layers there is nothing to activate, and a linear network names no activation.
        self._activation = ACTIVATIONS[spec.network.mlp.activation if self._hidden else networks_pb2.Network.IDENTITY]
        self._share_kept = 1 - spec.network.mlp.dropout
        self._clip = bind_clip(gradient.clip, self._stack.gradient)
        self._optimizer = state.optimizer = optimizers.build_optimizer(gradient.optimizer, [self._stack.values])
        self._optimizer.register_load_state_dict_post_hook(lambda _: self._bind())
        self._bind()
        self._work: dict[int, Work] = {}
        self._inference = torch.inference_mode()  # one for all steps: making one costs more than entering it

    def __call__(self, x_batch: Tensor, t_batch: Tensor) -> Tensor:
        """One step with features [rows, inputs] and targets as the loss takes them: the loss before it, []."""
        with self._inference:
            work = self._work.get(x_batch.size(0)) or self._make_work(x_batch.size(0))
            self._forward(work, x_batch)
            loss = work.loss(t_batch)
            self._backward(work, x_batch)
            if self._clip is not None:
                self._clip()
            self._update()
        return loss

    def set_rate(self, lr: float) -> None:
        """The learning rate of the steps to come."""
        self._optimizer.param_groups[0]["lr"] = lr

    def _forward(self, work: Work, x: Tensor) -> None:
        activate = self._activation.forward
        for hidden in work.hidden:
            hidden.layer.sums(x, hidden.sums)  # [rows, width]
            activate(hidden.sums, hidden.activations)
            if hidden.mask is not None:
                hidden.mask.bernoulli_(self._share_kept).div_(self._share_kept)  # as torch's dropout draws it
                torch.mul(hidden.activations, hidden.mask, out=hidden.outputs)
            x = hidden.outputs
        self._last.sums(x, work.ends.outputs)  # [rows, outputs]

    def _backward(self, work: Work, x: Tensor) -> None:
        """From the loss's gradient by the outputs to that by the weights."""
        above, gradient, gradient_t = self._last, work.ends.gradient, work.ends.gradient_t
        for hidden in work.downward:
            above.gradients(hidden.outputs, gradient_t, work.ones)
            torch.mm(gradient, above.weight, out=hidden.gradient)  # [rows, width]
            if hidden.mask is not None:
                hidden.gradient.mul_(hidden.mask)
            self._activation.backward(hidden.gradient, hidden.sums)
            above, gradient, gradient_t = hidden.layer, hidden.gradient, hidden.gradient_t
        above.gradients(x, gradient_t, work.ones)

    def _make_work(self, rows: int) -> Work:
        if len(self._work) >= MOST_SIZES:
            self._work.clear()
        ends = ends_of(self._stack, rows)
        keep_sums, dropout = not self._activation.of_result, self._share_kept < 1
        hidden = tuple(Hidden.make(layer, rows, keep_sums=keep_sums, dropout=dropout) for layer in self._hidden)
        loss = bind_loss(self._spec.loss, self._classes, ends)
        work = self._work[rows] = Work(hidden, hidden[::-1], ends, loss, ends.outputs.new_ones(rows))
        return work

    def _bind(self) -> None:
        spec = self._spec.learn.gradient.optimizer
        self._update = bind_update(spec, self._optimizer, self._stack.gradient)
