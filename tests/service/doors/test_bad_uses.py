"""B52 to B58: rows, models, moves, keys and pages that cannot be, at both doors of a real server process."""

import base64
import json
import time
import uuid

import pytest
from google.protobuf import json_format

from tests.service.doors.learned import TRAIN, learn, submit
from tests.service.doors.refused import JSON, MIB, quick, refused, told
from tests.service.doors.running import Refusal, answer_of_rest
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, tables_pb2

pytestmark = pytest.mark.usefixtures("world")

GOOD = {"area": {"numbers": [30]}, "rooms": {"numbers": [2]}, "city": {"strings": ["Seoul"]}}


@pytest.fixture
def kim(api):
    return api.token("kim")


def predict(api, token, columns, model="models/price"):
    """Rows to predict for, at both doors; numbers that are none stand in the message as they are."""
    body = {"columns": [{"name": name} | values for name, values in columns.items()]}
    request = json_format.ParseDict(body | {"name": model}, predictions_pb2.PredictRequest())
    content = json.dumps(body).encode()
    return (
        lambda: api.rpc("PredictionService.Predict", request, token),
        lambda: api.rest("POST", f"/v1/{model}:predict", token, JSON, content=content),
    )


def evaluate(api, token, model):
    """A measurement of a model, at both doors."""
    request = models_pb2.EvaluateModelRequest(name=model, dataset="houses")
    return (
        lambda: api.rpc("ModelService.EvaluateModel", request, token),
        lambda: api.rest("POST", f"/v1/{model}:evaluate", token, json={"dataset": "houses"}),
    )


def evaluate_as_job(api, token, model):
    """The same as a job, at both doors."""
    job = {"dataset": "houses", "evaluate": {"model": model}}
    request = json_format.ParseDict({"job": job}, jobs_pb2.CreateJobRequest())
    return (
        lambda: api.rpc("JobService.CreateJob", request, token),
        lambda: api.rest("POST", "/v1/jobs", token, json=job),
    )


def predict_as_job(api, token, model, **task):
    """Predictions for a data set, at both doors."""
    dataset = task.pop("dataset", "houses")
    job = {"dataset": dataset, "predict": {"model": model, **task}}
    request = json_format.ParseDict({"job": job}, jobs_pb2.CreateJobRequest())
    return (
        lambda: api.rpc("JobService.CreateJob", request, token),
        lambda: api.rest("POST", "/v1/jobs", token, json=job),
    )


ROWS = {
    "B52 no column": ({"area": None, "rooms": None, "city": None}, "columns", ["is required"]),
    "B52 a column is absent": ({"rooms": None}, "columns", ["rooms"]),
    "B52 one too many": ({"floor": {"numbers": [1]}}, "columns", ["floor"]),
    "B52 of another type": ({"area": {"strings": ["big"]}}, "columns", ["area", "INTEGER"]),
    "B52 of another length": ({"area": {"numbers": [1, 2]}}, "columns", ["rooms", "1 values", "2"]),
    "B53 a category that was never seen": ({"city": {"strings": ["Jeju"]}}, "columns", ["city", "Jeju"]),
    "B53 a number that is none": ({"area": {"numbers": ["NaN"]}}, "columns", ["area"]),
    "B53 an infinite number": ({"area": {"numbers": ["Infinity"]}}, "columns", ["area"]),
    "B53 a missing one": ({"area": {"numbers": [0], "missing": [True]}}, "columns", ["area"]),
}


@pytest.mark.parametrize("case", ROWS)
def test_b52_b53_rows_that_do_not_fit_the_model(api, kim, case):
    change, field, says = ROWS[case]
    columns = {name: values for name, values in (GOOD | change).items() if values}
    refusal = refused(api, *predict(api, kim, columns), says=says)
    assert field in told(refusal)


def test_b54_no_rows_are_answered_with_none(api, kim):
    empty = {name: {kind: [] for kind in values} for name, values in GOOD.items()}
    by_rpc, by_rest = (call() for call in predict(api, kim, empty))
    assert not isinstance(by_rpc, Refusal), by_rpc
    assert answer_of_rest(by_rest, predictions_pb2.PredictResponse) == by_rpc


