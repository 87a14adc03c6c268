"""Models as ONNX graphs: onnxruntime answers what Predict answers, and where Predict refuses it answers nothing."""

import io
import math
import tracemalloc

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch

from service import exporting, models
from service.errors import InvalidField, TooLarge, WrongState
from service.modelling import tensors
from service.onnx_files import file as onnx_file
from service.store import artifacts
from service.store.database import Database
from tests import servers
from tests.service import exported
from tests.service.apps import push
from tests.service.exported import Format
from tests.service.lab import Lab
from traind.v1 import models_pb2

TABLE = exported.rows()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A model of every kind."""
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path_factory.mktemp("lab"))
        push(lab.app, lab.caller, exported.csv(TABLE), "flats")
        for name in exported.SPECS:
            lab.submit(exported.job(name))
        assert lab.work() == len(exported.SPECS)
        yield lab
        database.dispose()


def model_of(lab, name):
    return models.get_model(lab.app, lab.caller, models_pb2.GetModelRequest(name=name))


def session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(data, feed):
    opened = session(data)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, feed), strict=True))


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", exported.SPECS)
def test_a_graph_answers_what_predict_answers(lab, name):
    model = model_of(lab, name)
    table = exported.complete(model, TABLE)
    assert len(table) > 900
    data, file_name = exported.export(lab, name, Format.ONNX)
    assert file_name == f"kim.{name}-1.onnx"
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    answers = run(data, exported.feed(model.inputs, table))
    said = exported.predict(lab, model, table)
    assert set(answers) == {"prediction"} | (
        {"label"} | ({"probabilities"} if said.probabilities else set())
        if model.outputs[0].categories
        else ({"deviation"} if said.deviations else set())
    )
    if not model.outputs[0].categories:
        near(answers["prediction"], np.array([column.numbers for column in said.predictions]).T)
        if said.deviations:
            near(answers["deviation"], np.array([column.numbers for column in said.deviations]).T)
        return
    (column,) = said.predictions
    labels = list(column.strings) or [str(int(number)) for number in column.numbers]
    assert answers["label"].tolist() == labels
    classes = list(model.outputs[0].categories)
    assert [classes[code] for code in answers["prediction"].tolist()] == labels
    if said.probabilities:
        near(answers["probabilities"], np.array([column.numbers for column in said.probabilities]).T)


def test_a_graph_tells_its_columns(lab):
    opened = session(exported.export(lab, "classes", Format.ONNX)[0])
    kinds = {one.name: (one.type, one.shape) for one in opened.get_inputs()}
    assert list(kinds) == exported.EVERY
    assert kinds["층"] == ("tensor(double)", ["N"])
    assert kinds["lift gaps"] == ("tensor(string)", ["N"])
    assert kinds["built"] == ("tensor(int64)", ["N"])
    assert [(one.name, one.type) for one in opened.get_outputs()] == [
        ("prediction", "tensor(int64)"),
        ("label", "tensor(string)"),
        ("probabilities", "tensor(double)"),
    ]
    told = opened.get_modelmeta().custom_metadata_map
    assert told["traind.model"] == "models/kim.classes/versions/1"
    assert told["traind.weights_sha256"] == model_of(lab, "classes").weights_sha256


REFUSED = {
    "a missing number": {"area": None},
    "an infinite number": {"층": math.inf},
    "a number without a logarithm": {"rooms": -1},
    "a number that is too large": {"gaps": 1e300, "area": 1e300},
    "a missing category": {"kind": None},
    "a missing time": {"built": None},
    "an unseen boolean": {"lift": "maybe"},
    "an unseen category": {"kind": "성"},
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["classes", "log"])
def test_a_row_that_predict_refuses_is_not_answered(lab, name, kind):
    model, table = model_of(lab, name), [dict(row) for row in TABLE[:5]]
    table[2] |= REFUSED[kind]
    with pytest.raises(InvalidField):
        exported.predict(lab, model, table)
    answers = run(exported.export(lab, name, Format.ONNX)[0], exported.feed(model.inputs, table))
    if name == "log":
        assert np.isnan(answers["prediction"][:, 0]).tolist() == [False, False, True, False, False]
        return
    assert (answers["prediction"] < 0).tolist() == [False, False, True, False, False]
    assert (answers["label"] == "").tolist() == [False, False, True, False, False]
    assert np.isnan(answers["probabilities"]).all(axis=1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("name", ["batch-residual", "linear", "gaussian"])
def test_an_unseen_category_is_encoded_as_predict_does(lab, name):
    model, table = model_of(lab, name), [dict(row) for row in TABLE[:5]]
    table[1]["kind"] = "성"
    answers = run(exported.export(lab, name, Format.ONNX)[0], exported.feed(model.inputs, table))
    said = exported.predict(lab, model, table)
    near(answers["prediction"], np.array([column.numbers for column in said.predictions]).T)


def test_a_column_that_is_called_as_an_output(database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab.app, lab.caller, exported.csv(TABLE[:40]).replace(b"area,", b"label,", 1), "flats")
    job = exported.job("linear")
    job["train"]["inputs"] = ["label", "rooms"]
    lab.submit(job)
    classes = exported.job("numbered") | {"model": "classes"}
    classes["train"]["inputs"] = ["label", "rooms"]
    lab.submit(classes)
    lab.work()
    answers = run(exported.export(lab, "linear", Format.ONNX)[0], {"label": np.ones(2), "rooms": np.ones(2)})
    assert answers["prediction"].shape == (2, 1)
    with pytest.raises(WrongState, match=r'input column "label" is called as an output.*SAFETENSORS or SCRIPT'):
        exported.export(lab, "classes", Format.ONNX)


def test_a_graph_that_no_program_would_read(lab, monkeypatch):
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 2000)
    with pytest.raises(TooLarge, match="programs read at most 2,000; export it as SAFETENSORS or SCRIPT"):
        exported.export(lab, "linear", Format.ONNX)


def replace_weights(lab, name, change):
    """Store other weights in the place of a model's."""
    with lab.app.database.read() as connection:
        old = connection.exec_driver_sql(
            "SELECT v.artifact_id FROM model_version v JOIN model m ON m.id = v.model_id WHERE m.slug = ?", (name,)
        ).scalar()
    weights = safetensors.torch.load(artifacts.load(lab.app.database, old))
    new = artifacts.stage(lab.app.database, tensors.encode_tensors(change(weights)), "weights")
    with lab.app.database.write() as connection:
        artifacts.publish(connection, new, "model:other")
        connection.exec_driver_sql("UPDATE model_version SET artifact_id = ? WHERE artifact_id = ?", (new, old))


