"""The exact solution: least squares by singular values, no epochs."""

import numpy as np


def solve(x: np.ndarray, t: np.ndarray, *, bias: bool) -> tuple[dict[str, np.ndarray], int]:
    """Weights of the linear network with the smallest squared error on x [rows, inputs], t [rows], and the rank.

    In float64 by LAPACK's gelsd. Where the rank is smaller than the number of columns (a bias counts as one), many
    solutions fit equally well, and this is the one with the smallest sum of squared weights, bias included.
    """
    columns = np.column_stack([x, np.ones(len(x))]) if bias else x  # [rows, inputs + 1] or [rows, inputs]
    solution, _, rank, _ = np.linalg.lstsq(columns, t, rcond=None)
    weights = {"weight": solution[None, : x.shape[1]]}  # [1, inputs]
    if bias:
        weights["bias"] = solution[-1:]  # [1]
    return weights, int(rank)
