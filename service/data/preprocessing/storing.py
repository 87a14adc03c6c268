"""Steps as JSON, the form in which a model keeps them: plain numbers and texts by name."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from service.data.preprocessing.steps import (
    Clip,
    Code,
    Fill,
    FillCategory,
    Log1p,
    MinMax,
    NumberStep,
    OneHot,
    Ordinal,
    Robust,
    Standard,
    Step,
    YeoJohnson,
)
from service.errors import DataCorrupt, shown

_NAMES: dict[type[Step], str] = {
    Fill: "fill",
    Clip: "clip",
    Log1p: "log1p",
    YeoJohnson: "yeo_johnson",
    Standard: "standard",
    MinMax: "min_max",
    Robust: "robust",
    FillCategory: "fill_category",
    OneHot: "one_hot",
    Ordinal: "ordinal",
    Code: "code",
}


def _bound(kept: float | None) -> float | None:
    return None if kept is None else float(kept)


def _texts(kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, kept))


_READERS: dict[str, Callable[[dict[str, Any]], Step]] = {
    "fill": lambda kept: Fill(float(kept["value"])),
    "clip": lambda kept: Clip(_bound(kept["low"]), _bound(kept["high"])),
    "log1p": lambda _: Log1p(),
    "yeo_johnson": lambda kept: YeoJohnson(float(kept["power"])),
    "standard": lambda kept: Standard(float(kept["mean"]), float(kept["std"])),
    "min_max": lambda kept: MinMax(float(kept["low"]), float(kept["high"])),
    "robust": lambda kept: Robust(float(kept["median"]), float(kept["lower"]), float(kept["upper"])),
    "fill_category": lambda kept: FillCategory(str(kept["text"])),
    "one_hot": lambda kept: OneHot(_texts(kept["categories"])),
    "ordinal": lambda kept: Ordinal(_texts(kept["categories"])),
    "code": lambda kept: Code(_texts(kept["categories"]), int(kept["width"])),
}


def steps_to_dicts(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as JSON has them; Python writes floats so that they come back exactly."""
    return [{"kind": _NAMES[type(step)], **asdict(step)} for step in steps]


def steps_from_dicts(kept: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
    """What `steps_to_dicts` wrote. Raises DataCorrupt for an unknown step, else ValueError, TypeError or KeyError."""
    return tuple(_read(step) for step in kept)


def number_steps_from_dicts(kept: Sequence[dict[str, Any]]) -> tuple[NumberStep, ...]:
    """As `steps_from_dicts`, of numbers only."""
    steps = steps_from_dicts(kept)
    numbers = tuple(step for step in steps if not isinstance(step, FillCategory | OneHot | Ordinal | Code))
    if len(numbers) < len(steps):
        raise DataCorrupt("the preprocessing of a model has a step of categories where numbers are expected")
    return numbers


def _read(kept: dict[str, Any]) -> Step:
    read = _READERS.get(kept["kind"])
    if read is None:
        raise DataCorrupt(f"the preprocessing of a model has an unknown step {shown(kept['kind'])}")
    return read(kept)
