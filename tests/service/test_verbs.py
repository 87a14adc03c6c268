"""The verbs of jobs, models and predictions on real databases; the worker's run_job does the learning."""

import concurrent.futures
import math
import uuid

import pytest

from service import datasets, jobs, models, predictions
from service.errors import InvalidField, NotFound, RequestIdReused, TooLarge, TooManyParameters, WrongState
from service.model_cache import OVERHEAD_BYTES, ModelCache
from service.store import models as model_store
from tests.service.lab import INPUTS, Lab
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2

HOUSES = {"area": [32, 33, 36], "rooms": [3, 3, 4], "station_km": [0.3, 0.5, 0.5]}


@pytest.fixture
def lab(database, tmp_path):
    return Lab(database, tmp_path)


def exact(**more):
    train = {
        "inputs": INPUTS,
        "target": ["price"],
        "network": {"linear": {"bias": False}},
        "preprocess": {"scale": "NONE"},
        "split": {"none": {}},
        "learn": {"exact": {}},
    }
    return {"dataset": "house-prices", "model": "house", "train": train | more}


def given(weights, bias=None):
    values = {"weight": {"shape": [1, 3], "values": weights}}
    if bias is not None:
        values["bias"] = {"shape": [1], "values": [bias]}
    return exact(network={"linear": {"bias": bias is not None}}, learn={"given": {"weights": values}})


def test_house_prices_exactly(lab):
    lab.push("house_prices")
    job = lab.submit(exact())
    assert (job.state, job.dataset, job.parameter_count) == (
        jobs_pb2.Job.QUEUED,
        "datasets/kim.house-prices/versions/1",
        3,
    )
    assert lab.work() == 1
    done = lab.get(job.name)
    assert done.state == jobs_pb2.Job.SUCCEEDED
    assert done.done
    assert done.model_version == "models/kim.house/versions/1"
    shown = models.get_weights(lab.app, lab.caller, models_pb2.GetWeightsRequest(name="models/house"))
    assert shown.weights["weight"].values == pytest.approx([0, 1.5, 5], abs=1e-8)
    answer = lab.predict("models/house", HOUSES)
    assert answer.predictions[0].name == "price"
    assert list(answer.predictions[0].numbers) == pytest.approx([6, 7, 8.5], abs=1e-8)


# learning.md's table: weights, bias, predictions, mean absolute error.
TABLE = [
    ([0.1, 0.3, 4], None, [5.3, 6.2, 6.8], 3.2 / 3),
    ([0.1, 0.3, 3], 0.5, [5.5, 6.2, 6.8], 1.0),
    ([0.1, 0.3, 4], 0.5, [5.8, 6.7, 7.3], 1.7 / 3),
    ([0.1, 0.2, 2], 0.5, [4.9, 5.4, 5.9], 5.3 / 3),
]


def test_given_weights_and_every_loss(lab):
    lab.push("house_prices")
    for weights, bias, expected, mae in TABLE:
        job = lab.submit(given(weights, bias))
        assert lab.work() == 1
        name = lab.get(job.name).model_version
        answer = lab.predict(name, HOUSES)
        assert list(answer.predictions[0].numbers) == pytest.approx(expected, abs=1e-6)
        request = models_pb2.EvaluateModelRequest(name=name, dataset="house-prices", dof=1)
        request.loss.mae.SetInParent()
        told = models.evaluate_model(lab.app, lab.caller, request)
        figures = {metric.name: metric.value for metric in told.metrics}
        assert figures["loss"] == pytest.approx(mae, abs=1e-6)
        assert figures["mae"] == pytest.approx(mae, abs=1e-6)
        errors = [p - t for p, t in zip(expected, [6, 7, 8.5], strict=True)]
        assert figures["residual_mse"] == pytest.approx(sum(e * e for e in errors), abs=1e-5)
        assert told.row_count == 3
    again = models.get_model(lab.app, lab.caller, models_pb2.GetModelRequest(name="house:2"))
    assert again.name == "models/kim.house/versions/2"
    assert not again.spec.learn.given.weights


