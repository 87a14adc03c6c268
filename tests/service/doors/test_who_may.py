"""Every method and every route, at both doors: who may not come in, and that both doors say so alike."""

import time

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from service import accounts, policy
from service.programs.api import methods_of
from service.rest.routes import Routes
from tests.service.doors.running import Refusal, refusal_of_rest, refusal_of_rpc
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, server_pb2

SCOPES = sorted(policy.SCOPES)
UNKNOWN = "trd_aaaaaaaa_" + "A" * 43

# The methods of the Open Inference Protocol are asked in tests/service/serving.
CONTRACT = sorted(name for name in policy.TABLE if name.startswith("traind.v1."))


@pytest.fixture(scope="module")
def methods(doors):
    return methods_of(doors.app)


def call_rpc(doors, method, token=None, metadata=()):
    """An empty call; the messages are never looked at before the token is."""
    request = GetMessageClass(method.descriptor.input_type)()
    name = method.full_name.removeprefix("traind.v1.")
    sent = list(metadata) + ([("authorization", f"Bearer {token}")] if token else [])
    try:
        answer = doors.method(name)(iter([request]) if method.client_streaming else request, metadata=sent, timeout=10)
        return list(answer) if method.server_streaming else answer
    except grpc.RpcError as error:
        return refusal_of_rpc(error)


def call_rest(doors, route, token=None, **more):
    path = route.template
    for name, segments in route.variables:
        path = path.replace(f"{{{name}={segments}}}", segments.replace("*", "none"))
    return doors.rest(route.verb, path, token, **more)


def test_every_method_has_exactly_one_row(methods):
    assert set(methods) == set(CONTRACT)


def test_every_method_has_a_route_and_every_route_a_method(methods):
    routes = Routes(methods.values()).all
    assert {route.method.full_name for route in routes} == set(methods)
    assert len({(route.verb, route.template) for route in routes}) == len(routes)


@pytest.mark.parametrize("method", CONTRACT)
def test_nobody_without_a_token_that_may(doors, methods, method):
    found = methods[method]
    revoked, expired = doors.token("gone", ["read"]), doors.token("gone", ["submit"], expires_at=1.0)
    accounts.revoke_token(doors.app.database, revoked[4:12])
    lacking = doors.token("kim", [scope for scope in SCOPES if scope != policy.TABLE[method]])
    refusals = {}
    for name, token in {
        "none": None,
        "unknown": UNKNOWN,
        "garbage": "x",
        "revoked": revoked,
        "expired": expired,
        "scope": lacking,
    }.items():
        by_rpc = call_rpc(doors, found, token)
        assert isinstance(by_rpc, Refusal), f"{name}: {by_rpc}"
        for route in Routes([found]).all:
            response = call_rest(doors, route, token)
            assert refusal_of_rest(response) == by_rpc, name
            assert response.headers.get("www-authenticate") == (None if name == "scope" else "Bearer")
        refusals[name] = by_rpc
    assert {name: (r.code, r.reason) for name, r in refusals.items()} == {
        "none": ("UNAUTHENTICATED", "TOKEN_REQUIRED"),
        "unknown": ("UNAUTHENTICATED", "TOKEN_REJECTED"),
        "garbage": ("UNAUTHENTICATED", "TOKEN_REJECTED"),
        "revoked": ("UNAUTHENTICATED", "TOKEN_REJECTED"),
        "expired": ("UNAUTHENTICATED", "TOKEN_REJECTED"),
        "scope": ("PERMISSION_DENIED", "SCOPE_MISSING"),
    }
    # Unknown, revoked and expired cannot be told apart.
    assert len({r.message for name, r in refusals.items() if r.reason == "TOKEN_REJECTED"}) == 1
    assert refusals["scope"].metadata == {"scope": policy.TABLE[method], "method": method}


@pytest.mark.parametrize("method", CONTRACT)
def test_the_one_scope_is_enough(doors, methods, method):
    token = doors.token("kim", [policy.TABLE[method]])
    answers = [call_rpc(doors, methods[method], token)]
    answers += [
        refusal_of_rest(response) if response.status_code >= 400 else None
        for response in (call_rest(doors, route, token) for route in Routes([methods[method]]).all)
    ]
    for answer in answers:
        assert not isinstance(answer, Refusal) or answer.code in {"INVALID_ARGUMENT", "NOT_FOUND"}, answer


def test_a_token_in_the_url_is_refused_also_beside_a_good_one(doors):
    token = doors.token("kim")
    for query in (f"token={token}", f"access_token={token}", f"pageToken={token}"):
        refusal = refusal_of_rest(doors.rest("GET", f"/v1/jobs?{query}", token))
        assert refusal.reason == "TOKEN_REJECTED"
        assert token not in refusal.message


@pytest.mark.parametrize("authorization", ["Basic a2ltOmtpbQ==", "Bearer", "Bearer  x", "trd_aaaaaaaa_" + "A" * 43])
def test_other_ways_to_prove_oneself_are_refused(doors, authorization):
    refusal = refusal_of_rest(doors.rest("GET", "/v1/jobs", headers={"authorization": authorization}))
    assert refusal.reason == "TOKEN_REJECTED"
    by_rpc = doors.rpc("JobService.ListJobs", jobs_pb2.ListJobsRequest(), metadata=[("authorization", authorization)])
    assert by_rpc == refusal


def test_two_tokens_are_one_too_many(doors):
    sent = [("authorization", f"Bearer {doors.token('kim')}")] * 2
    by_rpc = doors.rpc("JobService.ListJobs", jobs_pb2.ListJobsRequest(), metadata=sent)
    assert by_rpc.reason == "TOKEN_REJECTED"
    response = doors.http.get("/v1/jobs", headers=sent)
    assert refusal_of_rest(response).reason == "TOKEN_REJECTED"


@pytest.mark.alone
def test_a_revoked_token_is_refused_within_a_second_or_so(doors):
    token = accounts.create_token(doors.app.database, "kim", ["read"])
    info = server_pb2.GetServerInfoRequest()
    assert not isinstance(doors.rpc("ServerService.GetServerInfo", info, token), Refusal)
    accounts.revoke_token(doors.app.database, token[4:12])
    began = time.monotonic()
    wait_until(lambda: isinstance(doors.rpc("ServerService.GetServerInfo", info, token), Refusal), "it is refused", 5)
    assert time.monotonic() - began < 2
    assert doors.rest("GET", "/v1/serverInfo", token).status_code == 401


def test_public_paths_need_no_token_and_tell_nothing(doors):
    for path in ("/healthz", "/readyz"):
        response = doors.rest("GET", path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
