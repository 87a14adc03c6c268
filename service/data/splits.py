"""Which rows are held out to measure with, and which are left to learn from."""

import numpy as np
import numpy.typing as npt

from service.errors import invalid
from traind.v1 import splits_pb2

DEFAULT_FRACTION = 0.2

Rows = npt.NDArray[np.int64]


def split_rows(
    row_count: int, split: splits_pb2.Split, labels: npt.NDArray[np.int64] | None, seed: int
) -> tuple[Rows, Rows]:
    """Row numbers to train with and row numbers held out, both ascending.

    `labels` [row_count] are class codes, None for numbers; with them every class keeps its share and at least one
    training row, unless the split says otherwise. The same arguments give the same rows on every machine and with
    every NumPy: the draw orders the raw numbers of PCG64.
    """
    everything = np.arange(row_count, dtype=np.int64)
    if split.WhichOneof("kind") != "hold_out":
        return everything, everything[:0]
    hold_out = split.hold_out
    fraction = hold_out.fraction if hold_out.HasField("fraction") else DEFAULT_FRACTION
    stratify = hold_out.stratify if hold_out.HasField("stratify") else labels is not None
    if row_count < 2:
        raise invalid("job.train.split", f'{row_count} rows cannot be split; set "none"')
    wanted = min(max(int(row_count * fraction + 0.5), 1), row_count - 1)
    if stratify and labels is None:
        raise invalid("job.train.split.hold_out.stratify", "needs classes, and the target holds numbers; leave it out")
    order = np.argsort(np.random.PCG64(seed).random_raw(row_count), kind="stable")
    held = _stratified(order, labels, wanted) if stratify and labels is not None else order[:wanted]
    kept = np.ones(row_count, np.bool_)
    kept[held] = False
    return everything[kept], everything[~kept]


def _stratified(order: Rows, labels: npt.NDArray[np.int64], wanted: int) -> Rows:
    """The first rows of each class in the drawn order, as many as its share of `wanted`."""
    classes, sizes = np.unique(labels, return_counts=True)
    takes = _shares(sizes, wanted)
    if not takes.any():
        raise invalid("job.train.split", 'every class has one row, so none can be held out; set "none"')
    drawn = labels[order]
    held: Rows = np.concatenate([order[drawn == label][:take] for label, take in zip(classes, takes, strict=True)])
    return held


def _shares(sizes: Rows, wanted: int) -> Rows:
    """How many of `wanted` rows each class gives: its share rounded down, the rest to the largest remainders."""
    shares = sizes * (wanted / sizes.sum())
    takes: Rows = np.minimum(shares.astype(np.int64), sizes - 1)
    # Ties go to the class that comes first.
    for index in np.argsort(takes - shares, kind="stable"):
        if takes.sum() == wanted:
            break
        takes[index] += takes[index] < sizes[index] - 1
    return takes
