"""Golden rows: every kind of model keeps some, is asked them at each load, and serves only if it answers the same."""

import json
import time

import pytest

from service import models, predictions
from service.data.table import table_from_values
from service.errors import InvalidModelFile, PredictionsChanged
from service.model_cache import load_predictor
from service.modelling import golden, tensors
from service.modelling.predictor import Predictor
from service.store import artifacts
from service.store import models as model_store
from service.store.database import Database
from tests import servers
from tests.conftest import KINDS
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import Lab
from traind.v1 import jobs_pb2, model_files_pb2, models_pb2, specs_pb2, tables_pb2


@pytest.fixture(scope="module", params=KINDS)
def lab(request, tmp_path_factory):
    """A server with a model of every kind."""
    try:
        if request.param == "postgresql":
            servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database(request.param) as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path_factory.mktemp("lab"))
        push(lab.app, lab.caller, carried.table(), "houses")
        for name in carried.SPECS:
            lab.submit(carried.job(name))
        assert lab.work() == len(carried.SPECS)
        yield lab
        database.dispose()


def row_of(lab, name):
    with lab.app.database.read() as connection:
        return model_store.find(connection, lab.caller.user_id, name, None)


def golden_of(lab, row):
    with lab.app.database.read() as connection:
        return golden.decode(model_store.find_golden(connection, row.id))


def predictor_of(lab, row):
    weights = artifacts.load(lab.app.database, row.artifact_id)
    return Predictor.from_stored(row.spec_json, row.preprocessing_json, weights)


def keep(lab, row, kept):
    """Replace a model's golden rows, and let the server load it again."""
    data = kept.SerializeToString(deterministic=True)
    table = model_store.model_golden
    with lab.app.database.write() as connection:
        connection.execute(table.update().where(table.c.version_id == row.id).values(golden=data))
    lab.app.models.forget(row.id)


def ask(lab, name):
    model = models.get_model(lab.app, lab.caller, models_pb2.GetModelRequest(name=name))
    return predictions.predict(lab.app, lab.caller, carried.question(model))


def changed(kept, kind, place, by):
    other = model_files_pb2.GoldenRows()
    other.CopyFrom(kept)
    getattr(other, kind).values[place] += by
    return other


@pytest.mark.parametrize("name", carried.SPECS)
def test_every_kind_keeps_rows_that_hold_at_load(lab, name):
    row = row_of(lab, name)
    kept = golden_of(lab, row)
    predictor = load_predictor(lab.app.database, row)
    assert 1 <= kept.predictions.shape[0] <= golden.MOST_ROWS
    assert len(kept.columns) == len(predictor.inputs)
    assert golden.find_difference(predictor, kept) is None
    # What was computed in another way by another version is told.
    kind = "probabilities" if kept.HasField("probabilities") else "predictions"
    difference = golden.find_difference(predictor, changed(kept, kind, -1, 1.0))
    assert f"of golden row {kept.predictions.shape[0]}" in difference


def test_missing_values_and_rare_categories_are_among_them(lab):
    kept = golden_of(lab, row_of(lab, "batch"))
    gaps = kept.columns[carried.EVERY.index("gaps")]
    assert any(gaps.missing)
    kinds = set(kept.columns[carried.EVERY.index("kind")].strings)
    assert {"flat", "house", "옥탑"} == kinds


def test_the_same_seed_draws_the_same_rows(lab):
    before = golden_of(lab, row_of(lab, "exact"))
    lab.submit(carried.job("exact") | {"model": "again"})
    assert lab.work() == 1
    assert golden_of(lab, row_of(lab, "again")) == before


def test_other_weights_are_not_served_and_the_right_ones_again(lab, caplog):
    """Weights that were changed together with their hash: nothing but the golden rows tells."""
    row = row_of(lab, "unbiased")
    right = artifacts.load(lab.app.database, row.artifact_id)
    weights = {name: weight * 1.001 for name, weight in tensors.decode_tensors(right).items()}
    answered = ask(lab, "unbiased")

    def store(data):
        with lab.app.database.write() as connection:
            connection.exec_driver_sql(f"DELETE FROM artifact_chunk WHERE artifact_id = '{row.artifact_id}'")
            artifacts._insert_chunk(connection, row.artifact_id, 0, data)
            artifact = artifacts.artifact
            digest = artifacts.hashlib.sha256(data).hexdigest()
            connection.execute(
                artifact.update().where(artifact.c.id == row.artifact_id).values(sha256=digest, size_bytes=len(data))
            )
        lab.app.models.forget(row.id)

    store(tensors.encode_tensors(weights))
    for _ in range(2):
        with pytest.raises(PredictionsChanged) as refused:
            ask(lab, "unbiased")
    told = refused.value.message
    assert told.startswith(
        f'{row.name} answers otherwise than when it was trained: predictions "price" of golden row 1 is '
    )
    assert "apart where" in told
    assert f"train it again, or run traind {row.engine}" in told
    assert refused.value.metadata["engine"] == row.engine
    assert row.name in caplog.text
    store(right)
    assert ask(lab, "unbiased") == answered


def test_other_golden_numbers_are_refused(lab):
    row = row_of(lab, "gaussian")
    kept = golden_of(lab, row)
    for kind, words in (("predictions", "predictions"), ("deviations", "deviations")):
        keep(lab, row, changed(kept, kind, 0, 0.1))
        with pytest.raises(PredictionsChanged, match=words):
            ask(lab, "gaussian")
    keep(lab, row, kept)
    ask(lab, "gaussian")


