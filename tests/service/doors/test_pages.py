"""Pages of large objects, by a client that takes no answer above gRPC's own limit of 4 MiB."""

import json
import secrets

import pytest

from service.paging import PAGE_BYTES
from service.store import artifacts, datasets, jobs, models, users
from tests.service.doors.running import Refusal
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2

# In UTF-8 about 190 KB; a job has them twice.
NAMES = [f"{i:04}{'가' * 125}" for i in range(500)]
COLUMNS = json.dumps([{"name": name, "type": "NUMBER"} for name in [*NAMES, "y"]])
SPEC = json.dumps({"inputs": NAMES, "target": ["y"], "network": {"linear": {}}})
COUNT = 12
LISTS = {
    "JobService.ListJobs": (jobs_pb2.ListJobsRequest, "jobs"),
    "DatasetService.ListDatasets": (datasets_pb2.ListDatasetsRequest, "datasets"),
    "ModelService.ListModels": (models_pb2.ListModelsRequest, "models"),
}


@pytest.fixture(scope="module")
def wide(doors):
    """The token of a person with COUNT large objects of each kind."""
    token = doors.token("wide")
    with doors.database.write() as connection:
        owner = users.find_user(connection, "wide").id
        for number in range(COUNT):
            row = datasets.add_version(
                connection,
                owner_id=owner,
                slug="wide",
                display_name="",
                sha256=secrets.token_hex(32),
                options_sha256="0" * 64,
                size_bytes=1,
                row_count=20,
                columns_json=COLUMNS,
                table_sha256=secrets.token_hex(32),
                encoding="",
            )
            job = jobs.add(
                connection,
                owner_id=owner,
                dataset_id=row.id,
                dataset_name=f"datasets/wide.wide/versions/{row.version}",
                kind="train",
                display_name=f"{number}",
                model_slug="wide",
                task_json=SPEC,
                resolved_json=SPEC,
                parameter_count=2,
                epochs=1,
                request_id=None,
                request_hash=None,
            )
            add_model(connection, job)
    return token


def add_model(connection, job):
    """What a job leaves behind, with weights that nobody reads."""
    artifact_id, version_id = artifacts.new_id(), artifacts.new_id()
    artifacts.store_small(connection, b"weights", "weights", f"model:{version_id}", artifact_id)
    models.add_version(
        connection,
        version_id=version_id,
        owner_id=job.owner_id,
        slug="wide",
        job_id=job.id,
        dataset_name=job.dataset_name,
        display_name="",
        artifact_id=artifact_id,
        weights_sha256="0" * 64,
        spec_json=SPEC,
        inputs_json=json.dumps([{"name": name, "type": "NUMBER"} for name in NAMES]),
        outputs_json="[]",
        preprocessing_json="{}",
        metrics_json="{}",
        findings_json="[]",
        parameter_count=2,
        size_bytes=7,
        best_epoch=1,
        engine="1.0",
    )


@pytest.mark.parametrize("page_size", [0, 3, 1000])
@pytest.mark.parametrize("method", LISTS)
def test_pages_of_large_objects_fit_and_lead_to_each_object_once(doors, wide, method, page_size):
    request, field = LISTS[method]
    pages, token = [], ""
    while not pages or token:
        answer = doors.rpc(method, request(page_size=page_size, page_token=token), wide)
        assert not isinstance(answer, Refusal), answer
        found, token = getattr(answer, field), answer.next_page_token
        assert len(found) == 1 or sum(one.ByteSize() for one in found) <= PAGE_BYTES
        pages.append([one.name for one in found])
    names = [name for page in pages for name in page]
    assert all(pages)
    assert len(set(names)) == len(names) == COUNT
    assert any(len(page) > 1 for page in pages)


def test_an_object_larger_than_a_page_has_one_of_its_own(doors, wide, monkeypatch):
    monkeypatch.setattr("service.paging.PAGE_BYTES", 1)
    answer = doors.rpc("JobService.ListJobs", jobs_pb2.ListJobsRequest(), wide)
    assert len(answer.jobs) == 1
    assert answer.next_page_token
