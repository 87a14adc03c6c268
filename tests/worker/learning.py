"""A worker's part of a server: database, data folder, owner; data sets by the real ingest, jobs by real claims."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import tempfile

from google.protobuf import json_format

from service import ledger
from service.data.ingest import ingest_table
from service.data.objects import ObjectFolder
from service.modelling import networks, specs
from service.settings import Settings
from service.store import datasets, events, jobs, metrics, models, users
from tests.service.modelling.cases import spec_of
from traind.v1 import jobs_pb2, tables_pb2
from worker import run

HOUSES_CSV = "area,rooms,station_km,price\n32,3,0.3,6\n33,3,0.5,7\n36,4,0.5,8.5\n"
POINTS_CSV = "x,y,color\n0,0,white\n1,0,black\n0,1,black\n1,1,white\n"


def csv_of(columns):
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


@functools.cache
def ingested(text):
    """A text through the real ingest, once: columns, number of rows, and the bytes of the Arrow file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "table.csv"
        path.write_text(text, encoding="utf-8")
        read = ingest_table(path, tmp=pathlib.Path(folder))
        return read.columns, read.row_count, read.table.read_bytes()


class Desk:
    """What a test of jobs works at."""

    def __init__(self, database, database_url, folder):
        self.settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder), "TRAIND_DATABASE_URL": database_url})
        self.database = database
        self.objects = ObjectFolder(self.settings.objects_dir, self.settings.tmp_dir)
        with database.write() as connection:
            self.user = users.add_user(connection, "kim")

    def upload(self, text, slug="table"):
        """A data set of a CSV text."""
        columns, row_count, data = ingested(text)
        path = self.objects.new_tmp(".arrow")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        table_sha256 = self.objects.put(path)
        with self.database.write() as connection:
            return datasets.add_version(
                connection,
                owner_id=self.user.id,
                slug=slug,
                display_name=slug,
                sha256=hashlib.sha256(text.encode()).hexdigest(),
                options_sha256="",
                size_bytes=len(text),
                row_count=row_count,
                columns_json=json.dumps([json_format.MessageToDict(column) for column in columns]),
                table_sha256=table_sha256,
                encoding="UTF-8",
            )

    def columns(self, dataset):
        return [json_format.ParseDict(column, tables_pb2.Column()) for column in json.loads(dataset.columns_json)]

    def submit(self, dataset, spec, model="model"):
        """Queue a training job as the service would, and claim it."""
        asked = spec_of(spec)
        columns = self.columns(dataset)
        resolved = specs.resolve(asked, columns, dataset.row_count)
        return self._queue(
            dataset,
            kind="train",
            model_slug=model,
            task_json=json_format.MessageToJson(asked),
            resolved_json=json_format.MessageToJson(resolved, indent=None),
            parameter_count=networks.count_parameters(resolved.network, *specs.widths(resolved, columns)),
            epochs=specs.epochs_of(resolved),
        )

    def submit_evaluation(self, dataset, model, **loss):
        task = jobs_pb2.EvaluateSpec(model=model, loss=spec_of({"loss": loss}).loss if loss else None)
        return self._queue(
            dataset,
            kind="evaluate",
            model_slug="",
            task_json=json_format.MessageToJson(task),
            resolved_json="",
            parameter_count=0,
            epochs=0,
        )

    def _queue(self, dataset, **task):
        with self.database.write() as connection:
            jobs.add(
                connection,
                owner_id=self.user.id,
                dataset_id=dataset.id,
                dataset_name=f"datasets/kim.{dataset.slug}/versions/{dataset.version}",
                display_name="",
                request_id=None,
                request_hash=None,
                **task,
            )
        return self.claim()

    def claim(self):
        return ledger.claim(self.database, "desk", 60)

    def run(self, claim, stop=lambda: False, **settings):
        return run.run_job(dataclasses.replace(self.settings, **settings), self.database, claim, stop)

    def train(self, dataset, spec):
        """Run a job to its end and answer its row."""
        claim = self.submit(dataset, spec)
        assert self.run(claim) == "done"
        return self.job(claim)

    def job(self, claim):
        with self.database.read() as connection:
            return jobs.find_by_id(connection, claim.job.id)

    def model(self, slug="model", version=None):
        with self.database.read() as connection:
            return models.find(connection, self.user.id, slug, version)

    def history(self, job):
        """Values by name, in the order of epochs, which are dense."""
        with self.database.read() as connection:
            found = metrics.history(connection, job.id)
        for series in found:
            assert series.steps == list(range(1, len(series.steps) + 1))
        return {series.name: series.values for series in found}

    def events(self, job, kind):
        with self.database.read() as connection:
            told = events.list_from(connection, job.id, 1, 100_000)
        return [json.loads(row.body_json) for row in told if row.kind == kind]

    def findings(self, job):
        """Findings by code."""
        found = self.events(job, "finding")
        assert len({finding["code"] for finding in found}) == len(found), "a finding was told twice"
        return {finding["code"]: finding for finding in found}
