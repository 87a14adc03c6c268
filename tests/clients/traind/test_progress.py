import datetime as dt
import io
import math

from traind.events import Event, Finding
from traind.progress import Progress

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def state(seq, name, seconds=0.0):
    return Event(seq, START + dt.timedelta(seconds=seconds), 1, "state", state=name)


def epoch(n, loss, seconds):
    time = START + dt.timedelta(seconds=seconds)
    return Event(n + 2, time, 1, "epoch", epoch=n, metrics={"train_loss": loss, "val_loss": loss * 2})


def shown(epochs, events, stream):
    progress = Progress(epochs, stream)
    for event in events:
        progress.show(event)
    progress.close()
    return stream.getvalue()


def learning(epochs, pace):
    return [state(1, "QUEUED"), state(2, "RUNNING"), *(epoch(n, 1 / n, n * pace) for n in range(1, epochs + 1))]


def test_a_terminal_has_one_rewritten_line():
    text = shown(50, learning(12, 1.4), Terminal())
    last = text.rstrip("\n").split("\r")[-1]
    assert last.startswith("epoch 12/50  loss █")
    assert "0.08333  val_loss 0.1667  1.4 s/epoch  ETA 53 s" in last
    assert text.count("\n") == 1
    # Each slow epoch is drawn.
    assert text.count("\r") == 12


def test_elsewhere_short_jobs_have_a_line_for_each_epoch():
    lines = shown(20, learning(20, 0.5), io.StringIO()).splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/20" for n in range(1, 21)]
    assert lines[0] == "epoch 1/20  loss 1  val_loss 2  0.5 s/epoch"


def test_elsewhere_long_jobs_have_the_first_line_and_the_last():
    lines = shown(5000, learning(5000, 0.001), io.StringIO()).splitlines()
    assert [line.split()[1] for line in lines] == ["1/5000", "5000/5000"]
    assert "\r" not in "".join(lines)


def test_a_terminal_is_not_flooded():
    assert shown(5000, learning(5000, 0.001), Terminal()).count("\r") < 50


def test_what_is_not_finite_is_shown_as_such():
    events = [*learning(2, 1.0), epoch(3, math.inf, 3.0), epoch(4, math.nan, 4.0)]
    last = shown(10, events, Terminal()).rstrip("\n").split("\r")[-1]
    assert "✕✕ nan" in last
    assert "val_loss nan" in last
    assert "loss inf  val_loss inf" in shown(10, events, io.StringIO())


def test_findings_and_returns_to_the_queue_stand_in_lines_of_their_own():
    finding = Finding("NOT_SEPARABLE", "no line separates the classes", {})
    events = [
        *learning(1, 1.0),
        Event(4, START, 1, "finding", finding=finding),
        state(5, "QUEUED", 2.0),
        state(6, "RUNNING", 60.0),
        epoch(2, 0.5, 62.0),
    ]
    for stream in (Terminal(), io.StringIO()):
        text = shown(2, events, stream)
        assert "note  no line separates the classes\n" in text
        assert "state QUEUED\n" in text
        # The wait is not counted as learning.
        assert "2.0 s/epoch" in text
