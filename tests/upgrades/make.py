"""Makes the files of a release: an installation in the middle of its work, as that release leaves it behind.

    python tests/upgrades/make.py CHECKOUT FOLDER

CHECKOUT is a checkout of the release, whose own server and own contract are used; the interpreter must have what that
release needs. FOLDER receives
  sqlite.tar.gz       a data folder that `up` has left by a kill: traind.db, objects/, tmp/
  postgresql.tar.gz   the same with PostgreSQL: dump.sql (by pg_dump of PATH or of PG_BIN), objects/, tmp/
  told.json           what a test must know: tokens, names, what uninterrupted jobs came to, what the model predicted
  api.binpb           every descriptor of the release
TRAIND_TEST_POSTGRES_URL names a server on which a database may be made, by default that of 127.0.0.1:5432.

In each of the two stand the data set `waves`, an unfinished upload, a token that reads only and a revoked one, and
five jobs: one that SUCCEEDED with its model, one PAUSED, one RUNNING whose worker is gone and whose newest checkpoint
lies within an epoch, one QUEUED, one CANCELLED.
"""

import base64
import hashlib
import io
import json
import math
import os
import pathlib
import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time

LEASE = {"TRAIND_LEASE_S": "2", "TRAIND_BEAT_S": "0.4", "TRAIND_SWEEP_S": "0.5", "TRAIND_SLOTS": "1"}
ROWS = 1200
HALF_OF_UPLOAD = 5000
SECONDS = 90.0


def table(rows=ROWS, shift=0.0):
    """A CSV file of three numbers and one that follows from them."""
    lines = ["a,b,c,y"]
    for row in range(rows):
        a, b, c = (round(math.sin(0.37 * row + 2.1 * column + shift), 4) for column in range(3))
        lines.append(f"{a},{b},{c},{round(a * b - 0.5 * c + 0.1 * math.cos(row), 4)}")
    return "\n".join(lines).encode() + b"\n"


def specs():
    """Each job by what becomes of it, as proto3 JSON. None of them can be told from its neighbour by luck."""

    def job(epochs, optimizer, seed, **more):
        gradient = {"epochs": epochs, "batchSize": 4, "optimizer": optimizer, "path": "GENERAL"} | more
        network = {"mlp": {"hidden": [8, 4], "dropout": 0.1, "normalisation": "BATCH"}}
        spec = {"target": ["y"], "network": network, "learn": {"gradient": gradient}, "seed": seed}
        return {"dataset": "waves", "displayName": "이어하기", "train": spec}

    often = {"checkpoints": {"everyEpochs": 1000, "everySeconds": 0.15}}
    adam, sgd = {"adam": {"lr": 0.003}}, {"sgd": {"lr": 0.01, "momentum": 0.9}}
    return {
        "succeeded": job(3, adam, 11) | {"model": "done"},
        "cancelled": job(1_000_000, adam, 12) | {"model": "never"},
        "paused": job(14, sgd, 13, **often) | {"model": "paused"},
        "half": job(14, adam, 14, **often) | {"model": "half"},
        "queued": job(3, {"adam": {"lr": 0.01}}, 15) | {"model": "queued"},
    }