def test_evaluation_as_a_job(lab):
    lab.push("house_prices")
    lab.submit(exact())
    lab.work()
    job = lab.submit({"dataset": "house-prices", "evaluate": {"model": "house", "loss": {"mae": {}}}})
    lab.work()
    done = lab.get(job.name)
    assert done.state == jobs_pb2.Job.SUCCEEDED, done.failure
    figures = {metric.name: metric.value for metric in done.metrics}
    assert figures["loss"] == pytest.approx(0, abs=1e-8)
    assert done.model_version == ""
    assert done.evaluate.model == "models/kim.house/versions/1"


def test_repeated_requests_are_one_job(lab):
    lab.push("house_prices")
    request_id = str(uuid.uuid4())
    first = lab.submit(exact(), request_id=request_id)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = list(pool.map(lambda _: lab.submit(exact(), request_id=request_id).name, range(24)))
    assert set(others) == {first.name}
    with pytest.raises(RequestIdReused, match=first.name):
        lab.submit(given([1, 2, 3]), request_id=request_id)
    ids = [str(uuid.uuid4()) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        names = list(pool.map(lambda i: lab.submit(exact(), request_id=ids[i % 6]).name, range(36)))
    assert len(set(names)) == 6
    listed = jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest())
    assert len(listed.jobs) == 7


def test_validate_only_stores_nothing(lab):
    lab.push("house_prices")
    job = lab.submit(exact(), validate_only=True, request_id=str(uuid.uuid4()))
    assert job.name == ""
    assert job.resolved.dtype == 2
    assert job.parameter_count == 3
    assert not jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest()).jobs


def test_pages_hold_every_job_once(lab):
    lab.push("house_prices")
    made = [lab.submit(exact()).name for _ in range(7)]
    seen, token = [], ""
    while True:
        page = jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest(page_size=3, page_token=token))
        seen += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    positions = [lab.get(name).queue_position for name in made]
    assert positions == list(range(7))
    with pytest.raises(InvalidField, match="page_token"):
        jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest(page_token="bm9uZQ"))


def test_another_persons_things_are_not_there(lab):
    lab.push("house_prices")
    job = lab.submit(exact())
    lab.work()
    other = lab.person("lee")
    for verb, request in [
        (jobs.get_job, jobs_pb2.GetJobRequest(name=job.name)),
        (jobs.cancel_job, jobs_pb2.CancelJobRequest(name=job.name)),
        (jobs.get_history, jobs_pb2.GetHistoryRequest(name=job.name)),
        (models.get_model, models_pb2.GetModelRequest(name="models/kim.house")),
        (models.get_weights, models_pb2.GetWeightsRequest(name="models/kim.house")),
        (predictions.predict, predictions_pb2.PredictRequest(name="models/kim.house")),
        (datasets.get_dataset, datasets_pb2.GetDatasetRequest(name="datasets/kim.house-prices")),
    ]:
        with pytest.raises(NotFound):
            verb(lab.app, other, request)
    assert not jobs.list_jobs(lab.app, other, jobs_pb2.ListJobsRequest()).jobs
    assert not models.list_models(lab.app, other, models_pb2.ListModelsRequest()).models


def test_cancel_pause_resume_of_waiting_jobs(lab):
    lab.push("house_prices")
    job = lab.submit(exact())
    assert jobs.pause_job(lab.app, lab.caller, jobs_pb2.PauseJobRequest(name=job.name)).state == jobs_pb2.Job.PAUSED
    assert lab.work() == 0
    assert jobs.resume_job(lab.app, lab.caller, jobs_pb2.ResumeJobRequest(name=job.name)).state == jobs_pb2.Job.QUEUED
    cancel = jobs_pb2.CancelJobRequest(name=job.name)
    assert jobs.cancel_job(lab.app, lab.caller, cancel).state == jobs_pb2.Job.CANCELLED
    assert jobs.cancel_job(lab.app, lab.caller, cancel).state == jobs_pb2.Job.CANCELLED
    with pytest.raises(WrongState, match="CANCELLED"):
        jobs.resume_job(lab.app, lab.caller, jobs_pb2.ResumeJobRequest(name=job.name))


