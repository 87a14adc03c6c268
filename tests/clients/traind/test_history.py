"""Histories as they are computed with, drawn, and shown in notebooks."""

import html.parser
import math
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

import traind
from traind.html import curve
from traind.measured import Confusion
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2

NAN, INF = math.nan, math.inf
SERIES = {
    "train_loss": ([1, 2, 3, 4], [0.1 + 0.2, 1e-300, INF, NAN]),
    "val_loss": ([2, 4], [0.5, -0.0]),
}


def history_of(**series):
    found = jobs_pb2.History()
    for name, (epochs, values) in series.items():
        found.series.add(name=name, split=name.partition("_")[0], steps=epochs, values=values)
    return traind.History(found)


@pytest.fixture
def history():
    return history_of(**SERIES)


def same(one, other):
    return [repr(value) for value in one] == [repr(value) for value in other]


def test_a_history_is_exact_and_a_mapping(history):
    assert list(history) == ["train_loss", "val_loss"]
    epochs, losses = history["train_loss"]
    assert epochs == [1, 2, 3, 4]
    assert same(losses, SERIES["train_loss"][1])
    assert history.epochs == [1, 2, 3, 4]
    assert history.best("train_loss") == (2, 1e-300)
    assert history.best() == (4, -0.0)
    assert set(history.named("loss")) == {"train_loss", "val_loss"}
    with pytest.raises(KeyError, match="there are: train_loss, val_loss"):
        history["mae"]
    with pytest.raises(KeyError, match="'accuracy' was not measured"):
        history.named("accuracy")
    with pytest.raises(ValueError, match="no value that is a number"):
        history_of(val_loss=([1], [NAN])).best()


def test_frames_arrays_and_csv_hold_every_bit(history, tmp_path):
    frame = history.to_df()
    assert frame.index.name == "epoch"
    assert list(frame.index) == [1, 2, 3, 4]
    assert same(frame["train_loss"].tolist(), SERIES["train_loss"][1])
    assert same(frame["val_loss"].tolist(), [NAN, 0.5, NAN, -0.0])
    rows = history.to_numpy()
    assert rows.dtype.names == ("epoch", "train_loss", "val_loss")
    assert same(rows["train_loss"].tolist(), SERIES["train_loss"][1])
    assert same(rows["val_loss"].tolist(), [NAN, 0.5, NAN, -0.0])
    file = tmp_path / "history.csv"
    text = history.to_csv(file)
    assert file.read_text() == text
    assert text.splitlines() == [
        *("epoch,train_loss,val_loss", "1,0.30000000000000004,", "2,1e-300,0.5", "3,inf,", "4,nan,-0.0")
    ]
    pd.testing.assert_frame_equal(pd.read_csv(file, index_col="epoch"), frame)
    empty = history_of()
    assert (len(empty.to_df()), len(empty.to_numpy()), empty.to_csv()) == (0, 0, "epoch\n")


def test_a_real_history_equals_what_was_watched(client, class_model):
    job = client.jobs.get(client.models.get(class_model).job)
    history = job.history()
    watched = {event.epoch: event.metrics for event in job.watch() if event.kind == "epoch"}
    frame = history.to_df()
    assert frame["train_loss"].to_dict() == {epoch: metrics["train_loss"] for epoch, metrics in watched.items()}
    assert "<svg" in job._repr_html_()
    assert "DIVERGED" not in job._repr_html_()


WITHOUT = """
import sys, warnings
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "numpy", "matplotlib"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
import traind
from traind.v1 import jobs_pb2
history = traind.History(jobs_pb2.History(series=[jobs_pb2.Series(name="train_loss", steps=[1], values=[2.0])]))
for ask in (history.to_df, history.to_numpy, history.plot):
    try:
        ask()
    except traind.TraindError as error:
        print(error.fix)
"""


def test_what_is_not_installed_is_named_with_its_cure():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "pip install 'traind[pandas]'",
        "pip install numpy",
        "pip install 'traind[plot]'",
    ]


