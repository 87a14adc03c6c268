"""The one table of calls that both doors must answer alike."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from traind.v1 import (
    datasets_pb2,
    jobs_pb2,
    models_pb2,
    networks_pb2,
    predictions_pb2,
    server_pb2,
    specs_pb2,
    tables_pb2,
    uploads_pb2,
)

NOWHERE = "jobs/00000000-0000-4000-8000-000000000000"
REQUEST_ID = "123e4567-e89b-42d3-a456-426614174000"
LONG = "x" * 300


@dataclass(frozen=True)
class Case:
    """One call: to gRPC as `message(world)`, to REST as `rest(world)` = (verb, path, more of httpx).

    `refused` = (code, reason, fields in the order of the answer); None = the answers are equal messages.
    """

    name: str
    method: str
    message: Message | Callable[[Any], Message]
    rest: Callable[[Any], tuple[str, str, dict[str, Any]]]
    refused: tuple[str, str, list[str]] | None = None
    as_user: str = "kim"
    # What the message to people says.
    says: tuple[str, ...] = field(default=())


def get(path, **params):
    return lambda world: ("GET", path.format(**world), {"params": params} if params else {})


def post(path, json=None, **params):
    def made(world):
        body = json(world) if callable(json) else json
        more = {} if body is None else {"json": body}
        return "POST", path.format(**world), more | ({"params": params} if params else {})

    return made


def job(**fields):
    """A TrainSpec as JSON, changed by `fields`."""
    return {"target": ["price"], "network": {"linear": {}}} | fields


def train(**spec):
    """The same job, only to be checked, as a message and as a REST call."""
    body = {"dataset": "penguins", "train": job(**spec)}

    def message(_world):
        return json_format.ParseDict({"job": body, "validate_only": True}, jobs_pb2.CreateJobRequest())

    return message, post("/v1/jobs", body, validateOnly="true")


def trains(name, spec, refused=None, says=()):
    message, rest = train(**spec)
    return Case(name, "JobService.CreateJob", message, rest, refused, says=says)


def forks(name, body, refused, says=(), as_user="kim", of="queued"):
    def message(world):
        return json_format.ParseDict({"name": world[of]} | body, jobs_pb2.ForkJobRequest())

    return Case(name, "JobService.ForkJob", message, post(f"/v1/{{{of}}}:fork", body), refused, as_user, says)


def wrong(*fields):
    return "INVALID_ARGUMENT", "INVALID_FIELD", list(fields)


MISSING = ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])
ADAM = "job.train.learn.gradient.optimizer.adam.lr"


def adam(lr):
    return {"learn": {"gradient": {"optimizer": {"adam": {"lr": lr}}}}}


CASES = [
    Case("server info", "ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), get("/v1/serverInfo")),
    # The queue.
    Case("the queue", "JobService.ListQueue", jobs_pb2.ListQueueRequest(), get("/v1/queue")),
    Case(
        "the queue as another sees it",
        "JobService.ListQueue",
        jobs_pb2.ListQueueRequest(),
        get("/v1/queue"),
        as_user="lee",
    ),
    Case(
        "a page of the queue",
        "JobService.ListQueue",
        jobs_pb2.ListQueueRequest(page_size=1),
        get("/v1/queue", pageSize=1),
    ),
    Case(
        "a page of no queue",
        "JobService.ListQueue",
        jobs_pb2.ListQueueRequest(page_token="w."),
        get("/v1/queue", pageToken="w."),
        wrong("page_token"),
        says=("begin again without it",),
    ),
    Case(
        "less than no queue",
        "JobService.ListQueue",
        jobs_pb2.ListQueueRequest(page_size=-1),
        get("/v1/queue", pageSize=-1),
        wrong("page_size"),
    ),
    # Jobs.
    Case("a job", "JobService.GetJob", lambda w: jobs_pb2.GetJobRequest(name=w["done"]), get("/v1/{done}")),
    Case("a waiting job", "JobService.GetJob", lambda w: jobs_pb2.GetJobRequest(name=w["queued"]), get("/v1/{queued}")),
    Case(
        "a missing job",
        "JobService.GetJob",
        jobs_pb2.GetJobRequest(name=NOWHERE),
        get(f"/v1/{NOWHERE}"),
        MISSING,
    ),
    Case(
        "another's job",
        "JobService.GetJob",
        lambda w: jobs_pb2.GetJobRequest(name=w["done"]),
        get("/v1/{done}"),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a job by no UUID",
        "JobService.GetJob",
        jobs_pb2.GetJobRequest(name="jobs/..%2Fx"),
        get("/v1/jobs/..%252Fx"),
        wrong("name"),
    ),
    Case(
        "a name that is too long",
        "JobService.GetJob",
        jobs_pb2.GetJobRequest(name="jobs/" + LONG),
        get(f"/v1/jobs/{LONG}"),
        wrong("name"),
        says=("305", "200"),
    ),
    Case(
        "a control character in a name",
        "JobService.GetJob",
        jobs_pb2.GetJobRequest(name="jobs/a\x00b"),
        get("/v1/jobs/a%00b"),
        wrong("name"),
        says=("\\x00", "control"),
    ),
    Case("jobs", "JobService.ListJobs", jobs_pb2.ListJobsRequest(), get("/v1/jobs")),
    Case("nobody's jobs", "JobService.ListJobs", jobs_pb2.ListJobsRequest(), get("/v1/jobs"), as_user="new"),
    Case(
        "jobs in states",
        "JobService.ListJobs",
        jobs_pb2.ListJobsRequest(states=["QUEUED", "SUCCEEDED"], page_size=1),
        get("/v1/jobs", states=["QUEUED", "SUCCEEDED"], pageSize=1),
    ),
    Case(
        "a page beyond the largest",
        "JobService.ListJobs",
        jobs_pb2.ListJobsRequest(page_size=2**31 - 1),
        get("/v1/jobs", page_size=2**31 - 1),
    ),
    Case(
        "a negative page",
        "JobService.ListJobs",
        jobs_pb2.ListJobsRequest(page_size=-1),
        get("/v1/jobs", page_size=-1),
        wrong("page_size"),
        says=("-1", "0"),
    ),
    Case(
        "a forged page token",
        "JobService.ListJobs",
        jobs_pb2.ListJobsRequest(page_token="';DROP"),
        get("/v1/jobs", pageToken="';DROP"),
        wrong("page_token"),
    ),
    Case(
        "history",
        "JobService.GetHistory",
        lambda w: jobs_pb2.GetHistoryRequest(name=w["done"]),
        get("/v1/{done}:history"),
    ),
    Case(
        "thin history",
        "JobService.GetHistory",
        lambda w: jobs_pb2.GetHistoryRequest(name=w["done"], max_points=4),
        get("/v1/{done}:history", maxPoints=4),
    ),
    Case(
        "another's history",
        "JobService.GetHistory",
        lambda w: jobs_pb2.GetHistoryRequest(name=w["done"]),
        get("/v1/{done}:history"),
        MISSING,
        as_user="lee",
    ),
    Case(
        "too many points",
        "JobService.GetHistory",
        lambda w: jobs_pb2.GetHistoryRequest(name=w["done"], max_points=1_000_001),
        get("/v1/{done}:history", maxPoints=1_000_001),
        wrong("max_points"),
        says=("1000001", "1000000"),
    ),
    Case(
        "cancel again",
        "JobService.CancelJob",
        lambda w: jobs_pb2.CancelJobRequest(name=w["cancelled"]),
        post("/v1/{cancelled}:cancel", {}),
    ),
    Case(
        "cancel without a body",
        "JobService.CancelJob",
        lambda w: jobs_pb2.CancelJobRequest(name=w["cancelled"]),
        post("/v1/{cancelled}:cancel"),
    ),
    Case(
        "cancel what has ended",
        "JobService.CancelJob",
        lambda w: jobs_pb2.CancelJobRequest(name=w["done"]),
        post("/v1/{done}:cancel", {}),
        ("FAILED_PRECONDITION", "WRONG_STATE", []),
        says=("SUCCEEDED",),
    ),
    Case(
        "pause what has ended",
        "JobService.PauseJob",
        lambda w: jobs_pb2.PauseJobRequest(name=w["done"]),
        post("/v1/{done}:pause", {}),
        ("FAILED_PRECONDITION", "WRONG_STATE", []),
    ),
    Case(
        "resume what is not paused",
        "JobService.ResumeJob",
        lambda w: jobs_pb2.ResumeJobRequest(name=w["queued"]),
        post("/v1/{queued}:resume", {}),
        ("FAILED_PRECONDITION", "WRONG_STATE", []),
    ),
    *(
        Case(
            f"{verb} another's job",
            f"JobService.{verb.title()}Job",
            lambda w, request=request: request(name=w["queued"]),
            post(f"/v1/{{queued}}:{verb}", {}),
            MISSING,
            as_user="lee",
        )
        for verb, request in (
            ("cancel", jobs_pb2.CancelJobRequest),
            ("pause", jobs_pb2.PauseJobRequest),
            ("resume", jobs_pb2.ResumeJobRequest),
            ("retry", jobs_pb2.RetryJobRequest),
        )
    ),
    Case(
        "retry what succeeded",
        "JobService.RetryJob",
        lambda w: jobs_pb2.RetryJobRequest(name=w["done"]),
        post("/v1/{done}:retry", {}),
        ("FAILED_PRECONDITION", "WRONG_STATE", []),
        says=("SUCCEEDED", ":fork"),
    ),
    Case(
        "a retry with a wrong request id",
        "JobService.RetryJob",
        lambda w: jobs_pb2.RetryJobRequest(name=w["done"], request_id="again"),
        post("/v1/{done}:retry", {"requestId": "again"}),
        wrong("request_id"),
    ),
    Case(
        "a webhook that the administrator does not name",
        "JobService.CreateJob",
        lambda _: json_format.ParseDict(
            {"job": {"dataset": "penguins", "train": job(), "webhooks": ["lab"]}}, jobs_pb2.CreateJobRequest()
        ),
        post("/v1/jobs", {"dataset": "penguins", "train": job(), "webhooks": ["lab"]}),
        wrong("job.webhooks[0]"),
        says=("TRAIND_WEBHOOKS",),
    ),
    Case(
        "an address in place of a webhook's name",
        "JobService.CreateJob",
        lambda _: json_format.ParseDict(
            {"job": {"dataset": "penguins", "train": job(), "webhooks": ["http://169.254.169.254/"]}},
            jobs_pb2.CreateJobRequest(),
        ),
        post("/v1/jobs", {"dataset": "penguins", "train": job(), "webhooks": ["http://169.254.169.254/"]}),
        wrong("job.webhooks[0]"),
    ),
    forks("a fork without a change", {}, wrong("learn")),
    forks("a fork that changes nothing", {"learn": {}}, wrong("learn")),
    forks(
        "a fork of no checkpoint",
        {"learn": {"gradient": {"epochs": 40}}},
        ("FAILED_PRECONDITION", "WRONG_STATE", []),
        says=("no checkpoint",),
    ),
    forks(
        "a fork of more epochs than there can be",
        {"learn": {"gradient": {"epochs": 10**7}}},
        wrong("learn.gradient.epochs"),
    ),
    forks(
        "a fork of no more epochs than its checkpoint has",
        {"learn": {"gradient": {"epochs": 2}}},
        wrong("learn.gradient.epochs"),
        says=("stands after epoch 2", "ask for more than 2"),
        of="iterated",
    ),
    forks("another's fork", {"learn": {"gradient": {"epochs": 40}}}, MISSING, as_user="lee"),
    # New jobs, only checked.
    trains("a job that would be taken", {}),
    trains("a whole spec", {"inputs": ["area"], "dtype": "FLOAT64", "seed": 7} | adam(0.01)),
    Case(
        "an empty request",
        "JobService.CreateJob",
        jobs_pb2.CreateJobRequest(),
        post("/v1/jobs"),
        wrong("job", "job.dataset"),
    ),
    Case(
        "an empty job",
        "JobService.CreateJob",
        jobs_pb2.CreateJobRequest(job=jobs_pb2.Job()),
        post("/v1/jobs", {}),
        wrong("job.dataset", "job"),
        says=("job.dataset",),
    ),
    Case(
        "no task",
        "JobService.CreateJob",
        jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="penguins")),
        post("/v1/jobs", {"dataset": "penguins"}),
        wrong("job"),
        says=("train, evaluate",),
    ),
    Case(
        "an empty spec",
        "JobService.CreateJob",
        jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="penguins", train=specs_pb2.TrainSpec())),
        post("/v1/jobs", {"dataset": "penguins", "train": {}}),
        wrong("job.train.target", "job.train.network"),
    ),
    Case(
        "output-only fields",
        "JobService.CreateJob",
        jobs_pb2.CreateJobRequest(
            job=jobs_pb2.Job(
                name="jobs/mine",
                dataset="penguins",
                train=specs_pb2.TrainSpec(target=["price"], network=networks_pb2.Network(linear={})),
                state="SUCCEEDED",
                done=True,
                epoch=9,
                parent="jobs/x\x00",
                failure=jobs_pb2.Failure(message="no"),
            ),
            validate_only=True,
        ),
        post(
            "/v1/jobs",
            {
                "name": "jobs/mine",
                "dataset": "penguins",
                "train": job(),
                "state": "NEW_STATE_OF_A_NEWER_SERVER",
                "done": "yes",
                "epoch": [],
                "parent": 3,
                "failure": {"unknown": 1},
            },
            validate_only="true",
        ),
    ),
    Case(
        "a data set that is not there",
        "JobService.CreateJob",
        lambda w: _with_dataset(train()[0](w), "lee.penguins"),
        post(
            "/v1/jobs",
            {"dataset": "lee.penguins", "train": job()},
            validateOnly="true",
        ),
        MISSING,
    ),
    trains("no such column", {"target": ["weight"]}, wrong("job.train.target[0]"), says=("weight",)),
    trains("a rate of 0", adam(0), wrong(ADAM), says=("is 0.0", "greater than 0", "1000")),
    trains("a negative rate", adam(-1), wrong(ADAM)),
    trains("a rate of 1e30", adam(1e30), wrong(ADAM), says=("1e+30",)),
    trains("a rate that is NaN", adam("NaN"), wrong(ADAM), says=("NaN", "must be finite")),
    trains("an infinite rate", adam("Infinity"), wrong(ADAM), says=("Infinity",)),
    trains("0 epochs", {"learn": {"gradient": {"epochs": 0}}}, wrong("job.train.learn.gradient.epochs")),
    trains(
        "too many epochs",
        {"learn": {"gradient": {"epochs": 10**9}}},
        wrong("job.train.learn.gradient.epochs"),
        says=("1000000000", "1000000"),
    ),
    trains("batches of 0", {"learn": {"gradient": {"batchSize": 0}}}, wrong("job.train.learn.gradient.batch_size")),
    trains("no kind of network", {"network": {}}, wrong("job.train.network"), says=("linear, perceptron, mlp",)),
    trains(
        "no way to learn", {"learn": {}}, wrong("job.train.learn"), says=("gradient, exact, perceptron_rule, given",)
    ),
    trains(
        "layers of 0 and -1",
        {"network": {"mlp": {"hidden": [0, 8, -1]}}},
        wrong("job.train.network.mlp.hidden[0]", "job.train.network.mlp.hidden[2]"),
        says=("is 0",),
    ),
    trains(
        "100,000 layers",
        {"network": {"mlp": {"hidden": [1] * 100_000}}},
        wrong("job.train.network.mlp.hidden"),
        says=("512",),
    ),
    trains("columns twice", {"inputs": ["area", "area"]}, wrong("job.train.inputs"), says=("once",)),
    trains("a control character in a column", {"inputs": ["a\tb"]}, wrong("job.train.inputs[0]"), says=("\\t",)),
    trains(
        "500 wrong columns",
        {"inputs": [f"\x01{i}" for i in range(500)]},
        wrong(*(f"job.train.inputs[{i}]" for i in range(20))),
    ),
    trains(
        "weights of many dimensions",
        {"learn": {"given": {"weights": {"a\u00e9": {"shape": [1] * 9}}}}},
        wrong('job.train.learn.given.weights["a\u00e9"].shape'),
        says=("9", "8"),
    ),
    Case(
        "a request id that is no UUID",
        "JobService.CreateJob",
        lambda w: _with_id(train()[0](w), "K" * 10_000),
        post("/v1/jobs", {"dataset": "penguins", "train": job()}, validateOnly="true", requestId="K" * 10_000),
        wrong("request_id"),
        says=("KKK", "UUID"),
    ),
    Case(
        "a model's name that is none",
        "JobService.CreateJob",
        lambda w: _with_model(train()[0](w), "Nö!"),
        post("/v1/jobs", {"dataset": "penguins", "model": "Nö!", "train": job()}, validateOnly="true"),
        wrong("job.model"),
        says=("lower-case", "63"),
    ),
    Case(
        "a display name that is too long",
        "JobService.CreateJob",
        lambda w: _with_display_name(train()[0](w), LONG),
        post("/v1/jobs", {"dataset": "penguins", "displayName": LONG, "train": job()}, validateOnly="true"),
        wrong("job.display_name"),
        says=("300", "128"),
    ),
    # 43 letters of three decomposed jamo each are more than 128 code points, and 43 syllables.
    Case(
        "a display name in Hangul",
        "JobService.CreateJob",
        lambda w: _with_display_name(train()[0](w), "\u1112\u1161\u11ab" * 43),
        post(
            "/v1/jobs",
            {"dataset": "penguins", "displayName": "\u1112\u1161\u11ab" * 43, "train": job()},
            validateOnly="true",
        ),
    ),
    Case(
        "a request id with another job",
        "JobService.CreateJob",
        lambda w: jobs_pb2.CreateJobRequest(
            job=_with_display_name(train()[0](w), "another").job, request_id=w["request_id"]
        ),
        post("/v1/jobs", {"dataset": "penguins", "displayName": "another", "train": job()}, requestId=REQUEST_ID),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", []),
    ),
    Case(
        "a request id again",
        "JobService.CreateJob",
        lambda w: jobs_pb2.CreateJobRequest(job=train()[0](w).job, request_id=w["request_id"]),
        post("/v1/jobs", {"dataset": "penguins", "train": job()}, requestId=REQUEST_ID),
    ),
    # Data sets and uploads.
    Case(
        "a data set",
        "DatasetService.GetDataset",
        datasets_pb2.GetDatasetRequest(name="datasets/penguins"),
        get("/v1/datasets/penguins"),
    ),
    Case(
        "a version of a data set",
        "DatasetService.GetDataset",
        datasets_pb2.GetDatasetRequest(name="datasets/kim.penguins/versions/1"),
        get("/v1/datasets/kim.penguins/versions/1"),
    ),
    Case(
        "a version that is not there",
        "DatasetService.GetDataset",
        datasets_pb2.GetDatasetRequest(name="datasets/kim.penguins/versions/99"),
        get("/v1/datasets/kim.penguins/versions/99"),
        MISSING,
    ),
    Case(
        "another's data set",
        "DatasetService.GetDataset",
        datasets_pb2.GetDatasetRequest(name="datasets/kim.penguins"),
        get("/v1/datasets/kim.penguins"),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a data set by no name",
        "DatasetService.GetDataset",
        datasets_pb2.GetDatasetRequest(name="datasets/Penguins"),
        get("/v1/datasets/Penguins"),
        wrong("name"),
    ),
    Case(
        "data sets",
        "DatasetService.ListDatasets",
        datasets_pb2.ListDatasetsRequest(page_size=1),
        get("/v1/datasets", pageSize=1),
    ),
    Case(
        "a preview",
        "DatasetService.PreviewDataset",
        datasets_pb2.PreviewDatasetRequest(name="datasets/house", row_count=3),
        get("/v1/datasets/house:preview", row_count=3),
    ),
    Case(
        "a preview of too many rows",
        "DatasetService.PreviewDataset",
        datasets_pb2.PreviewDatasetRequest(name="datasets/penguins", row_count=1001),
        get("/v1/datasets/penguins:preview", rowCount=1001),
        wrong("row_count"),
    ),
    Case(
        "deleting what is in use",
        "DatasetService.DeleteDataset",
        datasets_pb2.DeleteDatasetRequest(name="datasets/penguins"),
        lambda _: ("DELETE", "/v1/datasets/penguins", {}),
        ("FAILED_PRECONDITION", "DATASET_IN_USE", []),
    ),
    Case(
        "deleting another's data set",
        "DatasetService.DeleteDataset",
        datasets_pb2.DeleteDatasetRequest(name="datasets/kim.penguins"),
        lambda _: ("DELETE", "/v1/datasets/kim.penguins", {}),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a data set of no upload",
        "DatasetService.CreateDataset",
        datasets_pb2.CreateDatasetRequest(dataset_id="new"),
        post("/v1/datasets", dataset_id="new"),
        wrong("source", "source.upload"),
    ),
    Case(
        "a data set of a missing upload",
        "DatasetService.CreateDataset",
        datasets_pb2.CreateDatasetRequest(
            dataset_id="new", source=datasets_pb2.DatasetSource(upload=NOWHERE.replace("jobs", "uploads"))
        ),
        post("/v1/datasets", {"upload": NOWHERE.replace("jobs", "uploads")}, datasetId="new"),
        MISSING,
    ),
    Case(
        "an upload with a wrong hash",
        "UploadService.CreateUpload",
        uploads_pb2.CreateUploadRequest(upload=uploads_pb2.Upload(sha256="abc")),
        post("/v1/uploads", {"sha256": "abc"}),
        wrong("upload.sha256"),
        says=("64",),
    ),
    Case(
        "an upload that is too large",
        "UploadService.CreateUpload",
        uploads_pb2.CreateUploadRequest(upload=uploads_pb2.Upload(size_bytes=2**62)),
        post("/v1/uploads", {"sizeBytes": str(2**62)}),
        ("RESOURCE_EXHAUSTED", "TOO_LARGE", []),
    ),
    Case(
        "an upload",
        "UploadService.GetUpload",
        lambda w: uploads_pb2.GetUploadRequest(name=w["upload"]),
        get("/v1/{upload}"),
    ),
    Case(
        "another's upload",
        "UploadService.GetUpload",
        lambda w: uploads_pb2.GetUploadRequest(name=w["upload"]),
        get("/v1/{upload}"),
        MISSING,
        as_user="lee",
    ),
    # Models.
    Case("models", "ModelService.ListModels", models_pb2.ListModelsRequest(), get("/v1/models")),
    Case("a model", "ModelService.GetModel", models_pb2.GetModelRequest(name="models/house"), get("/v1/models/house")),
    Case(
        "a version of a model",
        "ModelService.GetModel",
        models_pb2.GetModelRequest(name="models/kim.house/versions/1"),
        get("/v1/models/kim.house/versions/1"),
    ),
    Case(
        "another's model",
        "ModelService.GetModel",
        models_pb2.GetModelRequest(name="models/kim.house"),
        get("/v1/models/kim.house"),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a model of a missing upload",
        "ModelService.ImportModel",
        models_pb2.ImportModelRequest(upload=NOWHERE.replace("jobs", "uploads")),
        post("/v1/models:import", {"upload": NOWHERE.replace("jobs", "uploads")}),
        MISSING,
    ),
    Case(
        "a model of an empty upload",
        "ModelService.ImportModel",
        lambda w: models_pb2.ImportModelRequest(upload=w["upload"]),
        lambda w: ("POST", "/v1/models:import", {"json": {"upload": w["upload"]}}),
        ("INVALID_ARGUMENT", "INVALID_MODEL_FILE", []),
        says=("0 bytes",),
    ),
    Case(
        "a model of another's upload",
        "ModelService.ImportModel",
        lambda w: models_pb2.ImportModelRequest(upload=w["upload"]),
        lambda w: ("POST", "/v1/models:import", {"json": {"upload": w["upload"]}}),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a model of no id",
        "ModelService.ImportModel",
        lambda w: models_pb2.ImportModelRequest(upload=w["upload"], model_id="Nö!", request_id="x"),
        lambda w: (
            "POST",
            "/v1/models:import",
            {"json": {"upload": w["upload"], "modelId": "Nö!", "requestId": "x"}},
        ),
        wrong("model_id", "request_id"),
    ),
    Case(
        "weights",
        "ModelService.GetWeights",
        models_pb2.GetWeightsRequest(name="models/house/versions/1"),
        get("/v1/models/house/versions/1:weights"),
    ),
    Case(
        "a measurement",
        "ModelService.EvaluateModel",
        models_pb2.EvaluateModelRequest(name="models/house", dataset="house", dof=18),
        post("/v1/models/house:evaluate", {"dataset": "house", "dof": 18}),
    ),
    Case(
        "predictions",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(
            name="models/house", columns=[tables_pb2.ColumnValues(name="area", numbers=[32, 0.5])]
        ),
        post("/v1/models/house:predict", {"columns": [{"name": "area", "numbers": [32, 0.5]}]}),
    ),
    Case(
        "predictions of a version, and no row",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(
            name="models/house/versions/1", columns=[tables_pb2.ColumnValues(name="area")], return_hidden=True
        ),
        post("/v1/models/house/versions/1:predict", {"columns": [{"name": "area"}], "returnHidden": True}),
    ),
    Case(
        "predictions of another column",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(
            name="models/house", columns=[tables_pb2.ColumnValues(name="garden\t", numbers=[1])]
        ),
        post("/v1/models/house:predict", {"columns": [{"name": "garden\t", "numbers": [1]}]}),
        wrong("columns[0].name"),
    ),
    Case(
        "another's model for predictions",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(
            name="models/kim.house", columns=[tables_pb2.ColumnValues(name="area", numbers=[1])]
        ),
        post("/v1/models/kim.house:predict", {"columns": [{"name": "area", "numbers": [1]}]}),
        MISSING,
        as_user="lee",
    ),
    Case(
        "a missing model",
        "ModelService.GetModel",
        models_pb2.GetModelRequest(name="models/none"),
        get("/v1/models/none"),
        MISSING,
    ),
    Case(
        "weights of a missing model",
        "ModelService.GetWeights",
        models_pb2.GetWeightsRequest(name="models/none/versions/2"),
        get("/v1/models/none/versions/2:weights"),
        MISSING,
    ),
    Case(
        "a measurement of nothing",
        "ModelService.EvaluateModel",
        models_pb2.EvaluateModelRequest(name="models/none", dof=0),
        post("/v1/models/none:evaluate", {"dof": "0"}),
        wrong("dataset", "dof"),
    ),
    Case(
        "a prediction of a missing model",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(name="models/none", columns=[tables_pb2.ColumnValues(name="area", numbers=[1])]),
        post("/v1/models/none:predict", {"columns": [{"name": "area", "numbers": [1]}]}),
        MISSING,
    ),
    Case(
        "a prediction of no columns",
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(name="models/none"),
        post("/v1/models/none:predict", {}),
        wrong("columns"),
    ),
]


def _with_id(request, request_id):
    request.request_id = request_id
    return request


def _with_model(request, model):
    request.job.model = model
    return request


def _with_display_name(request, name):
    request.job.display_name = name
    return request


def _with_dataset(request, dataset):
    request.job.dataset = dataset
    return request
