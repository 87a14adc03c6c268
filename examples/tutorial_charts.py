"""Small charts as SVG, drawn from numbers: lines, dots and crosses on linear or logarithmic axes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

# Told apart by people who see colours differently (Okabe and Ito 2008); dashes and marks tell the same again.
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B7280", "#111827"
WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 34, 44
# A curve of more points than pixels is no better, only larger.
MOST_POINTS = 200
MINUS = "\N{MINUS SIGN}"

Point = tuple[float, float]


@dataclass
class Axis:
    """From where to where, with the places of its ticks."""

    low: float
    high: float
    ticks: Sequence[float]
    label: str
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value stands: 0 at its low end, 1 at its high end."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether a value can be drawn: inside, and a number."""
        return math.isfinite(value) and self.low <= value <= self.high

    def name(self, tick: float) -> str:
        """A tick's text; a power of ten as such where it is far from 1."""
        exponent = round(math.log10(tick)) if self.log else 0
        if abs(exponent) > 3:
            return f'10<tspan dy="-5" font-size="9">{_minus(exponent)}</tspan>'
        return _minus(tick)


@dataclass
class Panel:
    """One pair of axes with a title, which says what is to be seen."""

    title: str
    x: Axis
    y: Axis
    # Where the legend stands: `right` or `left`, at the top.
    side: str = "right"
    shapes: list[str] = field(default_factory=list)
    legend: list[tuple[str, str, str]] = field(default_factory=list)

    def line(self, points: Iterable[Point], colour: str, name: str = "", dash: str = "") -> None:
        """A curve. It ends where it leaves the axes; where its value is Inf or NaN, or above all, a cross says so."""
        inside, left = [], False
        for x, y in thinned([point for point in points if self.x.holds(point[0])]):
            if self.y.holds(y):
                inside.append((x, y))
            elif inside and (not math.isfinite(y) or y > self.y.high):
                left = True
                break
        path = " ".join(f"{self._across(x):.1f},{self._down(y):.1f}" for x, y in inside)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        if left:
            self.cross((inside[-1][0], self.y.high), colour)
        if name:
            self.legend.append((name, colour, dash))

    def dot(self, point: Point, colour: str, filled: bool = True) -> None:
        """A point; hollow for the other of two classes."""
        fill = colour if filled else "#ffffff"
        at = f'cx="{self._across(point[0]):.1f}" cy="{self._down(point[1]):.1f}"'
        self.shapes.append(f'<circle {at} r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>')

    def cross(self, point: Point, colour: str) -> None:
        """A mark where something ends."""
        x, y = self._across(point[0]), self._down(point[1])
        d = f"M{x - 5:.1f},{y - 5:.1f}l10,10m0,-10l-10,10"
        self.shapes.append(f'<path d="{d}" stroke="{colour}" stroke-width="2.5"/>')

    def arrow(self, begin: Point, end: Point, colour: str) -> None:
        """From one point towards another, a little short of both."""
        x1, y1, x2, y2 = self._across(begin[0]), self._down(begin[1]), self._across(end[0]), self._down(end[1])
        length = math.hypot(x2 - x1, y2 - y1)
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        x1, y1, x2, y2 = x1 + 9 * dx, y1 + 9 * dy, x2 - 10 * dx, y2 - 10 * dy
        head = f"M{x2 - 7 * dx - 4 * dy:.1f},{y2 - 7 * dy + 4 * dx:.1f}L{x2:.1f},{y2:.1f}"
        head += f"L{x2 - 7 * dx + 4 * dy:.1f},{y2 - 7 * dy - 4 * dx:.1f}"
        d = f"M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}{head}"
        self.shapes.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def text(self, point: Point, text: str, colour: str = BLACK) -> None:
        """A word beside a point."""
        at = f'x="{self._across(point[0]) + 10:.1f}" y="{self._down(point[1]) - 8:.1f}"'
        self.shapes.append(f'<text {at} fill="{colour}">{escape(text)}</text>')

    def svg(self) -> str:
        """Title, axes, shapes, and the legend at the top."""
        parts = [f'<text x="{LEFT}" y="20" font-weight="600">{escape(self.title)}</text>']
        for tick in self.x.ticks:
            across = self._across(tick)
            parts.append(f'<path d="M{across:.1f},{TOP}V{HEIGHT - BOTTOM}" stroke="#E5E7EB"/>')
            place = f'x="{across:.1f}" y="{HEIGHT - BOTTOM + 16}"'
            parts.append(f'<text {place} text-anchor="middle" font-size="11">{self.x.name(tick)}</text>')
        for tick in self.y.ticks:
            down = self._down(tick)
            parts.append(f'<path d="M{LEFT},{down:.1f}H{WIDTH - RIGHT}" stroke="#E5E7EB"/>')
            place = f'x="{LEFT - 6}" y="{down + 4:.1f}"'
            parts.append(f'<text {place} text-anchor="end" font-size="11">{self.y.name(tick)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x.label)}</text>')
        upright = f'transform="translate(14,{(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
        parts.append(f'<text {upright} text-anchor="middle">{escape(self.y.label)}</text>')
        return "\n".join([*parts, *self.shapes, *self._legend()])

    def _legend(self) -> list[str]:
        if not self.legend:
            return []
        wide = 34 + max(6.6 * len(name) for name, _, _ in self.legend)
        left = WIDTH - RIGHT - wide - 4 if self.side == "right" else LEFT + 4
        high = 17 * len(self.legend) + 6
        parts = [
            f'<rect x="{left:.1f}" y="{TOP + 4}" width="{wide:.1f}" height="{high}" fill="#ffffff" opacity="0.85"/>'
        ]
        for i, (name, colour, dash) in enumerate(self.legend):
            y = TOP + 16 + 17 * i
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            parts.append(f'<path d="M{left + 4:.1f},{y}h20" stroke="{colour}" stroke-width="2"{dashes}/>')
            parts.append(f'<text x="{left + 30:.1f}" y="{y + 4}">{escape(name)}</text>')
        return parts

    def _across(self, x: float) -> float:
        return LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)

    def _down(self, y: float) -> float:
        return HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM)


def figure(panels: Sequence[Panel]) -> str:
    """Panels side by side. The ground is white, so that it can be read on a dark page too."""
    width = WIDTH * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}"'
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#111827"'
    placed = [f'<g transform="translate({WIDTH * i},0)">\n{panel.svg()}\n</g>' for i, panel in enumerate(panels)]
    ground = f'<rect width="{width}" height="{HEIGHT}" rx="8" fill="#ffffff"/>'
    return "\n".join([f"{head} {style}>", ground, *placed, "</svg>"]) + "\n"


def thinned(points: list[Point]) -> list[Point]:
    """At most MOST_POINTS of them, the first and the last among them, the first ones all."""
    if len(points) <= MOST_POINTS:
        return points
    early = MOST_POINTS // 2
    step = (len(points) - early) / (MOST_POINTS - early)
    rest = [points[early + round(step * (i + 1)) - 1] for i in range(MOST_POINTS - early)]
    return [*points[:early], *rest]


def _minus(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)


def straight(x: Axis, function: Callable[[float], float]) -> list[Point]:
    """A function over the whole width of an axis."""
    return [(x.low + (x.high - x.low) * i / 50, function(x.low + (x.high - x.low) * i / 50)) for i in range(51)]
