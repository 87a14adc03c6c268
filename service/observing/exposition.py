"""Figures in the text format of Prometheus, version 0.0.4."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
# What is put behind the family's name (`_bucket`), the labels, and the figure.
Sample = tuple[str, Labels, float]

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True)
class Family:
    """Figures of one name. Labels hold words of ours only, never one that a caller sent or a user made."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    samples: Sequence[Sample]


def gauge(name: str, about: str, value: float) -> Family:
    """One figure that goes up and down."""
    return Family(name, "gauge", about, [("", {}, value)])


def counter(name: str, about: str, value: float) -> Family:
    """One figure that only grows."""
    return Family(name, "counter", about, [("", {}, value)])


def by_label(
    kind: Literal["counter", "gauge"], name: str, about: str, label: str, values: Mapping[str, float]
) -> Family:
    """One figure for each value of a label."""
    return Family(name, kind, about, [("", {label: key}, value) for key, value in values.items()])


def encode(families: Iterable[Family]) -> bytes:
    """The page that is scraped."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.about}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{more}{_labels(labels)} {_figure(value)}" for more, labels, value in family.samples]
    return "\n".join([*lines, ""]).encode()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _figure(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if isinstance(value, bool) else str(value)
