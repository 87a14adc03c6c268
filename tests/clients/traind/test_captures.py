"""What a real terminal of 80 and of 120 columns shows of each command, beside what it showed when it was looked at.

After a change that is meant, TRAIND_WRITE_CAPTURES=1 writes the files anew: read them before they are committed.
"""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios

import pyte
import pytest

import traind
from tests.acceptance import stack as stacks

CAPTURES = pathlib.Path(__file__).parent / "captures"
ROWS = 60
APARTMENTS = "examples/data/apartments_ko.csv"
TRAIN = {
    "target": ["가격(만원)"],
    "inputs": ["지역", "전용면적(㎡)", "방 수"],
    "network": {"mlp": {"hidden": [8]}},
    "learn": {"gradient": {"epochs": 12, "optimizer": {"adam": {"lr": 0.01}}}},
    "preprocess": {
        "groups": [{"columns": ["전용면적(㎡)"], "impute": {"how": "MEDIAN"}}],
        "target": {"scale": "STANDARD"},
    },
    "seed": 5,
}
COMMANDS = {
    "help": "--help",
    "jobs": "jobs",
    "job-show": "job show @last",
    "job-history": "job history @last",
    "compare": "compare {first} {second}",
    "queue": "queue",
    "data-list": "data list",
    "data-show": "data show apartments",
    "data-head": "data head apartments -n 4",
    "data-profile": "data profile apartments",
    "models-list": "models list",
    "models-show": "models show @last",
    "predict": "predict @last {rows} --json",
    "dry-run": "run {spec} --dry-run",
    "explain": "explain DIVERGED --lang en",
    "explain-ko": "explain DIVERGED --lang ko",
    "wrong-column": "predict @last {wrong}",
}
# Differs from run to run, each with a stand-in as wide.
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "x"),
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12,}…"), "x"),
    (re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?(?: UTC)?"), "t"),
    (re.compile(r"\b20\d\d-[\d-]{0,5}…"), "t"),  # cut to the terminal's width
    (re.compile(r"\b\d+(?:\.\d)? (?:ms|s)\b|\b\d+ min \d\d s"), "s"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "x"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server of its own, so that its lists hold what is told here and nothing else."""
    folder = tmp_path_factory.mktemp("captures")

    (folder / "spec.json").write_text(json.dumps({"dataset": "apartments", "model": "flats", "train": TRAIN}))
    (folder / "rows.csv").write_text("지역,전용면적(㎡),방 수\n서울,84.9,3\n부산,59.9,2\n", encoding="utf-8")
    (folder / "wrong.csv").write_text("지역,전용면적\n서울,84.9\n", encoding="utf-8")
    with stacks.up() as stack, stack_client(stack) as client:
        client.datasets.create(
            pathlib.Path(APARTMENTS), name="apartments", encoding="CP949", display_name="아파트 시세"
        )
        ids = []
        for name, rate in (("처음 해 보기", 0.01), ("학습률을 키워서 다시", 0.05)):
            learn = {"gradient": {"epochs": 12, "optimizer": {"adam": {"lr": rate}}}}
            job = client.jobs.create(
                dataset="apartments", model="flats", display_name=name, train=TRAIN | {"learn": learn}
            )
            ids.append(job.wait(60).id)
        yield stack, folder, {
            "first": ids[0], "second": ids[1], "spec": folder / "spec.json", "rows": folder / "rows.csv",
            "wrong": folder / "wrong.csv",
        }  # fmt: skip


def stack_client(stack):

    return traind.Client(stack.address["grpc"], token=stack.token)


def terminal(command, columns, env):
    """The screen after a command has run on a terminal of so many columns."""
    screen = pyte.Screen(columns, ROWS)
    stream = pyte.ByteStream(screen)
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    argv = [sys.executable, "-m", "traind", *command.split()]
    process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=env)
    os.close(inner)
    try:
        while data := os.read(outer, 65536):
            stream.feed(data)
    except OSError:  # so a pseudo-terminal ends
        pass
    finally:
        os.close(outer)
    process.wait(60)
    # pyte keeps an empty cell behind each wide character; the lines are read as text.
    return "\n".join(line.rstrip() for line in screen.display).rstrip() + "\n"


def settled(text):
    for pattern, mark in CHANGING:
        text = pattern.sub(lambda found, mark=mark: mark * len(found[0]), text)
    return text


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_shows_what_was_looked_at(lab, name, columns):
    stack, folder, places = lab
    env = os.environ | {
        "TRAIND_URL": stack.address["grpc"],
        "TRAIND_TOKEN": stack.token,
        "XDG_CONFIG_HOME": str(folder),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    env.pop("COLUMNS", None)
    seen = settled(terminal(COMMANDS[name].format(**places), columns, env).replace(str(folder), "FOLDER"))
    file = CAPTURES / f"{name}.{columns}.txt"
    if os.environ.get("TRAIND_WRITE_CAPTURES"):
        CAPTURES.mkdir(exist_ok=True)
        file.write_text(seen, encoding="utf-8")
    assert seen == file.read_text(encoding="utf-8")
