"""The OpenAPI document tells what REST serves, and is one."""

import json
import pathlib
import re

import jsonschema
import pytest

from service.programs.api import methods_of
from service.rest.docs.examples import EXAMPLES
from service.rest.routes import Routes

OPENAPI = json.loads((pathlib.Path(__file__).parents[2] / "data" / "openapi-3.1.json").read_text(encoding="utf-8"))


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


def operations(document):
    return [(path, verb, operation) for path, verbs in document["paths"].items() for verb, operation in verbs.items()]


def test_it_is_valid_by_the_schema_of_openapi(document):
    validator = jsonschema.Draft202012Validator(OPENAPI)
    validator.check_schema(OPENAPI)
    assert [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(document)] == []
    # The schema sees what is wrong.
    assert list(validator.iter_errors(document | {"paths": {"v1": {}}}))
    assert list(validator.iter_errors(document | {"info": {"title": "x"}}))


def schemas_of(document):
    """Every schema: the components, and those of parameters, bodies and answers."""
    yield from document["components"]["schemas"].items()
    for path, verb, operation in operations(document):
        for parameter in operation["parameters"]:
            yield f"{verb} {path} {parameter['name']}", parameter["schema"]
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in part.get("content", {}).values():
                yield f"{verb} {path}", media["schema"]


def test_every_schema_is_one(document):
    found = list(schemas_of(document))
    assert len(found) > 200
    for name, schema in found:
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            pytest.fail(f"{name}: {error.message}")


def matches(document, schema, value):
    """What a schema of the document, with its references, has against a value."""
    whole = schema | {"components": document["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


def test_examples_are_those_of_the_page_and_fit_their_schemas(document):
    seen = 0
    for path, verb, operation in operations(document):
        service, method = operation["operationId"].split("_")[:2]
        example = EXAMPLES[f"traind.v1.{service}.{method}"]
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" or parameter["name"] in example.query:
                assert matches(document, parameter["schema"], parameter["example"]) == [], (verb, path, parameter)
                seen += 1
        assert {p["name"] for p in operation["parameters"] if p["in"] == "query" and "example" in p} == set(
            example.query
        )
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if kind == "application/json":
                assert media["example"] == example.body
                assert matches(document, media["schema"], media["example"]) == [], (verb, path)
                seen += 1
    assert seen > 50


def test_a_path_with_its_examples_is_that_of_the_page(document):
    for path, verb, operation in operations(document):
        values = {p["name"]: p["example"] for p in operation["parameters"] if p["in"] == "path"}
        made = re.sub(r"\{([a-z]+)\}", lambda found, values=values: values[found[1]], path)
        service, method = operation["operationId"].split("_")[:2]
        shown = EXAMPLES[f"traind.v1.{service}.{method}"].path
        assert made.replace("/versions/1", "") == shown.replace("/versions/1", ""), (verb, path)


def test_it_is_made_when_it_is_first_asked_for(door):
    first, again = door.rest("GET", "/openapi.json"), door.rest("GET", "/openapi.json")
    assert first.content == again.content
    assert first.headers["content-type"] == "application/json"
