"""The programs of examples/services, each as its first lines tell to run it."""

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from tests.interop import environments

EXAMPLES = environments.ROOT / "examples"
SERVICES = EXAMPLES / "services"
BODY = [
    {
        "island": "Biscoe", "bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211,
        "body_mass_g": 4500, "sex": "female",
    },
    {
        "island": "Torgersen", "bill_length_mm": 39.1, "bill_depth_mm": 18.7, "flipper_length_mm": 181,
        "body_mass_g": 3750, "sex": "male",
    },
]  # fmt: skip
SPECIES = ["Gentoo", "Adelie"]


@pytest.fixture(scope="module")
def species(server):
    """The model of README, with the alias that services ask for; its full name."""
    client = server.client
    client.datasets.create(EXAMPLES / "data" / "penguins.csv", name="penguins")
    spec = json.loads((EXAMPLES / "penguins.json").read_text())
    model = client.jobs.create(spec).wait(60).model
    model.set_alias("champion")
    return f"{server.owner}.species"


@pytest.fixture(scope="module")
def token(server, tmp_path_factory):
    """A file with a token that can predict and read, and no more: what README tells to give to a service."""
    made = server.stack.run("user", "token", server.owner, "--scopes", "read,predict").stdout.strip()
    path = tmp_path_factory.mktemp("service") / "token"
    return private(path, made + "\n")


def private(path, text):
    path.touch(0o600)
    path.write_text(text)
    return path


def environment(server, token, **more):
    """What a service is given, and nothing that the tests have of their own."""
    told = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return told | {"TRAIND_URL": server.stack.address["grpc"], "TRAIND_TOKEN_FILE": str(token), **more}


def lines_of(text):
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(("name", "scheme"), [("triton", ""), ("kserve", "http://")])
def test_stock_clients(server, species, token, name, scheme):
    script = SERVICES / "stock" / f"{name}_client.py"
    where = [server.asked["predict"], scheme + server.asked["http"]]
    told = environments.run(str(environments.python(name)), str(script), species, *where, str(token))
    said = lines_of(told)
    assert [line[:2] for line in said] == [[door, kind] for door in ("gRPC", "HTTP") for kind in SPECIES]
    assert all(0.5 < float(line[2]) <= 1 for line in said)


def test_curl(server, species, token):
    env = environment(server, token, TRAIND_HTTP=server.stack.address["http"])
    told = environments.run(str(SERVICES / "curl" / "predict.sh"), species, env=env).splitlines()
    ours, protocol = map(json.loads, told)
    assert ours["predictions"][0]["strings"] == SPECIES
    assert protocol["outputs"][0]["data"] == SPECIES
    refused = subprocess.run(
        [str(SERVICES / "curl" / "predict.sh"), f"{species}-nobody"],
        env=env, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "RESOURCE_NOT_FOUND" in refused.stdout


def test_node(server, species, token):
    folder = environments.node_service()
    env = environment(server, token, TRAIND_GRPC="http://" + server.asked["grpc"])
    told = environments.run("node", "predict.js", species, cwd=folder, env=env)
    assert [line[0] for line in lines_of(told)] == SPECIES
    refused = subprocess.run(
        ["node", "predict.js", f"{species}-nobody"],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "species-nobody" in refused.stderr


@contextlib.contextmanager
def fastapi(server, token):
    """The service of examples/services/fastapi; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = str(environments.python("fastapi"))
    argv = [python, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(argv, cwd=SERVICES / "fastapi", env=environment(server, token)) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(url, body=None, seconds=30):
    """(status, JSON) of an answer; waits until somebody listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_fastapi(server, species, token):
    with fastapi(server, token) as url:
        assert ask(f"{url}/healthz") == (200, {"model": f"models/{species}/versions/1"})
        status, said = ask(f"{url}/species", BODY)
        assert (status, [one["species"] for one in said]) == (200, SPECIES)
        assert all(0.5 < one["probability"] <= 1 for one in said)
        status, said = ask(f"{url}/species", [])
        assert status == 422
        assert "send 1 to 1000" in said["error"]
        status, said = ask(f"{url}/species", [BODY[0] | {"island": "Atlantis"}])
        assert status == 422
        assert "Atlantis" in said["error"]
        assert "island" in said["error"]


def test_a_nightly_batch(server, species, token, tmp_path):
    """Run as cron does it, twice for one day."""
    bin_folder = environments.python("fastapi").parent
    mine = private(tmp_path / "token", server.stack.token)
    env = environment(server, mine, PATH=f"{bin_folder}:{os.environ['PATH']}")
    rows, predicted = tmp_path / "rows", tmp_path / "predicted"
    rows.mkdir()
    predicted.mkdir()
    shutil.copy(EXAMPLES / "new_penguins.csv", rows / "2026-11-28.csv")
    script = str(SERVICES / "cron" / "nightly.sh")
    argv = [script, species, str(rows), str(predicted), "2026-11-28"]
    first = environments.run(*argv, env=env)
    written = (predicted / "2026-11-28.csv").read_bytes()
    kinds = [line[1] for line in csv.reader(written.decode().splitlines())]
    assert kinds == ["predicted_species", "Adelie", "Gentoo", "Chinstrap"]
    assert environments.run(*argv, env=env) == first
    assert (predicted / "2026-11-28.csv").read_bytes() == written
    assert [path.name for path in predicted.iterdir()] == ["2026-11-28.csv"]
