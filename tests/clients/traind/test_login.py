"""Signing in and out against a real server, as a person at a terminal and as a script do it."""

import json
import os
import pty
import subprocess
import sys
import tomllib

import pytest

from tests.clients.traind.scripted import refusal, scripted_server
from traind.v1 import server_pb2

pytestmark = pytest.mark.timeout(120)
WRONG = "trd_aaaaaaaa_" + "x" * 43


@pytest.fixture
def person(server, tmp_path):
    """Runs a command as somebody who has no profile and no variables of traind yet."""

    def run(*args, code=0, stdin="", **env):
        done = subprocess.run(
            [sys.executable, "-m", "traind", *args],
            env=nobody(tmp_path) | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert server.token not in done.stdout + done.stderr
        return done

    return run


def nobody(home):
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env = {name: value for name, value in env.items() if not name.startswith("TRAIND_")}
    return env | {"XDG_CONFIG_HOME": str(home)}


def profiles(home):
    return tomllib.loads((home / "traind" / "config.toml").read_text())["profiles"]


def test_in_who_and_out(person, server, tmp_path):
    done = person("login", "--url", server.url, "--token-stdin", stdin=server.token + "\n")
    assert done.stdout.startswith(f"signed in at {server.url} as ")
    http = server.stack.address["http"]
    assert profiles(tmp_path) == {"default": {"url": server.url, "http": http, "token": server.token}}
    told = json.loads(person("whoami", "-o", "json").stdout)
    assert told["server"] == server.url
    assert "read" in told["scopes"]
    assert told["token"] == server.token[:13] + "…"
    assert "profile 'default'" in told["server_from"] == told["token_from"]
    assert told["user"] in person("whoami").stdout
    left = person("logout")
    assert f"python -m service user revoke {server.token[:12]}\n" in left.stderr
    assert profiles(tmp_path) == {"default": {"url": server.url, "http": http}}
    assert "holds no token" in person("logout").stderr
    person("whoami", code=4)
    # The address has been kept, so the token alone is enough.
    person("login", "--token-stdin", stdin=server.token)
    person("job", "list")


def test_a_token_that_the_server_refuses_is_not_kept(person, server, tmp_path):
    person("login", "--url", server.url, "--token-stdin", stdin=WRONG, code=4)
    assert not (tmp_path / "traind").exists()
    person("login", "--url", server.url, "--token-stdin", stdin=server.token)
    person("login", "--token-stdin", stdin=WRONG, code=4)
    assert profiles(tmp_path)["default"]["token"] == server.token
    person("login", "--url", "grpc://127.0.0.1:1", "--token-stdin", stdin=server.token, code=6)
    assert profiles(tmp_path)["default"]["url"] == server.url


def test_profiles_by_name(person, server, tmp_path):
    for named in ({"TRAIND_PROFILE": "lab"}, {}):
        person("login", "--url", server.url, "--token-stdin", *([] if named else ["--profile", "b c"]),
               stdin=server.token, **named)  # fmt: skip
    assert set(profiles(tmp_path)) == {"lab", "b c"}
    assert json.loads(person("--profile", "b c", "whoami", "-o", "json").stdout)["server"] == server.url
    assert "traind login --profile none" in person("--profile", "none", "whoami", code=2).stderr
    person("logout", "--profile", "lab")
    assert "token" not in profiles(tmp_path)["lab"]
    assert "token" in profiles(tmp_path)["b c"]


def test_variables_that_stand_over_the_profile_are_told(person, server):
    done = person("login", "--url", server.url, "--token-stdin", stdin=server.token, TRAIND_TOKEN=WRONG)
    assert "TRAIND_TOKEN is set and stands over" in done.stderr


@pytest.mark.parametrize("stdin", ["", "two words", "한글"])
def test_what_is_no_token_is_refused(person, server, stdin):
    person("login", "--url", server.url, "--token-stdin", stdin=stdin, code=2)


def test_without_a_terminal_nothing_is_asked(person, server):
    assert "--token-stdin" in person("login", "--url", server.url, code=2).stderr
    assert "no such option" in person("login", "--token", WRONG, code=2).stderr.lower()


def test_at_a_terminal_the_token_is_asked_for_and_not_shown(server, tmp_path):
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "traind", "login", "--url", server.url]
    with subprocess.Popen(
        argv, env=nobody(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Token for" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, server.token.encode() + b"\n")
        try:
            while part := os.read(ours, 1000):
                shown += part
        except OSError:  # the terminal of a process that has ended
            pass
        assert process.wait(30) == 0
    os.close(ours)
    assert b"signed in" in shown
    assert server.token.encode() not in shown
    assert profiles(tmp_path)["default"]["token"] == server.token


def test_a_token_in_the_clear_to_a_far_host_is_warned_of_before_it_is_sent(person, tmp_path):
    # RFC 6761 keeps this name from ever being one: nobody answers, and nothing was sent.
    done = person("login", "--url", "grpc://far.invalid:1", "--token-stdin", stdin=WRONG, code=6)
    assert done.stderr.count("in the clear") == 1
    assert "grpcs://" in done.stderr


def test_another_server_s_certificates_and_files_do_not_stay(person, server, tmp_path):
    folder = tmp_path / "traind"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text('[profiles.default]\nurl = "grpcs://far:1"\ntls_ca = "/far.pem"\ntoken_file = "/far"\nmine = 1\n')
    file.chmod(0o600)
    person("login", "--url", server.url, "--token-stdin", stdin=server.token)
    kept = profiles(tmp_path)["default"]
    assert (kept["url"], kept["token"], kept["mine"]) == (server.url, server.token, 1)
    assert not {"tls_ca", "token_file"} & set(kept)
    file.chmod(0o640)
    refused = person("login", "--token-stdin", stdin=server.token, code=2)
    assert f"chmod 600 {file}" in refused.stderr


def test_where_rest_is_behind_another_port_nothing_is_claimed(person, tmp_path):
    with scripted_server() as (script, url):
        info = server_pb2.ServerInfo(version="0.1.0", user="kim", scopes=["read"], http_port=8080, grpc_port=8081)
        script.scripts["GetServerInfo"] = [info, refusal("UNAUTHENTICATED", "TOKEN_REJECTED")]
        person("login", "--url", url, "--token-stdin", stdin=WRONG)
        assert "http" not in profiles(tmp_path)["default"]
        person("login", "--token-stdin", stdin=WRONG, code=4)
