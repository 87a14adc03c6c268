"""Plain stacks by torch alone, as one would write them for oneself: the oracle of the written-out way."""

import numpy as np
import torch
from torch.nn import functional

from service.modelling import networks
from service.modelling.inputs import InputLayout
from tests.service.modelling.cases import spec_of
from worker.checkpoints import LearnState

ROWS, INPUTS, BATCH, SEED = 37, 4, 16, 5  # batches of 16, 16 and 5 rows
CLASSES = ("blue", "green", "red")
DRAW = np.random.default_rng(2)
X = torch.from_numpy(DRAW.standard_normal((ROWS, INPUTS)))
NUMBERS = torch.from_numpy(DRAW.standard_normal((ROWS, 2)) * 2)
BITS = torch.from_numpy(DRAW.integers(0, 2, (ROWS, 1)).astype(float))
CODES = torch.from_numpy(DRAW.integers(0, 3, ROWS))
FACTORS = {"red": 2.5, "blue": 0.5}  # green is not named and has 1

ACTIVATIONS = {
    "IDENTITY": lambda z: z,
    "SIGMOID": torch.sigmoid,
    "TANH": torch.tanh,
    "RELU": torch.relu,
    "LEAKY_RELU": lambda z: torch.where(z > 0, z, 0.01 * z),
    "GELU": lambda z: z * 0.5 * (1 + torch.erf(z / 2**0.5)),
    "SILU": lambda z: z * torch.sigmoid(z),
    "SOFTPLUS": lambda z: torch.log1p(torch.exp(z)),
}


def _factors():
    return torch.tensor([FACTORS.get(name, 1.0) for name in CLASSES], dtype=torch.float64)


def _smoothed(y, t):
    """Each row's loss with smoothing 0.1, times its class's factor, over the sum of the factors."""
    wanted = 0.9 * functional.one_hot(t, 3).to(y) + 0.1 / 3
    of_rows = -(wanted * torch.log_softmax(y, 1)).sum(1)
    factors = _factors().to(y)[t]
    return (factors * of_rows).sum() / factors.sum()


def _nll(y, t):
    mean, variance = y[:, :2], torch.clamp(torch.exp(y[:, 2:]), min=1e-6)
    return (torch.log(variance) + (mean - t) ** 2 / variance) / 2


# name -> spec, targets, outputs, loss
LOSSES = {
    "mse": ({"mse": {}}, NUMBERS, 2, lambda y, t: ((y - t) ** 2).mean()),
    "mse sum": ({"mse": {"reduction": "SUM"}}, NUMBERS, 2, lambda y, t: ((y - t) ** 2).sum()),
    "mae": ({"mae": {}}, NUMBERS, 2, lambda y, t: (y - t).abs().mean()),
    "mae sum": ({"mae": {"reduction": "SUM"}}, NUMBERS, 2, lambda y, t: (y - t).abs().sum()),
    "huber": ({"huber": {"delta": 0.8}}, NUMBERS, 2, lambda y, t: functional.huber_loss(y, t, delta=0.8)),
    "huber sum": (
        {"huber": {"delta": 1.5, "reduction": "SUM"}},
        NUMBERS,
        2,
        lambda y, t: functional.huber_loss(y, t, delta=1.5, reduction="sum"),
    ),
    "bce": ({"bce": {}}, BITS, 1, functional.binary_cross_entropy_with_logits),
    "bce sum": (
        {"bce": {"reduction": "SUM"}},
        BITS,
        1,
        lambda y, t: functional.binary_cross_entropy_with_logits(y, t, reduction="sum"),
    ),
    "bce weight": (
        {"bce": {"positiveWeight": 3.5}},
        BITS,
        1,
        lambda y, t: functional.binary_cross_entropy_with_logits(y, t, pos_weight=torch.tensor(3.5)),
    ),
    "cross-entropy": ({"crossEntropy": {}}, CODES, 3, functional.cross_entropy),
    "cross-entropy sum": (
        {"crossEntropy": {"reduction": "SUM", "classWeights": {"weights": FACTORS}}},
        CODES,
        3,
        lambda y, t: functional.cross_entropy(y, t, reduction="sum", weight=_factors().to(y)),
    ),
    "cross-entropy weights": (
        {"crossEntropy": {"classWeights": {"weights": FACTORS}}},
        CODES,
        3,
        lambda y, t: functional.cross_entropy(y, t, weight=_factors().to(y)),
    ),
    "cross-entropy smoothing": (
        {"crossEntropy": {"labelSmoothing": 0.2}},
        CODES,
        3,
        lambda y, t: functional.cross_entropy(y, t, label_smoothing=0.2),
    ),
    "cross-entropy both": (
        {"crossEntropy": {"labelSmoothing": 0.1, "classWeights": {"weights": FACTORS}}},
        CODES,
        3,
        _smoothed,
    ),
    "gaussian nll": ({"gaussianNll": {}}, NUMBERS, 4, lambda y, t: _nll(y, t).mean()),
    "gaussian nll sum": ({"gaussianNll": {"reduction": "SUM"}}, NUMBERS, 4, lambda y, t: _nll(y, t).sum()),
}

