"""The tutorials' pictures, drawn from the jobs that the pages' own Python has just run."""

import pathlib
from collections.abc import Callable
from typing import Any

from tutorial_charts import BLACK, BLUE, GREEN, GREY, ORANGE, RED, Axis, Panel, Point, figure, straight

DASHES = {"none": "", "long": "8 4", "short": "3 3", "mixed": "8 3 2 3"}


def draw(page: pathlib.Path, names: dict[str, Any]) -> None:
    """Draw the picture of a page beside it, from the names that its Python left."""
    page.with_suffix(".svg").write_text(picture(page, names), encoding="utf-8")


def picture(page: pathlib.Path, names: dict[str, Any]) -> str:
    """The picture of a page as SVG."""
    return figure(PICTURES[page.name[0]](names))


def _perceptron(names: dict[str, Any]) -> list[Panel]:
    losses = Panel(
        "XOR needs a bend",
        Axis(1, 400, [1, 100, 200, 300, 400], "epoch"),
        Axis(1e-4, 10, [1e-4, 1e-3, 1e-2, 0.1, 1, 10], "train_loss", log=True),
    )
    styles = {"IDENTITY": (RED, "none"), "SIGMOID": (BLUE, "long"), "TANH": (GREEN, "short"), "RELU": (ORANGE, "mixed")}
    for name, (colour, dash) in styles.items():
        losses.line(_losses(names["jobs"][name]), colour, name, DASHES[dash])
    moved = Panel(
        "Step units move the points",
        Axis(-0.3, 1.6, [0, 1], "first coordinate"),
        Axis(-0.3, 1.6, [0, 1], "second coordinate"),
    )
    weight, bias = (names["by_hand"].weights()[f"layers.1.{name}"] for name in ("weight", "bias"))
    border = straight(moved.x, lambda x: -(weight[0][0] * x + bias[0]) / weight[0][1])
    moved.line(border, GREY, "the border afterwards", DASHES["long"])
    for point, place, black in zip(
        names["POINTS"], names["moved"].hidden["layers.0"], names["moved"].values, strict=True
    ):
        if point != place:
            moved.arrow(tuple(point), tuple(place), BLUE)
        moved.dot(tuple(point), BLACK, filled=bool(black))
    return [losses, moved]


def _regression(names: dict[str, Any]) -> list[Panel]:
    houses = Panel(
        "The line of the closed form",
        Axis(15, 50, [20, 30, 40, 50], "area (pyeong)"),
        Axis(2, 12, [2, 4, 6, 8, 10, 12], "price (100 million won)"),
        side="left",
    )
    weights = names["exact"].model.weights()
    slope, intercept = weights["weight"][0][0], weights["bias"][0]
    houses.line(straight(houses.x, lambda area: slope * area + intercept), BLUE, "closed form")
    for point in zip(names["AREAS"], names["PRICES"], strict=True):
        houses.dot(point, ORANGE)
    descents = Panel(
        "Scaled columns make a round valley",
        Axis(1, 1000, [1, 10, 100, 1000], "epoch", log=True),
        Axis(1e-10, 1e4, [1e-10, 1e-7, 1e-4, 0.1, 100], "train_loss above closed form", log=True),
    )
    styles = ((ORANGE, "none"), (RED, "short"), (BLUE, "long"))
    for (name, job), (colour, dash) in zip(names["descents"].items(), styles, strict=True):
        above = [(epoch, loss - names["figures"]["mse"]) for epoch, loss in _losses(job)]
        # Below 1e-10 only rounding is left.
        last = next((i for i, (_, gap) in enumerate(above) if gap < 1e-10), len(above))
        descents.line(above[:last], colour, name, DASHES[dash])
    return [houses, descents]


def _losses_compared(names: dict[str, Any]) -> list[Panel]:
    typo = Panel(
        "One typo in twelve rows",
        Axis(15, 50, [20, 30, 40, 50], "area (pyeong)"),
        Axis(-20, 100, [-20, 0, 20, 40, 60, 80, 100], "price (100 million won)"),
        side="left",
    )
    for loss, colour, dash in (("mse", RED, "long"), ("mae", BLUE, "none")):
        ends = names["lines"][loss].model.predict([[15], [50]])
        typo.line([(15, ends[0]), (50, ends[1])], colour, f"learned under {loss}", DASHES[dash])
    for point in zip(names["AREAS"], names["PRICES"], strict=True):
        typo.dot(point, ORANGE)
    history = names["exam"].history()
    stairs = Panel(
        "Stairs, and a slope",
        Axis(0, 300, [0, 100, 200, 300], "epoch"),
        Axis(0, 1.8, [0, 0.5, 1, 1.5], "figure of the training rows"),
    )
    stairs.line(zip(*history["train_loss"], strict=True), BLUE, "cross-entropy")
    stairs.line(zip(*history["train_accuracy"], strict=True), ORANGE, "accuracy", DASHES["short"])
    return [typo, stairs]


def _rates(names: dict[str, Any]) -> list[Panel]:
    begin = Panel(
        "The first 30 epochs",
        Axis(1, 30, [1, 10, 20, 30], "epoch"),
        Axis(0.1, 1e5, [0.1, 1, 10, 100, 1000, 1e4, 1e5], "train_loss", log=True),
    )
    whole = Panel(
        "To the end, or to Inf (✕)",
        Axis(1, 1000, [1, 250, 500, 750, 1000], "epoch"),
        Axis(1e-2, 1e42, [1e-2, 1e10, 1e20, 1e30, 1e40], "train_loss", log=True),
    )
    styles = ((ORANGE, "short"), (BLUE, "none"), (RED, "long"))
    for (rate, job), (colour, dash) in zip(names["jobs"].items(), styles, strict=True):
        for panel in (begin, whole):
            panel.line(_losses(job), colour, f"rate {rate:g}", DASHES[dash])
    return [begin, whole]


def _losses(job: Any) -> list[Point]:
    epochs, losses = job.history()["train_loss"]
    return list(zip(epochs, losses, strict=True))


PICTURES: dict[str, Callable[[dict[str, Any]], list[Panel]]] = {
    "1": _perceptron,
    "2": _regression,
    "3": _losses_compared,
    "4": _rates,
}
