"""A job's figures epoch by epoch, exact, in the forms people compute with."""

from __future__ import annotations

import csv
import importlib
import io
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from traind.errors import TraindError

if TYPE_CHECKING:
    import os

    from traind.v1 import jobs_pb2

# Epochs and values of one metric.
Series = tuple[list[int], list[float]]


class History(Mapping[str, Series]):
    """Epochs and values by the name of their metric: `epochs, losses = history["train_loss"]`.

    Every value is as it was learned: nothing is thinned or rounded, NaN and Inf are kept.
    """

    def __init__(self, message: jobs_pb2.History) -> None:
        self.message = message
        self._series = {series.name: (list(series.steps), list(series.values)) for series in message.series}

    def __getitem__(self, metric: str) -> Series:
        if metric not in self._series:
            raise KeyError(f"{metric!r} was not measured; there are: {', '.join(self._series) or 'none'}")
        return self._series[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)

    @property
    def epochs(self) -> list[int]:
        """Every epoch that has a figure, ascending."""
        return sorted({epoch for epochs, _ in self._series.values() for epoch in epochs})

    def best(self, metric: str = "val_loss") -> tuple[int, float]:
        """Epoch and value where a metric was smallest; NaN is never the best. Raises KeyError, ValueError."""
        epochs, values = self[metric]
        finite = [(value, epoch) for epoch, value in zip(epochs, values, strict=True) if not math.isnan(value)]
        if not finite:
            raise ValueError(f"{metric} has no value that is a number")
        value, epoch = min(finite)
        return epoch, value

    def to_df(self) -> Any:
        """A pandas DataFrame: a row an epoch (the index), a column a metric, NaN where it was not measured."""
        try:
            import pandas as pd  # loaded when it is asked for: the client does not need it
        except ModuleNotFoundError:
            raise TraindError("a data frame needs pandas", fix="pip install 'traind[pandas]'") from None
        columns = {
            name: pd.Series(values, index=pd.Index(epochs, dtype="int64"), dtype="float64")
            for name, (epochs, values) in self._series.items()
        }
        return pd.DataFrame(columns, index=pd.Index(self.epochs, dtype="int64", name="epoch"))

    def to_numpy(self) -> Any:
        """A NumPy array of records [epochs]: `epoch` (int64) and a float64 for each metric, NaN where there is none."""
        try:
            np = importlib.import_module("numpy")  # by name: the client does not need it
        except ModuleNotFoundError:
            raise TraindError("an array needs NumPy", fix="pip install numpy") from None
        rows = np.zeros(len(self.epochs), [("epoch", "i8"), *((name, "f8") for name in self)])
        rows["epoch"] = self.epochs
        for name, (epochs, values) in self._series.items():
            rows[name] = np.nan
            rows[name][np.searchsorted(rows["epoch"], epochs)] = values
        return rows

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV text, also written to `path` if it is given; every digit is kept, a figure that is missing is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["epoch", *self])
        writer.writerows(self.rows())
        if path is not None:
            pathlib.Path(path).write_text(out.getvalue(), encoding="utf-8")
        return out.getvalue()

    def rows(self) -> Iterator[list[Any]]:
        """A line an epoch: the epoch, then each metric's value; None where it was not measured."""
        by_epoch = [dict(zip(epochs, values, strict=True)) for epochs, values in self._series.values()]
        for epoch in self.epochs:
            yield [epoch, *(values.get(epoch) for values in by_epoch)]

    def named(self, kind: str) -> dict[str, Series]:
        """The series of one kind: `loss` is train_loss and val_loss. Raises KeyError."""
        found = {
            name: series for name, series in self._series.items() if name in {kind, f"train_{kind}", f"val_{kind}"}
        }
        if not found:
            raise KeyError(f"{kind!r} was not measured; there are: {', '.join(self._series) or 'none'}")
        return found

    def plot(self, kind: str = "loss", **options: Any) -> Any:
        """Draw one kind of figure over the epochs: see plotting.plot_history. Needs the extra `plot`."""
        from traind.plotting import plot_history

        return plot_history(self, kind, **options)

    def _repr_html_(self) -> str:
        from traind.html import history_html

        return history_html(self)

    def __repr__(self) -> str:
        epochs: Sequence[int] = self.epochs
        return f"<History of {len(epochs)} epochs: {', '.join(self._series) or 'no metric'}>"
