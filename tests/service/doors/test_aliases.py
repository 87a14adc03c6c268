"""Aliases and deletions at both doors: answers and refusals are the same, and so are the HTTP statuses."""

import pytest
from google.protobuf import empty_pb2

from service.store import artifacts
from service.store import models as model_store
from tests.service.doors import seeds
from tests.service.doors.running import Refusal, answer_of_rest, refusal_of_rest
from tests.service.store.test_models import add
from traind.v1 import models_pb2

CHAMPION = "models/kim.churn/aliases/champion"


@pytest.fixture(scope="module")
def kim(doors):
    """kim's token; kim has three versions of `churn`, as far as SQL knows."""
    token = doors.token("kim")
    doors.token("lee")
    dataset = seeds.add_dataset(doors.database, "kim", "churn")
    jobs = [seeds.add_job(doors.database, dataset) for _ in range(3)]
    owner = type("Owner", (), {"id": dataset.owner_id})
    for job in jobs:
        add(doors.database, owner, job)
    return token


def put_rpc(doors, token, **fields):
    return doors.rpc("ModelService.SetAlias", models_pb2.SetAliasRequest(name="models/churn", **fields), token)


def put_rest(doors, token, **fields):
    return doors.rest("POST", "/v1/models/churn:setAlias", token, json=fields)


def alias_of(response):
    return answer_of_rest(response, models_pb2.ModelAlias)


def test_set_here_and_seen_there(doors, kim):
    first = put_rpc(doors, kim, alias="champion", version=1)
    assert first.name == CHAMPION
    assert alias_of(doors.rest("GET", f"/v1/{CHAMPION}", kim)) == first
    second = alias_of(put_rest(doors, kim, alias="champion", version="2", etag=first.etag))
    assert second.version == 2
    assert doors.rpc("ModelService.GetAlias", models_pb2.GetAliasRequest(name=CHAMPION), kim) == second
    model = doors.rpc("ModelService.GetModel", models_pb2.GetModelRequest(name="churn@champion"), kim)
    assert (model.name, list(model.aliases)) == ("models/kim.churn/versions/2", ["champion"])
    assert answer_of_rest(doors.rest("GET", "/v1/models/churn@champion", kim), models_pb2.Model) == model
    assert answer_of_rest(doors.rest("GET", "/v1/models/kim.churn%40champion", kim), models_pb2.Model) == model
    assert answer_of_rest(doors.rest("GET", "/v1/models/churn%3A2", kim), models_pb2.Model) == model
    listed = doors.rpc("ModelService.ListAliases", models_pb2.ListAliasesRequest(parent="models/churn"), kim)
    there = doors.rest("GET", "/v1/models/churn/aliases", kim)
    assert answer_of_rest(there, models_pb2.ListAliasesResponse) == listed
    assert [one.version for one in listed.aliases] == [2]


