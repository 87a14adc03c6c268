"""The command line against real processes: a walk from a table to an answer, and the exit codes on the way."""

import json
import signal
import subprocess
import sys

import pytest

from tests.clients.traind.conftest import ENDLESS, FLATS, INPUTS
from traind.csv_out import encode_csv
from traind.tables_in import read_table

pytestmark = pytest.mark.timeout(300)
EXACT = {"inputs": INPUTS, "target": "price", "network": {"linear": {}}, "split": {"none": {}}, "learn": {"exact": {}}}


@pytest.fixture
def walk(server, tmp_path):
    """Runs a command in a folder with a table and specs."""
    (tmp_path / "flats.csv").write_bytes(encode_csv(read_table(FLATS)))
    (tmp_path / "exact.json").write_text(json.dumps({"dataset": "walk", "model": "walk", "train": EXACT}))
    (tmp_path / "endless.json").write_text(json.dumps({"dataset": "walk", "model": "endless", "train": ENDLESS}))

    def run(*args, code=0, stdin=None, **env):
        done = subprocess.run(
            [sys.executable, "-m", "traind", *args],
            cwd=tmp_path,
            env=server.env | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    run("data", "push", "flats.csv", "--name", "walk")
    return run


def test_from_a_table_to_an_answer(walk):
    assert walk("data", "push", "-", "--name", "walk", stdin=encode_csv(read_table(FLATS)).decode()).stdout.startswith(
        "datasets/"
    )
    checked = walk("run", "exact.json", "--dry-run")
    assert "parameters" in checked.stdout
    done = walk("run", "exact.json")
    model = done.stdout.strip()
    assert "/versions/" in model
    assert "next  traind predict" in done.stderr
    answer = walk("predict", model, "flats.csv").stdout.splitlines()
    assert answer[0] == "price"
    assert [float(line) for line in answer[1:]] == pytest.approx(FLATS["price"], abs=1e-6)
    piped = walk("predict", "walk", "-", "-o", "json", stdin=encode_csv(read_table(FLATS)).decode())
    assert json.loads(piped.stdout)["rows"][3]["price"] == pytest.approx(FLATS["price"][3], abs=1e-6)
    assert json.loads(walk("job", "show", "@last", "-o", "json").stdout)["state"] == "SUCCEEDED"
    assert float(walk("models", "evaluate", "walk", "walk", "--loss", "mae").stdout.split()[3]) < 1e-6
    assert "walk" in walk("models", "list").stdout
    assert "옥탑" in walk("data", "show", "walk").stdout
    assert len(walk("data", "head", "walk", "-n", "4", "-o", "csv").stdout.splitlines()) == 5
    assert "server" in walk("version").stdout


def test_exit_codes(walk, server):
    walk("run", "exact.json", "--set", "learn.gradient.epochs=0", code=2)
    # The rate is far too large for rows that are not scaled.
    diverging = 'learn={"gradient": {"epochs": 2000, "optimizer": {"gradientDescent": {"lr": 10}}}}'
    failed = walk("run", "exact.json", "--set", diverging, "--set", "preprocess.scale=NONE", code=3)
    assert failed.stdout == ""
    assert "FAILED (DIVERGED)" in failed.stderr
    token = walk("job", "list", code=4, TRAIND_TOKEN="trd_aaaaaaaa_" + "x" * 43)
    assert "trd_aaaaaaaa_…" in token.stderr
    assert "xxxx" not in token.stderr
    walk("job", "list", code=2, TRAIND_TOKEN_FILE="/nowhere")
    walk("predict", "nobody", "flats.csv", code=5)
    walk("job", "list", code=6, TRAIND_URL="grpc://127.0.0.1:1")
    job = walk("run", "endless.json", "--detach").stdout.strip().removeprefix("jobs/")
    walk("job", "wait", job[:13], "--timeout", "0.5", code=8)
    argv = [sys.executable, "-m", "traind", "job", "watch", job]
    with subprocess.Popen(argv, env=server.env, stderr=subprocess.PIPE, text=True) as process:
        while not process.stderr.readline().startswith("epoch"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "the job goes on" in process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert json.loads(walk("job", "show", job, "-o", "json").stdout)["state"] == "RUNNING"
    walk("data", "rm", "walk", code=1)
    walk("job", "cancel", job)
    walk("job", "watch", job, code=9)
    walk("job", "pause", job, code=1)
