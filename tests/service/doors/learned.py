"""Jobs that learn in the test's own process, over the database and the files of a server in another one."""

import pytest

from service import ledger
from tests.service.doors.refused import upload
from tests.service.doors.running import answer_of_rest
from traind.v1 import jobs_pb2
from worker.run import run_job


def claim(api, name, lease_s=600):
    """Claim a job; whatever was queued before it is learned first."""
    while True:
        found = ledger.claim(api.database, "test:1", lease_s)
        assert found is not None, f"{name} does not wait"
        if f"jobs/{found.job.id}" == name:
            return found
        run_job(api.settings, api.database, found, lambda: False)


def learn(api, token, name):
    """The job when it has ended."""
    assert run_job(api.settings, api.database, claim(api, name), lambda: False) == "done"
    return answer_of_rest(api.rest("GET", f"/v1/{name}", token), jobs_pb2.Job)


TRAIN = {"target": ["price"], "inputs": ["area", "rooms", "city"], "network": {"linear": {}}, "seed": 1}
HOUSES = b"area,rooms,city,price\n" + b"".join(
    b"%d,%d,%s,%d\n" % (20 + n, n % 4, (b"Seoul", b"Busan")[n % 2], 3 * n) for n in range(40)
)


def submit(api, token, model, **fields):
    """The name of a job on `houses`."""
    body = {"dataset": "houses", "model": model, "train": TRAIN} | fields
    return answer_of_rest(api.rest("POST", "/v1/jobs", token, json=body), jobs_pb2.Job).name


@pytest.fixture(scope="package")
def world(api):
    """The data set `houses`, the model `price`, and jobs in states that a call may meet: their names by the state."""
    kim = api.token("kim")
    assert upload(api, kim, HOUSES, "houses").status_code == 200
    ended = submit(api, kim, "price")
    assert learn(api, kim, ended).state == jobs_pb2.Job.SUCCEEDED
    failed = submit(api, kim, "broken")
    ledger.fail(api.database, claim(api, failed), "DIVERGED", "the loss became NaN in epoch 3: use a smaller rate")
    running = submit(api, kim, "runs")
    claim(api, running)
    cancelled = submit(api, kim, "given-up")
    assert api.rest("POST", f"/v1/{cancelled}:cancel", kim, json={}).json()["state"] == "CANCELLED"
    paused = submit(api, kim, "pauses")
    assert api.rest("POST", f"/v1/{paused}:pause", kim, json={}).json()["state"] == "PAUSED"
    return {"ended": ended, "failed": failed, "running": running, "cancelled": cancelled, "paused": paused}
