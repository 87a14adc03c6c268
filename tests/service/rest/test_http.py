"""HTTP as such: statuses, headers, public paths, and bodies that are refused with a place."""

import re
import socket
import time

import pytest

from service.rest.door import RestDoor
from tests.service.doors.running import Refusal, refusal_of_rest, running
from traind.v1 import jobs_pb2


def test_paths_and_verbs_that_are_not_there(door):
    response = door.rest("GET", "/v1/nonsense")
    assert (response.status_code, refusal_of_rest(response).reason) == (404, "METHOD_NOT_FOUND")
    response = door.rest("PUT", "/v1/jobs")
    assert (response.status_code, refusal_of_rest(response).reason) == (405, "VERB_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, POST"
    assert door.rest("POST", "/healthz").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_head_has_the_headers_of_get(door, path):
    head, got = door.rest("HEAD", path), door.rest("GET", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))


def test_answers_tell_nothing_of_the_server_and_are_not_kept(door):
    headers = door.rest("GET", "/v1/serverInfo", door.token("kim")).headers
    assert "server" not in headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "application/json"


def test_a_browser_of_another_site_gets_no_leave(door):
    response = door.rest("OPTIONS", "/v1/jobs", headers={"origin": "https://example.org"})
    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        (b"", "INVALID_FIELD", "job: is required"),
        (b"hello", "MALFORMED_BODY", "1:1"),
        (b'{\n"dataset": }', "MALFORMED_BODY", "2:12"),
        (b'{"dataset": "a", "dataset": "b"}', "MALFORMED_BODY", '"dataset"'),
        (b"[1]", "INVALID_FIELD", "must be an object"),
        (b"null", "INVALID_FIELD", "must be an object"),
        (b'{"dataset": "\\ud800"}', "INVALID_FIELD", "job.dataset"),
        (b'{"dataset": "a\\u0000b"}', "INVALID_FIELD", "job.dataset"),
        (b'{"display_nam": "x"}', "INVALID_FIELD", "display_name"),
        (b'{"owner_id": "x"}', "INVALID_FIELD", "job.owner_id"),
        (b'{"train": {"seed": 3.5}}', "INVALID_FIELD", "job.train.seed: is a number (3.5); must be a whole number"),
        (b'{"train": {"seed": true}}', "INVALID_FIELD", "job.train.seed: is a boolean (true)"),
        (
            b'{"train": {"learn": {"gradient": {"optimizer": {"adam": {"lr": NaN}}}}}}',
            "INVALID_FIELD",
            "adam.lr: must be finite",
        ),
        (
            b'{"train": {"learn": {"gradient": {"optimizer": {"adam": {"lr": 1e999}}}}}}',
            "INVALID_FIELD",
            "adam.lr: must be finite",
        ),
        (b'{"train": {"seed": ' + b"7" * 5000 + b"}}", "MALFORMED_BODY", "4300"),
        (b"[" * 50_000, "MALFORMED_BODY", "deeper than 20"),
        (b"\xff", "MALFORMED_BODY", "UTF-8"),
    ],
)
def test_bodies_that_are_refused(door, body, reason, says):
    headers = {"content-type": "application/json"}
    refusal = refusal_of_rest(door.rest("POST", "/v1/jobs", door.token("kim"), headers, content=body))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)
    assert says in " ".join([refusal.message, *(f"{field}: {text}" for field, text in refusal.violations)])


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("pageSize=x", "page_size"),
        ("nonsense=1", "nonsense"),
        ("pageToken=%FF", "UTF-8"),
        ("x&" * 1001, "1000"),
        ("states=QUEUED&states=queued", "states[1]"),
    ],
)
def test_queries_that_are_refused(door, query, says):
    refusal = refusal_of_rest(door.rest("GET", f"/v1/jobs?{query}", door.token("kim")))
    assert refusal.code == "INVALID_ARGUMENT"
    assert says in str(refusal)


def test_a_name_in_the_body_must_be_that_of_the_path(door):
    kim = door.token("kim")
    name, other = (f"jobs/00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
    assert refusal_of_rest(door.rest("POST", f"/v1/{name}:cancel", kim, json={"name": name})).code == "NOT_FOUND"
    refusal = refusal_of_rest(door.rest("POST", f"/v1/{name}:cancel", kim, json={"name": other}))
    assert [field for field, _ in refusal.violations] == ["name"]
    refusal = refusal_of_rest(door.rest("POST", f"/v1/{name}:cancel?name={other}", kim))
    assert [field for field, _ in refusal.violations] == ["name"]


def test_too_many_calls_at_once_are_refused_and_health_is_not(door, monkeypatch):
    monkeypatch.setattr("service.rest.door.MOST_CALLS", 0)
    response = door.rest("GET", "/v1/jobs", door.token("kim"))
    assert (response.status_code, refusal_of_rest(response).reason) == (429, "RATE_LIMITED")
    assert response.headers["retry-after"] == "1"
    assert door.rest("GET", "/healthz").status_code == 200


def test_readiness_is_the_database_s(door, monkeypatch):
    def away():
        raise TimeoutError("host=db.internal password=x")

    monkeypatch.setattr(door.app.database, "read", away)
    response = door.rest("GET", "/readyz")
    assert response.status_code == 500
    assert "internal" not in response.text.replace("INTERNAL", "")
    assert door.rest("GET", "/healthz").status_code == 200


def test_documents_can_be_switched_off(tmp_path):
    with running("sqlite", tmp_path, docs=False) as doors:
        assert doors.rest("GET", "/openapi.json").status_code == 404


def test_a_connection_serves_one_call_after_another_with_its_own_token(door):
    """What one call knows of its caller does not stay for the next on the same connection."""
    kim, lee = door.token("kim"), door.token("lee")
    for token, name in [(kim, "kim"), (lee, "lee")] * 5:
        assert door.rest("GET", "/v1/serverInfo", token).json()["user"] == name
    assert door.rest("GET", "/v1/serverInfo").status_code == 401


def test_pipelined_calls_are_answered_in_order(door):
    def call(path, last=False):
        end = "connection: close\r\n" if last else ""
        return f"GET {path} HTTP/1.1\r\nhost: x\r\n{end}\r\n".encode()

    with socket.create_connection(("127.0.0.1", door.http_port), timeout=5) as connection:
        connection.sendall(call("/healthz") + call("/v1/jobs") + call("/healthz", last=True))
        received = b""
        while part := connection.recv(65536):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"401", b"200"]


@pytest.mark.alone
def test_small_answers_leave_at_once(door):
    """Head and body are two writes: with Nagle's algorithm the second waits 40 ms for the client's delayed ACK."""
    seconds = []
    for _ in range(60):
        began = time.perf_counter()
        door.rest("GET", "/healthz")
        seconds.append(time.perf_counter() - began)
    assert min(seconds[30:]) < 0.03


def test_the_door_is_plain_asgi(door):
    """No framework stands before it whose middleware would cost more than the call."""
    assert not isinstance(door.rpc("JobService.ListJobs", jobs_pb2.ListJobsRequest(), door.token("kim")), Refusal)
    assert RestDoor.__mro__ == (RestDoor, object)
