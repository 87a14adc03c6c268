"""A model goes by the commands from a laptop's server to the lab's, between databases, and answers the same there."""

import json
import os
import subprocess

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from traind.v1 import jobs_pb2, models_pb2

pytestmark = pytest.mark.timeout(400)
Job = jobs_pb2.Job
ASKED = {f"x{column}": [0.5, -0.25, 1e6] for column in range(wires.WIDTH)}


def traind(stack, *words, code=0):
    """A command at a stack, as its user has it on the machine."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
    env |= {"TRAIND_URL": stack.address["grpc"], "TRAIND_TOKEN": stack.token, "XDG_CONFIG_HOME": "/nonexistent"}
    argv = [stacks.PYTHON, "-m", "traind", *map(str, words)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def trained(stack, slug):
    """A model of a network with everything that can be stored of one."""
    wire = stack.wire()
    job = wires.train(12, model=slug, seed=5)
    job.display_name = "파도 🌊"
    job.train.network.mlp.normalisation = 2
    job.train.network.mlp.dropout = 0.1
    ended = wire.wait(wire.submit(job).name, 90)
    assert ended.state == Job.SUCCEEDED, ended
    return wire, ended


def answers(wire, model):
    told = wire.predict(model, ASKED)
    told.ClearField("model")
    return told.SerializeToString(deterministic=True)


@pytest.mark.parametrize("way", ["there", "back"])
def test_between_the_databases(sqlite_stack, postgresql_stack, tmp_path, way):
    here, there = (sqlite_stack, postgresql_stack) if way == "there" else (postgresql_stack, sqlite_stack)
    wire, job = trained(here, f"carried-{way}")
    file, again = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    traind(here, "export", f"carried-{way}", file)
    name = json.loads(traind(there, "import", file, "--name", f"from-{way}", "-o", "json").stdout)["name"]
    other = there.wire()
    assert answers(other, name) == answers(wire, job.model_version)
    before, after = wire.model(job.model_version), other.model(name)
    assert after.origin == models_pb2.Origin(
        model=before.name,
        job=job.name,
        dataset=before.dataset,
        user=before.name.partition("/")[2].partition(".")[0],
        create_time=before.create_time,
    )
    assert (after.display_name, after.spec, after.metrics) == (before.display_name, before.spec, before.metrics)
    assert (after.weights_sha256, after.size_bytes) == (before.weights_sha256, before.size_bytes)
    assert other.history(after.job) == wire.history(job.name)
    assert_whole(other, after.job, epochs=12, attempts=1)
    traind(there, "export", name, again)
    assert again.read_bytes() == file.read_bytes()
    assert "trained as" in traind(there, "models", "show", name).stdout
    assert job.name in traind(there, "job", "show", after.job).stdout


def test_from_one_up_to_another(sqlite_stack, tmp_path):
    wire, job = trained(sqlite_stack, "to-a-second")
    file = tmp_path / "model.safetensors"
    traind(sqlite_stack, "export", "to-a-second", file)
    with stacks.up() as second:
        [name] = traind(second, "import", file, "-q").stdout.split()
        assert name.endswith(".to-a-second/versions/1")
        assert answers(second.wire(), name) == answers(wire, job.model_version)
        # Of a restart nothing is lost, and the model is measured as any other.
        second.stop("up")
        second.start("up", "service", "up")
        second.wait_ready()
        assert answers(second.wire(), name) == answers(wire, job.model_version)
        second.wire().upload("waves", wires.table())
        measured = json.loads(traind(second, "models", "evaluate", name, "waves", "-o", "json").stdout)
        here = json.loads(traind(sqlite_stack, "models", "evaluate", job.model_version, "waves", "-o", "json").stdout)
        assert measured["metrics"] == here["metrics"]