def test_b54_far_too_many_rows(api, kim):
    column = tables_pb2.ColumnValues(name="area", numbers=[1.0] * 10**6)
    request = predictions_pb2.PredictRequest(name="models/price", columns=[column])
    content = b'{"columns": [{"name": "area", "numbers": [' + b"1.00," * 10**6 + b"1]}]}"
    # grpcio refuses by itself, in a sentence of its own.
    refusal = quick(api, lambda: api.rpc("PredictionService.Predict", request, kim))
    assert (refusal.code, str(4 * MIB) in refusal.message) == ("RESOURCE_EXHAUSTED", True)
    refused(
        api, lambda: api.rest("POST", "/v1/models/price:predict", kim, JSON, content=content),
        code="RESOURCE_EXHAUSTED", reason="TOO_LARGE", says=["body", 4 * MIB],
    )  # fmt: skip


USES = {
    "predict": lambda *args: predict(*args[:2], GOOD, args[2]),
    "evaluate": evaluate,
    "a job": evaluate_as_job,
    "a batch": predict_as_job,
}
BATCHES = {
    "an id of another form": ({"output": "New Houses"}, "job.predict.output", ["lower-case", 54]),
    "an id of 55 letters": ({"output": "n" * 55}, "job.predict.output", ["lower-case", 54]),
    "an id that is the data set's": ({"output": "houses"}, "job.predict.output", ["houses", "another id"]),
    "a column that is not there": (
        {"keepColumns": ["area", "floor"]},
        "job.predict.keep_columns[1]",
        ["floor", "there are"],
    ),
    "a column twice": ({"keepColumns": ["area", "area"]}, "job.predict.keep_columns", ["twice"]),
    "no model": ({"model": ""}, "job.predict.model", ["is required"]),
    "no time": ({"maxSeconds": 0}, "job.predict.max_seconds", [0]),
    "endless time": ({"maxSeconds": "Infinity"}, "job.predict.max_seconds", ["finite"]),
    "columns that are missing": ({"dataset": "areas"}, "job.dataset", ["rooms", "upload the data set with it"]),
}


@pytest.mark.parametrize("case", BATCHES)
def test_batches_that_cannot_be(api, kim, case):
    task, field, says = BATCHES[case]
    api.rest("POST", "/v1/datasets:upload?datasetId=areas", kim, content=b"area,price\n1,2\n3,4\n")
    model = {"model": "models/price"} | task
    refused(api, *predict_as_job(api, kim, **model), field=field, says=says)


def test_a_batch_of_no_rows_has_no_data_set(api, kim):
    refused(
        api,
        lambda: api.rest("POST", "/v1/datasets:upload?datasetId=none", kim, content=b"area,rooms,city\n"),
        reason="INVALID_TABLE", says=["0 data rows"],
    )  # fmt: skip


def download(api, token, name, **fields):
    request = datasets_pb2.DownloadDatasetRequest(name=name, **fields)
    metadata = [("authorization", f"Bearer {token}")]
    return (
        lambda: api.rpc_stream("DatasetService.DownloadDataset", request, metadata),
        lambda: api.rest("GET", f"/v1/{name}:download", token, params=fields),
    )


def test_downloads_that_cannot_be(api, kim):
    lee = api.token("lee")
    for token, name in ((kim, "datasets/nothing"), (lee, "datasets/kim.houses"), (kim, "datasets/houses/versions/9")):
        refused(api, *download(api, token, name), code="NOT_FOUND", says=[name])
    calls = download(api, kim, "datasets/houses", format="NPZ")
    refused(api, *calls, field="format", says=["NPZ", "CSV", "PARQUET"])


def test_both_doors_send_the_same_file(api, kim):
    by_rpc, by_rest = (call() for call in download(api, kim, "datasets/houses", format="CSV"))
    assert by_rest.status_code == 200
    assert b"".join(part.data for part in by_rpc) == by_rest.content
    assert by_rest.content.startswith(b"area,")
    assert by_rpc[0].file_name == "kim.houses-1.csv"
    assert by_rest.headers["content-disposition"] == 'attachment; filename="kim.houses-1.csv"'
    assert not any(part.file_name for part in by_rpc[1:])


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("model", "made_by", "state", "says"),
    [
        ("models/runs", "running", "RUNNING", ["wait"]),
        ("models/pauses", "paused", "PAUSED", ["wait"]),
        ("models/broken", "failed", "FAILED", ["train it again"]),
        ("models/given-up", "cancelled", "CANCELLED", ["train it again"]),
        ("models/kim.runs/versions/1", "running", "RUNNING", ["wait"]),
    ],
)
def test_b55_a_model_that_is_not_made(api, kim, world, use, model, made_by, state, says):
    calls = USES[use](api, kim, model)
    refusal = refused(
        api, *calls, code="FAILED_PRECONDITION", reason="WRONG_STATE", says=[model, state, world[made_by], *says]
    )
    assert refusal.metadata == {"resource": model, "job": world[made_by], "state": state}


