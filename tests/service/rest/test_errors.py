"""One table: every reason of the contract is an error class, with the code and the HTTP status that it says there."""

import re

import pytest

from service import errors
from service.rest.errors import encode_error, http_status
from traind.contract_comments import read_comments
from traind.v1 import errors_pb2

REASONS = [name for name, number in errors_pb2.ErrorReason.items() if number]


def classes(root):
    """Every class of the tree below a root, by its reason."""
    return {c.reason: c for child in root.__subclasses__() for c in (child, *classes(child).values())}


CLASSES = classes(errors.TraindError)


def test_reasons_and_classes_are_the_same():
    assert sorted(CLASSES) == sorted(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_code_and_status_are_those_of_the_contract(reason):
    told = re.match(r"([A-Z_]+), HTTP (\d+)\.", read_comments()[f"traind.v1.ErrorReason.{reason}"])
    error = CLASSES[reason]("why")
    assert (error.code, http_status(error)) == (told[1], int(told[2]))
    code, body, _ = encode_error(error)
    assert code == int(told[2])
    assert b"why" in body
