"""Figures of a model on rows, in NumPy and float64: pure functions of answers and targets in the target's own units."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

# In the order in which they are told; `specs.proto` says what each is.
NUMBER_FIGURES = ("mae", "mse", "rmse", "r2")
CLASS_FIGURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
# These need probabilities too.
PROBABILITY_FIGURES = ("roc_auc", "log_loss")

NAN = float("nan")


def regression_metrics(
    y: np.ndarray, t: np.ndarray, dof: float | None = None, names: Collection[str] = NUMBER_FIGURES
) -> dict[str, float]:
    """The figures `names` of answers y for targets t, both [rows, targets], averaged over the targets.

    With `dof`, the degrees of freedom of each target, `residual_mse` = SSE / dof too. `r2` is NaN where all values of a
    target are equal, `residual_mse` where dof is not above 0, and everything where there is no row.
    """
    wanted = [*names, *(("residual_mse",) if dof is not None else ())]
    if not t.size:
        return dict.fromkeys(wanted, NAN)
    with np.errstate(over="ignore", invalid="ignore"):
        sse = np.array([_sum_of_squares(y[:, i] - t[:, i]) for i in range(t.shape[1])])  # [targets]
        mse = float(sse.mean()) / len(t)
        found: dict[str, Callable[[], float]] = {
            "mae": lambda: float(np.mean([np.abs(y[:, i] - t[:, i]).mean() for i in range(t.shape[1])])),
            "mse": lambda: mse,
            "rmse": lambda: float(np.sqrt(mse)),
            "r2": lambda: _r2(sse, t),
            "residual_mse": lambda: float(sse.mean()) / dof if dof is not None and dof > 0 else NAN,
        }
        return {name: found[name]() for name in wanted}


def _sum_of_squares(values: np.ndarray) -> float:
    return float(values @ values)


def _r2(sse: np.ndarray, t: np.ndarray) -> float:
    total = np.array([_sum_of_squares(t[:, i] - t[:, i].mean()) for i in range(t.shape[1])])
    return float((1 - sse / total).mean()) if (total > 0).all() else NAN


def class_metrics(
    codes: np.ndarray,
    t: np.ndarray,
    classes: int,
    logits: np.ndarray | None = None,
    names: Collection[str] = (*CLASS_FIGURES, *PROBABILITY_FIGURES),
) -> dict[str, float]:
    """The figures `names` of predicted codes [rows] for classes t [rows], of `classes` there are.

    `logits` [rows, outputs] are as `log_probabilities` takes them; without them there is no `roc_auc` and no
    `log_loss`. Everything is NaN where there is no row.
    """
    wanted = [name for name in names if logits is not None or name not in PROBABILITY_FIGURES]
    if not t.size:
        return dict.fromkeys(wanted, NAN)
    counts = confusion(codes, t, classes) if set(wanted) & {*CLASS_FIGURES} else None
    figures = _of_counts(counts) if counts is not None else {}
    if logits is not None and set(wanted) & set(PROBABILITY_FIGURES):
        # Logarithms, so that a very sure wrong answer keeps its price.
        logs = log_probabilities(logits)
        figures["roc_auc"] = roc_auc(logits, logs, t) if "roc_auc" in wanted else NAN
        figures["log_loss"] = float(-logs[np.arange(t.size), t].mean())
    return {name: figures[name] for name in wanted}


def confusion(codes: np.ndarray, t: np.ndarray, classes: int) -> np.ndarray:
    """How often which class was answered for which: int64 [classes, classes], row = right, column = answered."""
    counts: np.ndarray = np.bincount(t * classes + codes, minlength=classes * classes).reshape(classes, classes)
    return counts


def _of_counts(counts: np.ndarray) -> dict[str, float]:
    """The figures that rest on the confusion matrix alone."""
    right, there, answered = np.diag(counts).astype(np.float64), counts.sum(axis=1), counts.sum(axis=0)  # [classes]
    precision, recall = _share(right, answered), _share(right, there)
    f1 = _share(2 * right, there + answered)
    # Of two classes the second is the one that is looked for.
    two = len(counts) == 2
    return {
        "accuracy": float(right.sum() / there.sum()),
        "balanced_accuracy": float(recall[there > 0].mean()),
        "precision": float(precision[1] if two else precision.mean()),
        "recall": float(recall[1] if two else recall[there > 0].mean()),
        "f1": float(f1[1] if two else f1.mean()),
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Each part of its whole, 0 where there is nothing."""
    shares: np.ndarray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares


def roc_auc(logits: np.ndarray, logs: np.ndarray, t: np.ndarray) -> float:
    """The area under the ROC curve for classes t [rows], from logits [rows, outputs] and the logarithms of the
    probabilities that follow of them [rows, classes].

    Of the second of two classes, else the mean of each class that is there against the rest.
    """
    if logs.shape[1] == 2:
        # The logit tells apart what probabilities near 1 do not.
        return _area(logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0], t == 1)
    areas = [_area(logs[:, code], t == code) for code in np.unique(t)]
    return float(np.mean(areas)) if len(areas) > 1 else NAN


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs of a positive and another row whose scores are in the right order; equal ones count half."""
    count = int(np.count_nonzero(positive))
    others = len(positive) - count
    if not count or not others or np.isnan(scores).any():
        return NAN
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    lengths = np.diff(ends, prepend=-1)
    # Ranks count from 1; rows of one score share their mean.
    ranks = np.repeat(ends + 1 - (lengths - 1) / 2, lengths)
    return (float(ranks[positive[order]].sum()) - count * (count + 1) / 2) / (count * others)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the classes' probabilities [rows, classes].

    `logits` [rows, outputs] hold one logit for the second of two classes, or one for each class.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)  # [rows, 2]
    highest = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        logs: np.ndarray = logits - highest
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs


def class_codes(outputs: np.ndarray) -> np.ndarray:
    """The likeliest class of each row [rows]: of one output the second where it is above 0, else the largest logit."""
    return (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def measure_classes(
    outputs: np.ndarray, t: np.ndarray, names: Sequence[str] | None = None, *, probabilities: bool = True
) -> dict[str, float]:
    """The figures `names` (None = all) of a network's outputs [rows, outputs] for classes t [rows].

    Without `probabilities` the outputs are classes, 0 or 1, as a perceptron has them.
    """
    classes = max(outputs.shape[1], 2)
    wanted = (*CLASS_FIGURES, *PROBABILITY_FIGURES) if names is None else names
    return class_metrics(class_codes(outputs), t, classes, outputs if probabilities else None, wanted)
