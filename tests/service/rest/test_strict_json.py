"""The JSON reader: one meaning or none."""

import math
import time

import pytest

from service.errors import MalformedBody
from service.rest.strict_json import DEEPEST, MOST_CONTAINERS, loads


def refusal(body):
    began = time.perf_counter()
    with pytest.raises(MalformedBody) as error:
        loads(body)
    return error.value.message, time.perf_counter() - began


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, -2.5e3, "x", true, false, null]}', {"a": [1, -2500.0, "x", True, False, None]}),
        ('{"이름": "펭귄 🐧"}'.encode(), {"이름": "펭귄 🐧"}),
        (b'"\\ud83d\\udc27"', "🐧"),
        (b'["[[[[[[[[[[[[[[[[[[[[[[[[[[[["]', ["[" * 28]),
        (b'["\\"[[[[[[[[[[[[[[[[[[[[[[[[", "\\\\"]', ['"' + "[" * 24, "\\"]),
        (b"[" * DEEPEST + b"]" * DEEPEST, None),
        (b" 7 ", 7),
    ],
)
def test_json_is_read(body, value):
    found = loads(body)
    assert value is None or found == value


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_what_is_not_finite_stays_visible(number):
    assert not math.isfinite(loads(number))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "1:1"),
        (b"{", "1:2"),
        (b'{\n  "a": 1,\n  "b": }', "3:8"),
        (b"{'a': 1}", "1:2"),
        (b'{"a": 1}{', "1:9"),
        (b'{"a": 01}', "1:"),
        (b'{"a": tru}', "1:7"),
        (b'{"a": "\x01"}', "1:8"),
        (b'{"a": "x', "1:7"),
        (b"\xef\xbb\xbf{}", "1:1"),
        (b'{"a": 1, "b": 2, "a": 3}', '"a" stands twice'),
        (b'{"x": {"\\ud800": 1, "\\ud800": 2}}', "\\ud800"),
        (b'{"a": "\xff"}', "byte 7"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
)
def test_what_is_no_json_is_told_by_its_place(body, says):
    assert says in refusal(body)[0]


@pytest.mark.parametrize(
    "body",
    [b"[" * 50_000 + b"]" * 50_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"[" * 50_000],
)
@pytest.mark.alone
def test_deep_nesting_is_refused_before_it_is_parsed(body):
    message, seconds = refusal(body)
    assert f"deeper than {DEEPEST}" in message
    assert seconds < 0.05


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 1_300_000 + b"{}]",
        b'"' + b'\\"' * 2_000_000,
        b'"\\' * 2_000_000,
        b'["' * 2_000_000,
    ],
)
def test_four_mebibytes_of_anything_are_answered_soon(body):
    """Measured: at most 0.15 s; quadratic time would be minutes."""
    assert refusal(body)[1] < 1.0


def test_swarms_of_objects_are_refused():
    assert str(MOST_CONTAINERS) in refusal(b"[" + b"{}," * MOST_CONTAINERS + b"{}]")[0]
