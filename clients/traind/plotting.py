"""Figures by matplotlib, the extra `plot`: curves of histories, confusion matrices."""

from __future__ import annotations

import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

from traind.errors import InvalidSpec, TraindError
from traind.history import History
from traind.html import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traind.measured import Confusion

DASHES = ("-", "--", "-.", ":")
# The first one that is installed draws Hangul.
HANGUL_FONTS = ("Pretendard", "NanumGothic", "Noto Sans CJK KR", "Malgun Gothic", "AppleGothic")
LABELS = {
    "en": {
        "epoch": "epoch",
        "loss": "loss",
        "train": "training",
        "val": "held out",
        "answer": "answer",
        "right": "right",
    },
    "ko": {"epoch": "에포크", "loss": "손실", "train": "학습", "val": "검증", "answer": "예측", "right": "정답"},
}


def plot_history(
    history: History | Mapping[str, History],
    kind: str = "loss",
    *,
    ax: Any = None,
    log: bool = False,
    smooth: float = 0.0,
    lang: str = "en",
    title: str = "",
) -> Any:
    """Draw `train_{kind}` and `val_{kind}`, or the metric of that name, over the epochs; answers matplotlib's Axes.

    `history` is one, or several by their labels. `ax` = None makes a figure of its own. `smooth` from 0 to 1 weighs the
    values before (an exponential mean); the exact curve stays behind it, pale. What is not finite is a ✕ at the upper
    edge. `lang` is `en` or `ko`; Hangul is drawn with the first font installed of Pretendard, NanumGothic, Noto Sans
    CJK KR, Malgun Gothic, AppleGothic; with none of them Korean labels are English, and a warning says so.
    Nothing global is changed and nothing is shown. Raises KeyError, TraindError without matplotlib.
    """
    if not 0 <= smooth < 1:
        raise InvalidSpec(f"smooth is {smooth}", field="smooth", fix="from 0 (exact) to below 1")
    several: Mapping[str, History] = {"": history} if isinstance(history, History) else history
    curves = [(label, name, series) for label, one in several.items() for name, series in one.named(kind).items()]
    ax = _axes(ax)
    words, font = _words(lang, [title, *several])
    for number, (label, name, (epochs, values)) in enumerate(curves):
        colour = COLOURS[(number // 2 if len(several) > 1 else number) % len(COLOURS)]
        style = DASHES[name.startswith("val_") if len(several) > 1 else number % len(DASHES)]
        shown = " ".join(filter(None, [label, words.get(name.partition("_")[0], name) if "_" in name else name]))
        drawn = _smoothed(values, smooth) if smooth else values
        if smooth:
            ax.plot(epochs, [_finite(value) for value in values], style, color=colour, alpha=0.25)
        single = {"marker": "o"} if len(epochs) == 1 else {}
        ax.plot(epochs, [_finite(value) for value in drawn], style, color=colour, label=shown, **single)
        _crosses(ax, epochs, values, colour)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(words["epoch"], **font)
    ax.set_ylabel(words.get(kind, kind), **font)
    if title:
        ax.set_title(title, **font)
    ax.legend(prop=font.get("fontproperties"))
    return ax


def plot_confusion(confusion: Confusion, *, ax: Any = None, lang: str = "en", title: str = "") -> Any:
    """Draw how often which class was answered for which: a row for each right class; answers matplotlib's Axes."""
    ax = _axes(ax)
    words, font = _words(lang, [title, *confusion.classes])
    ax.imshow(confusion.counts, cmap="Blues")
    most = max(map(max, confusion.counts), default=0)
    for i, row in enumerate(confusion.counts):
        for j, count in enumerate(row):
            ax.text(j, i, f"{count:,}", ha="center", va="center", color="white" if count > most / 2 else "black")
    places = range(len(confusion.classes))
    ax.set_xticks(places, confusion.classes, rotation=45 if len(confusion.classes) > 6 else 0, **font)
    ax.set_yticks(places, confusion.classes, **font)
    ax.set_xlabel(words["answer"], **font)
    ax.set_ylabel(words["right"], **font)
    if title:
        ax.set_title(title, **font)
    return ax


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure  # loaded when it is asked for: the client does not need it
    except ModuleNotFoundError:
        raise TraindError("a plot needs matplotlib", fix="pip install 'traind[plot]'") from None
    if "matplotlib.pyplot" in sys.modules:
        import matplotlib.pyplot as plt  # where a program uses it, its windows and notebooks show the figure

        return plt.figure(layout="constrained").subplots()
    return Figure(layout="constrained").subplots()


def _words(lang: str, texts: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The labels of a language, and the font that draws them and the texts."""
    if lang not in LABELS:
        raise InvalidSpec(f"there is no language {lang!r}", field="lang", fix=f"one of {', '.join(LABELS)}")
    if lang == "en" and all(text.isascii() for text in texts):
        return LABELS["en"], {}
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    found = next((name for name in HANGUL_FONTS if name in installed), None)
    if found is None:
        warnings.warn(
            f"no font for Hangul is installed, the labels are English; install one of {', '.join(HANGUL_FONTS)}: "
            "apt install fonts-nanum",
            stacklevel=3,
        )
        return LABELS["en"], {}
    return LABELS[lang], {"fontproperties": font_manager.FontProperties(family=found)}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _crosses(ax: Any, epochs: Sequence[int], values: Sequence[float], colour: str) -> None:
    """What is not finite, at the upper edge."""
    lost = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if not math.isfinite(value)]
    for epoch, _ in lost:
        ax.plot(epoch, 0.97, "x", color=colour, transform=ax.get_xaxis_transform(), clip_on=False)
    if lost:
        epoch, value = lost[0]
        ax.annotate(f"{value} ({epoch})", (epoch, 0.97), xycoords=ax.get_xaxis_transform(), xytext=(0, -12),
                    textcoords="offset points", color=colour, ha="center", fontsize="small")  # fmt: skip


def _smoothed(values: Sequence[float], weight: float) -> list[float]:
    """The exponential mean of the finite values so far, without the pull of its beginning."""
    mean, seen, smoothed = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, seen = weight * mean + (1 - weight) * value, weight * seen + (1 - weight)
        smoothed.append(mean / seen if seen and math.isfinite(value) else math.nan)
    return smoothed
