"""The named points stand in the product where they should, do nothing there, and cost nothing."""

import ast
import inspect
import pathlib
import re
import time

import pytest

from service import points
from tests.acceptance.stack import ROOT
from tests.faults import injection, test_crash_points

NAMES = [f"C{number}" for number in range(1, 21)]


def called():
    """Of each point the files that call it."""
    found = {}
    for folder in ("service", "worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in re.findall(r"\bpoint\(\"(C\d+)\"\)", path.read_text(encoding="utf-8")):
                found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


def test_each_point_stands_in_one_place():
    found = called()
    assert sorted(found) == sorted(NAMES)
    assert all(len(places) == 1 for places in found.values()), found


def test_each_point_is_told_and_tried():
    told = set(re.findall(r"\bC\d+\b", points.point.__doc__))
    assert told == set(NAMES) == injection.ROLE_OF.keys()
    tried = {*test_crash_points.JOB_POINTS}
    source = pathlib.Path(test_crash_points.__file__).read_text(encoding="utf-8")
    tried |= set(re.findall(r"\"(C(?:1[5-9]|20))\"", source))
    assert tried == set(NAMES)


def test_nothing_in_the_product_switches_them_on():
    """The function is a docstring, and its file imports nothing by which it could learn anything."""
    tree = ast.parse(inspect.getsource(points))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [type(node) for node in function.body] == [ast.Expr]
    for folder in ("service", "worker"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "FAULTS_" not in text, path
            assert "import points" not in text, path
            lines = {line for line in text.splitlines() if "service.points" in line}
            assert lines <= {"from service.points import point"}, path


@pytest.mark.alone
def test_a_call_costs_nothing_that_a_batch_would_feel():
    """A batch of one row through a network of 17 weights takes 0.03 ms: less than 0.5 % of that."""
    point, count = points.point, 100_000
    least = min(timed(lambda: [point("C6") for _ in range(count)]) for _ in range(5)) / count
    assert least < 0.005 * 0.03e-3


def timed(work):
    began = time.process_time()
    work()
    return time.process_time() - began
