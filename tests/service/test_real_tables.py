"""A table as people have it, from its bytes to a model's answers: missing values, dates, rows left out, two targets."""

import numpy as np
import pytest

from service import datasets, models, paging, predictions, uploads
from service.errors import InvalidField, NotFound
from service.store import models as model_store
from tests.service.test_verbs import Lab
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, tables_pb2, uploads_pb2

ROWS = 80
COLUMNS = ["area", "town", "built", "price", "rent", "sold"]


def table(seed=1, towns=("Busan", "Daegu", "Seoul")):
    """CSV, and which rows lack a rent."""
    rng = np.random.default_rng(seed)
    lines, gone = [",".join(COLUMNS)], []
    for row in range(ROWS):
        area = f"{rng.normal(60, 15):.2f}" if row % 7 else ""
        town = towns[rng.integers(len(towns))] if row % 11 else "NA"
        rent = f"{rng.lognormal(1, 0.5):.3f}" if row % 10 else ""
        gone.append(not rent)
        built = f"20{row % 20:02}-0{row % 9 + 1}-1{row % 9}T0{row % 9}:30:00+09:00"
        lines.append(f"{area},{town},{built},{rng.lognormal(3, 1):.3f},{rent},{('no', 'yes')[rng.integers(2)]}")
    return "\n".join(lines) + "\n", np.array(gone)


GROUPS = [
    {"columns": ["area"], "impute": {"how": "MEDIAN", "indicator": True}, "scale": "ROBUST"},
    {"columns": ["town"], "impute": {"how": "CONSTANT"}},
    {"columns": ["built"], "dateParts": ["YEAR", "WEEKDAY", "DAYS"]},
]
NUMBERS = {
    "inputs": ["area", "town", "built"],
    "target": ["price", "rent"],
    "network": {"mlp": {"hidden": [8]}},
    "loss": {"gaussianNll": {}},
    "preprocess": {
        "groups": GROUPS,
        "target": {"transform": "LOG1P", "scale": "STANDARD", "missing": "DROP_ROW"},
    },
    "split": {"time": {"column": "built", "fraction": 0.25}},
    "learn": {"gradient": {"epochs": 3}},
    "everyEpoch": ["MAE", "R2"],
}
CLASSES = {
    "inputs": ["area", "town"],
    "target": ["sold"],
    "network": {"linear": {}},
    "preprocess": {"groups": GROUPS[:2]},
    "learn": {"gradient": {"epochs": 2}},
}


def push(lab, text, dataset_id="homes"):
    upload = uploads.create_upload(lab.app, lab.caller, uploads_pb2.CreateUploadRequest())
    uploads.write_chunk(lab.app, lab.caller, upload.name, 0, text.encode())
    source = datasets_pb2.DatasetSource(upload=upload.name)
    return datasets.create_dataset(
        lab.app, lab.caller, datasets_pb2.CreateDatasetRequest(dataset_id=dataset_id, source=source)
    )


@pytest.fixture
def lab(database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab, table()[0])
    return lab


def train(lab, spec, model="homes"):
    job = lab.submit({"dataset": "homes", "model": model, "train": spec})
    lab.work()
    done = lab.get(job.name)
    assert done.state == jobs_pb2.Job.SUCCEEDED, done.failure.message
    return models.get_model(lab.app, lab.caller, models_pb2.GetModelRequest(name=f"models/{model}"))


