"""Shows how a job learns: one rewritten line on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, TextIO

from traind.display import cut, duration, figure, printable, sparkline
from traind.names import short_name

if TYPE_CHECKING:
    import datetime as dt

    from traind.errors import TraindError
    from traind.events import Event
    from traind.job_view import JobView

SHORT_JOB_EPOCHS = 20
LINE_EVERY_S = 10.0
REDRAW_EVERY_S = 0.1
KEPT_POINTS = 512
# Figures that the last line tells: of classes, of numbers.
CHIEF = ("loss", "accuracy", "roc_auc", "rmse", "r2")


class Progress:
    """What was seen of a job, and when it was last shown."""

    def __init__(self, epochs: int, stream: TextIO) -> None:
        self._epochs = epochs
        self._stream = stream
        self._live = stream.isatty()
        self._drawn_at = -LINE_EVERY_S
        self._drawn = False
        self._last: Event | None = None
        self._shown: Event | None = None
        self._losses: list[float] = []
        self._stride = 1
        # Where the pace is measured from: the last time that a worker began.
        self._start: tuple[int, dt.datetime] | None = None
        self._noted: set[str] = set()

    def show(self, event: Event) -> None:
        """Take an event in; shows what should be shown."""
        match event.kind:
            case "epoch":
                self._last = event
                self._keep(event)
                self._draw_epoch(event)
            case "finding" if event.finding:
                self._noted.add(event.finding.message)
                self.say(f"note  {event.finding.message or event.finding.code}")
            case "log":
                self.say(f"log   {event.message}")
            case "resumed":
                why = f": {event.message}" if event.message else ""
                again = "; the epochs after it come again" if event.rewound else ""
                self.say(f"note  goes on after epoch {event.epoch}{again}{why}")
            case "state":
                if event.state == "RUNNING":
                    self._start = (self._last.epoch if self._last else 0, event.time)
                elif not event.ends and self._last is not None:
                    self.say(f"state {event.state}" + (f": {event.message}" if event.message else ""))

    def status(self, text: str) -> None:
        """A line that the next one replaces; nothing where lines stay."""
        if self._live:
            self._write(text)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        self._stream.write("\n".join(printable(line) for line in text.splitlines()) + "\n")
        self._stream.flush()

    def broke(self, _: TraindError) -> None:
        """The connection was lost."""
        self.say("note  the connection broke; watching again, the job goes on")

    def close(self) -> None:
        """Leave the last line standing."""
        if self._last is not None and self._last is not self._shown:
            self._put(self._last)
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = False

    def result(self, job: JobView) -> None:
        """The line that tells how it ended, and what can be done next."""
        message = job.message
        took = duration((message.end_time.ToNanoseconds() - message.create_time.ToNanoseconds()) / 1e9)
        short = job.id[:8]
        match job.state:
            case "SUCCEEDED":
                best = f" · best epoch {job.best_epoch}" if job.best_epoch and job.best_epoch != job.epoch else ""
                self.say(f"done in {took}{best}{self._figures(job.metrics)}")
                if message.model_version:
                    model = short_name(message.model_version)
                    self.say(f"model {model}\nnext  traind predict {model} FILE.csv  ·  traind models show {model}")
                if message.rejected_dataset:
                    self.say(f"rejected rows {short_name(message.rejected_dataset)}")
                if message.output_dataset:
                    made = short_name(message.output_dataset)
                    self.say(f"predictions {made}\nnext  traind data download {made} FILE.csv")
            case "FAILED":
                failure = job.failure
                self.say(f"FAILED ({failure.reason if failure else ''}) after {took}, epoch {job.epoch}/{job.epochs}")
                if failure and failure.message not in self._noted:
                    self.say(f"      {failure.message}")
                self.say(f"next  traind job show {short}")
            case _:
                self.say(f"{job.state} after {took}, epoch {job.epoch}/{job.epochs}")
                self.say(f"next  traind job history {short}")

    def _figures(self, metrics: dict[str, float]) -> str:
        """The chief ones, of held-out rows where there are any, else in sample; `models show` tells the others."""
        split = "val_" if any(name.startswith("val_") for name in metrics) else "train_"
        chief = {name: metrics[name] for name in (f"{split}{name}" for name in CHIEF) if name in metrics}
        return "".join(f" · {name} {figure(value)}" for name, value in (chief or metrics).items())

    def _keep(self, event: Event) -> None:
        """Remember the loss for the curve; of long jobs every second, fourth, ... one."""
        if event.epoch % self._stride == 0 and "train_loss" in event.metrics:
            self._losses.append(event.metrics["train_loss"])
            if len(self._losses) > KEPT_POINTS:
                self._losses = self._losses[1::2]
                self._stride *= 2

    def _draw_epoch(self, event: Event) -> None:
        now = time.monotonic()
        if self._live:
            pace = self._pace(event)
            # Fast epochs are drawn now and then; of slow ones each, for the next one may be far.
            due = pace is None or pace > REDRAW_EVERY_S or now - self._drawn_at >= REDRAW_EVERY_S
        else:
            due = self._epochs <= SHORT_JOB_EPOCHS or now - self._drawn_at >= LINE_EVERY_S
        if due:
            self._drawn_at = now
            self._put(event)

    def _put(self, event: Event) -> None:
        self._shown = event
        if self._live:
            self._write(self._line(event))
        else:
            self.say(self._line(event))

    def _line(self, event: Event) -> str:
        parts = [f"epoch {event.epoch}/{self._epochs}"]
        for name, value in _loss_first(event.metrics):
            curve = f"{sparkline(self._losses)} " if name == "train_loss" and self._live else ""
            parts.append(f"{'loss' if name == 'train_loss' else name} {curve}{figure(value)}")
        pace = self._pace(event)
        if pace is not None:
            parts.append(f"{duration(pace)}/epoch")
            if self._live and event.epoch < self._epochs:
                parts.append(f"ETA {duration(pace * (self._epochs - event.epoch))}")
        return "  ".join(parts)

    def _pace(self, event: Event) -> float | None:
        """Seconds that an epoch takes."""
        if self._start is None or event.epoch <= self._start[0]:
            return None
        return (event.time - self._start[1]).total_seconds() / (event.epoch - self._start[0])

    def _write(self, line: str) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r{cut(printable(line), width - 1)}\x1b[K")
        self._stream.flush()
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False


def _loss_first(metrics: dict[str, float]) -> list[tuple[str, float]]:
    order = {"train_loss": 0, "val_loss": 1}
    return sorted(metrics.items(), key=lambda item: order.get(item[0], 2))
