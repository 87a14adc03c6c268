"""Figures, curves and tables as text of a terminal's width: a Hangul syllable takes two columns."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BARS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "✕"
# Columns of a table: how narrow they may become, and what is between two.
NARROWEST = 8
GAP = 2


def sparkline(values: Sequence[float], width: int = 8) -> str:
    """A curve of at most `width` characters; a stretch that holds Inf or NaN is shown as ✕.

    Where positive values span more than two decades their heights are logarithmic, else a loss that falls fast at first
    would be one step and a line.
    """
    count = min(width, len(values))
    stretches = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    ends = [stretch[-1] if all(map(math.isfinite, stretch)) else math.nan for stretch in stretches]
    finite = [value for value in ends if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 100:
        ends = [math.log10(value) if math.isfinite(value) else math.nan for value in ends]
        finite = [math.log10(value) for value in finite]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(_bar(value, low, high) if math.isfinite(value) else NOT_FINITE for value in ends)


def _bar(value: float, low: float, high: float) -> str:
    # Halves keep the differences finite where values are near the largest double.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0
    return BARS[min(len(BARS) - 1, int(share * len(BARS)))]


def figure(value: float) -> str:
    """A number for people: four digits, `inf` and `nan` as such."""
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """`0.4 s`, `53 s`, `2 min 10 s`, `1 h 03 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else f"{1000 * seconds:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns, with … where something is left out."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _columns(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    paint: Callable[[str], str] = str,
    *,
    width: int = 0,
    keep: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> str:
    """Rows in columns under a header, two blanks between; control characters are shown as escapes.

    `paint` may colour a cell: what it adds takes no room. With a `width` the widest columns are cut until the table
    fits into it, but the first, which names the row, and those of `keep`; where that is not enough, columns of `spare`
    are left out, and at last those of `keep` are cut too.
    """
    lines = [[printable(cell) for cell in row] for row in [header, *rows]]
    widths = [max(width_of(line[i]) for line in lines) for i in range(len(header))]
    if width:
        places = [place for place, name in enumerate(header) if place and name not in keep]
        for name in spare:
            if _width(_cut_to(widths, width, places)) <= width:
                break
            gone = header.index(name)
            places.remove(gone)
            widths[gone] = 0
        widths = _cut_to(_cut_to(widths, width, places), width, range(1, len(widths)))
        lines = [
            [line[0], *(cut(cell, most) for cell, most in zip(line[1:], widths[1:], strict=True))] for line in lines
        ]
    padded = (
        "  ".join(paint(cell) + " " * (most - width_of(cell)) for cell, most in zip(line, widths, strict=True) if most)
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _cut_to(widths: Sequence[int], width: int, places: Sequence[int]) -> list[int]:
    """Widths of columns that fit beside each other: of `places` always the widest gives way, down to NARROWEST."""
    widths = list(widths)
    while _width(widths) > width:
        place = max(places, key=widths.__getitem__, default=0)
        if not place or widths[place] <= NARROWEST:
            break
        widths[place] -= 1
    return widths


def _width(widths: Sequence[int]) -> int:
    """Columns of a line; a column of no width is left out, gap and all."""
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)


def printable(text: str) -> str:
    """Text from outside that cannot move the cursor, ring or hide."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
