"""The client against real processes: what goes in comes out, whatever breaks between."""

import contextlib
import os
import signal
import socket
import threading
import urllib.parse

import numpy as np
import pytest

import traind
from tests.clients.traind.conftest import ENDLESS, FLATS, INPUTS
from traind.csv_out import encode_csv
from traind.tables_in import read_table

PRICES = FLATS["price"]


class Frame:
    """Walks and talks like a data frame."""

    def __init__(self, columns):
        self._columns = columns

    @property
    def columns(self):
        return list(self._columns)

    def __getitem__(self, name):
        return np.array(self._columns[name], dtype=object)


def test_every_form_of_a_table_is_the_same_data_set(client, flats, tmp_path):
    assert flats.columns == {
        "area": "NUMBER",
        "rooms": "INTEGER",
        "lift": "BOOLEAN",
        "kind": "CATEGORY",
        "price": "NUMBER",
        "dear": "CATEGORY",
    }
    file = tmp_path / "flats.csv"
    file.write_bytes(encode_csv(read_table(FLATS)))
    rows = [dict(zip(FLATS, row, strict=True)) for row in zip(*FLATS.values(), strict=True)]
    for source in (file, str(file), file.read_bytes(), FLATS, rows, Frame(FLATS)):
        again = client.datasets.create(source, name="flats")
        assert (again.name, again.sha256) == (flats.name, flats.sha256)
    assert client.datasets.get("flats").row_count == 60
    head = client.datasets.head("flats", 3)
    assert head["kind"] == FLATS["kind"][:3]
    assert head["area"] == FLATS["area"][:3]
    assert flats.name in [one.name for one in client.datasets.list()]


def test_an_array_needs_names_and_a_wrong_table_is_named(client):
    made = client.datasets.create(np.arange(12.0).reshape(6, 2), name="numbers", columns=["a", "b"])
    assert (made.row_count, list(made.columns)) == (6, ["a", "b"])
    client.datasets.delete(made)
    with pytest.raises(traind.NotFound):
        client.datasets.get("numbers")
    with pytest.raises(traind.InvalidSpec) as refused:
        client.datasets.create(b"a,b\n1,2\n3\n", name="ragged")
    assert refused.value.reason == "INVALID_TABLE"
    assert "3" in str(refused.value)
    with pytest.raises(traind.InvalidSpec, match="cannot be read"):
        client.datasets.create("/nowhere.csv", name="nowhere")


def test_predictions_come_in_the_form_of_the_question(client, price_model, tmp_path):
    columns = {name: FLATS[name] for name in INPUTS}
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    dicts = [dict(zip(INPUTS, row, strict=True)) for row in rows]
    file = tmp_path / "rows.csv"
    file.write_bytes(encode_csv(read_table(FLATS)))
    for data in (columns, FLATS, rows, [tuple(row) for row in rows], dicts, file, str(file), Frame(columns)):
        answered = client.predict(price_model, data)
        assert isinstance(answered, list)
        assert answered == pytest.approx(PRICES, abs=1e-6)
    array = np.array(rows, dtype=object)
    answered = client.predict(price_model, array)
    assert isinstance(answered, np.ndarray)
    assert answered.dtype == np.float64
    assert answered.shape == (60,)
    assert answered == pytest.approx(PRICES, abs=1e-6)
    single = client.predict(price_model, array[0])
    assert single.shape == (1,)
    assert single[0] == pytest.approx(PRICES[0], abs=1e-6)
    assert client.predict("price", rows[0]) == pytest.approx(PRICES[:1], abs=1e-6)


def test_classes_probabilities_and_hidden_layers(client, class_model):
    model = client.models.get(class_model)
    assert model.inputs == {"area": "NUMBER", "rooms": "INTEGER", "lift": "BOOLEAN", "kind": "CATEGORY"}
    array = np.array([list(row) for row in zip(*(FLATS[name] for name in INPUTS), strict=True)], dtype=object)
    full = model.predict(array, hidden=True)
    assert full.model == class_model
    assert full.target == "dear"
    assert full.classes == ["cheap", "dear"]
    assert full.probabilities.shape == (60, 2)
    assert full.probabilities.sum(axis=1) == pytest.approx(np.ones(60))
    assert list(full.values) == [full.classes[i] for i in full.probabilities.argmax(axis=1)]
    assert [rows.shape for rows in full.hidden.values()] == [(60, 8), (60, 4)]
    assert abs(full.hidden["layers.1"]).max() <= 1
    assert list(model.predict(array)) == list(full.values)
    # Every row in one question or in many: the same answer.
    many = np.concatenate([array] * 700)
    assert list(model.predict(many)) == list(full.values) * 700


def test_wrong_rows_are_named(client, price_model):
    with pytest.raises(traind.InvalidSpec, match="needs 'rooms', 'lift', 'kind'"):
        client.predict(price_model, {"area": [1.0]})
    with pytest.raises(traind.InvalidSpec) as refused:
        client.predict(price_model, [{"area": 1, "rooms": 2, "lift": True, "kind": "castle"}])
    assert "castle" in str(refused.value)
    assert refused.value.field.startswith("columns[")


