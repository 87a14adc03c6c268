"""Models as ONNX graphs: onnxruntime answers what Predict answers, and where Predict refuses it answers nothing."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest

from service.errors import InvalidField, TooLarge, WrongState
from service.onnx_files import file
from tests.service import exported

TABLE = exported.rows()


def run(data, feed):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opened = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, feed), strict=True)), opened


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def compare(predictor, table):
    """Run a graph and Predict on the same rows."""
    answers, _ = run(exported.graph(predictor), exported.feed(predictor.inputs, table))
    said, classes = exported.predict(predictor, table), predictor.target.classes
    names = {"prediction"}
    if classes:
        names |= {"label"} | ({"probabilities"} if said.probabilities is not None else set())
        # Where two classes are as likely the last bit decides.
        sure = np.ones(len(table), bool)
        if said.probabilities is not None:
            near(answers["probabilities"], said.probabilities)
            best = np.sort(said.probabilities, axis=1)
            sure = best[:, -1] - best[:, -2] > 1e-5
        assert (answers["prediction"] == said.values)[sure].all()
        assert answers["label"].tolist() == [classes[code] for code in answers["prediction"]]
        assert sure.sum() > 0.9 * len(sure)
    else:
        near(answers["prediction"], said.values)
        if said.deviations is not None:
            names |= {"deviation"}
            near(answers["deviation"], said.deviations)
    assert set(answers) == names


@pytest.mark.parametrize("name", exported.SPECS)
def test_a_graph_answers_what_predict_answers(name):
    table = exported.taken(name, TABLE)
    assert len(table) > 900
    compare(exported.model(name), table)


def test_a_graph_is_one_that_onnx_allows():
    for name in ("classes", "power", "linear-embedded"):
        onnx.checker.check_model(onnx.load_from_string(exported.graph(exported.model(name))), full_check=True)


def test_a_graph_tells_its_columns():
    model = exported.model("classes")
    _, opened = run(exported.graph(model), exported.feed(model.inputs, TABLE[:1]))
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
    assert opened.get_modelmeta().custom_metadata_map == {"a": "b"}


def test_bytes_of_weights_are_those_that_are_stored():
    model = exported.model("batch-residual")
    graph = onnx.load_from_string(exported.graph(model)).graph
    found = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    weights = model.network.state_dict()
    assert len(weights) > 20
    for name, weight in weights.items():
        assert (found["_" + name] == weight.numpy()).all()


REFUSED = {
    "a missing number": {"area": None},
    "an infinite number": {"층": math.inf},
    "a number without a logarithm": {"rooms": -1},
    "a number that is too large": {"area": 1e300},
    "a missing category": {"kind": None},
    "a missing time": {"built": None},
    "an unseen boolean": {"lift": "maybe"},
    "an unseen category": {"kind": "성"},
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["classes", "log"])
def test_a_row_that_predict_refuses_is_not_answered(name, kind):
    model, table = exported.model(name), [dict(row) for row in TABLE[:5]]
    table[2] |= REFUSED[kind]
    if kind == "a number that is too large":  # which the logarithms of the others would take
        name, model = "flat", exported.model("flat")
    with pytest.raises(InvalidField):
        exported.predict(model, table)
    answers, _ = run(exported.graph(model), exported.feed(model.inputs, table))
    only = [False, False, True, False, False]
    if name != "classes":
        assert np.isnan(answers["prediction"][:, 0]).tolist() == only
        return
    assert (answers["prediction"] < 0).tolist() == only
    assert (answers["label"] == "").tolist() == only
    assert np.isnan(answers["probabilities"]).all(axis=1).tolist() == only


@pytest.mark.parametrize("name", ["batch-residual", "linear", "gaussian"])
def test_an_unseen_category_is_encoded_as_predict_does(name):
    table = [dict(row) for row in TABLE[:5]]
    table[1]["kind"] = "성"
    compare(exported.model(name), table)


DAYS = ("01-01", "02-28", "03-01", "12-31", "06-15")


def test_times_before_1970_and_at_the_ends_of_years():
    moments = [f"{year}-{day}" for year in (1600, 1899, 1900, 1904, 1999, 2000, 2024, 2100) for day in DAYS]
    table = [dict(TABLE[0], built=moment + "T23:59:59.999999") for moment in moments]
    spec = exported.spec_of("robust") | {"network": {"linear": {}}, "dtype": "FLOAT64", "inputs": ["built"]}
    spec["preprocess"] = {"groups": exported.UNSCALED}
    compare(exported.predictor_of(spec, TABLE), table)


def test_a_column_that_is_called_as_an_output():
    table, inputs = [{**row, "label": row["area"]} for row in TABLE], ["label", "rooms"]
    told = [*exported.types(TABLE), exported.Column(name="label", type=exported.Column.NUMBER)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported, "types", lambda _: told)
        compare(exported.predictor_of(exported.spec_of("linear") | {"inputs": inputs}, table), table)
        classes = exported.predictor_of(exported.spec_of("numbered") | {"inputs": inputs}, table)
    with pytest.raises(WrongState, match=r"input column \"label\" is called as an output.*SAFETENSORS or SCRIPT"):
        exported.graph(classes)


def test_a_graph_that_no_program_would_read(monkeypatch):
    monkeypatch.setattr(file, "MOST_BYTES", 2000)
    with pytest.raises(TooLarge, match=r"programs read at most 2,000; export it as SAFETENSORS or SCRIPT"):
        exported.graph(exported.model("linear"))