@pytest.mark.parametrize("use", USES)
def test_b55_a_model_whose_job_waits_and_then_is_done(api, kim, use):
    name = f"waits-{use.replace(' ', '-')}"
    job = submit(api, kim, name)
    refusal = refused(api, *USES[use](api, kim, f"models/{name}"), code="FAILED_PRECONDITION", says=["QUEUED", job])
    assert refusal.reason == "WRONG_STATE"
    learn(api, kim, job)
    answer = USES[use](api, kim, f"models/{name}")[0]()
    assert not isinstance(answer, Refusal), answer


@pytest.mark.parametrize("use", USES)
def test_b55_a_version_that_no_job_makes_and_a_model_of_another(api, kim, use):
    """Byte for byte what is said of a model that nobody has or makes."""
    lee = api.token("lee")
    api.rest("POST", "/v1/datasets:upload?datasetId=houses", lee, content=b"area,price\n1,2\n3,4\n")
    answers = set()
    for token, model in (
        (kim, "models/price/versions/2"),
        (kim, "models/runs/versions/2"),
        (kim, "models/nothing"),
        (lee, "models/kim.runs"),
        (lee, "models/kim.price"),
        (lee, "models/kim.nothing"),
    ):
        refusal = refused(api, *USES[use](api, token, model), code="NOT_FOUND", says=[model])
        answers.add(json.dumps([refusal.reason, told(refusal), refusal.metadata]).replace(model, "MODEL"))
    assert len(answers) == 1, answers


def test_b56_cancels_that_come_too_late_and_data_in_use(api, kim, world):
    name = world["ended"]
    refused(
        api,
        lambda: api.rpc("JobService.CancelJob", jobs_pb2.CancelJobRequest(name=name), kim),
        lambda: api.rest("POST", f"/v1/{name}:cancel", kim, json={}),
        code="FAILED_PRECONDITION", reason="WRONG_STATE", says=["SUCCEEDED"],
    )  # fmt: skip
    refused(
        api,
        lambda: api.rpc("DatasetService.DeleteDataset", datasets_pb2.DeleteDatasetRequest(name="datasets/houses"), kim),
        lambda: api.rest("DELETE", "/v1/datasets/houses", kim),
        code="FAILED_PRECONDITION", reason="DATASET_IN_USE", says=["houses"],
    )  # fmt: skip
    for _ in range(2):  # a cancel that comes again changes nothing
        again = api.rest("POST", f"/v1/{world['cancelled']}:cancel", kim, json={})
        assert answer_of_rest(again, jobs_pb2.Job).state == jobs_pb2.Job.CANCELLED


def create(api, token, job, request_id):
    request = json_format.ParseDict({"job": job, "request_id": request_id}, jobs_pb2.CreateJobRequest())
    return (
        lambda: api.rpc("JobService.CreateJob", request, token),
        lambda: api.rest("POST", f"/v1/jobs?requestId={request_id}", token, json=job),
    )


def test_b57_a_key_that_comes_again(api, kim):
    key, job = str(uuid.uuid4()), {"dataset": "houses", "model": "keyed", "train": TRAIN}
    by_rpc, by_rest = create(api, kim, job, key)
    assert by_rpc().name == by_rest().json()["name"] == by_rpc().name
    calls = create(api, kim, job | {"model": "other"}, key)
    refused(api, *calls, code="ALREADY_EXISTS", reason="REQUEST_ID_REUSED", says=[key, by_rpc().name, "new UUID"])


@pytest.mark.parametrize("key", ["x" * 10_000, "1", "0" * 36])
def test_b57_a_key_that_is_none(api, kim, key):
    calls = create(api, kim, {"dataset": "houses", "train": TRAIN}, key)
    refused(api, *calls, field="request_id", says=[36])