def test_an_etag_of_before_is_a_conflict(doors, kim):
    old = put_rpc(doors, kim, alias="champion", version=1)
    new = put_rpc(doors, kim, alias="champion", version=2)
    by_rpc = put_rpc(doors, kim, alias="champion", version=3, etag=old.etag)
    response = put_rest(doors, kim, alias="champion", version="3", etag=old.etag)
    assert response.status_code == 409
    assert refusal_of_rest(response) == by_rpc
    assert (by_rpc.code, by_rpc.reason) == ("ABORTED", "ALIAS_MOVED")
    assert by_rpc.metadata == {
        "resource": CHAMPION, "etag": old.etag, "standing_etag": new.etag, "version": "2",
    }  # fmt: skip
    assert not by_rpc.retry
    request = models_pb2.DeleteAliasRequest(name=CHAMPION, etag=old.etag)
    by_rpc = doors.rpc("ModelService.DeleteAlias", request, kim)
    response = doors.rest("DELETE", f"/v1/{CHAMPION}", kim, params={"etag": old.etag})
    assert refusal_of_rest(response) == by_rpc
    assert by_rpc.reason == "ALIAS_MOVED"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"alias": "Champion", "version": 1}, ["alias"]),
        ({"alias": "-a", "version": 1}, ["alias"]),
        ({"alias": "a" * 64, "version": 1}, ["alias"]),
        ({"alias": "", "version": 0}, ["alias", "version"]),
        ({"alias": "a", "version": -1}, ["version"]),
        ({"alias": "a", "version": 2**40}, ["version"]),
        ({"alias": "a", "version": 1, "etag": "x" * 65}, ["etag"]),
    ],
)
def test_what_no_alias_can_be(doors, kim, fields, wrong):
    by_rpc = put_rpc(doors, kim, **fields)
    assert refusal_of_rest(put_rest(doors, kim, **fields)) == by_rpc
    assert (by_rpc.code, by_rpc.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert [field for field, _ in by_rpc.violations] == wrong


def test_another_s_and_a_missing_one_have_the_same_bytes(doors, kim):
    """But for the name that the caller sent."""
    put_rpc(doors, kim, alias="champion", version=1)
    lee = doors.token("lee")
    calls = [
        ("GET", "/v1/models/{}/aliases/champion", {}),
        ("GET", "/v1/models/{}/aliases", {}),
        ("GET", "/v1/models/{}@champion", {}),
        ("DELETE", "/v1/models/{}/aliases/champion", {}),
        ("DELETE", "/v1/models/{}/versions/3", {}),
        ("POST", "/v1/models/{}:setAlias", {"json": {"alias": "champion", "version": "1"}}),
        ("POST", "/v1/models/{}@champion:predict", {"json": {"columns": [{"name": "a", "numbers": [1]}]}}),
    ]
    for verb, path, more in calls:
        own = {"x-request-id": "one"}
        foreign, missing = (doors.rest(verb, path.format(name), lee, own, **more) for name in ("kim.churn", "kim.nix"))
        assert foreign.status_code == missing.status_code == 404, path
        assert foreign.text.replace("kim.churn", "kim.nix") == missing.text
        assert set(foreign.headers) == set(missing.headers)
    found = doors.rpc("ModelService.GetAlias", models_pb2.GetAliasRequest(name=CHAMPION), kim)
    assert found.version == 1


@pytest.mark.parametrize(
    ("verb", "path", "scope"),
    [
        ("POST", "/v1/models/churn:setAlias", "submit"),
        ("DELETE", f"/v1/{CHAMPION}", "submit"),
        ("DELETE", "/v1/models/churn/versions/3", "submit"),
        ("GET", f"/v1/{CHAMPION}", "read"),
        ("GET", "/v1/models/churn/aliases", "read"),
    ],
)
def test_a_missing_scope_is_told_before_anything_else(doors, kim, verb, path, scope):
    token = doors.token("kim", [one for one in ("read", "submit", "predict") if one != scope])
    response = doors.rest(verb, path, token, **({"json": {}} if verb == "POST" else {}))
    assert response.status_code == 403
    refusal = refusal_of_rest(response)
    assert (refusal.reason, refusal.metadata["scope"]) == ("SCOPE_MISSING", scope)


def test_a_version_is_deleted_at_either_door_once_no_alias_points_to_it(doors, kim):
    put_rpc(doors, kim, alias="champion", version=3)
    request = models_pb2.DeleteModelRequest(name="models/churn/versions/3")
    by_rpc = doors.rpc("ModelService.DeleteModel", request, kim)
    assert (by_rpc.code, by_rpc.reason) == ("FAILED_PRECONDITION", "MODEL_IN_USE")
    response = doors.rest("DELETE", "/v1/models/churn/versions/3", kim)
    assert response.status_code == 400
    assert refusal_of_rest(response) == by_rpc
    put_rest(doors, kim, alias="champion", version="1")
    with doors.database.read() as connection:
        rows = {row.version: row for row in model_store.list_page(connection, _owner(connection), 3)}
    assert doors.rpc("ModelService.DeleteModel", request, kim) == empty_pb2.Empty()
    assert doors.rest("DELETE", "/v1/models/churn%3A2", kim).json() == {}
    again = doors.rpc("ModelService.DeleteModel", request, kim)
    assert isinstance(again, Refusal)
    assert again.reason == "RESOURCE_NOT_FOUND"
    assert refusal_of_rest(doors.rest("DELETE", "/v1/models/churn/versions/3", kim)) == again
    with doors.database.read() as connection:
        for gone in (rows[3], rows[2]):
            assert not model_store.is_there(connection, gone.id)
            assert artifacts._find_stored(connection, gone.artifact_id) is None


def _owner(connection):
    return connection.exec_driver_sql("SELECT owner_id FROM model").scalar()


def test_a_version_must_be_named_to_be_deleted(doors, kim):
    by_rpc = doors.rpc("ModelService.DeleteModel", models_pb2.DeleteModelRequest(name="churn"), kim)
    assert [field for field, _ in by_rpc.violations] == ["name"]
    assert "versions are deleted one by one" in by_rpc.message
    assert refusal_of_rest(doors.rest("DELETE", "/v1/models/churn", kim)).reason == "INVALID_FIELD"
