"""`traind doctor` where all is well, and where one thing is not."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest

import traind
from tests.acceptance.stack import Stack
from tests.clients.traind.scripted import refusal, scripted_server
from traind import trial
from traind.checkup import look_at_rest, look_at_way
from traind.config import Config, parse_url
from traind.v1 import server_pb2
from traind.version import __version__

pytestmark = pytest.mark.timeout(180)
WRONG = "trd_aaaaaaaa_" + "x" * 43


def examine(env, *args, code=0):
    argv = [sys.executable, "-m", "traind", "doctor", *args]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def checks(env, *args, code=0):
    told = json.loads(examine(env, "-o", "json", *args, code=code).stdout)
    assert told["ok"] == (code == 0)
    return {check["name"]: check for check in told["checks"]}


def test_all_is_well_and_nothing_of_it_stays(server):
    found = checks(server.env | {"http_proxy": "http://127.0.0.1:9"})
    assert {check["level"] for check in found.values()} == {"ok"}, found
    assert list(found) == [
        "client", "address", "proxy", "server", "token", "storage", "devices", "limits", "rest", "clock", "data",
        "training", "prediction",
    ]  # fmt: skip
    assert "TRAIND_URL" in found["address"]["text"]
    assert "not used for 127.0.0.1" in found["proxy"]["text"]
    assert f"{trial.EPOCHS} epochs" in found["training"]["text"]
    with server.client() as client:
        assert not [one for one in client.datasets.list() if "doctor" in one.name]
        assert next(client.jobs.list()).done
    assert server.token not in json.dumps(found)


def test_for_people_each_is_a_line(server):
    lines = examine(server.env, "--no-train").stdout.splitlines()
    assert all(line.startswith("ok   ") for line in lines), lines
    assert not any("training" in line for line in lines)


def test_without_a_server_it_is_6_and_the_cure_is_told(server):
    found = checks(server.env | {"TRAIND_URL": "grpc://127.0.0.1:1"}, code=6)
    assert found["server"]["level"] == "bad"
    assert "traind up" in found["server"]["cure"]


def test_with_a_wrong_token_it_is_4_and_the_token_is_not_shown(server):
    env = server.env | {"TRAIND_TOKEN": WRONG}
    found = checks(env, code=4)
    assert "trd_aaaaaaaa_…" in found["token"]["text"]
    assert WRONG not in examine(env, code=4).stdout


def test_a_file_that_others_can_read_is_1_with_the_line_that_mends_it(server, tmp_path):
    file = tmp_path / "token"
    file.write_text(server.token)
    file.chmod(0o644)
    found = checks(server.env | {"TRAIND_TOKEN_FILE": str(file)}, code=1)
    assert found["address"]["cure"] == f"chmod 600 {file}"


@contextlib.contextmanager
def rest(date):
    """A web server whose clock stands at `date`."""

    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(200)
            if date is not None:
                self.send_header("date", self.date_time_string(date))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Door) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        yield door.server_port
        door.shutdown()
        thread.join()


CONFIG = Config(parse_url("grpc://127.0.0.1:1", "test"), "test", None, "nowhere")


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [(0, "ok", "the same as"), (120, "warn", "ahead of"), (-3600, "warn", "behind")],
)
def test_clocks(seconds, level, words):
    with rest(time.time() + seconds) as port:
        looks = list(look_at_rest(CONFIG, server_pb2.ServerInfo(http_port=port)))
    assert [look.level for look in looks] == ["ok", level]
    assert words in looks[1].text
    told = int(re.search(r"(\d+) s", looks[1].text)[1])
    assert abs(told - abs(seconds)) <= (2 if seconds else 5)  # a header tells whole seconds


def test_rest_that_does_not_answer_or_tells_no_time_is_a_warning():
    with rest(None) as port:
        looks = list(look_at_rest(CONFIG, server_pb2.ServerInfo(http_port=port)))
    assert [look.level for look in looks] == ["ok", "warn"]
    looks = list(look_at_rest(CONFIG, server_pb2.ServerInfo(http_port=port)))
    assert [(look.level, look.name) for look in looks] == [("warn", "rest")]


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        ("grpc://10.1.2.3:1", {}, []),
        ("grpc://10.1.2.3:1", {"http_proxy": "http://p:1"}, [("ok", "proxy")]),
        ("grpcs://far.example.org", {"https_proxy": "http://p:1"}, [("warn", "proxy")]),
        ("grpcs://far.example.org", {"https_proxy": "http://p:1", "no_proxy": "a, example.org"}, [("ok", "proxy")]),
        ("grpc://far.example.org", {}, [("warn", "privacy")]),
    ],
)
def test_the_way_to_the_server(url, env, expected):
    looks = list(look_at_way(Config(parse_url(url, "test"), "test", WRONG, "test"), env))
    assert [(look.level, look.name) for look in looks[1:]] == expected


def told(**fields):
    info = {"version": __version__, "user": "kim", "scopes": ["predict", "read", "submit"], "devices": ["cpu"]}
    return server_pb2.ServerInfo(**info | fields)


def test_what_a_server_of_another_version_with_few_scopes_says(monkeypatch, tmp_path):
    with scripted_server() as (script, url):
        script.scripts["GetServerInfo"] = [told(version="9.0.0", scopes=["read"], http_port=1)]
        env = os.environ | {"TRAIND_URL": url, "TRAIND_TOKEN": WRONG, "XDG_CONFIG_HOME": str(tmp_path)}
        found = checks(env)
        assert "upgrade the client" in found["versions"]["cure"]
        assert "submit, predict" in found["scopes"]["text"]
        assert found["devices"]["level"] == "ok"
        assert "training" not in found
        script.scripts["GetServerInfo"] = [refusal("PERMISSION_DENIED", "SCOPE_MISSING")]
        assert checks(env, code=1)["calls"]["level"] == "bad"


def test_without_a_worker_the_trial_says_so_and_leaves_nothing_that_waits(monkeypatch):
    monkeypatch.setattr(trial, "TO_BEGIN_S", 0.5)
    with Stack() as stack:
        stack.token = stack.run("user", "add", "kim", "--scopes", "read,submit,predict").stdout.strip()
        stack.start("api", "service", "api")
        stack.wait_ready()
        with traind.Client(stack.address["grpc"], token=stack.token) as client:
            data, training = trial.try_training(client)
            assert (data.level, training.level) == ("ok", "bad")
            assert "python -m worker" in training.cure
            assert [job.state for job in client.jobs.list()] == ["CANCELLED"]
            assert not list(client.datasets.list())
            # Where others wait too, nothing is wrong with the server.
            flats = client.datasets.create({"x": trial.X, "y": trial.X}, name="flats")
            client.jobs.create(dataset=flats, model="other", train=trial.TRAIN)
            _, training = trial.try_training(client)
            assert (training.level, training.text[:16]) == ("warn", "1 job is ahead, ")
