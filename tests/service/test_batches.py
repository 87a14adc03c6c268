"""Batch predictions from a submission to the data sets that come out: on both databases, with a real worker's code."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import json_format

from service import batches, datasets, forks, ledger, predictions, uploads
from service.errors import InvalidField, NotFound, TraindError
from service.modelling import answers
from service.store import datasets as dataset_store
from service.store import jobs as job_store
from service.store import metrics
from tests.service.lab import Lab, never
from traind.v1 import datasets_pb2, jobs_pb2, predictions_pb2, tables_pb2, uploads_pb2
from worker import predicting, slices
from worker.run import run_job

Job = jobs_pb2.Job
ROWS = 1000
GRADIENT = {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": 2, "batchSize": 64}}


def rows_of(count, seed=1):
    """Rows with what real ones have: a key, two numbers, a category, a truth to compare with."""
    draw = np.random.default_rng(seed)
    x, y = draw.standard_normal(count).round(3), draw.integers(-50, 50, count)
    city = draw.choice(["Busan", "Jeju", "Seoul"], count)
    kind = np.where(x + (city == "Seoul") > 0.5, "high", "low")
    price = (3 * x + y / 10 + (city == "Jeju")).round(4)
    return [list(row) for row in zip([f"c-{i}" for i in range(count)], x, y, city, kind, price, strict=True)]


HEADER = ["key", "x", "y", "city", "kind", "price"]


class Batch(Lab):
    """A lab with a data set to learn from and models of both sorts."""

    def __init__(self, database, folder, **more):
        super().__init__(database, folder, **more)
        self.send(rows_of(400), "train")
        # The network is wide enough that answers of rows in blocks of another length would differ in their last bits.
        for model, target, loss in (("kinds", "kind", "crossEntropy"), ("prices", "price", "mse")):
            network = {"mlp": {"hidden": [8], "activation": "TANH"}}
            spec = {"inputs": ["x", "y", "city"], "target": [target], "network": network, "loss": {loss: {}}}
            self.submit({"dataset": "train", "model": model, "train": spec | {"learn": GRADIENT, "seed": 3}})
        assert self.work() == 2
        self.send(rows_of(ROWS, 2), "new")

    def send(self, rows, name, header=HEADER, schema=()):
        text = "\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n"
        upload = uploads.create_upload(self.app, self.caller, uploads_pb2.CreateUploadRequest())
        uploads.write_chunk(self.app, self.caller, upload.name, 0, text.encode())
        source = datasets_pb2.DatasetSource(upload=upload.name, schema=schema)
        return datasets.create_dataset(
            self.app, self.caller, datasets_pb2.CreateDatasetRequest(dataset_id=name, source=source)
        )

    def predicted(self, model="kinds", dataset="new", **task):
        """A job that has predicted."""
        job = self.submit({"dataset": dataset, "predict": {"model": model, **task}})
        assert self.work() == 1
        return self.get(job.name)

    def table(self, name):
        """Columns of a data set as Arrow has them, and its row."""
        row = datasets.find_dataset(self.app, self.caller, name, "name")
        read = pa.ipc.open_file(pa.OSFile(str(self.app.objects.fetch(row.table_sha256)))).read_all()
        return read, row

    def answered(self, model, rows):
        """What Predict says of the same rows."""
        columns = [
            {"name": "x", "numbers": [float(row[1]) for row in rows]},
            {"name": "y", "numbers": [float(row[2]) for row in rows]},
            {"name": "city", "strings": [row[3] for row in rows]},
        ]
        request = predictions_pb2.PredictRequest(name=model)
        json_format.ParseDict({"columns": columns}, request, ignore_unknown_fields=False)
        return predictions.predict(self.app, self.caller, request)

    def claim(self):
        return ledger.claim(self.app.database, "test", 15)

    def objects(self):
        return {one.sha256 for one in self.app.objects.stored()}

    def named(self):
        with self.app.database.read() as connection:
            return dataset_store.all_objects(connection)


@pytest.fixture
def lab(database, tmp_path):
    return Batch(database, tmp_path)


only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])


def shrink(monkeypatch, rows):
    """So many rows in a slice."""
    monkeypatch.setattr(answers, "SLICE_ROWS", rows)


def test_classes_are_those_of_predict(lab):
    job = lab.predicted(keepColumns=["key", "kind"])
    assert (job.state, job.epoch, job.epochs) == (Job.SUCCEEDED, 1, 1)
    assert {metric.name: metric.value for metric in job.metrics} == {"rows_done": ROWS, "rows_bad": 0}
    assert job.predict.model == "models/kim.kinds/versions/1"
    assert (job.output_dataset, job.rejected_dataset) == ("datasets/kim.new-predictions/versions/1", "")
    table, row = lab.table("new-predictions")
    assert table.column_names == ["row", "key", "kind", "predicted_kind", "p_high", "p_low"]
    assert table["row"].to_pylist() == list(range(1, ROWS + 1))
    sent = rows_of(ROWS, 2)
    assert table["key"].to_pylist() == [one[0] for one in sent]
    assert table["kind"].to_pylist() == [one[4] for one in sent]
    told = lab.answered("kinds", sent)
    assert table["predicted_kind"].to_pylist() == list(told.predictions[0].strings)
    for name, values in zip(("p_high", "p_low"), told.probabilities, strict=True):
        assert table[name].to_pylist() == list(values.numbers), "to the last bit"
    columns = {column["name"]: column for column in json.loads(row.columns_json)}
    assert columns["predicted_kind"] == {"name": "predicted_kind", "type": "CATEGORY", "categories": ["high", "low"]}
    assert (row.row_count, row.format, row.sha256) == (ROWS, "ARROW", row.table_sha256)
    assert datasets.find_profile(lab.app, row).row_count == ROWS
    assert lab.objects() == lab.named(), "no slice is left"


def test_numbers_are_those_of_predict_in_any_number_of_slices(lab, monkeypatch):
    whole = lab.predicted("prices", output="whole")
    shrink(monkeypatch, 70)
    job = lab.predicted("prices", output="sliced")
    assert (job.epoch, job.epochs) == (15, 15)
    table, row = lab.table("sliced")
    assert table.column_names == ["row", "predicted_price"]
    told = lab.answered("prices", rows_of(ROWS, 2)).predictions[0].numbers
    # Other numbers of rows at once round otherwise in 32 bits.
    np.testing.assert_allclose(table["predicted_price"].to_pylist(), told, rtol=1e-6, atol=1e-6)
    assert table["row"].to_pylist() == list(range(1, ROWS + 1))
    assert row.row_count == ROWS
    assert whole.output_dataset == "datasets/kim.whole/versions/1"


def test_bad_rows_go_apart_with_their_reason(lab, monkeypatch):
    shrink(monkeypatch, 10)
    rows = rows_of(40, 3)
    rows[4][1] = ""
    rows[11][3] = "Ulsan"
    rows[30][1], rows[30][3] = "", "Ulsan"
    lab.send(rows, "some")
    job = lab.predicted(dataset="some")
    assert {metric.name: metric.value for metric in job.metrics} == {"rows_done": 37, "rows_bad": 3}
    assert job.rejected_dataset == "datasets/kim.some-predictions-rejected/versions/1"
    table, _ = lab.table("some-predictions")
    left = [number for number in range(1, 41) if number not in {5, 12, 31}]
    assert table["row"].to_pylist() == left
    told = lab.answered("kinds", [rows[number - 1] for number in left])
    assert table["predicted_kind"].to_pylist() == list(told.predictions[0].strings)
    rejected, _ = lab.table("some-predictions-rejected")
    assert rejected["row"].to_pylist() == [5, 12, 31]
    assert rejected["column"].to_pylist() == ["x", "city", "x"]
    reasons = rejected["reason"].to_pylist()
    assert reasons[0] == reasons[2] == "is missing; the model takes complete rows only"
    assert reasons[1].startswith('"Ulsan" is no category that "city" had in training; known are "Busan"')
    (finding,) = [one for one in job.findings if one.code == tables_pb2.Finding.ROWS_REJECTED]
    assert dict(finding.figures) == {"rows": 3, "left": 37}


@only_sqlite
def test_a_number_out_of_range_goes_apart_alone(lab):
    rows = rows_of(30, 3)
    rows[7][1] = "1e300"
    lab.send(rows, "far")
    job = lab.predicted(dataset="far")
    rejected, _ = lab.table(job.rejected_dataset)
    assert rejected["row"].to_pylist() == [8]
    assert rejected["column"].to_pylist() == ["x"]
    assert rejected["reason"].to_pylist()[0].startswith("is 1e+300, which is Inf, NaN or beyond 3.4e+38")
    table, _ = lab.table(job.output_dataset)
    assert table.num_rows == 29
    assert np.isfinite(table["p_high"].to_numpy()).all()


@only_sqlite
def test_rows_that_are_all_bad_make_no_predictions(lab):
    rows = rows_of(20, 3)
    for row in rows:
        row[3] = "Ulsan"
    lab.send(rows, "alien")
    job = lab.predicted(dataset="alien")
    assert (job.state, job.output_dataset) == (Job.SUCCEEDED, "")
    assert lab.table(job.rejected_dataset)[0].num_rows == 20


@only_sqlite
def test_no_probabilities_where_none_are_asked_for(lab):
    lab.predicted(probabilities=False, output="bare")
    assert lab.table("bare")[0].column_names == ["row", "predicted_kind"]


@only_sqlite
def test_the_same_predictions_are_the_same_version(lab):
    assert [lab.predicted().output_dataset[-1] for _ in range(2)] == ["1", "1"]
    assert lab.predicted(keepColumns=["key"]).output_dataset[-1] == "2"


def stopping(after):
    """Says stop once it was asked so often."""
    asked = itertools.count()
    return lambda: next(asked) >= after


def test_stopped_and_gone_on_with_the_bytes_are_the_same(lab, monkeypatch):
    shrink(monkeypatch, 100)
    rows = rows_of(ROWS, 5)
    for row in rows[::37]:
        row[1] = ""
    lab.send(rows, "holes")
    calm = lab.predicted(dataset="holes", output="calm", keepColumns=["key", "price"])
    job = lab.submit(
        {"dataset": "holes", "predict": {"model": "kinds", "output": "cut", "keepColumns": ["key", "price"]}}
    )
    for expected in (4, 9):
        claim = lab.claim()
        assert run_job(lab.settings, lab.app.database, claim, stopping(expected - claim.job.epoch)) == "stopped"
        assert lab.get(job.name).epoch == expected
        assert ledger.settle_stopped(lab.app.database, claim) == "QUEUED"
        assert lab.named() < lab.objects(), "slices that are done are kept"
    assert lab.work() == 1
    done = lab.get(job.name)
    assert (done.state, done.attempt) == (Job.SUCCEEDED, 3)
    for one, other in ((calm.output_dataset, done.output_dataset), (calm.rejected_dataset, done.rejected_dataset)):
        assert lab.table(one)[1].table_sha256 == lab.table(other)[1].table_sha256
    assert lab.objects() == lab.named()


@only_sqlite
@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_a_slice_that_was_lost_is_made_again(lab, monkeypatch, harm):
    shrink(monkeypatch, 100)
    calm = lab.predicted(output="calm")
    job = lab.submit({"dataset": "new", "predict": {"model": "kinds", "output": "cut"}})
    claim = lab.claim()
    assert run_job(lab.settings, lab.app.database, claim, stopping(5)) == "stopped"
    ledger.settle_stopped(lab.app.database, claim)
    for sha256 in lab.objects() - lab.named():
        path = lab.app.objects.path(sha256)
        path.unlink() if harm == "removed" else path.write_bytes(b"x" + path.read_bytes()[1:])
    assert lab.work() == 1
    assert lab.table(lab.get(job.name).output_dataset)[1].sha256 == lab.table(calm.output_dataset)[1].sha256


@only_sqlite
def test_slices_that_are_done_are_not_predicted_again(lab, monkeypatch):
    shrink(monkeypatch, 100)
    done = []
    predict = slices.Slicer.predict
    monkeypatch.setattr(slices.Slicer, "predict", lambda self, *args: done.append(args[0]) or predict(self, *args))
    lab.submit({"dataset": "new", "predict": {"model": "kinds"}})
    claim = lab.claim()
    assert run_job(lab.settings, lab.app.database, claim, stopping(5)) == "stopped"
    ledger.settle_stopped(lab.app.database, claim)
    assert lab.work() == 1
    # The sixth was begun and given up.
    assert sorted(done) == sorted([*range(0, ROWS, 100), 500])


def test_a_cancelled_job_goes_on_when_it_is_retried(lab, monkeypatch):
    shrink(monkeypatch, 100)
    job = lab.submit({"dataset": "new", "predict": {"model": "kinds"}})
    claim = lab.claim()
    assert run_job(lab.settings, lab.app.database, claim, stopping(5)) == "stopped"
    ledger.cancel(lab.app.database, lab.caller.user_id, claim.job.id)
    assert ledger.settle_stopped(lab.app.database, claim) == "CANCELLED"
    assert lab.get(job.name).output_dataset == ""
    with pytest.raises(NotFound):
        lab.table("new-predictions")
    again = forks.retry_job(lab.app, lab.caller, jobs_pb2.RetryJobRequest(name=job.name))
    assert lab.work() == 1
    done = lab.get(again.name)
    assert (done.state, done.epoch, done.parent) == (Job.SUCCEEDED, 10, job.name)
    assert lab.table("new-predictions")[0].num_rows == ROWS
    with lab.app.database.read() as connection:
        told = metrics.history(connection, done.name.removeprefix("jobs/"))
    history = {series.name: series for series in told}
    assert history["rows_done"].values == [100.0 * n for n in range(1, 11)]


@only_sqlite
def test_time_that_is_over_fails_the_job_and_a_retry_goes_on(lab, monkeypatch):
    shrink(monkeypatch, 100)
    moments = itertools.count()
    monkeypatch.setattr(predicting.time, "monotonic", lambda: float(next(moments)))
    job = lab.submit({"dataset": "new", "predict": {"model": "kinds", "maxSeconds": 40}})
    lab.work()
    failed = lab.get(job.name)
    assert (failed.state, failed.failure.reason) == (Job.FAILED, jobs_pb2.Failure.TIME_LIMIT)
    assert "of 1,000 rows were done when the 40 s of job.predict.max_seconds were over" in failed.failure.message
    assert 0 < failed.epoch < 10
    monkeypatch.undo()
    again = forks.retry_job(lab.app, lab.caller, jobs_pb2.RetryJobRequest(name=job.name))
    lab.work()
    assert lab.get(again.name).state == Job.SUCCEEDED


def test_a_write_that_is_refused_leaves_nothing(lab, monkeypatch):
    """Killed, frozen or fenced just before the end: no half data set is ever seen."""
    job = lab.submit({"dataset": "new", "predict": {"model": "kinds"}})
    claim = lab.claim()
    point = ledger.point

    def lose(name):
        if name == "C11":
            ledger.lost(lab.app.database, claim, "the test")
        point(name)

    monkeypatch.setattr(ledger, "point", lose)
    assert run_job(lab.settings, lab.app.database, claim, never) == "fenced"
    monkeypatch.undo()
    assert lab.get(job.name).state == Job.QUEUED
    with pytest.raises(NotFound):
        lab.table("new-predictions")
    with lab.app.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET not_before = 0")
    assert lab.work() == 1
    assert lab.table("new-predictions")[0].num_rows == ROWS
    assert lab.objects() == lab.named()


@only_sqlite
def test_a_damaged_checkpoint_is_passed_over(lab, monkeypatch):
    shrink(monkeypatch, 100)
    job = lab.submit({"dataset": "new", "predict": {"model": "kinds"}})
    claim = lab.claim()
    assert run_job(lab.settings, lab.app.database, claim, stopping(5)) == "stopped"
    ledger.settle_stopped(lab.app.database, claim)
    with lab.app.database.write() as connection:
        newest = job_store.find_by_id(connection, claim.job.id).checkpoint_id
        connection.exec_driver_sql(f"UPDATE artifact_chunk SET data = x'00' WHERE artifact_id = '{newest}'")
    assert lab.work() == 1
    assert lab.get(job.name).state == Job.SUCCEEDED
    assert lab.table("new-predictions")[0].num_rows == ROWS


BAD = {
    "a model of nobody": ({"predict": {"model": "none"}}, NotFound, "none"),
    "a column that is not there": (
        {"predict": {"model": "kinds", "keepColumns": ["key", "floor"]}},
        InvalidField,
        'job.predict.keep_columns[1]: there is no column "floor" in the data set; there are key, x, y',
    ),
    "itself": ({"predict": {"model": "kinds", "output": "new"}}, InvalidField, "job.predict.output"),
    "a data set without an input": (
        {"dataset": "short", "predict": {"model": "kinds"}},
        InvalidField,
        'has no column "city", which the model needs',
    ),
    "an input of another kind": (
        {"dataset": "texts", "predict": {"model": "kinds"}},
        InvalidField,
        'column "city" was CATEGORY in training and is INTEGER here',
    ),
    "a data set whose id is too long": (
        {"dataset": "n" * 60, "predict": {"model": "kinds"}},
        InvalidField,
        "has 72 characters, where 54 are the most; give an id of your own",
    ),
}


@only_sqlite
@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(lab, case):
    change, error, says = BAD[case]
    lab.send([[1, 2], [3, 4]], "short", ["x", "y"])
    lab.send([[1, 2, 3], [3, 4, 5]], "texts", ["x", "y", "city"])
    lab.send([[1, 2, "Jeju"], [3, 4, "Seoul"]], "n" * 60, ["x", "y", "city"])
    with pytest.raises(error) as told:
        lab.submit({"dataset": "new"} | change)
    assert isinstance(told.value, TraindError)
    assert says in str(told.value)


@only_sqlite
def test_a_kept_column_with_a_name_of_ours_is_refused(lab):
    lab.send([[1, 2, "Jeju", 5], [3, 4, "Seoul", 6]], "named", ["x", "y", "city", "row"])
    with pytest.raises(InvalidField, match='"row" is the name of a column of predictions too; leave it out'):
        lab.submit({"dataset": "named", "predict": {"model": "kinds", "keepColumns": ["row"]}})


@only_sqlite
def test_more_cells_than_a_data_set_may_have_are_refused(lab, monkeypatch):
    monkeypatch.setattr(batches, "CELLS", 3 * ROWS)
    with pytest.raises(InvalidField, match="makes 1,000 rows of 4 columns, where a data set has at most 3,000 cells"):
        lab.submit({"dataset": "new", "predict": {"model": "kinds"}})
    assert lab.submit({"dataset": "new", "predict": {"model": "kinds", "probabilities": False}}).epochs == 1
