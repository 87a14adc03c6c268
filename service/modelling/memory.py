"""How much memory a job will take, by arithmetic, before anything is read: for who submits it, and for its limit.

    bytes = BASE + max(preparing, learning)

    preparing  the features of all rows in float64, and the columns of one batch of the file beside them
    learning   features, and a copy of them in the network's dtype where it is another
               + targets, row numbers and the outputs of all rows
               + weights x (itself, gradient, moments, best copy; all but the gradient three times more while a
                 checkpoint is written: a copy, its parts as bytes, the whole as bytes)
               + activations of a batch, with their gradients

Features of more than FEATURES_IN_MEMORY lie in a file, and cost a process nothing. Widths are those that specs.widths
counts: where categories of a target are known only when rows are read, a job takes more than this says.
"""

from dataclasses import dataclass

from service.data.layout import BATCH_CELLS
from service.modelling import answers
from service.modelling.inputs import InputLayout
from traind.v1 import learning_pb2, networks_pb2, optimizers_pb2, specs_pb2

# Features that need more, in float64, lie in a file and not in memory.
FEATURES_IN_MEMORY = 128 << 20
# What the smallest job takes beside what it shares with the process that it is a fork of.
BASE = 4 << 20
# Of what a checkpoint keeps, while it is written.
CHECKPOINT_COPIES = 3
# Features that are gathered before their batches come.
GATHERED = 8 << 20
# Rows that are measured at once, and that the exact solution folds at once.
ROWS_MEASURED, ROWS_FOLDED = 8192, 65_536
_DOUBLE = 8


@dataclass(frozen=True)
class Sizes:
    """What the estimate rests on."""

    rows: int
    # Columns of the table that are read.
    columns: int
    # Features and outputs of the network, and weights and biases.
    layout: InputLayout
    outputs: int
    parameters: int


def estimate(resolved: specs_pb2.TrainSpec, sizes: Sizes) -> int:
    """Bytes that the process of a training job will take at most, by a resolved spec."""
    number = _DOUBLE if resolved.dtype == specs_pb2.TrainSpec.FLOAT64 else 4
    features = sizes.rows * sizes.layout.width * _DOUBLE
    in_memory = features if features <= FEATURES_IN_MEMORY else 0
    batch = min(sizes.rows * sizes.columns, BATCH_CELLS) * _DOUBLE
    copied = features * number // _DOUBLE if in_memory and number < _DOUBLE else 0
    learning = in_memory + copied + _rows(sizes) + _weights(resolved, sizes, number) + _steps(resolved, sizes, number)
    return BASE + max(in_memory + batch + _rows(sizes), learning)


def estimate_evaluation(sizes: Sizes) -> int:
    """Bytes that the process of a job which measures a model will take at most."""
    features = sizes.rows * sizes.layout.width * _DOUBLE
    batch = min(sizes.rows * sizes.columns, BATCH_CELLS) * _DOUBLE
    widest = ROWS_MEASURED * (sizes.layout.width + sizes.outputs) * _DOUBLE
    return BASE + features + batch + _rows(sizes) + widest + 3 * sizes.parameters * _DOUBLE


def estimate_prediction(spec: specs_pb2.TrainSpec, sizes: Sizes, told: int, slices: int) -> int:
    """Bytes that the process of a job which predicts will take at most, where the answer has `told` columns.

    Whatever the number of rows: a block of features with what the network makes of it, a slice of answers as numbers,
    as columns and as a file, and one batch of the table that slices are joined to.
    """
    rows = answers.block_rows(sizes.layout.width)
    block = 2 * rows * (sizes.layout.width + sizes.outputs + _neurons(spec.network)) * _DOUBLE
    piece = 3 * (-(-sizes.rows // max(slices, 1))) * told * _DOUBLE
    batch = 2 * max(min(sizes.rows * told, BATCH_CELLS) * _DOUBLE, answers.SLICE_BYTES)
    return BASE + block + piece + batch + 3 * sizes.parameters * _DOUBLE


def _rows(sizes: Sizes) -> int:
    """Numbers of rows (all, of either split, in an epoch's order), targets as they are, for the loss and as a tensor,
    outputs of all rows and what measures make of them.
    """
    return sizes.rows * _DOUBLE * (4 + 4 * sizes.outputs)


def _weights(resolved: specs_pb2.TrainSpec, sizes: Sizes, number: int) -> int:
    way = resolved.learn.WhichOneof("way")
    if way != "gradient":
        return 4 * sizes.parameters * number
    gradient = resolved.learn.gradient
    best = gradient.keep != learning_pb2.Gradient.LAST or gradient.HasField("max_seconds")
    kept = 1 + _moments(gradient.optimizer) + best
    return (kept + 1 + CHECKPOINT_COPIES * kept) * sizes.parameters * number


def _moments(optimizer: optimizers_pb2.Optimizer) -> int:
    """Numbers that an optimizer remembers of each weight."""
    kind = optimizer.WhichOneof("kind")
    match kind:
        case "adam" | "adamw":
            return 2
        case "sgd":
            return int(optimizer.sgd.momentum > 0)
        case "adagrad":
            return 1
        case "rmsprop":
            return 1 + (optimizer.rmsprop.momentum > 0) + optimizer.rmsprop.centered
        case "lbfgs":
            # Pairs of the last steps; direction, gradients and weights of the line search.
            return 2 * optimizer.lbfgs.history_size + 6
        case _:
            return 0


def _steps(resolved: specs_pb2.TrainSpec, sizes: Sizes, number: int) -> int:
    """What the way to learn takes for its rows beside the weights."""
    way = resolved.learn.WhichOneof("way")
    if way == "exact":
        # The rows with targets, stacked on those before, and what QR and singular values make of them.
        width = sizes.layout.width + 1 + sizes.outputs
        return 4 * min(sizes.rows, ROWS_FOLDED) * width * _DOUBLE
    if way != "gradient":
        return 2 * ROWS_MEASURED * sizes.layout.width * number
    rows = _training_rows(resolved, sizes)
    batch = min(resolved.learn.gradient.batch_size or rows, rows)
    neurons = _neurons(resolved.network)
    activations = batch * number * (neurons + 3 * sizes.outputs)
    measured = min(ROWS_MEASURED, sizes.rows) * number * (sizes.layout.width + neurons)
    gathered = 0 if batch == rows else min(GATHERED, rows * sizes.layout.width * number)
    return max(activations, measured) + gathered


def _training_rows(resolved: specs_pb2.TrainSpec, sizes: Sizes) -> int:
    held_out = resolved.split.hold_out.fraction if resolved.split.WhichOneof("kind") == "hold_out" else 0.0
    return max(1, round(sizes.rows * (1 - held_out)))


def _neurons(network: networks_pb2.Network) -> int:
    """Numbers that a batch has for each of its rows in the hidden layers.

    Of each neuron the sum, the activation and the gradient, and one more for each thing that is done to it besides.
    """
    if network.WhichOneof("kind") != "mlp":
        return 0
    mlp = network.mlp
    normalised = mlp.normalisation in {networks_pb2.Network.BATCH, networks_pb2.Network.LAYER}
    return sum(mlp.hidden) * (3 + normalised + (mlp.dropout > 0) + mlp.residual)
