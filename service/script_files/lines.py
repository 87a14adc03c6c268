"""Lines of Python out of values: texts and numbers as literals, which read back as what they were."""

import math
from collections.abc import Sequence

WIDTH = 110
Literal = str | int | float


def literal(value: Literal) -> str:
    """A value as Python writes it; what would not be shown, as marks that turn the direction of writing, is escaped."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)


def call(begin: str, items: Sequence[Literal], end: str) -> list[str]:
    """`begin`, the items with commas between them, and `end`, on as many lines as that takes."""
    return wrapped(begin, [literal(item) for item in items], end)


def wrapped(begin: str, texts: Sequence[str], end: str) -> list[str]:
    """As `call`, of pieces of code."""
    straight = f"{begin}{', '.join(texts)}{end}"
    if len(straight) <= WIDTH:
        return [straight]
    outside = " " * (len(begin) - len(begin.lstrip()))
    lines, line = [begin], ""
    for text in texts:
        if line and len(outside) + 4 + len(line) + len(text) + 2 > WIDTH:
            lines.append(f"{outside}    {line}")
            line = ""
        line += f" {text}," if line else f"{text},"
    return [*lines, f"{outside}    {line}", f"{outside}{end}"]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines inside a function."""
    return [f"    {line}" if line else line for line in lines]


def function(head: str, told: str, body: Sequence[str]) -> list[str]:
    """A function with its docstring, and two empty lines behind it."""
    return [f"def {head}:", f'    """{told}"""', *indented(body), "", ""]
