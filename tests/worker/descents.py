"""Small learnings by the gradient loop, for tests: rows, resolved specs, and a state with its plan and its step."""

import dataclasses

import numpy as np
import torch

from service.modelling import losses, networks
from service.modelling.inputs import Embedded, InputLayout
from tests.service.modelling.cases import spec_of
from worker import descent, loop
from worker.loop import Rows

ROWS, INPUTS, SEED = 50, 4, 3
DRAW = np.random.default_rng(1)
X = DRAW.standard_normal((ROWS, INPUTS))
HELD = DRAW.standard_normal((17, INPUTS))
# The last feature as codes of an embedding, 0 among them.
CODES = np.column_stack([X[:, :-1], np.arange(ROWS) % 4])
HELD_CODES = np.column_stack([HELD[:, :-1], np.arange(17) % 4])
EMBEDDED = InputLayout(INPUTS, [Embedded(3, 3, 2)])

# Resolved: every field that has a default is set.
OPTIMIZERS = {
    "gradientDescent": {"lr": 0.05},
    "sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weightDecay": 0.01},
    "adam": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "adamw": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weightDecay": 0.1},
    "adagrad": {"lr": 0.05, "eps": 1e-10, "weightDecay": 0.01},
    "rmsprop": {"lr": 0.01, "alpha": 0.9, "eps": 1e-8, "momentum": 0.5, "centered": True, "weightDecay": 0.01},
    "lbfgs": {"lr": 1.0, "maxIterations": 4, "historySize": 3},
}
NUMBERS, HELD_NUMBERS = X[:, 0] - 2 * X[:, 1], HELD[:, 0] - 2 * HELD[:, 1]
PAIRS = np.column_stack([NUMBERS, X[:, 2] ** 2])
HELD_PAIRS = np.column_stack([HELD_NUMBERS, HELD[:, 2] ** 2])
CLASSES = ("a", "b", "c")
# Task, number of targets, targets of training and held-out rows, the loss's own fields.
LOSSES = {
    "mse": ("regression", 2, PAIRS, HELD_PAIRS, {}),
    "mae": ("regression", 1, NUMBERS, HELD_NUMBERS, {}),
    "huber": ("regression", 2, PAIRS, HELD_PAIRS, {"delta": 0.7}),
    "gaussianNll": ("regression", 2, PAIRS, HELD_PAIRS, {}),
    "bce": ("binary", 1, (X[:, 0] > 0).astype(int), (HELD[:, 0] > 0).astype(int), {"positiveWeight": 2.5}),
    "crossEntropy": (
        "multiclass",
        1,
        (X[:, 0] > 0).astype(int) + (X[:, 1] > 0),
        (HELD[:, 0] > 0).astype(int),
        {"classWeights": {"weights": {"a": 0.5, "c": 3.0}}, "labelSmoothing": 0.1},
    ),
}
NETWORKS = {
    "linear": {"linear": {"bias": True}},
    "mlp": {"mlp": {"hidden": [6], "activation": "TANH", "bias": True}},
    "rich": {
        "mlp": {
            "hidden": [6, 6],
            "activation": "GELU",
            "bias": True,
            "dropout": 0.3,
            "normalisation": "BATCH",
            "residual": True,
            "initialisation": "XAVIER_NORMAL",
        }
    },
}
FLOATS = {"FLOAT32": torch.float32, "FLOAT64": torch.float64}


@dataclasses.dataclass
class Learning:
    """A state before its first epoch, and all that the loop takes."""

    spec: object
    state: object
    plan: object
    step: object
    train: Rows
    held_out: Rows | None

    def epochs(self, stop=lambda: False, **replaced):
        """The epochs to come."""
        parts = {"train": self.train, "held_out": self.held_out} | replaced
        return loop.descend(self.state, self.plan, self.step, parts["train"], parts["held_out"], stop)

    def run(self, **replaced):
        """Every epoch to come: its figures by name."""
        return [{name: value for (name, _), value in record.metrics.items()} for record in self.epochs(**replaced)]


def spec_for(network="mlp", loss="mse", optimizer="adam", dtype="FLOAT64", reduction="MEAN", rates=None, **gradient):
    """A resolved spec; what `gradient` names is set in `learn.gradient`."""
    learn = {"epochs": 3, "keep": "BEST", "optimizer": {optimizer: rates or OPTIMIZERS[optimizer]}}
    if optimizer not in {"gradientDescent", "lbfgs"}:
        learn["batchSize"] = 16
    spec = {
        "target": [f"t{index}" for index in range(LOSSES[loss][1])],
        "network": NETWORKS[network] if isinstance(network, str) else network,
        "loss": {loss: LOSSES[loss][4] | {"reduction": reduction}},
        "learn": {"gradient": learn | gradient},
        "dtype": dtype,
        "seed": SEED,
    }
    return spec_of(spec)


def learning(spec=None, *, embedded=False, held_out=True, **choices):
    """A learning of `spec`, or of `spec_for(**choices)`."""
    spec = spec or spec_for(**choices)
    loss = next(name for name in LOSSES if spec.loss.HasField(losses_field(name)))
    task, _, t, t_held, _ = LOSSES[loss]
    classes = CLASSES if task == "multiclass" else ("no", "yes") if task == "binary" else ()
    layout = EMBEDDED if embedded else InputLayout(INPUTS)
    dtype = networks.torch_dtype(spec)
    network = networks.build_network(spec.network, layout, networks.output_width(spec, len(classes)), dtype)
    state, step = descent.begin(network, spec, classes, "cpu")
    x, held = (CODES, HELD_CODES) if embedded else (X, HELD)
    return Learning(
        spec,
        state,
        descent.plan_of(spec, classes),
        step,
        Rows.make(x, t, task, dtype, "cpu"),
        Rows.make(held, t_held, task, dtype, "cpu") if held_out else None,
    )


def losses_field(name):
    """The name of a loss in Python."""
    return {"gaussianNll": "gaussian_nll", "crossEntropy": "cross_entropy"}.get(name, name)


def whole_loss(spec, outputs, t):
    """The loss of all rows at once."""
    return float(losses.build_loss(spec.loss, CLASSES)(outputs, t))