def test_a_job_that_measures_such_a_model_fails(lab):
    row = row_of(lab, "several")
    kept = golden_of(lab, row)
    keep(lab, row, changed(kept, "predictions", 0, 5.0))
    job = lab.submit({"dataset": "houses", "evaluate": {"model": "several"}})
    assert lab.work() == 1
    failure = lab.get(job.name).failure
    assert jobs_pb2.Failure.Reason.Name(failure.reason) == "CORRUPT"
    assert "answers otherwise than when it was trained" in failure.message
    keep(lab, row, kept)


def test_a_model_of_before_is_served_without(lab):
    row = row_of(lab, "logistic")
    kept = golden_of(lab, row)
    table = model_store.model_golden
    with lab.app.database.write() as connection:
        connection.execute(table.delete().where(table.c.version_id == row.id))
    lab.app.models.forget(row.id)
    ask(lab, "logistic")
    # Its file is of the format that older servers take.
    _, told, _ = carried.opened(carried.export(lab, "logistic"))
    assert told["format"] == 1
    assert "golden" not in told
    with lab.app.database.write() as connection:
        model_store.add_golden(connection, row.id, kept.SerializeToString(deterministic=True))


def test_they_go_with_the_file_and_are_asked_before_it_is_taken(lab):
    data = carried.export(lab, "layer")
    _, told, _ = carried.opened(data)
    assert told["format"] == 2
    made = carried.take(lab, data, model_id="layer-taken")
    assert golden_of(lab, row_of(lab, "layer-taken")) == golden_of(lab, row_of(lab, "layer"))
    assert carried.export(lab, made.name) == data
    other = json.loads(json.dumps(told["golden"]))
    other["probabilities"]["values"][0] += 0.01
    with pytest.raises(InvalidModelFile, match=r"answers otherwise here than where it was trained: probabilities"):
        carried.take(lab, carried.changed(data, golden=other))


WRONG = {
    "no rows": lambda _: {},
    "too few columns": lambda told: told | {"columns": told["columns"][1:]},
    "another shape": lambda told: told | {"predictions": {"shape": ["1", "1"], "values": [0]}},
    "no answers": lambda told: {"columns": told["columns"]},
    "too many rows": lambda told: told | {"columns": [{"numbers": [1] * 9}] * len(told["columns"])},
    "too many bytes": lambda told: told | {"columns": [{"strings": ["x" * golden.MOST_BYTES]}] * len(told["columns"])},
    "other kinds": lambda told: told | {"columns": [{"strings": ["x"]} for _ in told["columns"]]},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_with_golden_rows_that_are_none_is_refused(lab, name):
    data = carried.export(lab, "layer")
    told = carried.opened(data)[1]["golden"]
    with pytest.raises(InvalidModelFile, match=r"golden"):
        carried.take(lab, carried.changed(data, golden=WRONG[name](told)))


@pytest.mark.parametrize(("name", "near"), [("several", 5e-6), ("unbiased", 5e-10)])
def test_how_far_answers_may_be_apart(lab, name, near):
    row = row_of(lab, name)
    predictor, kept = predictor_of(lab, row), golden_of(lab, row)
    width = kept.predictions.shape[1]
    largest = max(abs(value) for value in kept.predictions.values[::width])
    assert golden.find_difference(predictor, changed(kept, "predictions", 0, largest * near)) is None
    assert golden.find_difference(predictor, changed(kept, "predictions", 0, largest * near * 10)) is not None


def test_what_a_network_rounds_by_itself_is_no_difference(lab, monkeypatch):
    """Where its weights magnify rounding, the answers of 64 bits tell how much of a difference is that."""
    monkeypatch.setitem(golden.NEAR, specs_pb2.TrainSpec.FLOAT32, (0.0, 0.0))
    row = row_of(lab, "several")
    predictor, kept = predictor_of(lab, row), golden_of(lab, row)
    columns = [_named(column, wanted) for column, wanted in zip(kept.columns, predictor.inputs, strict=True)]
    table = table_from_values(columns, predictor.inputs)
    exact = golden._doubled(predictor).predict(table).values
    rounded = float(abs(predictor.predict(table).values - exact)[:, 0].max())
    assert rounded > 0
    assert golden.find_difference(predictor, changed(kept, "predictions", 0, 5 * rounded)) is None
    assert golden.find_difference(predictor, changed(kept, "predictions", 0, 50 * rounded)) is not None


@pytest.mark.parametrize("name", ["exact", "batch", "classes"])
def test_they_cost_little_at_load(lab, name):
    """Of the thread's own time, in milliseconds: what a load pays for them beside the query."""
    row = row_of(lab, name)
    predictor, kept = predictor_of(lab, row), golden_of(lab, row)
    took = []
    for _ in range(15):
        began = time.thread_time()
        assert golden.find_difference(predictor, kept) is None
        took.append(1000 * (time.thread_time() - began))
    print(f"{name}: {sorted(took)[len(took) // 2]:.2f} ms, the first {took[0]:.2f} ms")
    assert sorted(took)[len(took) // 2] < 5


def _named(column, wanted):
    return tables_pb2.ColumnValues(
        name=wanted.name, numbers=column.numbers, strings=column.strings, missing=column.missing
    )
