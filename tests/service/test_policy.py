"""The policy's table and what it refuses."""

import pytest

from service import policy
from service.callers import Caller
from service.errors import ScopeMissing
from service.rpc.oip import open_inference_pb2
from traind.contract_comments import read_comments

EVERYBODY = Caller("1", "kim", "aaaaaaaa", policy.SCOPES)


# The Open Inference Protocol is no part of the contract; its file says once what all its methods need.
@pytest.mark.parametrize("method", sorted(name for name in policy.TABLE if not name.startswith("inference.")))
def test_the_row_is_what_the_contract_says(method):
    assert f"Needs scope `{policy.TABLE[method]}`" in read_comments()[method]


def test_the_methods_of_the_open_inference_protocol_have_rows():
    methods = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    rows = {name: scope for name, scope in policy.TABLE.items() if name.startswith("inference.")}
    assert {*rows, *policy.PUBLIC_METHODS} == {method.full_name for method in methods}
    assert set(rows.values()) == {"predict"}


@pytest.mark.parametrize("method", ["traind.v1.JobService.Invented", "", "grpc.health.v1.Health.Check"])
def test_a_method_without_a_row_is_refused_to_everybody(method):
    with pytest.raises(ScopeMissing):
        policy.check_scope(EVERYBODY, method)


@pytest.mark.parametrize("method", sorted(policy.TABLE))
def test_only_the_scope_itself_opens_a_method(method):
    policy.check_scope(EVERYBODY, method)
    lacking = Caller("1", "kim", "aaaaaaaa", policy.SCOPES - {policy.TABLE[method]})
    with pytest.raises(ScopeMissing) as error:
        policy.check_scope(lacking, method)
    assert policy.TABLE[method] in error.value.message


def test_public_is_health_and_reflection_and_nothing_of_ours():
    assert policy.is_public("grpc.health.v1.Health.Check")
    assert not policy.is_public("grpc.health.v1.HealthX.Check")
    assert not any(policy.is_public(method) for method in policy.TABLE)