def test_evaluation_weights_and_history(client, price_model, class_model, flats):
    measured = client.models.evaluate(price_model, flats, loss="mae")
    assert measured.row_count == 60
    assert measured.metrics["loss"] == pytest.approx(0, abs=1e-6)
    assert measured.metrics["r2"] == pytest.approx(1)
    summed = client.models.evaluate(price_model, "flats", loss={"mse": {"reduction": "SUM"}}, dof=58)
    assert summed.metrics["loss"] == pytest.approx(60 * summed.metrics["mse"], abs=1e-9)
    with pytest.raises(traind.InvalidSpec, match="no loss 'msa'"):
        client.models.evaluate(price_model, flats, loss="msa")
    weights = client.models.weights(class_model)
    assert [len(weights["layers.0.weight"]), len(weights["layers.0.bias"])] == [8, 8]
    job = client.jobs.get(client.models.get(class_model).job)
    history = job.history()
    assert history["train_loss"][0] == list(range(1, 61))
    seen = {event.epoch: event.metrics for event in job.watch() if event.kind == "epoch"}
    assert [seen[epoch]["train_loss"] for epoch in range(1, 61)] == history["train_loss"][1]


def test_check_only_stores_nothing(client, flats):
    before = len(list(client.jobs.list()))
    checked = client.jobs.create(dataset=flats, model="m", train=ENDLESS, validate_only=True)
    assert checked.name == ""
    assert checked.parameter_count > 0
    assert checked.resolved.learn.gradient.optimizer.WhichOneof("kind") == "adam"
    assert len(list(client.jobs.list())) == before
    with pytest.raises(traind.InvalidSpec) as refused:
        client.jobs.create(dataset=flats, model="m", train=ENDLESS | {"target": "prise"})
    assert refused.value.field.startswith("job.train.target")


def test_a_job_is_paused_resumed_and_cancelled(client, flats):
    job = client.jobs.create(dataset=flats, model="endless", display_name="끝없이", train=ENDLESS)
    events = job.watch()
    for event in events:
        if event.kind == "epoch":
            break
    job.pause()
    assert next(event for event in events if event.state == "PAUSED")
    job.resume()
    assert next(event for event in events if event.state == "RUNNING")
    with pytest.raises(traind.WaitTimeout):
        job.wait(0.2)
    job.cancel()
    assert list(events)[-1].state == "CANCELLED"
    with pytest.raises(traind.JobCancelled):
        job.wait()
    assert job.wait(raise_on_failure=False).message.display_name == "끝없이"
    with pytest.raises(traind.Conflict):
        job.resume()


@pytest.mark.timeout(300)
def test_watch_goes_on_over_the_death_of_the_server(server, client, flats):
    train = ENDLESS | {"learn": {"gradient": {"epochs": 120, "batch_size": 1}}}
    job = client.jobs.create(dataset=flats, model="endless", train=train)
    breaks, events = [], []
    for event in job.watch(on_break=breaks.append):
        events.append(event)
        if event.kind == "epoch" and not breaks and event.epoch == 5:
            os.kill(server.stack.address["pid"], signal.SIGKILL)
    assert breaks
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.epoch for event in events if event.kind == "epoch"] == list(range(1, 121))
    assert events[-1].state == "SUCCEEDED"
    # From any event on, the same events.
    assert [event.seq for event in job.watch(from_seq=90)] == list(range(90, len(events) + 1))
    assert list(job.watch(from_seq=len(events) + 5)) == []


class CuttingProxy:
    """Passes bytes between client and server until the server's answer holds a text: then both sides are cut, once."""

    def __init__(self, target, text):
        self._target = target
        self._text = text
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self):
        with self._listener, contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(inner,)))
                self._threads[-1].start()

    def _serve(self, inner):
        with inner, socket.create_connection(self._target) as outer:
            back = threading.Thread(target=self._pass, args=(outer, inner, self._text))
            back.start()
            self._pass(inner, outer, None)
            back.join()

    def _pass(self, source, sink, text):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if text and not self.cut and text in data:
                    self.cut += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_an_answer_that_is_lost_makes_no_second_job(server, client, make, flats):
    parts = urllib.parse.urlsplit(server.url)
    before = {job.name for job in client.jobs.list()}
    train = {"inputs": INPUTS, "target": "price", "network": {"linear": {}}, "learn": {"exact": {}}}
    with CuttingProxy((parts.hostname, parts.port), b"jobs/") as proxy:
        with make(proxy.url, token=server.token) as cut:
            job = cut.jobs.create(dataset=flats, model="once", train=train)
        assert proxy.cut == 1
    assert {job.name for job in client.jobs.list()} - before == {job.name}
    assert client.jobs.get(job.name).wait(60).state == "SUCCEEDED"


def test_server_info(client):
    info = client.server_info()
    assert info.version == traind.__version__
    assert {"read", "submit", "predict"} <= set(info.scopes)
