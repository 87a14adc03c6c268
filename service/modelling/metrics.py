"""Figures of a model on rows, in NumPy and float64."""

import numpy as np


def regression_metrics(y: np.ndarray, t: np.ndarray, dof: int) -> dict[str, float]:
    """`mae`, `mse`, `r2` and `residual_mse` = SSE / dof of predictions y [rows] for targets t [rows].

    `r2` is NaN where all targets are equal, `residual_mse` where dof < 1; both are NaN-free otherwise.
    """
    if not t.size:
        return dict.fromkeys(("mae", "mse", "r2", "residual_mse"), float("nan"))
    with np.errstate(over="ignore", invalid="ignore"):
        error = y - t
        sse = float(error @ error)
        around_mean = t - t.mean()
        total = float(around_mean @ around_mean)
    return {
        "mae": float(np.abs(error).mean()),
        "mse": sse / t.size,
        "r2": 1 - sse / total if total > 0 else float("nan"),
        "residual_mse": sse / dof if dof > 0 else float("nan"),
    }


def class_metrics(codes: np.ndarray, t: np.ndarray, log_probabilities: np.ndarray | None) -> dict[str, float]:
    """`accuracy` of predicted codes [rows] for classes t [rows], and `log_loss` where probabilities are known.

    `log_probabilities` [rows, classes] are natural logarithms, so that a very sure wrong answer keeps its price.
    """
    figures = {"accuracy": float((codes == t).mean()) if t.size else float("nan")}
    if log_probabilities is not None:
        chosen = log_probabilities[np.arange(t.size), t]
        figures["log_loss"] = float(-chosen.mean()) if t.size else float("nan")
    return figures


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the classes' probabilities [rows, classes].

    `logits` [rows, outputs] hold one logit for the second of two classes, or one for each class.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)  # [rows, 2]
    highest = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        logs: np.ndarray = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    return logs
