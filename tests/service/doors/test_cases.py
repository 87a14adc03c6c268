"""Both doors answer every call of the table alike: the same message, or the same refusal in the same words."""

import math

import pytest

from service import ledger
from service.calling.methods import MOST_MESSAGE_BYTES
from tests.service.doors import seeds
from tests.service.doors.cases import CASES, REQUEST_ID, train
from tests.service.doors.process import ROOT
from tests.service.doors.running import Refusal, answer_of_rest, refusal_of_rest
from traind.v1 import jobs_pb2, server_pb2, uploads_pb2
from worker.run import run_job

# price = 2 area + 1
HOUSE = b"area,price\n" + b"".join(b"%d,%d\n" % (n, 2 * n + 1) for n in range(20))
LEAKS = ("Traceback", "site-packages", str(ROOT), "/root", "SELECT", "sqlalchemy", "psycopg", "sqlite", "trd_")


@pytest.fixture(scope="module")
def world(doors):
    """What stands in the store: kim's data set in two versions, a done, a cancelled and a waiting job, an upload."""
    database, kim = doors.app.database, doors.token("kim")
    doors.token("lee"), doors.token("new")
    house = doors.rest("POST", "/v1/datasets:upload?datasetId=house", kim, content=HOUSE).json()
    for learn in ({"exact": {}}, {"gradient": {"epochs": 2}}):
        submitted = train(target=["price"], learn=learn, split={"none": {}})[0](None)
        submitted.validate_only, submitted.job.dataset = False, "house"
        learned = doors.rpc("JobService.CreateJob", submitted, kim)
        claim = ledger.claim(database, "test:1", 60)
        assert f"jobs/{claim.job.id}" == learned.name
        assert run_job(doors.settings, database, claim, lambda: False) == "done"
    seeds.add_dataset(database, "kim", "penguins")
    dataset = seeds.add_dataset(database, "kim", "penguins", rows=40)
    done = seeds.add_job(database, dataset, display_name="펭귄 <script>")
    seeds.run(database, done)
    cancelled = seeds.add_job(database, dataset)
    doors.rpc("JobService.CancelJob", jobs_pb2.CancelJobRequest(name=f"jobs/{cancelled.id}"), kim)
    queued = seeds.add_job(database, dataset)
    request = train()[0](None)
    again = jobs_pb2.CreateJobRequest(job=request.job, request_id=REQUEST_ID)
    assert not isinstance(doors.rpc("JobService.CreateJob", again, kim), Refusal)
    upload = doors.rpc("UploadService.CreateUpload", uploads_pb2.CreateUploadRequest(), kim)
    assert isinstance(upload, uploads_pb2.Upload)
    return {
        "iterated": learned.name,
        "done": f"jobs/{done.id}",
        "cancelled": f"jobs/{cancelled.id}",
        "queued": f"jobs/{queued.id}",
        "request_id": REQUEST_ID,
        "upload": upload.name,
        "house": house["name"],
    }


def without_clock(answer):
    """An answer without what another moment changes."""
    if isinstance(answer, server_pb2.ServerInfo):
        assert answer.HasField("time")
        assert answer.free_bytes > 0
        answer.ClearField("time")
        answer.ClearField("free_bytes")
    return answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_doors_answer_alike(doors, world, case):
    token = doors.token(case.as_user)
    message = case.message(world) if callable(case.message) else case.message
    by_rpc = doors.rpc(case.method, message, token)
    verb, path, more = case.rest(world)
    response = doors.rest(verb, path, token, **more)
    if case.refused is None:
        assert not isinstance(by_rpc, Refusal), by_rpc
        assert without_clock(answer_of_rest(response, type(by_rpc))) == without_clock(by_rpc)
        return
    assert isinstance(by_rpc, Refusal), by_rpc
    by_rest = refusal_of_rest(response)
    assert by_rest == by_rpc
    code, reason, fields = case.refused
    assert (by_rpc.code, by_rpc.reason) == (code, reason), by_rpc
    assert [field for field, _ in by_rpc.violations] == fields
    told = " ".join([by_rpc.message, *(text for _, text in by_rpc.violations)])
    for words in case.says:
        assert words in told
    assert not any(leak in told for leak in LEAKS), told


def test_another_s_job_and_a_missing_one_have_the_same_bytes(doors, world):
    """But for the name that the caller sent."""
    lee = doors.token("lee")
    nowhere = "jobs/00000000-0000-4000-8000-000000000000"
    foreign, missing = (
        doors.rest("GET", f"/v1/{name}", lee, {"x-request-id": "one"}) for name in (world["done"], nowhere)
    )
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(world["done"], nowhere) == missing.text
    assert set(foreign.headers) == set(missing.headers)


def test_pages_lead_through_every_job_once(doors, world):
    kim = doors.token("kim")
    names, token = [], ""
    while True:
        page = doors.rest("GET", "/v1/jobs", kim, params={"pageSize": 1, "pageToken": token}).json()
        names += [job["name"] for job in page.get("jobs", [])]
        token = page.get("nextPageToken", "")
        if not token:
            break
    whole = doors.rpc("JobService.ListJobs", jobs_pb2.ListJobsRequest(), kim)
    assert names == [job.name for job in whole.jobs]
    assert len(names) == len(set(names)) >= 4


def test_a_job_over_the_wire_keeps_nan_and_infinity(doors, world):
    kim = doors.token("kim")
    history = doors.rpc("JobService.GetHistory", jobs_pb2.GetHistoryRequest(name=world["done"]), kim)
    by_name = {series.name: series for series in history.series}
    assert list(by_name["train_loss"].values) == [1.0, 0.5, 1 / 3]
    assert all(math.isnan(value) for value in by_name["val_loss"].values)
    series = doors.rest("GET", f"/v1/{world['done']}:history", kim).json()["series"]
    assert next(s for s in series if s["name"] == "val_loss")["values"] == ["NaN"] * 3
    metrics = doors.rest("GET", f"/v1/{world['done']}", kim).json()["metrics"]
    assert {"name": "r2", "value": "-Infinity"} in metrics


def test_limits_that_the_server_tells_are_those_it_has(doors):
    info = doors.rest("GET", "/v1/serverInfo", doors.token("kim")).json()
    assert info["maxMessageBytes"] == str(MOST_MESSAGE_BYTES)
    assert (info["grpcPort"], info["httpPort"]) == (doors.grpc_port, doors.http_port)
    assert info["database"] == doors.app.database.kind
    assert info["user"] == "kim"
