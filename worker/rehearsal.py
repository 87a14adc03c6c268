"""Rehearsals: a small job from its row to its model in a scratch folder, before a zygote forks for real ones.

A first job of a process pays for what later ones find ready: modules that load when they are first used, statements
that are compiled once, descriptors of messages. Here the zygote pays, so that no fork must: half of a small job's time.

The job learns by the written-out way, for a zygote must not run a backward pass of autograd.
"""

import contextlib
import dataclasses
import pathlib
import secrets
import tempfile

import numpy as np
import pyarrow as pa
from google.protobuf import json_format

from service import fencing, ledger
from service.data.layout import TYPE_KEY
from service.data.objects import ObjectFolder
from service.machine.folders import make_folders
from service.modelling import specs
from service.settings import Settings
from service.store import artifacts, datasets, events, jobs, metrics, moves, users
from service.store.database import Connection, Database
from service.store.records import JobRow, ModelRows
from traind.v1 import learning_pb2, specs_pb2, tables_pb2
from worker import run

ROWS = 32
Column = tables_pb2.Column


def rehearse(settings: Settings) -> None:
    """Run a job; leaves no file, no connection and no thread behind."""
    with tempfile.TemporaryDirectory(prefix="traind-rehearsal-") as folder:
        data_dir = pathlib.Path(folder)
        url = f"sqlite:///{data_dir / 'traind.db'}"
        scratch = dataclasses.replace(settings, data_dir=data_dir, database_url=url, object_store="")
        make_folders(scratch)
        database = Database(scratch.database_url)
        database.migrate()
        _submit(scratch, database)
        claim = ledger.claim(database, "rehearsal", 60.0)
        assert claim is not None
        ended = run.run_job(scratch, database, claim, lambda: False)
        with database.read() as connection:
            row = jobs.find_by_id(connection, claim.job.id)
        database.dispose()
        if ended != "done" or row is None or row.state != "SUCCEEDED":
            raise RuntimeError(f"the rehearsal ended badly: {ended}, {row}")


class _Undone(Exception):
    """Ends a transaction that shall store nothing."""


def rehearse_statements(database: Database) -> None:
    """Have the database's statements compiled that a trainer sends, in a transaction that is never committed.

    A rehearsed job does not do that: statements are compiled for each engine anew, and its database is another.
    """
    with contextlib.suppress(_Undone), database.write() as connection:
        # A name that no other zygote uses: on PostgreSQL the second would wait for the first.
        job = _add_job(connection, f"rehearsal-{secrets.token_hex(8)}", secrets.token_hex(32), "{}", "{}")
        # Nobody holds the job, so that these move nothing.
        moves.touch(connection, job.id, 1)
        moves.publish(
            connection, job.id, 1, stored=0, last=1, best_epoch=1, checkpoint_id=artifacts.new_id(), metrics_json="{}"
        )
        moves.succeed(connection, job.id, 1, best_epoch=1, metrics_json="{}")
        artifacts.store_small(connection, b"", "checkpoint", job.id, artifacts.new_id())
        artifacts.release_others(connection, job.id, "", "")
        moves.checkpoints(connection, job.id)
        artifacts.release(connection, job.id)
        metrics.insert(connection, job.id, [("train_loss", "train", 1, 0.0), ("val_loss", "val", 1, 0.0)])
        moves.set_values(connection, job.id, model_name=fencing.add_model(connection, job, _no_model(job), None))
        events.append_all(connection, job.id, 1, [("epoch", "{}"), ("state", "{}")])
        raise _Undone


def _no_model(job: JobRow) -> ledger.NewModel:
    return ledger.NewModel(
        slug=job.model_slug,
        display_name="",
        weights=b"",
        weights_sha256="",
        metrics={},
        parameter_count=0,
        best_epoch=0,
        engine="",
        spec_json="{}",
        inputs_json="[]",
        outputs_json="[]",
        preprocessing_json="{}",
        findings_json="[]",
        rows=ModelRows(0, b"", b""),
        golden=b"",
    )


def _submit(settings: Settings, database: Database) -> None:
    columns = [
        Column(name="size", type=Column.NUMBER),
        Column(name="place", type=Column.CATEGORY, categories=["a", "b"]),
        Column(name="sold", type=Column.CATEGORY, categories=["no", "yes"]),
    ]
    spec = specs_pb2.TrainSpec(target=["sold"])
    spec.network.mlp.hidden.append(4)
    spec.learn.gradient.epochs = 2
    spec.learn.gradient.batch_size = 8
    spec.learn.gradient.path = learning_pb2.Gradient.WRITTEN_OUT
    resolved = specs.resolve(spec, columns, ROWS)
    sha256 = _write_table(settings, columns)
    with database.write() as connection:
        _add_job(connection, "rehearsal", sha256, json_format.MessageToJson(spec), json_format.MessageToJson(resolved))


def _add_job(connection: Connection, user_name: str, sha256: str, task_json: str, resolved_json: str) -> JobRow:
    user = users.add_user(connection, user_name)
    dataset = datasets.add_version(
        connection,
        owner_id=user.id,
        slug="rehearsal",
        display_name="",
        sha256=sha256,
        options_sha256=sha256,
        size_bytes=ROWS,
        row_count=ROWS,
        columns_json="[]",
        table_sha256=sha256,
        encoding="UTF-8",
    )
    job = jobs.add(
        connection,
        owner_id=user.id,
        dataset_id=dataset.id,
        dataset_name="datasets/rehearsal.rehearsal/versions/1",
        kind="train",
        display_name="",
        model_slug="rehearsal",
        task_json=task_json,
        resolved_json=resolved_json,
        parameter_count=4,
        epochs=2,
        request_id=None,
        request_hash=None,
    )
    assert job is not None
    return job


def _write_table(settings: Settings, columns: list[Column]) -> str:
    halves = pa.array(np.arange(ROWS, dtype=np.int32) % 2)
    arrays = [
        pa.array(np.linspace(-1.0, 1.0, ROWS)),
        pa.DictionaryArray.from_arrays(halves, pa.array(["a", "b"])),
        pa.DictionaryArray.from_arrays(halves, pa.array(["no", "yes"])),
    ]
    fields = [
        pa.field(column.name, array.type, metadata={TYPE_KEY: Column.Type.Name(column.type).encode()})
        for column, array in zip(columns, arrays, strict=True)
    ]
    schema = pa.schema(fields)
    objects = ObjectFolder(settings.objects_dir, settings.tmp_dir)
    path = objects.new_tmp(".arrow")
    options = pa.ipc.IpcWriteOptions(use_threads=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return objects.put(path)
