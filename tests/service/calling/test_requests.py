"""What is checked of a request before its verb: rules in words, and how much of them fits into an answer."""

import math
from urllib.parse import quote

import pytest

from service.calling import requests, statuses
from service.errors import InvalidField, Violation
from traind.v1 import jobs_pb2, optimizers_pb2, predictions_pb2, specs_pb2


def refused(request):
    with pytest.raises(InvalidField) as error:
        requests.check(request)
    return {violation.field: violation.description for violation in error.value.violations}


@pytest.mark.parametrize(
    ("lr", "says"),
    [
        (math.nan, "is NaN; must be finite"),
        (math.inf, "is Infinity; must be finite"),
        (0.0, "is 0.0; must be greater than 0 and less than or equal to 1000"),
    ],
)
def test_one_field_has_one_description(lr, says):
    assert refused(optimizers_pb2.Adam(lr=lr)) == {"lr": says}


def test_a_missing_message_tells_what_it_would_need():
    assert refused(jobs_pb2.CreateJobRequest()) == {"job": "is required", "job.dataset": "is required"}


def test_cells_may_hold_what_cells_of_a_file_hold():
    request = predictions_pb2.PredictRequest(name="models/m")
    request.columns.add(name="x", strings=["two\nlines", "a\tb"])
    requests.check(request)
    request.columns[0].name = "a\nb"
    assert list(refused(request)) == ["columns[0].name"]


def test_rules_are_not_checked_of_lists_without_end():
    request = predictions_pb2.PredictRequest(name="models/m")
    for _ in range(4097):
        request.columns.add()
    assert refused(request) == {"columns": "has 4097 entries; at most 4096 are allowed"}


def test_nobody_is_told_more_than_a_thousand_things():
    request = specs_pb2.TrainSpec(inputs=[f"\x01{n}" for n in range(4000)])
    assert len(refused(request)) == requests.MOST_FINDINGS


@pytest.mark.parametrize("text", ["x" * 10_000, "한" * 10_000, "%" * 10_000, "\ud800" * 10_000])
def test_a_status_fits_into_metadata_whatever_it_tells(text):
    violations = [Violation(text, text) for _ in range(500)]
    status = statuses.from_error(InvalidField(text, violations, {text: text}, retry_after_s=1))
    # Clients take 8 KiB in all, and other trailers stand beside it.
    assert status.ByteSize() * 4 / 3 + len(quote(status.message)) < 6500
