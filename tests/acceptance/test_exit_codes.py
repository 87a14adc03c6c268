"""Every exit code of the commands, by real processes against a real server: scripts decide by them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.acceptance import stack as stacks
from tests.clients.traind.scripted import refusal, scripted_server
from tests.waiting import wait_until

ENDLESS = {
    "dataset": "points",
    "model": "endless",
    "train": {
        "target": ["y"],
        "network": {"mlp": {"hidden": [16]}},
        "learn": {"gradient": {"epochs": 1_000_000, "batch_size": 1}},
    },
}
QUICK = ENDLESS | {"model": "quick", "train": ENDLESS["train"] | {"learn": {"gradient": {"epochs": 3}}}}
TOO_FAST = ENDLESS | {
    "model": "fast",
    "train": {
        "target": ["y"],
        "network": {"linear": {}},
        "preprocess": {"scale": "NONE"},
        "split": {"none": {}},
        "learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 1000}}, "epochs": 1000}},
    },
}


class Commands:
    """`python -m traind` as a user of one server has it."""

    def __init__(self, stack, folder):
        self.folder = folder
        self.env = os.environ | {
            "TRAIND_URL": stack.address["grpc"],
            "TRAIND_TOKEN": stack.token,
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def start(self, *words, **env):
        argv = [sys.executable, "-m", "traind", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(argv, env=self.env | env, cwd=self.folder, **pipes)

    def run(self, *words, **env):
        """Exit code, stdout and stderr."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return process.returncode, out, err

    def submit(self, spec):
        code, out, err = self.run("run", f"{spec}.json", "--detach")
        assert code == 0, err
        return out.strip().removeprefix("jobs/")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    for name, spec in (("endless", ENDLESS), ("quick", QUICK), ("too-fast", TOO_FAST)):
        (folder / f"{name}.json").write_text(json.dumps(spec))
    (folder / "points.csv").write_text("x,y\n" + "".join(f"{n},{2 * n + 1}\n" for n in range(40)))
    with stacks.up() as stack:
        found = Commands(stack, folder)
        assert found.run("data", "push", "points.csv")[0] == 0
        yield found


def test_0_all_is_well_also_where_there_is_nothing(commands):
    code, out, _ = commands.run("run", "quick.json")
    assert code == 0
    assert out.startswith("models/")
    assert out.count("\n") == 1, "nothing but data on stdout"
    assert commands.run("jobs", "--state", "PAUSED", "-o", "json")[:2] == (0, "[]\n")


def test_1_what_cannot_be_done_now(commands):
    job = commands.submit("endless")
    code, out, err = commands.run("data", "rm", "points")
    assert (code, out) == (1, "")
    assert err.startswith("Conflict: ")
    assert commands.run("job", "cancel", job[:8])[0] == 0
    assert commands.run("job", "wait", job)[0] == 9


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["jobs", "--state", "TIRED"],
        ["run", "quick.json", "--set", "train.learn.gradient.epochs=-1"],
        ["run", "quick.json", "--set", "train.nonsense=1"],
        ["run", "absent.json"],
        ["data", "push", "broken.csv"],
        ["spec", "check", "broken.json"],
    ],
)
def test_2_usage_and_what_is_refused(commands, words):
    (commands.folder / "broken.csv").write_text("a,b\n1\n")
    (commands.folder / "broken.json").write_text('{"dataset": "points", "train": {"tarmac": ["y"]}}')
    code, out, err = commands.run(*words)
    assert code == 2, err
    assert err or out


def test_3_the_job_failed(commands):
    code, out, err = commands.run("run", "too-fast.json")
    assert (code, out) == (3, "")
    assert "FAILED (DIVERGED)" in err
    code, _, err = commands.run("job", "wait", "@last")
    assert code == 3
    assert "fix" in err


def test_4_sign_in_is_needed(commands):
    code, out, err = commands.run("jobs", TRAIND_TOKEN="trd_aaaaaaaa_" + "x" * 43)
    assert (code, out) == (4, "")
    assert err.startswith("AuthRequired: ")
    assert commands.run("whoami", TRAIND_TOKEN="")[0] == 4


def test_5_not_found(commands):
    code, out, err = commands.run("models", "show", "nothing")
    assert (code, out) == (5, "")
    assert "list yours with: traind models list" in err
    assert commands.run("job", "show", "ffffffff")[0] == 5


