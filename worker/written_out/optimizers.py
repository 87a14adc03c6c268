"""Steps of torch's optimizers on one flat tensor, without what torch.optim does around its kernels at each step."""

from collections.abc import Callable
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.optim import Optimizer

from traind.v1 import optimizers_pb2

# Takes one step from the gradient that lies in its buffer.
Update = Callable[[], None]

# What is added to a gradient's norm before it divides, as torch.nn.utils.clip_grad_norm_ has it.
_NORM_EPS = 1e-6


def bind_clip(clip: optimizers_pb2.GradientClip, gradient: Tensor) -> Update | None:
    """What keeps the gradient in the bounds of a resolved spec; None where it has none."""
    kind = clip.WhichOneof("kind")
    match kind:
        case "norm":
            largest = clip.norm

            def by_norm() -> None:
                length = torch.linalg.vector_norm(gradient)
                gradient.mul_(length.add_(_NORM_EPS).reciprocal_().mul_(largest).clamp_(max=1))

            return by_norm
        case "value":
            bound = clip.value

            def by_value() -> None:
                gradient.clamp_(-bound, bound)

            return by_value
        case None:
            return None
        case _:
            assert_never(kind)


def bind_update(spec: optimizers_pb2.Optimizer, optimizer: Optimizer, gradient: Tensor) -> Update:
    """The step of a resolved spec's optimizer, which holds one flat parameter with this gradient.

    Rates and decays are those of `optimizer`, and what it remembers lies in its `state`, so that its `state_dict`
    tells all. To be bound again once that was loaded, for loading puts new tensors there.
    """
    (group,) = optimizer.param_groups
    (values,) = group["params"]
    memory = optimizer.state[values]
    kind = spec.WhichOneof("kind")
    match kind:
        case "gradient_descent" | "sgd":
            return _sgd(group, values, gradient, memory)
        case "adam":
            return _adam(torch._fused_adam_, group, values, gradient, memory)
        case "adamw":
            return _adam(torch._fused_adamw_, group, values, gradient, memory)
        case "adagrad":
            return _adagrad(group, values, gradient, memory)
        case "rmsprop":
            return _rmsprop(group, values, gradient, memory)
        case "lbfgs" | None:
            raise AssertionError("`supports` refuses it")
        case _:
            assert_never(kind)


def _begin(memory: dict[str, Any], values: Tensor, *names: str) -> list[Tensor]:
    """What an optimizer remembers, by name; as its first step would begin it where nothing is there yet."""
    for name in names:
        if memory.get(name) is None:
            memory[name] = torch.zeros(()) if name == "step" else torch.zeros_like(values)
    return [memory[name] for name in names]


def _sgd(group: dict[str, Any], values: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Update:
    momentum, decay, nesterov = group["momentum"], group["weight_decay"], group["nesterov"]
    # A momentum that begins with 0 is after its first step the gradient, as torch begins it.
    kept = _begin(memory, values, "momentum_buffer") if momentum else []
    parameters, gradients, step = [values], [gradient], torch._fused_sgd_

    def update() -> None:
        step(
            parameters,
            gradients,
            kept,
            weight_decay=decay,
            momentum=momentum,
            lr=group["lr"],
            dampening=0.0,
            nesterov=nesterov,
            maximize=False,
            is_first_step=False,
        )

    return update


def _adam(
    kernel: Callable[..., Any], group: dict[str, Any], values: Tensor, gradient: Tensor, memory: dict[str, Any]
) -> Update:
    (beta1, beta2), decay, eps = group["betas"], group["weight_decay"], group["eps"]
    steps, mean, square = _begin(memory, values, "step", "exp_avg", "exp_avg_sq")
    one = torch.ones_like(steps)
    tensors: list[list[Tensor]] = [[values], [gradient], [mean], [square], [], [steps]]

    def update() -> None:
        steps.add_(one)
        kernel(
            *tensors,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=decay,
            eps=eps,
            amsgrad=False,
            maximize=False,
        )

    return update


def _adagrad(group: dict[str, Any], values: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Update:
    decay, eps = group["weight_decay"], group["eps"]
    steps, total = _begin(memory, values, "step", "sum")
    one, kernel = torch.ones_like(steps), torch._fused_adagrad_
    tensors: list[list[Tensor]] = [[values], [gradient], [total], [steps]]

    def update() -> None:
        steps.add_(one)
        kernel(*tensors, lr=group["lr"], lr_decay=0.0, weight_decay=decay, eps=eps, maximize=False)

    return update


def _rmsprop(group: dict[str, Any], values: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Update:
    """Torch has no kernel for it, so it is written out too."""
    alpha, eps, decay, momentum = group["alpha"], group["eps"], group["weight_decay"], group["momentum"]
    steps, square = _begin(memory, values, "step", "square_avg")
    mean = _begin(memory, values, "grad_avg")[0] if group["centered"] else None
    kept = _begin(memory, values, "momentum_buffer")[0] if momentum else None
    root, one = torch.empty_like(values), torch.ones_like(steps)

    def update() -> None:
        steps.add_(one)
        if decay:
            gradient.add_(values, alpha=decay)
        square.mul_(alpha).addcmul_(gradient, gradient, value=1 - alpha)
        if mean is None:
            torch.sqrt(square, out=root)
        else:
            mean.lerp_(gradient, 1 - alpha)
            torch.addcmul(square, mean, mean, value=-1, out=root).sqrt_()
        root.add_(eps)
        if kept is None:
            values.addcdiv_(gradient, root, value=-group["lr"])
        else:
            kept.mul_(momentum).addcdiv_(gradient, root)
            values.add_(kept, alpha=-group["lr"])

    return update
