"""The log as JSON: one object a line, whatever stands in a record, a warning or the exception that ends a process."""

import datetime as dt
import json
import subprocess
import sys

import pytest

from service.settings import LogSettings, SettingError, Settings
from tests.service.machine.test_logs import FORGED, STATEMENTS

PROGRAM = """
import ast, logging, sys, threading, warnings
from service.machine import logs
from service.settings import LogSettings
logs.configure(LogSettings.from_env())
log, text = logging.getLogger("x"), ast.literal_eval(sys.argv[1])
{statement}
"""


def records_of(statement, text="", **env):
    """Every line of a process's stderr as JSON."""
    program = PROGRAM.format(statement=statement)
    given = {"TRAIND_LOG_FORMAT": "json"} | env
    ended = subprocess.run([sys.executable, "-c", program, ascii(text)], capture_output=True, check=False, env=given)
    lines = ended.stderr.decode().split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("way", STATEMENTS)
def test_a_text_from_outside_stays_in_its_record(way):
    statement = f"for text in text:\n    {STATEMENTS[way].strip().replace(chr(10), chr(10) + '    ')}"
    records = records_of(statement, FORGED)
    assert len(records) == len(FORGED)
    for record in records:
        assert set(record) <= {"time", "level", "logger", "message", "process", "exception"}
        assert (record["logger"], record["level"] in {"WARNING", "ERROR"}) == ("x", True)
        assert "forged" in record["message"] + record.get("exception", "")
        assert dt.datetime.fromisoformat(record["time"]).tzinfo is dt.UTC
        assert ("exception" in record) == (way == "a traceback")


def test_what_a_record_is_about_stands_in_fields_of_its_own():
    first, second, third = records_of(
        """
with logs.about(job="j1", attempt=3):
    with logs.about(user_id=text):
        log.info("a", extra={"fields": {"code": "OK", "duration_ms": 1.5}})
    log.info("b")
log.info("c")
""",
        "x\nforged",
    )
    assert {k: first[k] for k in ("job", "attempt", "user_id", "code", "duration_ms")} == {
        "job": "j1",
        "attempt": 3,
        "user_id": "x\\nforged",
        "code": "OK",
        "duration_ms": 1.5,
    }
    assert (second["job"], "user_id" in second, "job" in third) == ("j1", False, False)


def test_warnings_and_ends_of_threads_and_of_the_process_are_records():
    records = records_of(
        """
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("the end")
"""
    )
    assert [record["logger"] for record in records] == ["py.warnings", "traind", "traind"]
    assert "old" in records[0]["message"]
    assert "ZeroDivisionError" in records[1]["exception"]
    assert records[2]["level"] == "CRITICAL"
    assert "ValueError: the end" in records[2]["exception"]


def test_nothing_below_the_level_is_written():
    records = records_of("log.info('a'); log.warning('b')", TRAIND_LOG_LEVEL="warning")
    assert [record["message"] for record in records] == ["b"]


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        ({}, LogSettings(json=False, level="INFO", access="off")),
        ({"TRAIND_LOG_FORMAT": "json"}, LogSettings(json=True, level="INFO", access="all")),
        ({"TRAIND_LOG_FORMAT": "JSON", "TRAIND_ACCESS_LOG": "errors"}, LogSettings(json=True, access="errors")),
        ({"TRAIND_LOG_LEVEL": "debug", "TRAIND_ACCESS_LOG": "all"}, LogSettings(level="DEBUG", access="all")),
    ],
)
def test_settings(environ, settings):
    assert LogSettings.from_env(environ) == settings
    assert Settings.from_env(environ).logs == settings


@pytest.mark.parametrize("name", ["TRAIND_LOG_FORMAT", "TRAIND_LOG_LEVEL", "TRAIND_ACCESS_LOG", "TRAIND_METRICS"])
def test_a_word_that_is_none_is_told_with_those_that_are(name):
    with pytest.raises(SettingError, match=rf"{name} is 'loud': it must be \w+(, \w+)* or \w+"):
        Settings.from_env({name: "loud"})


def test_metrics_for_everybody_on_an_open_address_are_refused():
    with pytest.raises(SettingError, match="TRAIND_METRICS is loopback and TRAIND_HOST"):
        Settings.from_env({"TRAIND_METRICS": "loopback", "TRAIND_HOST": "0.0.0.0"})


def test_another_protocol_for_spans_is_refused():
    with pytest.raises(SettingError, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"):
        Settings.from_env({"TRAIND_OTEL": "on", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    Settings.from_env({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
