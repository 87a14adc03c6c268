"""The exact solution: least squares by singular values, no epochs."""

import numpy as np

# Rows that are brought into a triangle at once, so that no second copy of all rows is made.
ROWS_AT_ONCE = 65_536


def solve(x: np.ndarray, t: np.ndarray, *, bias: bool) -> tuple[dict[str, np.ndarray], int]:
    """Weights of the linear network with the smallest squared error on x [rows, inputs], t [rows, targets] or [rows].

    Also answers the rank. In float64 by LAPACK's gelsd. Where the rank is smaller than the number of columns (a bias
    counts as one), many solutions fit equally well, and this is the one with the smallest sum of squared weights, bias
    included.
    """
    targets = t.reshape(len(t), -1)  # [rows, targets]
    inputs = x.shape[1]
    # The same singular values as those of all rows, so the same rank, solution and norm; the border for a singular
    # value that counts as 0 is that of all rows.
    columns, goals = _triangle(x, targets, bias=bias)  # [<= rows, inputs (+ 1)], [<= rows, targets]
    border = np.finfo(np.float64).eps * max(len(x), inputs + bias)
    solution, _, rank, _ = np.linalg.lstsq(columns, goals, rcond=border)
    weights = {"weight": solution[:inputs].T.copy()}  # [targets, inputs]
    if bias:
        weights["bias"] = solution[-1].copy()  # [targets]
    return weights, int(rank)


def _triangle(x: np.ndarray, targets: np.ndarray, *, bias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Fewer equations with the same least-squares solutions: many rows are folded into a triangle by QR, in parts."""
    inputs = x.shape[1] + bias
    folded: np.ndarray = np.empty((0, inputs + targets.shape[1]))
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = np.asarray(x[start : start + ROWS_AT_ONCE], np.float64)
        ones = [np.ones((len(part), 1))] if bias else []
        rows = np.column_stack([part, *ones, targets[start : start + ROWS_AT_ONCE]])
        folded = np.vstack([folded, rows])
        if len(x) > ROWS_AT_ONCE:
            folded = np.asarray(np.linalg.qr(folded, mode="r"))
    return folded[:, :inputs], folded[:, inputs:]
