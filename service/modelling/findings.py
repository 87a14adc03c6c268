"""Findings: what a person should know, in words, with the figures it rests on."""

from collections.abc import Sequence

from service.errors import shown
from traind.v1 import tables_pb2

Finding = tables_pb2.Finding
# Characters of a message: the longest one names ten columns, of 256 characters each.
LONGEST_FINDING = 4000


def no_hold_out(rows: int, limit: int) -> Finding:
    """Too few rows to hold some out."""
    return Finding(
        code=Finding.NO_HOLD_OUT,
        message=f"With {rows} rows, fewer than {limit}, none were held out: every figure is in sample and says nothing "
        "about new rows.",
        figures={"rows": rows, "limit": limit},
    )


def constant_columns(names: Sequence[str]) -> Finding:
    """Inputs that hold one value only."""
    return Finding(
        code=Finding.CONSTANT_COLUMN,
        message=f"Each of these inputs holds one value only and cannot teach anything: {', '.join(names[:10])}.",
        figures={"columns": len(names)},
    )


def rank_deficient(rank: int, columns: int) -> Finding:
    """Columns depend on each other."""
    return Finding(
        code=Finding.RANK_DEFICIENT,
        message=f"The {columns} columns (a bias counts as one) have rank {rank}, so many solutions fit equally well; "
        "the one with the smallest weights was taken.",
        figures={"rank": rank, "columns": columns},
    )


def not_separable(epochs: int, best_accuracy: float) -> Finding:
    """No line was found."""
    return Finding(
        code=Finding.NOT_SEPARABLE,
        message=f"In {epochs} epochs no line was found that separates the classes; the best one is right for "
        f"{best_accuracy:.1%} of the rows. If no line can, an mlp with a hidden layer may.",
        figures={"epochs": epochs, "best_accuracy": best_accuracy},
    )


def no_degrees_of_freedom(rows: int, parameters: int) -> Finding:
    """`residual_mse` is NaN."""
    return Finding(
        code=Finding.NO_DEGREES_OF_FREEDOM,
        message=f"residual_mse is NaN: {rows} rows less {parameters} parameters leave nothing to divide by.",
        figures={"rows": rows, "parameters": parameters},
    )


def rate_too_small(lr: float, proposed: float, largest_stable: float) -> Finding:
    """The learning rate crawls."""
    return Finding(
        code=Finding.RATE_TOO_SMALL,
        message=f"The learning rate {lr:.3g} is {lr / largest_stable:.2%} of the largest stable one, "
        f"{largest_stable:.3g}, so the descent crawls; try {proposed:.3g}.",
        figures={"lr": lr, "proposed_lr": proposed, "largest_stable_lr": largest_stable},
    )


def diverged(
    epoch: int, lr: float, proposed: float, largest_stable: float | None, loss: float | None = None
) -> Finding:
    """The loss became Inf or NaN in `epoch`, or had grown to `loss` by then."""
    what = "became Inf or NaN in" if loss is None else f"has grown to {loss:.3g} by"
    why = f", above the largest stable one, {largest_stable:.3g}" if largest_stable and lr > largest_stable else ""
    figures = {"epoch": float(epoch), "lr": lr, "proposed_lr": proposed}
    if largest_stable is not None:
        figures["largest_stable_lr"] = largest_stable
    return Finding(
        code=Finding.DIVERGED,
        message=f"The loss {what} epoch {epoch}: the learning rate {lr:.3g} is too large{why}. Try {proposed:.3g}.",
        figures=figures,
    )


def stopped_early(epoch: int, best_epoch: int, patience: int) -> Finding:
    """Early stopping ended the loop."""
    return Finding(
        code=Finding.STOPPED_EARLY,
        message=f"Stopped after epoch {epoch}: val_loss did not fall for {patience} epochs. The model is that of epoch "
        f"{best_epoch}.",
        figures={"epoch": epoch, "best_epoch": best_epoch, "patience": patience},
    )


def time_limit(epoch: int, seconds: float) -> Finding:
    """`max_seconds` ended the loop."""
    return _time_limit(epoch, seconds, f"{epoch} epochs were done")


def out_of_time(epoch: int, seconds: float) -> Finding:
    """`max_seconds` ended the loop, and the job has done no epoch of its own: all `epoch` of them are its parent's."""
    done = "not one epoch was done" if not epoch else f"the epoch after {epoch}, within which it began, was not done"
    return _time_limit(epoch, seconds, f"{done}; give more time, or fewer rows")


def _time_limit(epoch: int, seconds: float, done: str) -> Finding:
    return Finding(
        code=Finding.TIME_LIMIT,
        message=f"max_seconds ended the learning after {seconds:.3g} seconds: {done}.",
        figures={"epoch": epoch, "seconds": seconds},
    )


def rows_dropped(rows: int, left: int) -> Finding:
    """Rows with missing values were left out."""
    return Finding(
        code=Finding.ROWS_DROPPED,
        message=f"{rows} rows with missing values were left out of training and measuring; {left} are left.",
        figures={"rows": rows, "left": left},
    )


def rows_rejected(rows: int, left: int, column: str, reason: str) -> Finding:
    """Rows that could not be predicted went apart; `column` and `reason` are those of the first one."""
    first = f"the first one for column {shown(column)}, which {reason}" if column else f"the first one because {reason}"
    return Finding(
        code=Finding.ROWS_REJECTED,
        message=f"{rows} rows could not be predicted, {first}; {left} have a prediction. The rejected rows are a data "
        "set of their own, with the reason of each.",
        figures={"rows": rows, "left": left},
    )


def unseen_categories_predicted(rows: int) -> Finding:
    """Rows that were predicted have categories that no training row had."""
    return Finding(
        code=Finding.UNSEEN_CATEGORIES,
        message=f"{rows} of the rows have categories that no training row had; these tell the network nothing there.",
        figures={"rows": rows},
    )


def unseen_categories(rows: int) -> Finding:
    """Held-out rows have categories that no training row had."""
    return Finding(
        code=Finding.UNSEEN_CATEGORIES,
        message=f"{rows} held-out rows have categories that no training row had; these tell the network nothing there.",
        figures={"rows": rows},
    )