def token_of(value):
    """A page token of anything."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


SOME = "00000000-0000-4000-8000-000000000000"
GOOD_TOKEN = token_of([1.5, SOME])
FORGED = {
    "no base64": "forged",
    "no JSON": token_of("hello"),
    "no list": token_of({}),
    "too few": token_of([1.0]),
    "too many": token_of([1.0, SOME, 1]),
    "a time of 310 digits": token_of(f'[{"9" * 310}, "{SOME}"]'),
    "a time of 300 digits": token_of(f'[{"9" * 300}, "{SOME}"]'),
    "NaN": token_of(f'[NaN, "{SOME}"]'),
    "infinity": token_of(f'[Infinity, "{SOME}"]'),
    "less than nothing": token_of(f'[-Infinity, "{SOME}"]'),
    "before 1970": token_of([-1.0, SOME]),
    "after 9999": token_of([1e12, SOME]),
    "a time that is a text": token_of(["1.5", SOME]),
    "a time that is true": token_of([True, SOME]),
    "no id": token_of([1.5, "x"]),
    "an id of another kind": token_of([1.5, 7]),
    "an id in another spelling": token_of([1.5, f"{{{SOME}}}"]),
    "SQL for an id": token_of([1.5, "' OR 1=1 --"]),
    "nested deep": token_of("[" * 350),
    "signs that base64 skips": GOOD_TOKEN[:5] + "!*" + GOOD_TOKEN[5:],
    "signs behind the end": GOOD_TOKEN + "=",
    "spaces": token_of(f'[1.5,  "{SOME}"]'),
}
LISTS = {
    "JobService.ListJobs": (jobs_pb2.ListJobsRequest, "/v1/jobs"),
    "JobService.ListQueue": (jobs_pb2.ListQueueRequest, "/v1/queue"),
    "DatasetService.ListDatasets": (datasets_pb2.ListDatasetsRequest, "/v1/datasets"),
    "ModelService.ListModels": (models_pb2.ListModelsRequest, "/v1/models"),
}


def page(api, token, method, **fields):
    request, path = LISTS[method]
    return (
        lambda: api.rpc(method, request(**fields), token),
        lambda: api.rest("GET", path, token, params=fields),
    )


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("case", FORGED)
def test_b58_forged_page_tokens(api, kim, method, case):
    refused(api, *page(api, kim, method, page_token=FORGED[case]), field="page_token", says=["next_page_token"])


@pytest.mark.parametrize("token", ["w.", "w.forged", f"w.{FORGED['NaN']}", f"w.{FORGED['a time of 310 digits']}",
                                   f"w.w.{GOOD_TOKEN}", f"W.{GOOD_TOKEN}"])  # fmt: skip
def test_b58_forged_tokens_of_those_who_wait(api, kim, token):
    refused(api, *page(api, kim, "JobService.ListQueue", page_token=token), field="page_token")


@pytest.mark.parametrize("method", LISTS)
def test_b58_a_page_token_as_it_should_be(api, kim, method):
    for call in page(api, kim, method, page_token=GOOD_TOKEN):
        assert not isinstance(call(), Refusal)


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [({"page_size": -1}, "page_size", [-1, 0]), ({"page_token": "x" * 600}, "page_token", [600, 512])],
)
def test_b58_pages_that_cannot_be(api, kim, method, fields, field, says):
    refused(api, *page(api, kim, method, **fields), field=field, says=says)


def test_b58_pages_of_any_size(api, kim):
    by_rpc, by_rest = (call() for call in page(api, kim, "JobService.ListJobs", page_size=10**9))
    assert 0 < len(by_rpc.jobs) == len(by_rest.json()["jobs"]) <= 1000


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("sort=;DROP TABLE job", "sort", ["unknown", "page_size"]),
        ("page_size=1&pageSize=2", "page_size", ["twice"]),
        ("pageSize=1&page_size=2", "page_size", ["twice"]),
        ("pageSize=1&pageSize=1", "page_size", ["twice"]),
        ("pageSize=99999999999", "page_size", ["99999999999", 2147483647]),
        ("states=SLEEPING", "states[0]", ["SLEEPING", "QUEUED"]),
    ],
)
def test_b58_parameters_that_are_none(api, kim, query, field, says):
    refused(api, lambda: api.rest("GET", f"/v1/jobs?{query}", kim), field=field, says=says)


def test_guesses_cost_nothing(api, kim):
    began = time.monotonic()
    by_rpc, _ = page(api, kim, "JobService.ListJobs", page_token=FORGED["a time of 310 digits"])
    for _ in range(100):
        assert by_rpc().code == "INVALID_ARGUMENT"
    assert time.monotonic() - began < 10
