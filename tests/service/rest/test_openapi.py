"""The OpenAPI document tells what REST serves."""

import pytest

from service.programs.api import methods_of
from service.rest.routes import Routes


@pytest.fixture(scope="module")
def document(door):
    return door.rest("GET", "/openapi.json").json()


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_every_route_is_there_once(door, document):
    routes = Routes(methods_of(door.app).values()).all
    operations = [
        (verb.upper(), path, operation["operationId"])
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    assert len(operations) == len(routes)
    assert len({name for _, _, name in operations}) == len(operations)
    assert ("GET", "/v1/jobs/{job}:watch", "JobService_WatchJob") in operations
    assert ("GET", "/v1/datasets/{dataset}/versions/{version}", "DatasetService_GetDataset_2") in operations


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    found = set(references(document))
    assert found
    assert {ref.removeprefix("#/components/schemas/") for ref in found} == set(schemas)


def test_every_operation_and_every_field_is_described(document):
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert operation["summary"], (verb, path)
            assert operation["security"][0]["bearer"][0] in {"read", "submit", "predict", "admin"}
            assert {"200", "default"} == set(operation["responses"])
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in named)
            assert path.count("{") == len(named)
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, of_field in schema.get("properties", {}).items():
            assert of_field.get("description") or name == "Error", (name, field)


def test_rules_of_the_contract_are_in_the_schemas(document):
    schemas = document["components"]["schemas"]
    assert schemas["Job"]["properties"]["dataset"]["maxLength"] == 200
    assert schemas["Mlp"]["properties"]["hidden"]["maxItems"] == 512
    assert schemas["Mlp"]["properties"]["hidden"]["items"]["maximum"] == 1048576
    assert schemas["Adam"]["properties"]["lr"]["exclusiveMinimum"] == 0
    assert schemas["Job"]["required"] == ["dataset"]
    assert schemas["Job"]["properties"]["state"]["readOnly"] is True
    assert "DIVERGED" in schemas["Failure.Reason"]["enum"]


def test_parameters_are_those_that_the_method_takes(document):
    parameters = document["paths"]["/v1/jobs"]["get"]["parameters"]
    assert [p["name"] for p in parameters] == ["pageSize", "pageToken", "states"]
    create = document["paths"]["/v1/jobs"]["post"]
    assert [p["name"] for p in create["parameters"]] == ["requestId", "validateOnly"]
    assert "application/octet-stream" in document["paths"]["/v1/datasets:upload"]["post"]["requestBody"]["content"]
    predict = document["paths"]["/v1/models/{model}:predict"]["post"]["requestBody"]["content"]["application/json"]
    assert set(predict["schema"]["properties"]) == {"columns", "returnHidden"}
