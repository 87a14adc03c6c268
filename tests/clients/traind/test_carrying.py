"""Models into files and out of them, by both clients and by the commands."""

import json
import os
import subprocess
import sys
import zipfile

import onnx
import pytest

import traind
from tests.clients.traind.conftest import FLATS, INPUTS
from tests.clients.traind.scripted import refusal
from traind.v1 import models_pb2, uploads_pb2

pytestmark = pytest.mark.timeout(300)
ROWS = {name: FLATS[name][:9] for name in INPUTS}
UPLOAD = "uploads/00000000-0000-4000-8000-000000000000"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_there_and_back(client, class_model, tmp_path):
    told, seen = [], []
    path = client.models.export(class_model, tmp_path / "a.st", progress=lambda *at: told.append(at))
    assert path == tmp_path / "a.st"
    assert told[-1] == (path.stat().st_size,) * 2
    made = client.models.import_(str(path), name="carried", progress=lambda *at: seen.append(at))
    assert seen[-1] == told[-1]
    assert made.name.partition(".")[2].startswith("carried/versions/")
    assert made.origin.model == class_model
    assert client.models.get(class_model).origin is None
    one, other = (client.predict(name, ROWS, full=True) for name in (class_model, made.name))
    assert (one.values, one.probabilities) == (other.values, other.probabilities)
    again = made.export(tmp_path / "b.st")
    assert again.read_bytes() == path.read_bytes()
    one, other = (dict(client.jobs.history(job)) for job in (made.job, client.models.get(class_model).job))
    assert one
    assert one == other


def test_the_formats_of_other_programs(client, class_model, tmp_path):
    path = client.models.export(class_model, tmp_path / "m.zip", format="script")
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["predict.py", "weights.safetensors"]
        assert f"MODEL = {class_model!r}".encode() in opened.read("predict.py")
    graph = onnx.load(client.models.get(class_model).export(tmp_path / "m.onnx", format="onnx")).graph
    assert [one.name for one in graph.input] == [one.name for one in client.models.get(class_model).message.inputs]
    with pytest.raises(traind.InvalidSpec, match="no format 'pickle'") as refused:
        client.models.export(class_model, tmp_path / "m.pkl", format="pickle")
    assert "onnx" in refused.value.fix
    assert names(tmp_path) == ["m.onnx", "m.zip"]


def test_its_own_name_is_kept(client, price_model, tmp_path):
    path = client.models.export("price", tmp_path / "x.st")
    made = client.models.import_(path)
    assert made.name.partition(".")[2].startswith("price/versions/")
    assert made.name != price_model


def test_a_file_that_is_there_stays(client, price_model, tmp_path):
    path = tmp_path / "there.st"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="there already"):
        client.models.export(price_model, path)
    assert path.read_bytes() == b"mine"
    client.models.export(price_model, path, overwrite=True)
    assert path.stat().st_size > 1000
    assert names(tmp_path) == ["there.st"]


def test_a_model_that_is_not_there_makes_no_file(client, tmp_path):
    with pytest.raises(traind.NotFound):
        client.models.export("none", tmp_path / "none.st")
    assert names(tmp_path) == []


def test_a_bad_file(client, tmp_path):
    path = tmp_path / "bad.st"
    path.write_bytes(b"no model at all")
    with pytest.raises(traind.InvalidSpec, match="no safetensors file") as refused:
        client.models.import_(path)
    assert refused.value.reason == "INVALID_MODEL_FILE"
    assert "export the model again" in refused.value.fix
    with pytest.raises(FileNotFoundError):
        client.models.import_(tmp_path / "none.st")


def part(data=b"", **first):
    return models_pb2.ExportModelResponse(data=data, **first)