@pytest.mark.parametrize("kind", [Format.SAFETENSORS, Format.ONNX, Format.SCRIPT])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers(tmp_path, kind, value):
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path)
        push(lab.app, lab.caller, exported.csv(TABLE[:40]), "flats")
        lab.submit(exported.job("linear"))
        lab.work()

        def change(weights):
            weights["weight"][0, 0] = value
            return weights

        replace_weights(lab, "linear", change)
        with pytest.raises(WrongState, match="weights that are NaN or infinite"):
            exported.export(lab, "linear", kind)
        database.dispose()


def test_a_large_model_goes_through_without_being_held(tmp_path):
    """95 MiB of weights, a chunk of which is in memory at a time."""
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path)
        push(lab.app, lab.caller, exported.csv(TABLE[:40]), "flats")
        job = exported.job("flat")
        job["train"]["network"] = {"mlp": {"hidden": [2048, 2048, 2048, 2048, 2048, 2048]}}
        job["train"]["learn"] = exported.learn(epochs=1)
        lab.submit(job)
        lab.work()
        for kind in (Format.ONNX, Format.SCRIPT):
            request = models_pb2.ExportModelRequest(name="flat", format=kind)
            opened = exporting.open_export(lab.app, lab.caller, request)
            tracemalloc.start()
            opened = exporting.open_export(lab.app, lab.caller, request)
            size = sum(len(part.data) for part in exporting.parts(lab.app, opened))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert size == opened.size_bytes > 80 << 20
            assert peak < 16 << 20
        database.dispose()


def test_bytes_of_weights_are_those_that_are_stored(lab):
    """Whatever the order in which a file has them."""
    data, _ = exported.export(lab, "batch-residual", Format.ONNX)
    found = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(io.BytesIO(data)).graph.initializer}
    head, _ = exported.export(lab, "batch-residual", Format.SAFETENSORS)
    weights = safetensors.torch.load(head)
    assert len(weights) > 20
    for name, weight in weights.items():
        assert (found["_" + name] == weight.numpy()).all()