def rows_of(bits, count):
    return {row for row in range(count) if bits[row // 8] >> (row % 8) & 1}


def columns(area, town, built=None):
    missing = [value is None for value in area], [value is None for value in town]
    found = [
        tables_pb2.ColumnValues(name="area", numbers=[value or 0 for value in area], missing=missing[0]),
        tables_pb2.ColumnValues(name="town", strings=[value or "" for value in town], missing=missing[1]),
    ]
    return [*found, tables_pb2.ColumnValues(name="built", strings=built)] if built else found


def predict(lab, *given, model="models/homes"):
    request = predictions_pb2.PredictRequest(name=model, columns=columns(*given))
    return predictions.predict(lab.app, lab.caller, request)


def test_two_targets_with_deviations_of_a_table_with_holes(lab):
    model = train(lab, NUMBERS)
    gone = table()[1]
    assert [(c.name, c.type) for c in model.outputs] == [
        ("price", tables_pb2.Column.NUMBER),
        ("rent", tables_pb2.Column.NUMBER),
    ]
    told = {metric.name for metric in model.metrics}
    assert {f"{split}_{name}" for split in ("train", "val") for name in ("loss", "mae", "mse", "rmse", "r2")} <= told
    findings = {finding.code: dict(finding.figures) for finding in model.findings}
    assert findings[tables_pb2.Finding.ROWS_DROPPED] == {"rows": gone.sum(), "left": ROWS - gone.sum()}

    split = models.get_split(lab.app, lab.caller, models_pb2.GetSplitRequest(name="homes"))
    trained, held = rows_of(split.train_rows, ROWS), rows_of(split.val_rows, ROWS)
    assert (split.dataset, split.row_count) == ("datasets/kim.homes/versions/1", ROWS)
    assert (len(trained), len(held)) == (split.train_count, split.val_count)
    assert trained | held == set(np.flatnonzero(~gone).tolist())
    assert not trained & held
    # The newest rows are held out: years are 2000 to 2019, by the row's number.
    assert min(row % 20 for row in held) >= max(row % 20 for row in trained)

    answer = predict(lab, [50, None], ["Seoul", None], ["2024-05-01", "2024-05-01T09:00:00+09:00"])
    assert [c.name for c in answer.predictions] == [c.name for c in answer.deviations] == ["price", "rent"]
    for column in (*answer.predictions, *answer.deviations):
        assert len(column.numbers) == 2
        assert np.isfinite(column.numbers).all()
    assert all(value > 0 for column in answer.deviations for value in column.numbers)


def test_what_a_prediction_cannot_take_is_named(lab):
    train(lab, NUMBERS)
    built = ["2024-05-01", "2024-05-02"]
    for given, field, words in (
        (([1, 2], ["Seoul", "Jeju"], built), "columns[1].strings[1]", '"Jeju" is no category'),
        (([1, 2], ["Seoul", "Seoul"], ["2024-05-01", "yesterday"]), "columns[2].strings[1]", '"yesterday"'),
        (([1, float("inf")], ["Seoul", "Seoul"], built), "columns[0].numbers[1]", "finite numbers"),
        (([1, 2], ["Seoul", "Seoul"]), "columns", 'lacks "built"'),
    ):
        with pytest.raises(InvalidField) as caught:
            predict(lab, *given)
        assert caught.value.violations[0].field == field
        assert words in caught.value.violations[0].description


def test_classes_have_confusion_matrices_and_every_figure(lab):
    model = train(lab, CLASSES)
    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "log_loss")
    told = {metric.name: metric.value for metric in model.metrics}
    assert {f"{split}_{name}" for split in ("train", "val") for name in names} <= set(told)
    for matrix, split, rows in zip(model.confusion, ("train", "val"), (64, 16), strict=True):
        counts = np.reshape(matrix.counts.values, list(matrix.counts.shape))
        assert (matrix.split, list(matrix.classes), counts.sum()) == (split, ["no", "yes"], rows)
        assert np.trace(counts) / rows == pytest.approx(told[f"{split}_accuracy"])


def test_a_model_that_imputes_is_measured_on_tables_with_holes(lab):
    train(lab, CLASSES)
    train(lab, NUMBERS, "numbers")
    push(lab, table(seed=5)[0], "more")
    request = models_pb2.EvaluateModelRequest(name="homes", dataset="more")
    told = models.evaluate_model(lab.app, lab.caller, request)
    assert told.row_count == ROWS
    assert sum(told.confusion.counts.values) == ROWS
    assert told.confusion.split == ""
    request = models_pb2.EvaluateModelRequest(name="numbers", dataset="more")
    told = models.evaluate_model(lab.app, lab.caller, request)
    assert told.row_count == ROWS - table(seed=5)[1].sum()
    assert not told.HasField("confusion")
    assert [finding.code for finding in told.findings if finding.code == tables_pb2.Finding.ROWS_DROPPED]


def test_a_model_that_does_not_impute_refuses_them_before_it_measures(lab):
    push(lab, table()[0].replace(",NA,", ",Seoul,").replace("\n,", "\n55,"), "homes")
    train(lab, CLASSES | {"preprocess": {}})
    push(lab, table()[0], "holes")
    with pytest.raises(InvalidField, match='column "area" has 12 missing values and the model takes none'):
        models.evaluate_model(lab.app, lab.caller, models_pb2.EvaluateModelRequest(name="homes", dataset="holes"))
    with pytest.raises(InvalidField, match="the model takes complete rows only") as caught:
        predict(lab, [None], ["Seoul"])
    assert caught.value.metadata["field"] == "columns[0].numbers"


def test_a_model_of_before_has_no_split_to_tell(lab, monkeypatch):
    train(lab, CLASSES)
    monkeypatch.setattr(model_store, "find_rows", lambda *_: None)
    with pytest.raises(NotFound, match="did not record its rows; train it again"):
        models.get_split(lab.app, lab.caller, models_pb2.GetSplitRequest(name="homes"))


def test_pages_of_models_fit_into_a_message(lab, monkeypatch):
    for _ in range(3):
        train(lab, CLASSES)
    monkeypatch.setattr(paging, "PAGE_BYTES", 1)
    request = models_pb2.ListModelsRequest()
    seen = []
    for _ in range(3):
        page = models.list_models(lab.app, lab.caller, request)
        assert len(page.models) == 1
        seen += [model.name for model in page.models]
        request.page_token = page.next_page_token
    assert not request.page_token
    assert seen == [f"models/kim.homes/versions/{n}" for n in (3, 2, 1)]


def test_another_persons_split_is_not_there(lab):
    train(lab, CLASSES)
    other = lab.person("lee")
    with pytest.raises(NotFound):
        models.get_split(lab.app, other, models_pb2.GetSplitRequest(name="models/kim.homes"))
