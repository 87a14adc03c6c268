"""The verb of proposals on both databases: of which version, from whose rows, and what it refuses."""

import random

import pytest

from service import proposals
from service.errors import DataCorrupt, InvalidField, NotFound
from tests.service.apps import make_app, make_caller, push
from traind.v1 import datasets_pb2, tables_pb2

ROWS = 200


def customers():
    """A table in which `ended` tells exactly who left."""
    draw = random.Random(4)
    lines = ["age,city,ended,left"]
    for _ in range(ROWS):
        left = draw.random() < 0.3
        ended = f"2024-0{draw.randint(1, 9)}" if left else "never"
        lines.append(f"{draw.randint(18, 80)},{draw.choice(['Seoul', 'Busan'])},{ended},{'yes' if left else 'no'}")
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def app(database, tmp_path):
    return make_app(database, tmp_path)


@pytest.fixture
def kim(app):
    return make_caller(app, "kim")


def ask(app, caller, target, name="table"):
    request = datasets_pb2.ProposeTrainingRequest(name=name, target=target)
    return proposals.propose_training(app, caller, request)


def test_it_names_the_version_and_leaves_out_what_tells_the_target(app, kim):
    push(app, kim, customers())
    proposal = ask(app, kim, "left")
    assert proposal.dataset == "datasets/kim.table/versions/1"
    assert list(proposal.train.inputs) == ["age", "city"]
    (leak,) = [one for one in proposal.findings if one.code == tables_pb2.Finding.SUSPECTED_LEAK]
    assert leak.figures["association"] == 1
    assert "ended" in leak.message


def test_the_newest_version_is_meant_unless_one_is_named(app, kim):
    push(app, kim, customers())
    push(app, kim, customers().replace(b"age", b"years"))
    assert "years" in ask(app, kim, "left").train.inputs
    assert "age" in ask(app, kim, "left", "datasets/kim.table/versions/1").train.inputs


def test_columns_that_are_not_there_and_tables_of_others_are_refused(app, kim):
    push(app, kim, customers())
    with pytest.raises(InvalidField, match="no column"):
        ask(app, kim, "nobody")
    with pytest.raises(NotFound):
        ask(app, make_caller(app, "lee"), "left", "datasets/kim.table")


def test_bytes_that_rotted_are_no_ground_for_a_proposal(app, kim, tmp_path):
    push(app, kim, customers())
    for path in (tmp_path / "objects").rglob("*"):
        if path.is_file() and path.name != ".lock":
            path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(DataCorrupt):
        ask(app, kim, "left")
