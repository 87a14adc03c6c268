"""What lives of jobs are made of: two owners with a data set each, jobs, figures, models; and what calls come to."""

import random
import uuid
from collections import Counter

from service import ledger
from service.app import App
from service.callers import Caller
from service.errors import DatabaseUnavailable, RequestIdReused, WrongState
from service.ledger import EpochFigures, Fenced, NewModel
from service.settings import Settings
from service.store import datasets, users
from service.store.tables import metadata
from tests.faults import stored
from tests.faults.book import Refused
from tests.faults.shaky import Died
from traind.v1 import jobs_pb2, specs_pb2, tables_pb2

BEGIN = 1_800_000_000.0
KEPT_TABLES = {"user_", "token", "dataset", "dataset_profile"}
COLUMNS = '[{"name":"x","type":"NUMBER"},{"name":"y","type":"NUMBER"}]'
NOBODY = ("died", None)


class World:
    """What lives share: a database with two owners and their data sets, and a server's verbs on it."""

    def __init__(self, database, folder):
        self.database = database
        database.set_clock(BEGIN)
        settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder), "TRAIND_SLOTS": "1"})
        self.settings = settings
        self.app = App(settings, database, objects=None)
        self.ids = random.Random(1)
        # Moves that were made, as (state before, state after), and what verbs and faults came to, as (verb, what).
        self.moves, self.outcomes, self.lives = Counter(), Counter(), 0
        self.callers = {name: self._caller(name) for name in ("kim", "lee")}

    def _caller(self, name):
        with self.database.write() as connection:
            owner = users.add_user(connection, name)
        with self.database.write() as connection:
            datasets.add_version(
                connection,
                owner_id=owner.id,
                slug="d",
                display_name="d",
                sha256=f"file of {name}",
                options_sha256="as-is",
                size_bytes=12,
                row_count=100,
                columns_json=COLUMNS,
                table_sha256=f"table of {name}",
                encoding="UTF-8",
            )
        return Caller(owner.id, name, "token", frozenset({"read", "submit"}))

    def new_id(self):
        """For uuid.uuid4: the same in every run of a life, for ids decide between jobs of one moment."""
        return uuid.UUID(int=self.ids.getrandbits(128), version=4)

    def clear(self):
        self.lives += 1
        self.ids = random.Random(7)
        self.database.calm()
        with self.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name not in KEPT_TABLES:
                    connection.exec_driver_sql(f"DELETE FROM {table.name}")


def outcome(call):
    """What a call came to, as ("answered", value), ("refused", name of the error) or NOBODY."""
    try:
        return "answered", call()
    except Died:
        return NOBODY
    except (Fenced, WrongState, RequestIdReused, DatabaseUnavailable, ValueError) as error:
        return "refused", type(error).__name__


def expected(effect):
    try:
        return "answered", effect()
    except Refused as refused:
        return "refused", refused.error


def simple(got):
    kind, value = got
    return kind, (value.job.id, value.attempt) if isinstance(value, ledger.Claim) else value


def job_of(seed):
    network = {"linear": {}}
    spec = specs_pb2.TrainSpec(target=["y"], network=network, learn={"gradient": {"epochs": 5}}, seed=seed)
    return jobs_pb2.Job(dataset="d", model="m", train=spec)


def figures_of(epoch, number):
    """Figures that another call does not have; now and then no number at all."""
    loss = float("nan") if number % 7 == 3 else number + epoch / 16
    return {("train_loss", "train"): loss, ("val_loss", "val"): number - epoch / 16}


def figures(epochs):
    return [EpochFigures(epoch, found) for epoch, found in epochs]


def finding_of(number):
    return tables_pb2.Finding(code=3, message=f"finding {number}")


def names_of(found):
    return [f"finding {number}" for number in found]


def model_of(weights, slug):
    return NewModel(
        slug=slug,
        display_name="",
        weights=weights,
        weights_sha256=stored.sha256(weights),
        spec_json="{}",
        inputs_json="[]",
        outputs_json="[]",
        preprocessing_json="{}",
        metrics={},
        findings_json="[]",
        parameter_count=1,
        best_epoch=1,
        engine="test",
    )
