"""Routes from annotations: what a path means."""

import pytest

from service.calling.methods import bind
from service.errors import MalformedBody, MethodNotFound, VerbNotAllowed
from service.rest.routes import Routes
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, uploads_pb2


class Anything:
    def __getattr__(self, name):
        return name


@pytest.fixture(scope="module")
def routes():
    files = (uploads_pb2, datasets_pb2, jobs_pb2, models_pb2, predictions_pb2)
    services = [s for file in files for s in file.DESCRIPTOR.services_by_name.values()]
    return Routes(bind([(service, Anything()) for service in services]).values())


@pytest.mark.parametrize(
    ("verb", "path", "method", "name"),
    [
        ("GET", "/v1/jobs", "ListJobs", None),
        ("POST", "/v1/jobs", "CreateJob", None),
        ("GET", "/v1/jobs/a-b", "GetJob", "jobs/a-b"),
        ("POST", "/v1/jobs/a:cancel", "CancelJob", "jobs/a"),
        ("GET", "/v1/jobs/a:watch", "WatchJob", "jobs/a"),
        ("GET", "/v1/datasets/kim.x", "GetDataset", "datasets/kim.x"),
        ("GET", "/v1/datasets/x/versions/2", "GetDataset", "datasets/x/versions/2"),
        ("GET", "/v1/datasets/x/versions/2:preview", "PreviewDataset", "datasets/x/versions/2"),
        ("DELETE", "/v1/datasets/x/versions/2", "DeleteDataset", "datasets/x/versions/2"),
        ("POST", "/v1/datasets:upload", "UploadDataset", None),
        ("PUT", "/v1/uploads/u", "WriteUpload", "uploads/u"),
        ("POST", "/v1/models/m/versions/3:predict", "Predict", "models/m/versions/3"),
        ("GET", "/v1/jobs/%ED%8E%AD%EA%B7%84", "GetJob", "jobs/펭귄"),
        ("GET", "/v1/models/churn%3A3", "GetModel", "models/churn:3"),
        ("GET", "/v1/jobs/a%2Fb", "GetJob", "jobs/a/b"),
        ("GET", "/v1/jobs/..", "GetJob", "jobs/.."),
        ("GET", "/v1/jobs/%252e", "GetJob", "jobs/%2e"),
    ],
)
def test_a_path_leads_to_its_method(routes, verb, path, method, name):
    route, variables = routes.find(verb, path)
    assert route.method.descriptor.name == method
    assert variables == ({} if name is None else {"name": name})


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/", "/v1/jobs/", "/v1/job", "/v1//jobs", "//v1/jobs", "/V1/jobs", "/v2/jobs", "/v1/jobs\n"),
        *("/v1/jobs/a/b", "/v1/jobs/a:nonsense", "/v1/jobs/a:b:cancel", "/v1/jobs/a%3Acancel/b"),
        "/v1/datasets/x/versions",
    ],
)
def test_other_paths_lead_nowhere(routes, path):
    for verb in ("GET", "POST"):
        with pytest.raises(MethodNotFound):
            routes.find(verb, path)


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("GET", "/v1/jobs/a:cancel", "POST"),
        ("PATCH", "/v1/datasets/x", "DELETE, GET"),
        ("HEAD", "/v1/jobs", "GET, POST"),
        ("OPTIONS", "/v1/uploads/u", "GET, PUT"),
        ("get", "/v1/jobs", "GET, POST"),
    ],
)
def test_a_wrong_verb_is_told_the_right_ones(routes, verb, path, allow):
    with pytest.raises(VerbNotAllowed) as error:
        routes.find(verb, path)
    assert error.value.metadata == {"allow": allow}


def test_bytes_that_are_no_text_are_refused(routes):
    with pytest.raises(MalformedBody, match="UTF-8"):
        routes.find("GET", "/v1/jobs/%FF")