class Shape(html.parser.HTMLParser):
    """Notes tags and texts; every tag that opens must close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = set(), [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, _):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


EVIL = '<img src=x onerror="alert(1)">&<script>'


@pytest.mark.parametrize(
    "make",
    [
        lambda: history_of(**{f"{EVIL}_loss": ([1, 2], [1.0, NAN])}),
        lambda: traind.Dataset(datasets_pb2.Dataset(name=EVIL, columns=[{"name": EVIL, "categories": [EVIL]}]), None),
        lambda: traind.Model(models_pb2.Model(name=EVIL, inputs=[{"name": EVIL}], metrics=[{"name": EVIL}]), None),
        lambda: traind.Job(
            jobs_pb2.Job(name="jobs/x", display_name=EVIL, failure={"reason": "DIVERGED", "message": EVIL}), None
        ),
        lambda: Confusion([EVIL, "b"], [[1, 2], [3, 4]]),
        lambda: traind.Evaluation(models_pb2.Evaluation(model=EVIL, findings=[{"message": EVIL}])),
    ],
    ids=["history", "dataset", "model", "job", "confusion", "evaluation"],
)
def test_notebooks_show_names_as_text(make):
    text = make()._repr_html_()
    shape = Shape(text)
    assert not {"img", "script"} & shape.tags
    assert EVIL in "".join(shape.texts)
    assert "http" not in text
    assert len(text) < 20_000


def test_a_long_history_stays_small_and_shows_what_is_not_finite():
    losses = [1 / epoch for epoch in range(1, 10_001)]
    losses[5000:5003] = [NAN, INF, -INF]
    text = history_of(train_loss=(list(range(1, 10_001)), losses))._repr_html_()
    assert len(text) < 20_000
    assert text.count("✕") == 3
    assert "log scale" in text
    assert "NaN" not in text.replace("nan in epoch", "")
    Shape(text)
    for values in ([NAN], [1e308, -1e308], [0.0, 0.0], [5.0], [INF, INF]):
        Shape(curve({"x": (list(range(len(values))), values)}))


def test_curves_are_drawn(history, tmp_path):
    ax = history.plot(title="lr 0.1")
    assert ax.get_xlabel() == "epoch"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "held out"]
    drawn = ax.get_lines()[0].get_ydata()
    assert same(np.asarray(drawn).tolist(), [0.1 + 0.2, 1e-300, NAN, NAN])
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [3, 4]
    assert history.plot(ax=ax, log=True) is ax
    assert ax.get_yscale() == "log"
    file = tmp_path / "curve.png"
    ax.figure.savefig(file)
    assert file.stat().st_size > 5000
    with pytest.raises(traind.InvalidSpec, match="smooth is 1"):
        history.plot(smooth=1)
    with pytest.raises(KeyError, match="'mae'"):
        history.plot("mae")


def test_a_smoothed_curve_has_the_exact_one_behind_it():
    ax = history_of(train_loss=([1, 2, 3], [4.0, 0.0, 2.0])).plot(smooth=0.5)
    exact, smooth = ax.get_lines()
    assert list(exact.get_ydata()) == [4, 0, 2]
    assert list(smooth.get_ydata()) == pytest.approx([4, 4 / 3, 12 / 7])


def test_several_jobs_in_one_plot(history):
    from traind.plotting import plot_history

    ax = plot_history({"lr 0.1": history, "lr 1": history_of(train_loss=([1, 2], [3.0, 2.0]))})
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["lr 0.1 training", "lr 0.1 held out", "lr 1 training"]
    colours = [line.get_color() for line in ax.get_lines() if line.get_marker() != "x"]
    assert colours[0] == colours[1] != colours[2]


def test_hangul_is_drawn_or_warned_of(history, monkeypatch, tmp_path):
    from traind import plotting

    named = next(iter(font_manager.fontManager.ttflist)).name
    monkeypatch.setattr(plotting, "HANGUL_FONTS", ("No Such Font", named))
    ax = history.plot(lang="ko")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("에포크", "손실")
    assert ax.xaxis.label.get_fontproperties().get_family() == [named]
    monkeypatch.setattr(plotting, "HANGUL_FONTS", ("No Such Font",))
    with pytest.warns(UserWarning, match="apt install fonts-nanum"):
        ax = history.plot(lang="ko")
    assert ax.get_xlabel() == "epoch"
    with pytest.raises(traind.InvalidSpec, match="no language 'jp'"):
        history.plot(lang="jp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history.plot()


def test_a_confusion_matrix_is_drawn(client, class_model, tmp_path):
    confusion = client.models.get(class_model).confusion["train"]
    ax = confusion.plot(title="which flats are dear")
    assert [text.get_text() for text in ax.get_xticklabels()] == confusion.classes
    told = {text.get_text() for text in ax.texts}
    assert {f"{count:,}" for row in confusion.counts for count in row} <= told
    ax.figure.savefig(tmp_path / "confusion.png")
