"""What a process writes to its log where texts from outside want to write records of their own."""

import re
import subprocess
import sys

import pytest

from service.machine.logs import MOST_CHARACTERS, MOST_MESSAGE_CHARACTERS, MOST_TRACE_LINES, one_line

FORGED = [
    "x\r\nlevel=ERROR msg=forged",
    "x\n2026-01-01 00:00:00,000 ERROR service forged",
    "x\x85ERROR forged",
    "x\u2028ERROR forged",
    "\x1b[2K\x1b[1AERROR forged",
    "\ud800\nERROR forged",
]
PROGRAM = """
import ast, logging, sys
from service.machine import logs
logs.configure()
log, text = logging.getLogger("x"), ast.literal_eval(sys.argv[1])
{statement}
log.info("after %d of %s, %.1f", 1, None, 0.5)
"""
STATEMENTS = {
    "an argument": 'log.warning("%s", text)',
    "an argument by name": 'log.warning("%(it)s", {"it": text})',
    "an exception as argument": 'log.warning("%s", ValueError(text))',
    "a whole message": "log.warning(text)",
    "a traceback": """
try:
    try:
        raise KeyError(text)
    except KeyError as error:
        raise ValueError(text) from error
except ValueError:
    log.exception("failed")
""",
}


def log_of(statement, text):
    """The lines of a process's log."""
    program = PROGRAM.format(statement=statement)
    ended = subprocess.run([sys.executable, "-c", program, ascii(text)], capture_output=True, check=True)
    return ended.stderr.decode().splitlines()


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("way", STATEMENTS)
def test_a_text_from_outside_begins_no_record(way, text):
    *lines, after = log_of(STATEMENTS[way], text)
    assert after.endswith("INFO x after 1 of None, 0.5")
    assert len(lines) == 1 or way == "a traceback"
    records = [line for line in lines if not line.startswith("    ")]
    assert len(records) == 1
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (WARNING|ERROR) x ", records[0])
    assert "forged" in "\n".join(lines)
    assert all(line.isprintable() for line in lines)


def test_long_texts_are_cut():
    (line, _) = log_of(STATEMENTS["an argument"], "x" * 10**5)
    assert line.endswith("x" * (MOST_CHARACTERS - 1) + "…")
    assert "x" * MOST_CHARACTERS not in line
    (line, _) = log_of(STATEMENTS["a whole message"], "x" * 10**5)
    assert len(line) < MOST_MESSAGE_CHARACTERS + 50


def test_long_tracebacks_are_cut():
    lines = log_of(STATEMENTS["a traceback"], "x\n" * 10**4)
    assert len(lines) == MOST_TRACE_LINES + 3
    assert sum("lines are left out" in line for line in lines) == 1


def test_letters_of_all_scripts_stay():
    assert one_line("펭귄 🐧 100 % {0}") == "펭귄 🐧 100 % {0}"
    assert one_line("a\tb\u200fc\ud800") == "a\\tb\\u200fc\\ud800"