@pytest.mark.parametrize(
    "answers",
    [
        [part(b"abc", file_name="a", size_bytes=9), part(b"d")],
        [part(b"abc", file_name="a", size_bytes=9), refusal("UNAVAILABLE")],
    ],
)
def test_a_file_that_does_not_come_whole(script, make, tmp_path, answers):
    folder = tmp_path / "out"
    folder.mkdir()
    script.scripts["ExportModel"] = [answers]
    with make(os.environ["TRAIND_URL"]) as client, pytest.raises(traind.ConnectionFailed):
        client.models.export("m", folder / "m.st")
    assert names(folder) == []


def test_an_answer_that_was_lost_is_asked_for_with_the_same_id(script, make, tmp_path):
    path = tmp_path / "m.st"
    path.write_bytes(b"1234")
    script.scripts["CreateUpload"] = [uploads_pb2.Upload(name=UPLOAD)]
    script.scripts["WriteUpload"] = [uploads_pb2.Upload(name=UPLOAD, offset=4)]
    script.scripts["ImportModel"] = [refusal("UNAVAILABLE"), models_pb2.Model(name="models/kim.m/versions/1")]
    with make(os.environ["TRAIND_URL"]) as client:
        assert client.models.import_(path).name == "models/kim.m/versions/1"
    first, second = script.requests["ImportModel"]
    assert first == second
    assert len(first.request_id) == 36


@pytest.fixture
def run(server, tmp_path):
    """A command in a folder of its own."""

    def command(*words, code=0):
        argv = [sys.executable, "-m", "traind", *words]
        done = subprocess.run(
            argv, cwd=tmp_path, env=server.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return command


def test_the_commands(run, price_model, tmp_path):
    wrote = run("export", price_model, "m.safetensors")
    assert wrote.stdout == "m.safetensors\n"
    assert "next  traind --profile OTHER import m.safetensors" in wrote.stderr
    size = (tmp_path / "m.safetensors").stat().st_size
    refused = run("export", price_model, "m.safetensors", code=2)
    assert "--force" in refused.stderr
    told = json.loads(run("export", price_model, "m.safetensors", "--force", "--json").stdout)
    assert (told["model"], told["file"], told["sizeBytes"]) == (price_model, "m.safetensors", str(size))
    assert run("export", "@last", "last.st", "-q").stdout.startswith("models/")
    made = run("import", "m.safetensors", "--name", "by-hand")
    assert "by-hand/versions/1" in made.stdout
    assert f"as {price_model.partition('/')[2].replace('/versions/', ':')}" in made.stderr
    shown = run("models", "show", "by-hand").stdout
    assert price_model in shown
    assert "imported/" in shown
    assert json.loads(run("import", "m.safetensors", "--name", "by-hand", "-o", "json").stdout)["origin"]["user"]
    assert run("import", "m.safetensors", "-o", "id").stdout.startswith("models/")
    assert "imported/" in run("models", "list").stdout
    assert names(tmp_path) == ["last.st", "m.safetensors"]


def test_the_command_names_the_file_as_the_model(run, price_model, tmp_path):
    name = price_model.partition("/")[2].replace("/versions/", "-")
    told = run("export", price_model, "--format", "script")
    assert told.stdout == f"{name}.zip\n"
    assert "python predict.py" in told.stderr
    assert run("export", price_model, "--format", "onnx").stdout == f"{name}.onnx\n"
    assert "'pickle'" in run("export", price_model, "--format", "pickle", code=2).stderr
    assert names(tmp_path) == [f"{name}.onnx", f"{name}.zip"]


def test_what_the_commands_refuse(run, price_model, tmp_path):
    run("export", "none", "none.st", code=5)
    run("import", "none.st", code=2)
    (tmp_path / "bad.st").write_bytes(b"x" * 100)
    assert "no safetensors file" in run("import", "bad.st", code=2).stderr
    run("import", "bad.st", "--name", "No!", code=2)
    assert "nowhere" in run("export", price_model, "nowhere/m.st", code=1).stderr
    assert names(tmp_path) == ["bad.st"]