def test_6_no_server(commands):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, out, err = commands.run("jobs", TRAIND_URL=f"grpc://127.0.0.1:{port}")
    assert (code, out) == (6, "")
    assert "connection refused" in err
    assert "fix" in err


def test_7_too_much_at_once(commands):
    """No small number of calls makes a real server say so; one that always does is asked by the real command."""
    with scripted_server() as (script, url):
        script.scripts["ListJobs"] = [refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED", retry_s=0.05)]
        code, out, err = commands.run("jobs", TRAIND_URL=url)
        assert len(script.requests["ListJobs"]) == 3
    assert (code, out) == (7, "")
    assert err.startswith("RateLimited: ")


def test_8_the_job_goes_on(commands):
    job = commands.submit("endless")
    for words in (["job", "wait", job, "--timeout", "0.5"], ["job", "watch", job, "--timeout", "0.5"],
                  ["job", "wait", "--any", job, "--timeout", "0.1"]):  # fmt: skip
        code, out, err = commands.run(*words)
        assert (code, out) == (8, ""), err
        assert "go on" in err or "goes on" in err
    assert json.loads(commands.run("job", "show", job, "--json")[1])["state"] == "RUNNING"
    commands.run("job", "cancel", job)


def test_9_the_job_was_cancelled(commands):
    job = commands.submit("endless")
    watch = commands.start("job", "watch", job)
    assert commands.run("job", "cancel", job)[0] == 0
    _, err = watch.communicate(timeout=60)
    assert watch.returncode == 9
    assert "CANCELLED" in err


@pytest.mark.parametrize("words", [["run", "endless.json"], ["job", "watch", "@last"], ["job", "wait", "@last"]])
def test_130_who_leaves_stops_no_job(commands, words):
    if words[0] != "run":
        commands.submit("endless")
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(commands.start(*words))
        stack.callback(process.kill)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr))
        reader.start()
        if words[1] == "wait":
            wait_until(
                lambda: json.loads(commands.run("jobs", "-n", "1", "--json")[1])[0]["state"] == "RUNNING", "runs"
            )
            wait_until(lambda: rests(process.pid), "it waits", 30, 0.05)
        else:
            wait_until(lambda: any("epoch" in line for line in lines), "an epoch is shown", 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        reader.join()
    assert "goes on" in "".join(lines) or "go on" in "".join(lines)
    last = json.loads(commands.run("job", "show", "@last", "--json")[1])
    assert last["state"] == "RUNNING"
    commands.run("job", "cancel", "@last")


def rests(pid):
    """Whether a process is connected to the server and has done next to nothing for half a second."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(0.5)
    return bool(process.net_connections()) and sum(process.cpu_times()[:2]) - before < 0.05


def test_the_worst_of_several(commands):
    good, cancelled = commands.submit("quick"), commands.submit("endless")
    commands.run("job", "cancel", cancelled)
    code, out, _ = commands.run("job", "wait", good, cancelled, "-q")
    assert code == 9
    assert out.splitlines()[0].startswith("models/")
    code, out, _ = commands.run("job", "wait", "--any", good, cancelled)
    assert code in {0, 9}


FORMS = {
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "csv": lambda text: text.splitlines(),
    "id": lambda text: text.split(),
    "table": lambda text: text.splitlines(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "words",
    [
        *(["jobs"], ["job", "show", "@last"], ["data", "list"], ["data", "show", "points"], ["models", "list"]),
        *(["models", "show", "@last"], ["compare", "@last"], ["queue"], ["run", "quick.json", "--detach"]),
    ],
    ids=" ".join,
)
def test_every_form_of_output(commands, words, form):
    if words == ["models", "show", "@last"]:
        assert commands.run("run", "quick.json")[0] == 0
    code, out, err = commands.run(*words, "-o", form)
    assert code == 0, err
    found = FORMS[form](out)
    if words != ["queue"]:
        assert found
    if form == "csv" and words != ["queue"]:
        assert "," in found[0]
    if form == "id" and found and words[0] in {"data", "models"}:
        assert all("/" in name for name in found)
    assert commands.run(*words, *{"json": ["--json"], "id": ["-q"]}.get(form, ["-o", form]))[0] == 0
