"""What notebooks show of the client's objects: small tables and curves, escaped, with nothing from elsewhere."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from traind.display import figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from traind.history import History, Series

WIDTH, HEIGHT, EDGE = 360, 120, 6
# Of Okabe and Ito: told apart by everybody, on white and on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Points of a curve that are drawn.
POINTS = 240
SHOWN_ROWS = 60
SHOWN_CHARACTERS = 200


def history_html(history: History) -> str:
    """A curve of the losses, and the last figures."""
    if not len(history):
        return _text(repr(history))
    losses = {name: history[name] for name in history if name.endswith("loss")} or dict(history)
    last = [(name, figure(values[-1])) for name, (_, values) in history.items() if values]
    return curve(losses) + fields_html(f"{len(history.epochs)} epochs, the last", last)


def fields_html(title: str, fields: Iterable[tuple[str, Any]]) -> str:
    """Names and values under a title; what is empty is left out."""
    rows = [(name, value) for name, value in fields if value not in {"", None}]
    body = "".join(f"<tr><th>{_cell(name)}</th><td>{_cell(value)}</td></tr>" for name, value in rows[:SHOWN_ROWS])
    return f"<table><caption>{_cell(title)}</caption><tbody>{body}</tbody></table>"


def table_html(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows under a header; of very many the first."""
    head = "".join(f"<th>{_cell(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows[:SHOWN_ROWS])
    more = f"<p>and {len(rows) - SHOWN_ROWS} more</p>" if len(rows) > SHOWN_ROWS else ""
    return f"<table><caption>{_cell(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def curve(series: Mapping[str, Series]) -> str:
    """An SVG of values over epochs, each a line; what is not finite is a ✕ at the upper edge.

    Where positive values span more than two decades their axis is logarithmic.
    """
    finite = [value for _, values in series.values() for value in values if math.isfinite(value)]
    epochs = [epoch for steps, _ in series.values() for epoch in steps]
    logarithmic = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 100
    scale = _Scale(epochs, [math.log10(value) for value in finite] if logarithmic else finite, logarithmic)
    drawn = "".join(
        _line(name, steps, values, COLOURS[i % len(COLOURS)], scale)
        for i, (name, (steps, values)) in enumerate(series.items())
    )
    axis = "log scale, " if logarithmic else ""
    span = f"{figure(min(finite))} to {figure(max(finite))}" if finite else "no finite value"
    caption = f"{', '.join(series)} over {len(set(epochs))} epochs; {axis}{span}"
    keys = " ".join(
        f'<span style="color:{COLOURS[i % len(COLOURS)]}">━ {_cell(name)}</span>' for i, name in enumerate(series)
    )
    return (
        f'<figure><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f"<title>{_cell(caption)}</title>{drawn}</svg><figcaption>{keys} ({_cell(axis + span)})</figcaption></figure>"
    )


class _Scale:
    """Where an epoch and a value are drawn."""

    def __init__(self, epochs: Sequence[int], values: Sequence[float], logarithmic: bool) -> None:
        self._first, self._last = min(epochs, default=0), max(epochs, default=1)
        self._low, self._high = min(values, default=0.0), max(values, default=1.0)
        self._logarithmic = logarithmic

    def x(self, epoch: int) -> float:
        """From the left."""
        share = (epoch - self._first) / (self._last - self._first) if self._last > self._first else 0.5
        return EDGE + share * (WIDTH - 2 * EDGE)

    def y(self, value: float) -> float:
        """From above."""
        value = math.log10(value) if self._logarithmic else value
        # Halves keep the differences finite where values are near the largest double.
        span = self._high / 2 - self._low / 2
        share = (value / 2 - self._low / 2) / span if span > 0 else 0.5
        return HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE)


def _line(name: str, epochs: Sequence[int], values: Sequence[float], colour: str, scale: _Scale) -> str:
    """A polyline, broken where values are not finite."""
    step = max(1, math.ceil(len(values) / POINTS))
    # Of each stretch the last one, and the end; what is not finite always.
    kept = [i for i in range(len(values)) if i % step == 0 or i == len(values) - 1]
    lost = [i for i, value in enumerate(values) if not math.isfinite(value)]
    pieces: list[list[str]] = [[]]
    for i in kept:
        if math.isfinite(values[i]):
            pieces[-1].append(f"{scale.x(epochs[i]):.1f},{scale.y(values[i]):.1f}")
        else:
            pieces.append([])
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(piece)}"/>'
        if len(piece) > 1
        else f'<circle fill="{colour}" r="2" cx="{piece[0].partition(",")[0]}" cy="{piece[0].partition(",")[2]}"/>'
        for piece in pieces
        if piece
    )
    crosses = "".join(
        f'<text x="{scale.x(epochs[i]):.1f}" y="{EDGE + 6}" fill="{colour}" font-size="10" text-anchor="middle">✕'
        f"<title>{_cell(f'{name} is {values[i]} in epoch {epochs[i]}')}</title></text>"
        for i in (lost if len(lost) <= 20 else [lost[0], lost[-1]])
    )
    return lines + crosses


def _cell(value: Any) -> str:
    text = figure(value) if isinstance(value, float) else str(value)
    return escape(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")


def _text(text: str) -> str:
    return f"<p>{escape(text)}</p>"
