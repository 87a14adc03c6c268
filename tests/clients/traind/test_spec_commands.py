"""`traind spec` against a real server and without one; its schema against specs that server and parser take."""

import json
import pathlib
import subprocess
import sys

import jsonschema
import pytest

from tests.clients.traind.conftest import INPUTS
from traind.errors import InvalidSpec
from traind.spec_schema import spec_schema
from traind.specs import parse_job

pytestmark = pytest.mark.timeout(180)
ROOT = pathlib.Path(__file__).resolve().parents[3]
TRAIN = {"inputs": INPUTS, "target": "price", "network": {"mlp": {"hidden": [4]}}}
WRONG = """{
  "dataset": "flats",
  "train": {
    "target": ["price"],
    "network": {"mlp": {"hiden": [4]}},
    "learn": {
      "gradient": {
        "epochs": "many",
        "batchSize": 3.5
      },
      "exact": {}
    },
    "dtype": "FLOAT128"
  }
}
"""


@pytest.fixture
def walk(server, flats, tmp_path):
    def run(*args, code=0, **env):
        done = subprocess.run(
            [sys.executable, "-m", "traind", *args],
            cwd=tmp_path,
            env=server.env | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


NO_SERVER = {"TRAIND_URL": "grpc://127.0.0.1:1"}


def test_everything_wrong_is_told_by_its_line_without_a_server(walk, tmp_path):
    (tmp_path / "wrong.json").write_text(WRONG)
    done = walk("spec", "check", "wrong.json", code=2, **NO_SERVER)
    lines = done.stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["wrong.json:5", "job.train.network.mlp.hiden"],
        ["wrong.json:8", "job.train.learn.gradient.epochs"],
        ["wrong.json:9", "job.train.learn.gradient.batchSize"],
        ["wrong.json:6", "job.train.learn"],
        ["wrong.json:13", "job.train.dtype"],
    ]
    assert "did you mean 'hidden'?" in lines[0]
    assert "one of FLOAT32, FLOAT64" in lines[4]
    assert "5 wrong" in done.stderr
    told = json.loads(walk("spec", "check", "wrong.json", "-o", "json", code=2).stdout)
    assert [problem["line"] for problem in told] == [5, 8, 9, 6, 13]


def test_what_only_the_server_knows_is_told_by_its_line_too(walk, tmp_path):
    (tmp_path / "s.toml").write_text(
        'dataset = "flats"\n\n[train]\ntarget = "price"\ninputs = ["area",\n  "rooms"]\n[train.network.mlp]\n'
        "hidden = [4]\n[train.learn.gradient]\nepochs = -1\nbatch_size = -5\n"
    )
    walk("spec", "check", "s.toml", "--offline", **NO_SERVER)
    lines = walk("spec", "check", "s.toml", code=2).stdout.splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == ["s.toml:10", "s.toml:11"]
    (tmp_path / "s.toml").write_text('dataset = "nothing"\n[train]\ntarget = "price"\nnetwork.linear = {}\n')
    assert walk("spec", "check", "s.toml", code=2).stdout.startswith("s.toml:1: job.dataset: ")
    assert "--offline" in walk("spec", "check", "s.toml", code=6, **NO_SERVER).stderr
    done = walk("spec", "check", "s.toml", "--dataset", "flats")
    assert done.stdout == ""
    assert "s.toml is good" in done.stderr
    assert json.loads(walk("spec", "check", "s.toml", "--dataset", "flats", "-o", "json").stdout) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", '{\n "dataset": "d",\n}', 3),
        ("a.json", "[1]", 1),
        ("a.toml", 'dataset = "d"\nmodel = \n', 2),
        ("a.yaml", "dataset: d", 1),
        ("a.json", '{"dataset": "d", "train": {\n"learn": {"given": {"weights":\n {"w": [[1, 2], [3]]}}}}}', 3),
    ],
)
def test_a_file_that_is_no_spec_is_told_in_the_same_form(walk, tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    assert walk("spec", "check", name, "--offline", code=2).stdout.startswith(f"{name}:{line}: ")


def test_render_fills_in_every_default_and_is_a_spec_itself(walk, tmp_path):
    job = {"$schema": "traind.schema.json", "dataset": "flats", "displayName": "집값", "train": TRAIN}
    (tmp_path / "short.json").write_text(json.dumps(job))
    rendered = walk("spec", "render", "short.json").stdout
    found = json.loads(rendered)
    assert found["displayName"] == "집값"
    assert found["train"]["learn"]["gradient"]["optimizer"]["adam"]["lr"] == pytest.approx(1e-3)
    assert found["train"]["loss"] == {"mse": {"reduction": "MEAN"}}
    (tmp_path / "long.json").write_text(rendered)
    assert walk("spec", "render", "long.json").stdout == rendered
    jsonschema.validate(found, spec_schema())
    walk("spec", "check", "long.json")


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(spec_schema())
    return jsonschema.Draft202012Validator(spec_schema())


def test_the_printed_schema_is_found_good_by_the_tool_that_editors_are_like(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-m", "traind", "spec", "schema"], capture_output=True, check=True, timeout=60
    ).stdout
    (tmp_path / "schema.json").write_bytes(printed)
    program = [sys.executable, "-m", "check_jsonschema"]
    examples = sorted(map(str, (ROOT / "examples").glob("*.json")))
    assert examples
    subprocess.run([*program, "--check-metaschema", tmp_path / "schema.json"], check=True, timeout=60)
    subprocess.run([*program, "--schemafile", tmp_path / "schema.json", *examples], check=True, timeout=60)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"target": ["price"]},
        {"learn": {"given": {"weights": {"weight": [[0.1, 0.3, 4]], "bias": 3}}}},
        {"learn": {"given": {"weights": {"weight": {"shape": [1], "values": [1.5]}}}}},
        {"learn": {"gradient": {"batch_size": 4, "early_stopping": {"patience": 3}}}},
        {"learn": {"gradient": {"batchSize": "4", "optimizer": {"gradient_descent": {"lr": 0.1}}}}},
        {"split": {"hold_out": {"fraction": 0.5}}, "everyEpoch": ["MAE"]},
    ],
)
def test_the_schema_takes_what_the_parser_takes(validator, change):
    job = {"dataset": "flats", "train": TRAIN | change}
    parse_job(job)
    validator.validate(job)


@pytest.mark.parametrize(
    "change",
    [
        {"learn": {"exact": {}, "gradient": {}}},
        {"network": {"mlp": {"hiden": [4]}}},
        {"network": {"mlp": {"hidden": ["many"]}}},
        {"target": 3},
        {"dtype": "FLOAT128"},
        {"seed": -1.5},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(validator, change):
    job = {"dataset": "flats", "train": TRAIN | change}
    with pytest.raises(InvalidSpec):
        parse_job(job)
    assert not validator.is_valid(job)


def test_the_schema_knows_what_must_be_there_and_the_limits(validator):
    assert not validator.is_valid({"dataset": "flats"})
    assert not validator.is_valid({"train": TRAIN})
    assert not validator.is_valid({"dataset": "flats", "train": {"target": "price"}})
    assert not validator.is_valid({"dataset": "flats", "train": TRAIN | {"network": {"mlp": {}, "linear": {}}}})
    assert not validator.is_valid({"dataset": "flats", "train": TRAIN, "state": "QUEUED"})
    assert not validator.is_valid({"dataset": "flats", "model": "Upper Case", "train": TRAIN})


def test_every_field_is_described():
    for name, schema in spec_schema()["$defs"].items():
        assert schema["description"], name
        assert all(field.get("description") for field in schema.get("properties", {}).values()), name