_ADAM = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-8}
_RMSPROP = {"lr": 0.01, "alpha": 0.9, "eps": 1e-8}
# name -> spec, optimizer
OPTIMIZERS = {
    "gradient descent": ({"gradientDescent": {"lr": 0.01}}, lambda p: torch.optim.SGD(p, lr=0.01, foreach=False)),
    "sgd": (
        {"sgd": {"lr": 0.01, "weightDecay": 0.1}},
        lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1, foreach=False),
    ),
    "sgd momentum": (
        {"sgd": {"lr": 0.01, "momentum": 0.9}},
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
    ),
    "sgd nesterov": (
        {"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weightDecay": 0.1}},
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1, foreach=False),
    ),
    "adam": (
        {"adam": {**_ADAM, "weightDecay": 0.1}},
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, foreach=False),
    ),
    "adamw": (
        {"adamw": {**_ADAM, "weightDecay": 0.1}},
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, foreach=False),
    ),
    "adagrad": (
        {"adagrad": {"lr": 0.01, "eps": 1e-10, "weightDecay": 0.1}},
        lambda p: torch.optim.Adagrad(p, lr=0.01, weight_decay=0.1, foreach=False),
    ),
    "rmsprop": (
        {"rmsprop": {**_RMSPROP, "weightDecay": 0.1}},
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, weight_decay=0.1, foreach=False),
    ),
    "rmsprop centered": (
        {"rmsprop": {**_RMSPROP, "momentum": 0.9, "centered": True}},
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.9, centered=True, foreach=False),
    ),
}

CLIPS = {
    "none": ({}, lambda _: None),
    "norm": ({"clip": {"norm": 0.05}}, lambda p: torch.nn.utils.clip_grad_norm_(p, 0.05)),
    "long norm": ({"clip": {"norm": 1e6}}, lambda p: torch.nn.utils.clip_grad_norm_(p, 1e6)),
    "value": ({"clip": {"value": 0.02}}, lambda p: torch.nn.utils.clip_grad_value_(p, 0.02)),
}


def spec_for(loss="mse", optimizer="adam", activation="RELU", hidden=(6, 5), bias=True, dropout=0.0, clip="none"):
    """A resolved spec as far as a step looks; `hidden` None = a linear network."""
    network = {"linear": {"bias": bias}}
    if hidden is not None:
        mlp = {"hidden": list(hidden), "activation": activation, "bias": bias, "dropout": dropout}
        network = {"mlp": mlp}
    learn = {"gradient": {"optimizer": OPTIMIZERS[optimizer][0], "batchSize": BATCH, **CLIPS[clip][0]}}
    return spec_of({"network": network, "loss": LOSSES[loss][0], "learn": learn})


def begun(spec, outputs, dtype=torch.float64):
    """A state with its first weights."""
    network = networks.build_network(spec.network, InputLayout(INPUTS), outputs, dtype)
    state = LearnState.begin(network, SEED)
    networks.draw_weights(network, state.order)
    return state


def batches(loss, dtype=torch.float64):
    """The epoch's batches in the dtype of the network; codes stay codes."""
    t = LOSSES[loss][1]
    t = t.to(dtype) if t.is_floating_point() else t
    return list(zip(X.to(dtype).split(BATCH), t.split(BATCH), strict=True))


def learn_plainly(state, spec, loss, optimizer, activation, clip="none", epochs=1, dtype=torch.float64):
    """Epochs by autograd over copies of the state's weights: those by name, and the losses before the steps."""
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in state.network.named_parameters()}
    opt = OPTIMIZERS[optimizer][1](list(weights.values()))
    layers = [name.removesuffix("weight") for name in weights if name.endswith("weight")]
    losses = []
    for x, t in batches(loss, dtype) * epochs:
        y = x
        for index, layer in enumerate(layers):
            if index:
                y = ACTIVATIONS[activation](y)
                y = functional.dropout(y, spec.network.mlp.dropout)
            y = functional.linear(y, weights[f"{layer}weight"], weights.get(f"{layer}bias"))
        opt.zero_grad()
        value = LOSSES[loss][3](y, t)
        value.backward()
        CLIPS[clip][1](list(weights.values()))
        opt.step()
        losses.append(value.item())
    return {name: weight.detach() for name, weight in weights.items()}, losses
