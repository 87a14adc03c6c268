"""Completion as shells ask for it, against a real server and without one; each shell's own script in a real shell."""

import os
import shutil
import subprocess
import sys
import time

import click
import pytest

from tests.clients.traind.conftest import ENDLESS
from traind.cli import COMMANDS, COMPLETE_VARIABLE, commands
from traind.cli.completing import attach

pytestmark = pytest.mark.timeout(120)


def complete(env, *words):
    """What bash would offer for the last word."""
    asked = {
        COMPLETE_VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(["traind", *words]),
        "COMP_CWORD": str(len(words)),
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "traind"], env=env | asked, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()], time.monotonic() - began


def test_commands_and_options(server):
    assert complete(server.env, "comp")[0] == ["compare", "completion"]
    assert "--no-train" in complete(server.env, "doctor", "--")[0]
    assert complete(server.env, "explain", "worker")[0] == ["WORKER_LOST"]


def test_names_of_the_server_s_things(server, flats, price_model):
    with server.client() as client:
        job = client.jobs.create(dataset=flats, model="endless", train=ENDLESS)
        job.cancel()
    assert complete(server.env, "data", "show", "fl")[0] == ["flats"]
    assert complete(server.env, "data", "show", "flats:")[0] == ["flats:1"]
    assert "price" in complete(server.env, "models", "show", "")[0]
    owner = price_model.removeprefix("models/").partition(".")[0]
    assert complete(server.env, "predict", f"{owner}.pri")[0] == [f"{owner}.price"]
    assert complete(server.env, "job", "show", job.id[:20])[0] == [job.id]
    assert complete(server.env, "job", "wait", "@")[0] == ["@last"]
    # Of another server nothing is known, and --url is the address that is asked.
    assert complete(server.env, "--url", "grpc://127.0.0.1:1", "data", "show", "fl")[0] == []


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "grpc://192.0.2.1:1", "http://wrong:1"])
@pytest.mark.alone
def test_without_a_server_it_is_silent_and_quick(server, url):
    env = server.env | {"TRAIND_URL": url, "http_proxy": "", "https_proxy": "", "grpc_proxy": ""}
    found, took = complete(env, "job", "show", "0")
    assert found == []
    assert took < 3  # of which the start of Python and of gRPC is the most where machines are busy


def arguments(command, path=()):
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            yield from arguments(command.get_command(ctx, name), (*path, name))
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield path, parameter


def test_every_argument_that_is_a_thing_of_the_server_is_completed():
    """None is forgotten: what has another meaning is listed here."""
    own = {"alias", "options", "spec", "file", "reason", "shell", "output"}
    for name in COMMANDS:
        command = commands.get_command(click.Context(commands), name)
        for path, parameter in arguments(command, (name,)):
            if parameter.name not in own:
                attach(command)
                assert "shell_complete" in vars(parameter), (path, parameter.name)
                del parameter.shell_complete


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(server, tmp_path, shell):
    done = subprocess.run(
        [sys.executable, "-m", "traind", "completion", shell],
        env=server.env, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert f"{COMPLETE_VARIABLE}={shell}_complete" in done.stdout
    assert done.stderr == ""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    (tmp_path / "script").write_text(done.stdout)
    if shell == "bash":
        # Ask as bash does: the function that the script names, with the words it would see.
        (tmp_path / "traind").write_text(f'#!/bin/sh\nexec {sys.executable} -m traind "$@"\n')
        (tmp_path / "traind").chmod(0o755)
        program = (
            "source script; COMP_WORDS=(traind whoa); COMP_CWORD=1; _traind_completion traind whoa traind; "
            'echo "${COMPREPLY[@]}"'
        )
        env = server.env | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        asked = subprocess.run(
            ["bash", "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=True
        )
        assert asked.stdout.strip() == "whoami"
    else:
        subprocess.run([shell, "-n", tmp_path / "script"], check=True, timeout=30)


def test_only_known_shells(server):
    done = subprocess.run(
        [sys.executable, "-m", "traind", "completion", "tcsh"],
        env=server.env,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
