"""`traind open` and `traind version` against a real server; the browser is a program that notes what it was given."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.clients.traind.scripted import scripted_server
from traind.profile_files import write_profile
from traind.v1 import server_pb2
from traind.version import __version__

pytestmark = pytest.mark.timeout(120)


def run(env, *args, code=0):
    argv = [sys.executable, "-m", "traind", *args]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def browser(tmp_path):
    """Its address for $BROWSER, and what it was given."""
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\necho "$1" >> {seen}\n')
    program.chmod(0o755)
    seen.touch()
    return str(program), seen


def test_the_pages_are_opened_and_their_address_printed(server, browser):
    program, seen = browser
    home = server.stack.address["http"]
    env = server.env | {"BROWSER": program}
    assert run(env, "open").stdout == f"{home}/docs\n"
    assert seen.read_text() == f"{home}/docs\n"
    assert run(env, "open", "--no-browser").stdout == f"{home}/docs\n"
    assert seen.read_text() == f"{home}/docs\n"


def test_a_job_s_address_is_one_that_rest_knows(server, price_model, browser):
    program, seen = browser
    with server.client() as client:
        job = client.models.get(price_model).job.removeprefix("jobs/")
    done = run(server.env | {"BROWSER": program}, "open", job[:13])
    url = done.stdout.strip()
    assert url == f"{server.stack.address['http']}/v1/jobs/{job}"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {server.token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=10)
    assert "curl" in done.stderr
    assert server.token not in done.stdout + done.stderr
    assert seen.read_text() == ""
    run(server.env, "open", "00000000-0000-4000-8000-000000000000", code=5)


def test_without_a_browser_the_address_is_enough(server):
    env = {name: value for name, value in server.env.items() if name not in {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"}}
    done = run(env | {"PATH": "/nowhere"}, "open")
    assert done.stdout.endswith("/docs\n")
    assert "no browser here" in done.stderr


def test_the_profile_knows_a_door_that_the_server_does_not(server, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
    env |= {"XDG_CONFIG_HOME": str(tmp_path)}
    changes = {"url": "grpcs://lab.example", "http": "https://lab.example/", "token": "trd_aaaaaaaa_x"}
    write_profile("default", changes, env)
    # No server is asked: none is there.
    assert run(env, "open", "--no-browser").stdout == "https://lab.example/docs\n"
    there = env | {"TRAIND_URL": server.url, "TRAIND_TOKEN": server.token}
    assert run(there, "open", "--no-browser").stdout == f"{server.stack.address['http']}/docs\n"


def test_versions(server, tmp_path):
    done = run(server.env, "version")
    assert done.stdout == f"client {__version__}\nserver {__version__}\n"
    assert done.stderr == ""
    with scripted_server() as (script, url):
        script.scripts["GetServerInfo"] = [server_pb2.ServerInfo(version="9.1.0", min_client_version="9.0.0")]
        done = run(server.env | {"TRAIND_URL": url}, "version")
        assert done.stdout == f"client {__version__}\nserver 9.1.0\n"
        assert "upgrade the client to 9.1.0" in done.stderr
    done = run(server.env | {"TRAIND_URL": "grpc://127.0.0.1:1"}, "version")
    assert done.stdout == f"client {__version__}\n"
    assert "server unknown" in done.stderr
