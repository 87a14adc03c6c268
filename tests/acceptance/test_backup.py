"""A backup of a server at work, restored on another machine: nothing is lost, and every job ends with the same bits."""

import json
import os
import signal
import subprocess

import pytest

from service.store import artifacts
from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, learning_pb2

# Its bounds are in the seconds that jobs and a backup take.
pytestmark = pytest.mark.alone

Job = jobs_pb2.Job
JOBS, EPOCHS = 8, 40


def refused(stack, *words):
    """The one line that a command says which cannot be done; its exit code is 2."""
    done = stack.run(*words, check=False)
    assert done.returncode == 2, done
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A server whose eight jobs were backed up at work: (stack, the archive, the jobs' names, a model's answer)."""
    archive = tmp_path_factory.mktemp("backups") / "lab.tar"
    with stacks.up(TRAIND_SLOTS="4", TRAIND_HOUSEKEEPING_S="0") as stack:
        wire = stack.wire()
        wire.upload("waves", wires.table())
        done = wire.wait(wire.submit(wires.quick(model="before")).name, 90)
        answer = predicted(wire, done.model_version)
        jobs = [wire.submit(job_of(seed)).name for seed in range(JOBS)]
        paused = wire.submit(job_of(99)).name
        wire.call(wire.jobs.PauseJob, jobs_pb2.PauseJobRequest(name=paused))
        # Four are at work, and four wait.
        for job in jobs[:4]:
            wire.wait_epoch(job, 3)
        said = stack.run("backup", str(archive)).stdout
        states = [wire.get(job) for job in jobs]
        assert any(job.state == Job.RUNNING for job in states), "the backup took longer than the jobs"
        assert all(job.state != Job.SUCCEEDED for job in states[4:])
        assert said.startswith(f"{archive}: the database {stack.data / 'traind.db'} (schema ")
        wire.call(wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest(name=paused))
        names = [*jobs, paused]
        ends = [wire.wait(name, 120) for name in names]
        hashes = [wire.model(job.model_version).weights_sha256 for job in ends]
        histories = [wire.history(name) for name in names]
        yield stack, archive, names, (done.model_version, answer), (hashes, histories)


def job_of(seed):
    """Some seconds of work, the general way, which has more to carry over."""
    job = wires.train(EPOCHS, batch_size=1, model=f"m{seed}", seed=seed)
    job.train.learn.gradient.path = learning_pb2.Gradient.GENERAL
    return job


def grown(folder):
    return any(path.stat().st_size > 1 << 20 for path in folder.iterdir())


def predicted(wire, model):
    columns = {f"x{column}": [0.5, -0.25] for column in range(wires.WIDTH)}
    return wire.predict(model, columns).SerializeToString(deterministic=True)


@pytest.mark.timeout(400)
def test_a_server_restored_from_the_backup_of_one_at_work_finishes_every_job_with_the_same_bits(source):
    stack, archive, names, (model, answer), (hashes, histories) = source
    with stacks.Stack(TRAIND_SLOTS="4") as other:
        said = other.run("restore", str(archive)).stdout
        assert "wait for a worker, and go on where they were" in said
        other.start("up", "service", "up")
        other.wait_ready()
        # Tokens are in it as hashes: the one that opened the first server opens this one.
        other.token = stack.token
        wire = other.wire()
        assert predicted(wire, model) == answer
        assert wire.get(names[-1]).state == Job.PAUSED
        wire.call(wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest(name=names[-1]))
        # Those that had begun go on where they stood.
        resumed = [wire.get(name).epoch for name in names[:4]]
        assert min(resumed) >= 2
        ends = [wire.wait(name, 120) for name in names]
        for name in names:
            assert_whole(wire, name, epochs=EPOCHS)
        assert [wire.model(job.model_version).weights_sha256 for job in ends] == hashes
        assert [wire.history(name) for name in names] == histories
        assert stack.token not in archive.read_bytes().decode("latin-1")
        assert "token  those that it had" in other.output("up")


def test_what_cannot_be_restored_is_told_in_one_line(source, tmp_path):
    running, archive, *_ = source
    raw = archive.read_bytes()
    assert "already runs on" in refused(running, "restore", str(archive))
    with stacks.Stack() as other:
        damaged = tmp_path / "damaged.tar"
        damaged.write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :])
        assert "the backup is damaged: traind.db is not what was written" in refused(other, "restore", str(damaged))
        damaged.write_bytes(raw[:-2000])
        assert "the backup is damaged: it ends before objects/" in refused(other, "restore", str(damaged))
        damaged.write_bytes(b"no archive at all" * 100)
        assert "is no backup of traind" in refused(other, "restore", str(damaged))
        assert "cannot be read" in refused(other, "restore", str(tmp_path / "none.tar"))
        assert not list(other.data.rglob("*.db"))
        other.run("restore", str(archive))
        assert "needs an empty data folder" in refused(other, "restore", str(archive))
        assert "is there already" in refused(other, "backup", str(archive))
        other.env["TRAIND_DATABASE_URL"] = "postgresql://root@127.0.0.1:5432/postgres"
        for words in (("backup", str(tmp_path)), ("restore", str(archive))):
            assert "TRAIND_DATABASE_URL is PostgreSQL" in refused(other, *words)


def test_a_killed_backup_leaves_nothing_that_looks_like_one(source, tmp_path):
    """Killed while its file grows: the next one into the folder is whole and clears up, housekeeping does the rest."""
    stack, *_ = source
    database = stack.database()
    # So much that it takes a while to write.
    artifacts.stage(database, os.urandom(64 << 20), "weights")
    database.dispose()
    argv = [stacks.PYTHON, "-m", "service", "backup", str(tmp_path)]
    killed = 0
    for _ in range(20):
        child = subprocess.Popen(argv, cwd=stacks.ROOT, env=stack.env, stdout=subprocess.DEVNULL)
        wait_until(lambda: grown(tmp_path), "its file grows", 30, 0.0005)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        # One that was quicker is whole, and no case of this test.
        killed += [path.suffix for path in tmp_path.iterdir()] == [".part"]
        for path in tmp_path.glob("*.tar"):
            path.unlink()
        if killed == 3:
            break
        for path in tmp_path.glob(".*.part"):
            path.unlink()
    assert killed == 3
    stack.run("backup", str(tmp_path))
    [whole] = tmp_path.iterdir()
    told = json.loads(stack.run("housekeeping", "--json").stdout)
    assert next(kind["count"] for kind in told["kinds"] if kind["kind"] == "scratch") >= 3
    with stacks.Stack() as other:
        other.run("restore", str(whole))
