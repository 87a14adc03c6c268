"""The command line against a server that answers as it is told: codes, channels, forms."""

import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

import traind
from tests.clients.traind.scripted import refusal
from traind.cli import run_command as run
from traind.display import width_of
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, tables_pb2, uploads_pb2

State = jobs_pb2.Job.State
ID = "0b1f7c9e-5a1d-4a53-9d35-6a3c1a2b4c5d"
OTHER = "0b1f7c9e-0000-4a53-9d35-6a3c1a2b4c5d"


def job(state=State.SUCCEEDED, id_=ID, **fields):
    return jobs_pb2.Job(name=f"jobs/{id_}", dataset="datasets/kim.d/versions/1", state=state, **fields)


def ends(script, state, **fields):
    change = jobs_pb2.StateChange(state=state)
    script.scripts["CreateJob"] = [job(State.QUEUED)]
    script.scripts["WatchJob"] = [[jobs_pb2.JobEvent(seq=1, state=change)]]
    script.scripts["GetJob"] = [job(state, done=True, **fields)]


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["run"],
        ["run", "spec.json", "--nonsense"],
        ["job", "list", "--state", "SLEEPING"],
        ["job", "list", "-o", "yaml"],
        ["predict", "m", "no-such-file.csv"],
        ["data", "push", "-"],
        ["run", "no-such-file.json"],
        ["run", "spec.json", "--set", "nonsense"],
        ["run", "spec.json", "--set", "learn.exact=3"],
        ["--url", "http://127.0.0.1:8080", "job", "list"],
        ["--profile", "nobody", "job", "list"],
    ],
)
def test_usage_is_2_and_stdout_stays_empty(script, args, capsys):
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (refusal("INVALID_ARGUMENT", "INVALID_FIELD"), 2),
        (refusal("UNAUTHENTICATED", "TOKEN_REQUIRED"), 4),
        (refusal("UNAUTHENTICATED", "TOKEN_REJECTED"), 4),
        (refusal("PERMISSION_DENIED", "SCOPE_MISSING"), 5),
        (refusal("NOT_FOUND", "RESOURCE_NOT_FOUND"), 5),
        (refusal("UNAVAILABLE", "DATABASE_UNAVAILABLE"), 6),
        (refusal("UNAVAILABLE"), 6),
        (refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED", retry_s=0.01), 7),
        (refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED"), 1),
        (refusal("INTERNAL", "INTERNAL_ERROR"), 1),
    ],
)
def test_refusals_have_their_codes(script, refused, code, capsys):
    script.scripts["CreateJob"] = [refused]
    assert run(["run", "spec.json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.SUCCEEDED, 0), (State.FAILED, 3), (State.CANCELLED, 9)],
    ids=["ok", "failed", "cancelled"],
)
def test_the_end_of_a_job_is_the_exit_code(script, state, code, capsys):
    made = "models/kim.d/versions/3" if state == State.SUCCEEDED else ""
    ends(script, state, model_version=made)
    assert run(["run", "spec.json"]) == code
    out, err = capsys.readouterr()
    assert out == (f"{made}\n" if made else "")
    assert err
    for command in ("watch", "wait"):
        assert run(["job", command, ID]) == code
    assert run(["job", "show", ID]) == 0


def test_nobody_there_is_6_with_one_clear_line(script, capsys):
    assert run(["--url", "grpc://127.0.0.1:1", "models", "list"]) == 6
    assert capsys.readouterr().err.startswith(
        "ConnectionFailed: no server at grpc://127.0.0.1:1 (from the url argument)"
    )


def test_a_wait_that_takes_too_long_is_8(script):
    script.scripts["GetJob"] = [job(State.RUNNING)]
    script.scripts["WatchJob"] = [[jobs_pb2.JobEvent(seq=1), lambda _: time.sleep(1)]]
    assert run(["job", "wait", ID, "--timeout", "0.3"]) == 8


def test_the_worst_of_several_is_the_code(script):
    script.scripts["WatchJob"] = [[]]
    ended = {ID: job(State.SUCCEEDED, done=True), OTHER: job(State.FAILED, OTHER, done=True)}
    script.scripts["GetJob"] = [lambda request: ended[request.name.removeprefix("jobs/")]]
    assert run(["job", "wait", ID, OTHER]) == 3
    assert run(["job", "wait", ID]) == 0


def test_ids_may_be_short(script, capsys):
    script.scripts["ListJobs"] = [jobs_pb2.ListJobsResponse(jobs=[job(), job(id_=OTHER)])]
    script.scripts["GetJob"] = [lambda request: job(id_=request.name.removeprefix("jobs/"))]
    assert run(["job", "show", "0b1f7c9e-5"]) == 0
    assert ID in capsys.readouterr().out
    assert run(["job", "show", "@last"]) == 0
    assert ID in capsys.readouterr().out
    assert run(["job", "show", "0b1f"]) == 2
    assert OTHER in capsys.readouterr().err
    assert run(["job", "show", "ffff"]) == 5
    script.scripts["ListJobs"] = [jobs_pb2.ListJobsResponse()]
    assert run(["job", "show", "@last"]) == 5


def test_detach_and_dry_run(script, capsys):
    script.scripts["CreateJob"] = [
        lambda request: job(State.QUEUED) if not request.validate_only else jobs_pb2.Job(parameter_count=4)
    ]
    assert run(["run", "spec.json", "--detach"]) == 0
    assert capsys.readouterr().out == f"jobs/{ID}\n"
    assert run(["run", "spec.json", "--dry-run", "--set", "seed=9", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameterCount"] == "4"
    assert script.requests["CreateJob"][-1].job.train.seed == 9
    assert not script.requests["WatchJob"]


def test_json_is_the_message(script, capsys):
    script.scripts["ListJobs"] = [jobs_pb2.ListJobsResponse(jobs=[job(display_name="펭귄")])]
    assert run(["job", "list", "-o", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["state"], found["displayName"]) == (f"jobs/{ID}", "SUCCEEDED", "펭귄")
    assert run(["job", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # The columns stand under each other: a syllable of the name takes two.
    assert width_of(lines[0].partition("DATASET")[0]) == width_of(lines[1].partition("kim.d:1")[0])
    assert "\x1b" not in "".join(lines)


def test_an_empty_list_is_no_failure(script, capsys):
    script.scripts["ListModels"] = [models_pb2.ListModelsResponse()]
    assert run(["models", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_predict_is_csv_in_and_csv_out(script, tmp_path, capsys, monkeypatch):
    number = tables_pb2.Column(name="x", type=tables_pb2.Column.NUMBER)
    kind = tables_pb2.Column(name="kind", type=tables_pb2.Column.CATEGORY, categories=["a, b", "c"])
    script.scripts["GetModel"] = [models_pb2.Model(name="models/kim.m/versions/1", inputs=[number], outputs=[kind])]

    def answer(request):
        rows = len(request.columns[0].numbers)
        return predictions_pb2.PredictResponse(
            model=request.name,
            predictions=[tables_pb2.ColumnValues(name="kind", strings=["a, b"] * rows)],
            probabilities=[
                tables_pb2.ColumnValues(name="a, b", numbers=[0.75] * rows),
                tables_pb2.ColumnValues(name="c", numbers=[0.25] * rows),
            ],
        )

    script.scripts["Predict"] = [answer]
    file = tmp_path / "rows.csv"
    file.write_text("other,x\n1,0.5\n2,1.5\n")
    assert run(["predict", "m", str(file)]) == 0
    assert capsys.readouterr().out == 'kind\n"a, b"\n"a, b"\n'
    assert run(["predict", "m", str(file), "--proba"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ['kind,"p_a, b",p_c', '"a, b",0.75,0.25']
    monkeypatch.setattr("sys.stdin", io.StringIO(file.read_text()))
    assert run(["predict", "m", "-", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [{"kind": "a, b"}] * 2
    assert list(script.requests["Predict"][0].columns[0].numbers) == [0.5, 1.5]


def test_history_is_exact_in_csv_and_json(script, capsys):
    values = [0.1, float("inf"), float("nan")]
    series = jobs_pb2.Series(name="train_loss", split="train", steps=[1, 2, 3], values=values)
    late = jobs_pb2.Series(name="val_loss", split="val", steps=[2], values=[1 / 3])
    script.scripts["GetHistory"] = [jobs_pb2.History(series=[series, late])]
    script.scripts["GetJob"] = [job()]
    assert run(["job", "history", ID, "-o", "csv"]) == 0
    assert capsys.readouterr().out == f"epoch,train_loss,val_loss\n1,0.1,\n2,inf,{1 / 3!r}\n3,nan,\n"
    assert run(["job", "history", ID, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["train_loss"] == {"steps": [1, 2, 3], "values": [0.1, "Infinity", "NaN"]}


def test_push_makes_an_id_of_the_files_name(script, tmp_path, capsys):
    file = tmp_path / "House Prices_2.csv"
    file.write_text("a\n1\n")
    made = datasets_pb2.Dataset(name="datasets/kim.house-prices-2/versions/1", row_count=1)
    script.scripts["CreateUpload"] = [uploads_pb2.Upload(name="uploads/u")]
    script.scripts["WriteUpload"] = [uploads_pb2.Upload(offset=4)]
    script.scripts["CreateDataset"] = [made]
    assert run(["data", "push", str(file)]) == 0
    assert capsys.readouterr().out == f"{made.name}\n"
    assert script.requests["CreateDataset"][0].dataset_id == "house-prices-2"


def test_colours_are_for_terminals_that_want_them(script, monkeypatch, capsys):
    script.scripts["ListJobs"] = [jobs_pb2.ListJobsResponse(jobs=[job()])]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(["job", "list"]) == 0
    assert "\x1b[32mSUCCEEDED" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(["job", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_ctrl_c_leaves_the_job_running(script):
    script.scripts["GetJob"] = [job(State.RUNNING, epochs=9)]
    epoch = jobs_pb2.JobEvent(seq=1, epoch=jobs_pb2.EpochRecord(epoch=1))
    script.scripts["WatchJob"] = [[epoch, lambda context: time.sleep(20) if context.is_active() else None]]
    argv = [sys.executable, "-m", "traind", "job", "watch", ID]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("epoch 1/9")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert "left; the job goes on" in err
    assert f"traind job watch {ID[:8]}" in err
    assert "Traceback" not in err


def test_a_reader_that_has_seen_enough_is_no_failure_of_ours(script):
    series = jobs_pb2.Series(name="train_loss", steps=range(100_000), values=[0.5] * 100_000)
    script.scripts["GetHistory"] = [jobs_pb2.History(series=[series])]
    script.scripts["GetJob"] = [job()]
    argv = [sys.executable, "-m", "traind", "job", "history", ID]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("EPOCH")
        process.stdout.close()
        assert process.stderr.read() == ""


def test_up_without_a_server_tells_where_to_get_it(tmp_path):
    # The client alone, as its wheel installs it: no `service` beside it.
    for name in ("traind", "buf"):
        shutil.copytree(pathlib.Path(traind.__file__).parents[1] / name, tmp_path / name)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, "-m", "traind", "up"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "make up" in done.stderr