def test_diverged_history_is_whole(lab):
    lab.push("house_prices")
    descent = {"gradient": {"optimizer": {"gradientDescent": {"lr": 0.001}}, "epochs": 2000}}
    job = lab.submit(exact(learn=descent, dtype="FLOAT64"))
    lab.work()
    done = lab.get(job.name)
    assert done.failure.reason == jobs_pb2.Failure.DIVERGED
    figures = done.findings[0].figures
    assert figures["largest_stable_lr"] == pytest.approx(8.7e-4, rel=0.01)
    assert figures["proposed_lr"] < figures["largest_stable_lr"]
    history = jobs.get_history(lab.app, lab.caller, jobs_pb2.GetHistoryRequest(name=job.name))
    losses = history.series[0].values
    assert list(history.series[0].steps) == list(range(1, len(losses) + 1))
    first_bad = next(i for i, loss in enumerate(losses, 1) if not math.isfinite(loss))
    assert figures["epoch"] == first_bad
    assert any(map(math.isinf, losses))
    few = jobs.get_history(lab.app, lab.caller, jobs_pb2.GetHistoryRequest(name=job.name, max_points=10))
    assert len(few.series[0].steps) <= 10
    assert (few.series[0].steps[0], few.series[0].steps[-1]) == (1, len(losses))


def test_too_large_a_network_is_refused(database, tmp_path):
    lab = Lab(database, tmp_path, TRAIND_MAX_PARAMETERS="100")
    lab.push("house_prices")
    with pytest.raises(TooManyParameters, match="100"):
        lab.submit(exact(network={"mlp": {"hidden": [1048576, 1048576]}}, learn={"gradient": {}}))


def test_predictions_refuse_what_they_cannot_answer(lab):
    lab.push("penguins")
    train = {"target": ["species"], "network": {"mlp": {"hidden": [4]}}, "seed": 3}
    lab.submit({"dataset": "penguins", "train": train})
    lab.work()
    good = [
        {"name": "island", "strings": ["Biscoe"]},
        {"name": "bill_length_mm", "numbers": [50]},
        {"name": "bill_depth_mm", "numbers": [16]},
        {"name": "flipper_length_mm", "numbers": [230]},
        {"name": "body_mass_g", "numbers": [5700]},
        {"name": "sex", "strings": ["male"]},
    ]

    def ask(columns, **more):
        return predictions.predict(
            lab.app, lab.caller, predictions_pb2.PredictRequest(name="models/penguins", columns=columns, **more)
        )

    answer = ask(good, return_hidden=True)
    assert [column.name for column in answer.probabilities] == ["Adelie", "Chinstrap", "Gentoo"]
    assert sum(column.numbers[0] for column in answer.probabilities) == pytest.approx(1, abs=1e-6)
    assert list(answer.hidden[0].output.shape) == [1, 4]
    wrong = {
        "unseen": [{"name": "island", "strings": ["Jeju"]}, *good[1:]],
        "missing column": good[1:],
        "twice": [*good, good[0]],
        "unknown column": [*good, {"name": "colour", "numbers": [1]}],
        "another kind": [{"name": "island", "numbers": [1]}, *good[1:]],
        "another length": [{"name": "island", "strings": ["Biscoe", "Dream"]}, *good[1:]],
        "missing value": [{"name": "island", "strings": [""], "missing": [True]}, *good[1:]],
        "NaN": [*good[:1], {"name": "bill_length_mm", "numbers": [math.nan]}, *good[2:]],
    }
    for name, columns in wrong.items():
        with pytest.raises(InvalidField) as refused:
            ask(columns)
        assert refused.value.violations, name
    many = [{**c, **{k: list(c[k]) * 200_000 for k in ("numbers", "strings") if k in c}} for c in good]
    with pytest.raises(TooLarge, match="at most"):
        ask(many, return_hidden=True)


def test_the_model_cache_is_bounded(lab):
    lab.push("house_prices")
    for _ in range(4):
        lab.submit(exact())
    lab.work()
    with lab.app.database.read() as connection:
        rows = model_store.list_page(connection, lab.caller.user_id, 10, None)
    assert len(rows) == 4
    room = 2 * (rows[0].size_bytes + OVERHEAD_BYTES)
    cache = ModelCache(room)
    loaded = [cache.get(lab.app.database, row) for row in rows]
    assert cache.used_bytes == room
    assert cache.get(lab.app.database, rows[3]) is loaded[3]
    assert cache.get(lab.app.database, rows[0]) is not loaded[0]
    tiny = ModelCache(10)
    tiny.get(lab.app.database, rows[0])
    assert tiny.used_bytes == 0
