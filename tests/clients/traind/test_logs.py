"""A job's log in both clients and the command, against a server that answers as it is told and against a real one."""

import os
import signal
import subprocess
import sys
import time

import pytest

import traind
from tests.clients.traind.conftest import ENDLESS
from tests.clients.traind.scripted import refusal, scripted_server
from tests.waiting import wait_until
from traind.cli import run_command
from traind.v1 import jobs_pb2

State = jobs_pb2.Job.State
ID = "0b1f7c9e-5a1d-4a53-9d35-6a3c1a2b4c5d"


def line(seq):
    return jobs_pb2.JobEvent(seq=seq, attempt=1, log=jobs_pb2.LogLine(message=f"line {seq}"))


def epoch(seq):
    return jobs_pb2.JobEvent(seq=seq, attempt=1, epoch=jobs_pb2.EpochRecord(epoch=seq))


def end(seq, state=State.SUCCEEDED):
    return jobs_pb2.JobEvent(seq=seq, attempt=1, state=jobs_pb2.StateChange(state=state))


def job(state):
    return jobs_pb2.Job(name=f"jobs/{ID}", state=state, done=state not in {State.QUEUED, State.RUNNING})


@pytest.fixture
def script(make):
    with scripted_server() as (script, url):
        script.client = make(url, token="trd_ab12cd34_" + "x" * 43)
        script.scripts["GetJob"] = [job(State.RUNNING)]
        yield script
        script.client.close()


@pytest.fixture
def commands(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("TRAIND_TOKEN", "TRAIND_TOKEN_FILE", "TRAIND_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with scripted_server() as (script, url):
        monkeypatch.setenv("TRAIND_URL", url)
        yield script


def asked(script):
    return [(request.from_seq, request.stored_only) for request in script.requests["WatchJob"]]


def test_what_is_stored_is_read_over_breaks_and_ends_with_the_stream(script):
    script.scripts["WatchJob"] = [
        [line(1), epoch(2), refusal("UNAVAILABLE")],
        [epoch(2), line(3), refusal("UNAVAILABLE", "SHUTTING_DOWN", retry_s=0.01)],
        [line(4)],
    ]
    breaks = []
    found = list(script.client.jobs.logs(ID, follow=False, on_break=breaks.append))
    assert found == ["line 1", "line 3", "line 4"]
    assert asked(script) == [(1, True), (3, True), (4, True)]
    assert len(breaks) == 2


@pytest.mark.parametrize(
    ("tail", "past"), [(None, [1, 3, 4]), (0, []), (2, [3, 4]), (3, [1, 3, 4]), (9, [1, 3, 4])], ids=str
)
def test_the_tail_is_of_the_past_alone(script, tail, past):
    stored = [line(1), epoch(2), line(3), line(4), epoch(5)]
    later = [line(6), epoch(7), line(8), end(9)]

    def answer(request):
        return stored if request.stored_only else [e for e in stored + later if e.seq >= request.from_seq]

    script.scripts["WatchJob"] = [answer]
    told = [f"line {seq}" for seq in past]
    assert list(script.client.jobs.logs(ID, follow=False, tail=tail)) == told
    assert list(script.client.jobs.logs(ID, tail=tail)) == [*told, "line 6", "line 8"]
    assert asked(script)[-1] == ((1, False) if tail is None else (6, False))


def test_a_job_that_has_ended_is_asked_once(script):
    script.scripts["WatchJob"] = [[line(1), line(2), end(3)]]
    assert list(script.client.jobs.logs(ID, tail=1)) == ["line 2"]
    assert asked(script) == [(1, True)]


def test_no_job_and_no_number(script):
    script.scripts["WatchJob"] = [[refusal("NOT_FOUND", "RESOURCE_NOT_FOUND")]]
    for follow in (True, False):
        with pytest.raises(traind.NotFound):
            list(script.client.jobs.logs(ID, follow=follow))
    with pytest.raises(ValueError, match="tail is -1"):
        list(script.client.jobs.logs(ID, tail=-1))


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.SUCCEEDED, 0), (State.FAILED, 3), (State.CANCELLED, 9)],
    ids=["ok", "failed", "cancelled"],
)
def test_the_end_is_the_exit_code_of_who_follows(commands, state, code, capsys):
    commands.scripts["WatchJob"] = [[line(1), line(2), end(3, state)]]
    commands.scripts["GetJob"] = [job(state)]
    assert run_command(["job", "logs", ID, "-f"]) == code
    out, err = capsys.readouterr()
    assert out == "line 1\nline 2\n"
    assert bool(err) == (state == State.FAILED)
    assert run_command(["job", "logs", ID, "--tail", "1"]) == 0
    assert capsys.readouterr() == ("line 2\n", "")


@pytest.mark.parametrize("words", [["--tail", "-1"], ["--tail", "x"], ["--tail"]])
def test_a_wrong_number_of_lines_is_usage(commands, words, capsys):
    assert run_command(["job", "logs", ID, *words]) == 2
    assert capsys.readouterr().out == ""


def test_ctrl_c_leaves_the_job_running(commands):
    commands.scripts["GetJob"] = [job(State.RUNNING)]
    commands.scripts["WatchJob"] = [[line(1), lambda context: time.sleep(20) if context.is_active() else None]]
    argv = [sys.executable, "-m", "traind", "job", "logs", ID, "-f"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "line 1\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert f"left; the job goes on\nnext  traind job logs {ID[:8]} -f" in err
    assert "Traceback" not in err


@pytest.mark.timeout(300)
def test_each_attempt_of_a_real_worker_tells_its_line_once(server, client, flats):
    """The server is killed while the second of three attempts learns."""
    made = client.jobs.create(dataset=flats, model="told", train=ENDLESS)
    lines = made.logs()
    found = [next(lines)]
    for kill in (True, False):
        made.pause()
        wait_until(lambda: made.refresh().state == "PAUSED", "it is paused", 60)
        made.resume()
        found.append(next(lines))
        if kill:
            pid = server.stack.address["pid"]
            os.kill(pid, signal.SIGKILL)
            server.stack.wait_back(pid)
    assert list(made.logs(follow=False)) == found
    made.cancel()
    assert list(lines) == []
    assert len(found) == 3
    assert all(" rows to learn from, " in line for line in found)
    assert list(client.jobs.logs(made)) == found