class Server:
    """`up` of the release, and a client by the release's own stubs."""

    def __init__(self, checkout, folder, **env):
        self.checkout, self.folder, self.data = checkout, folder, folder / "data"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
        self.env |= LEASE | {"TRAIND_DATA_DIR": str(self.data), "XDG_CONFIG_HOME": str(folder / "config")}
        self.env |= {"TRAIND_HTTP_PORT": "0", "TRAIND_GRPC_PORT": "0", "OMP_NUM_THREADS": "1", **env}
        self.env["PYTHONPATH"] = f"{checkout / 'clients'}:{checkout}"
        self.token = ""

    def run(self, *words):
        argv = [sys.executable, "-m", "service", *words]
        done = subprocess.run(argv, cwd=self.checkout, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start(self):
        argv = [sys.executable, "-m", "service", "up"]
        with (self.folder / "up.out").open("ab") as out:
            self.process = subprocess.Popen(
                argv, cwd=self.checkout, env=self.env, stdout=out, stderr=out, start_new_session=True
            )
        address = wait(self._address, "the server says where it is")
        self.token = self.token or (self.data / "run" / "token").read_text().strip()
        import grpc

        self.channel = grpc.insecure_channel(address.removeprefix("grpc://"))
        grpc.channel_ready_future(self.channel).result(timeout=30)

    def _address(self):
        assert self.process.poll() is None, (self.folder / "up.out").read_text()
        try:
            told = json.loads((self.data / "run" / "address.json").read_text())
        except (OSError, ValueError):
            return None
        return told["grpc"]

    def kill(self):
        """As a power cut does: whatever it began dies with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()

    def call(self, service, method, message):
        """A unary call; `message` is proto3 JSON or a message of the release."""
        from google.protobuf import json_format, symbol_database

        rpc = symbol_database.Default().pool.FindServiceByName(f"traind.v1.{service}").FindMethodByName(method)
        kind, answer = rpc.input_type._concrete_class, rpc.output_type._concrete_class
        if isinstance(message, dict):
            message = json_format.ParseDict(message, kind())
        stub = self.channel.unary_unary(
            f"/traind.v1.{service}/{method}",
            request_serializer=kind.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(message, metadata=[("authorization", f"Bearer {self.token}")], timeout=60)

    def stream(self, service, method, messages):
        """A call that sends several messages, each proto3 JSON."""
        from google.protobuf import json_format, symbol_database

        rpc = symbol_database.Default().pool.FindServiceByName(f"traind.v1.{service}").FindMethodByName(method)
        kind, answer = rpc.input_type._concrete_class, rpc.output_type._concrete_class
        stub = self.channel.stream_unary(
            f"/traind.v1.{service}/{method}",
            request_serializer=kind.SerializeToString,
            response_deserializer=answer.FromString,
        )
        sent = iter([json_format.ParseDict(message, kind()) for message in messages])
        return stub(sent, metadata=[("authorization", f"Bearer {self.token}")], timeout=60)

    def submit(self, job):
        return self.call("JobService", "CreateJob", {"job": job}).name

    def wait(self, name, holds):
        return wait(lambda: self._if(name, holds), f"{name} is where it should be", every=0.01)

    def _if(self, name, holds):
        job = self.call("JobService", "GetJob", {"name": name})
        return job if holds(job) else None

    def upload_table(self):
        first = {"datasetId": "waves", "data": base64.b64encode(table()).decode()}
        self.stream("DatasetService", "UploadDataset", [first])


def wait(holds, what, seconds=SECONDS, every=0.02):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(every)
    raise SystemExit(f"waited {seconds} s in vain until {what}")


def state(*names):
    """Holds of a job in one of these states."""
    from traind.v1 import jobs_pb2

    wanted = {jobs_pb2.Job.State.Value(name) for name in names}
    return lambda job: job.state in wanted


def weights_of(server, job):
    return server.call("ModelService", "GetModel", {"name": job.model_version}).weights_sha256


def references(server):
    """What each job comes to when nothing interrupts it."""
    server.start()
    server.upload_table()
    found = {}
    for what, job in specs().items():
        if what != "cancelled":
            ended = server.wait(server.submit(job), lambda job: job.done)
            told = server.call("JobService", "GetHistory", {"name": ended.name})
            history = {series.name: list(series.values) for series in told.series}
            found[what] = {"weights_sha256": weights_of(server, ended), "epochs": ended.epoch, "history": history}
    server.kill()
    return found


def fill(server, look):
    """Bring every job to where the release shall leave it, then cut the power; answers what a test must know."""
    server.start()
    server.upload_table()
    told = {"token": server.token, "jobs": {}}
    user = server.call("ServerService", "GetServerInfo", {}).user
    told["user"] = user
    told["reader"] = server.run("user", "token", user, "--scopes", "read")
    told["revoked"] = server.run("user", "token", user)
    server.run("user", "revoke", told["revoked"])
    jobs, names = specs(), told["jobs"]
    names["succeeded"] = server.submit(jobs["succeeded"])
    done = server.wait(names["succeeded"], state("SUCCEEDED"))
    told["model"] = {"name": done.model_version, "weights_sha256": weights_of(server, done)}
    asked = {"name": done.model_version, "columns": [{"name": n, "numbers": [0.25, -0.5, 0.125]} for n in "abc"]}
    answer = server.call("PredictionService", "Predict", asked)
    told["prediction"] = {
        "request": asked,
        "response": base64.b64encode(answer.SerializeToString(deterministic=True)).decode(),
    }
    names["cancelled"] = server.submit(jobs["cancelled"])
    server.call("JobService", "CancelJob", {"name": names["cancelled"]})
    server.wait(names["cancelled"], state("CANCELLED"))
    names["paused"] = server.submit(jobs["paused"])
    server.wait(names["paused"], lambda job: job.epoch >= 3)
    server.call("JobService", "PauseJob", {"name": names["paused"]})
    server.wait(names["paused"], state("PAUSED"))
    told["upload"] = unfinished_upload(server)
    names["half"] = server.submit(jobs["half"])
    names["queued"] = server.submit(jobs["queued"])
    wait(
        lambda: (found := look(names["half"])) and found["batch"] > 0 and found["epoch"] >= 2,
        "a checkpoint",
        every=0.01,
    )
    server.kill()
    told["checkpoints"] = {what: look(names[what]) for what in ("half", "paused")}
    assert told["checkpoints"]["half"]["batch"] > 0, "the newest checkpoint lies at an epoch's end; make it again"
    return told


def unfinished_upload(server):
    """Half of a file has arrived."""
    data = table(400, shift=1.0)
    made = server.call("UploadService", "CreateUpload", {"upload": {"sizeBytes": len(data)}})
    part = base64.b64encode(data[:HALF_OF_UPLOAD]).decode()
    server.stream("UploadService", "WriteUpload", [{"name": made.name, "offset": 0, "data": part}])
    return {"name": made.name, "offset": HALF_OF_UPLOAD, "sha256": hashlib.sha256(data).hexdigest()}


def position(data):
    """Where a checkpoint stands, out of the header of its safetensors file; None without one."""
    if data is None:
        return None
    header = bytes(data[8 : 8 + int.from_bytes(data[:8], "little")]).decode().replace('\\"', '"')
    return {what: int(re.search(rf'"{what}"\s*:\s*"?(\d+)', header)[1]) for what in ("epoch", "batch")}


NEWEST = (
    "SELECT c.data FROM job j JOIN artifact_chunk c ON c.artifact_id = j.checkpoint_id AND c.number = 0 WHERE j.id = {}"
)


def sqlite_release(checkout, folder, out):
    server = Server(checkout, folder)
    path = server.data / "traind.db"

    def look(name):
        with sqlite3.connect(path) as connection:
            row = connection.execute(NEWEST.format("?"), (name.removeprefix("jobs/"),)).fetchone()
        return position(row and row[0])

    told = fill(server, look)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    pack(server.data, out / "sqlite.tar.gz", "traind.db")
    return told


def postgresql_release(checkout, folder, out):
    import psycopg

    url = os.environ.get("TRAIND_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    name = f"traind_release_{os.getpid()}"
    mine = re.sub(r"^(\w+://[^/]*/)[^?]*", rf"\g<1>{name}", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    server = Server(checkout, folder, TRAIND_DATABASE_URL=mine)

    def look(job):
        with psycopg.connect(mine) as connection:
            row = connection.execute(NEWEST.format("%s"), (job.removeprefix("jobs/"),)).fetchone()
        return position(row and row[0])

    try:
        told = fill(server, look)
        dump(mine, server.data / "dump.sql")
        pack(server.data, out / "postgresql.tar.gz", "dump.sql")
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return told


def dump(url, path):
    """Plain SQL that any driver can run: no commands of psql, no owner."""
    program = str(pathlib.Path(os.environ["PG_BIN"]) / "pg_dump") if "PG_BIN" in os.environ else "pg_dump"
    argv = [program, "--inserts", "--no-owner", "--no-privileges", "--dbname", url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    kept = [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict", "--"))]
    path.write_text(re.sub(r"\n{3,}", "\n\n", "\n".join(kept)) + "\n")


def pack(data, path, *more):
    """The parts of a data folder that outlive its processes, without owners and times."""
    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        for name in ("objects", "tmp", *more):
            found = data / name
            files = sorted(p for p in found.rglob("*") if p.is_file()) if found.is_dir() else [found]
            for file in files:
                member = tarfile.TarInfo(str(file.relative_to(data)))
                content = file.read_bytes()
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))


def machine():
    """What other bits may come from."""
    import torch

    return {
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def main():
    checkout, out = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    # This program's messages must be the release's own.
    sys.path[:0] = [str(checkout / "clients"), str(checkout)]
    import importlib

    for name in ("datasets", "jobs", "models", "predictions", "server", "uploads"):
        importlib.import_module(f"traind.v1.{name}_pb2")
    from traind.version import __version__

    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkout / "clients" / "traind" / "v1" / "api.binpb", out)
    schema = max(path.name[:4] for path in (checkout / "service/store/migrations/versions").glob("[0-9]*.py"))
    told = {"version": __version__, "schema": schema, "machine": machine(), "specs": specs()}
    with tempfile.TemporaryDirectory(prefix="traind-release-") as folder:
        folders = {name: pathlib.Path(folder) / name for name in ("reference", "sqlite", "postgresql")}
        for one in folders.values():
            one.mkdir()
        told["uninterrupted"] = references(Server(checkout, folders["reference"]))
        told["sqlite"] = sqlite_release(checkout, folders["sqlite"], out)
        told["postgresql"] = postgresql_release(checkout, folders["postgresql"], out)
    (out / "told.json").write_text(json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
