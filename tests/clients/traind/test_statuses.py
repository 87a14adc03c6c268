import pickle

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

import traind
from traind import statuses
from traind.errors import TraindError, Violation
from traind.statuses import decode_status
from traind.v1 import errors_pb2


def details(*, reason="", violations=(), retry_s=None, metadata=None):
    status = status_pb2.Status()
    if reason:
        packed = error_details_pb2.ErrorInfo(reason=reason, domain="traind", metadata=metadata or {})
        status.details.add().Pack(packed)
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, description in violations:
            bad.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad)
    if retry_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def test_every_reason_of_the_contract_has_its_error():
    reasons = set(errors_pb2.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    assert set(statuses._BY_REASON) == reasons


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("INVALID_ARGUMENT", "INVALID_FIELD", traind.InvalidSpec),
        ("UNAUTHENTICATED", "TOKEN_REQUIRED", traind.AuthRequired),
        ("PERMISSION_DENIED", "SCOPE_MISSING", traind.Forbidden),
        ("NOT_FOUND", "RESOURCE_NOT_FOUND", traind.NotFound),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", traind.Conflict),
        ("RESOURCE_EXHAUSTED", "TOO_LARGE", traind.TooLarge),
        ("RESOURCE_EXHAUSTED", "RATE_LIMITED", traind.RateLimited),
        ("RESOURCE_EXHAUSTED", "DISK_FULL", traind.ServerError),
        ("UNAVAILABLE", "SHUTTING_DOWN", traind.Unavailable),
        ("DEADLINE_EXCEEDED", "DEADLINE_PASSED", traind.TimedOut),
        ("INTERNAL", "INTERNAL_ERROR", traind.ServerError),
        # Without a reason, or with one from a newer server, the code decides.
        ("NOT_FOUND", "", traind.NotFound),
        ("FAILED_PRECONDITION", "MOON_IN_THE_WAY", traind.Conflict),
        ("UNKNOWN", "", traind.ServerError),
    ],
)
def test_kinds(code, reason, kind):
    error = decode_status(code, "text", details(reason=reason))
    assert type(error) is kind
    assert (error.code, error.reason) == (code, reason)


def test_builtin_kinds():
    assert issubclass(traind.InvalidSpec, ValueError)
    assert issubclass(traind.NotFound, LookupError)
    assert issubclass(traind.ConnectionFailed, ConnectionError)
    assert issubclass(traind.TimedOut, TimeoutError)
    assert issubclass(traind.WaitTimeout, TimeoutError)


def test_one_field_reads_what_where_fix():
    path = "job.train.learn.gradient.epochs"
    packed = details(reason="INVALID_FIELD", violations=[(path, "0 is below 1; write 1 to 1000000")])
    error = decode_status("INVALID_ARGUMENT", f"{path}: 0 is below 1; write 1 to 1000000", packed)
    assert str(error) == f"0 is below 1\n  at    {path}\n  fix   write 1 to 1000000"
    assert error.field == path
    packed = details(reason="INVALID_FIELD", violations=[(path, "is 0; must be 1 or more")])
    assert str(decode_status("INVALID_ARGUMENT", "x", packed)).splitlines()[0] == "epochs is 0"


def test_the_way_to_a_list_is_told_in_this_clients_words():
    packed = details(reason="RESOURCE_NOT_FOUND")
    error = decode_status("NOT_FOUND", "there is no churn that you may see; list yours with GET /v1/models", packed)
    assert str(error) == "there is no churn that you may see\n  fix   list yours with: traind models list"


def test_many_fields_are_listed_and_counted():
    fields = [(f"job.f{i}", "is wrong") for i in range(20)]
    error = decode_status("INVALID_ARGUMENT", "long text", details(reason="INVALID_FIELD", violations=fields))
    lines = str(error).splitlines()
    assert lines[0] == "20 fields are wrong"
    assert lines[1] == "  at    job.f0: is wrong"
    assert lines[-1].strip() == "and 12 more"
    assert error.violations[19] == Violation("job.f19", "is wrong")


def test_metadata_and_retry():
    packed = details(reason="RATE_LIMITED", retry_s=1.5, metadata={"limit": "7"})
    error = decode_status("RESOURCE_EXHAUSTED", "slow down", packed)
    assert error.retry_after == 1.5
    assert error.metadata == {"limit": "7"}


@pytest.mark.parametrize("broken", [None, b"", b"\xff\xff\xff", b"no protobuf at all"])
def test_broken_details_leave_the_code(broken):
    error = decode_status("NOT_FOUND", "there is none", broken)
    assert type(error) is traind.NotFound
    assert str(error) == "there is none"


def test_errors_can_be_pickled():
    error = decode_status("NOT_FOUND", "there is none; look again", details(reason="RESOURCE_NOT_FOUND"))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.reason == "RESOURCE_NOT_FOUND"
    assert isinstance(again, TraindError)
