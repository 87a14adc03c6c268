"""Models that go as files from one installation to another: what comes out there is what went in here."""

import base64
import concurrent.futures
import json
import math
import struct
import uuid

import pytest
import safetensors.torch
from google.protobuf import json_format

from service import forks, importing, jobs, models, predictions, uploads
from service.errors import InvalidModelFile, NotFound, RequestIdReused, TooLarge, TooManyParameters, WrongState
from service.model_files import description, layout
from service.store.database import Database
from tests import servers
from tests.conftest import KINDS
from tests.faults import invariants
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import Lab
from traind.v1 import jobs_pb2, models_pb2, uploads_pb2


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """SQLite, with a model of every kind."""
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path_factory.mktemp("laptop"))
        push(lab.app, lab.caller, carried.table(), "houses")
        for name in carried.SPECS:
            lab.submit(carried.job(name))
        assert lab.work() == len(carried.SPECS)
        yield lab
        database.dispose()


@pytest.fixture(scope="module", params=KINDS)
def other(request, tmp_path_factory):
    """The lab's server, on either database; its user is kim too, and has no data set."""
    try:
        if request.param == "postgresql":
            servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database(request.param) as url:
        database = Database(url)
        database.migrate()
        yield Lab(database, tmp_path_factory.mktemp("other"))
        database.dispose()


@pytest.fixture(scope="module")
def file(laptop):
    return carried.export(laptop, "batch")


def model_of(lab, name):
    return models.get_model(lab.app, lab.caller, models_pb2.GetModelRequest(name=name))


def history_of(lab, name):
    return jobs.get_history(lab.app, lab.caller, jobs_pb2.GetHistoryRequest(name=name))


def split_of(lab, name):
    return models.get_split(lab.app, lab.caller, models_pb2.GetSplitRequest(name=name))


def predicted(lab, model):
    return carried.without_name(predictions.predict(lab.app, lab.caller, carried.question(model)))


def counts(lab):
    """How many rows there are of what an import makes."""
    tables = ("job", "model", "model_version", "model_rows", "model_golden", "event", "series", "metric", "artifact")
    with lab.app.database.read() as connection:
        return {name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() for name in tables}


@pytest.mark.parametrize("name", carried.SPECS)
def test_a_model_is_the_same_there(laptop, other, name):
    before, data = model_of(laptop, name), carried.export(laptop, name)
    after = carried.take(other, data)
    assert predicted(other, after) == predicted(laptop, before)
    assert after.name.startswith(f"models/kim.{name}/versions/")
    assert after.dataset == "imported/datasets/kim.houses/versions/1"
    assert (after.origin.model, after.origin.job, after.origin.user) == (before.name, before.job, "kim")
    assert after.origin.dataset == before.dataset
    assert after.origin.create_time == before.create_time
    assert carried.export(other, after.name) == data
    own = ("name", "job", "dataset", "create_time", "origin")
    for model in (before, after):
        for field in own:
            model.ClearField(field)
    assert after == before


@pytest.mark.parametrize("name", ["exact", "batch", "perceptron"])
def test_its_job_tells_the_same_life(laptop, other, name):
    before = laptop.get(model_of(laptop, name).job)
    made = carried.take(other, carried.export(laptop, name))
    after = other.get(made.job)
    assert (after.state, after.done, after.attempt) == (jobs_pb2.Job.SUCCEEDED, True, 1)
    assert after.origin == made.origin
    assert after.model_version == made.name
    same = ("display_name", "train", "resolved", "epoch", "epochs", "best_epoch", "metrics", "findings", "model")
    for field in (*same, "parameter_count"):
        told = getattr(after, field)
        if field == "display_name":
            assert told == (before.display_name or made.display_name)
        else:
            assert told == getattr(before, field), field
    assert history_of(other, made.job) == history_of(laptop, before.name)
    assert split_of(other, made.name).train_rows == split_of(laptop, f"models/{name}").train_rows


def test_given_weights_are_those_of_the_model(laptop, other):
    made = carried.take(other, carried.export(laptop, "given"))
    job = other.get(made.job)
    assert job.train.learn.HasField("given")
    assert not job.train.learn.given.weights


def test_every_invariant_of_rows_holds(laptop, other):
    for name in carried.SPECS:
        carried.take(other, carried.export(laptop, name), model_id="many")
    assert invariants.of_rows(other.app.database) == []
    with other.app.database.read() as connection:
        assert invariants.of_artifacts(connection) == []
        assert invariants.of_versions(connection) == []


def test_its_versions_go_on_with_those_that_are_trained_there(laptop, file, database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab.app, lab.caller, carried.table(), "houses")
    assert carried.take(lab, file, model_id="mixed").name == "models/kim.mixed/versions/1"
    lab.submit(carried.job("exact") | {"model": "mixed"})
    lab.work()
    assert model_of(lab, "mixed").name == "models/kim.mixed/versions/2"
    assert carried.take(lab, file, model_id="mixed").name == "models/kim.mixed/versions/3"
    assert not model_of(lab, "models/mixed/versions/2").HasField("origin")


def test_a_long_model_is_staged_and_comes_whole(database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab.app, lab.caller, carried.table(), "houses")
    wide = carried.job("several")
    wide["train"]["network"] = {"mlp": {"hidden": [700, 700]}}
    lab.submit(wide | {"model": "wide"})
    lab.work()
    data = carried.export(lab, "wide")
    assert len(data) > 1 << 20
    again = carried.take(lab, data, model_id="again")
    assert carried.export(lab, "again") == data
    assert predicted(lab, again) == predicted(lab, model_of(lab, "wide"))
    assert invariants.of_rows(database) == []


def test_nan_and_infinities_of_the_history_stay(laptop, other, file):
    entries, told, tensors = carried.opened(file)
    values = [math.nan, math.inf, -math.inf]
    told["history"][0]["values"] = base64.b64encode(struct.pack("<3d", *values)).decode()
    told["metrics"][0]["value"] = "NaN"
    made = carried.take(other, carried.closed(entries, told, tensors))
    name = told["history"][0]["name"]
    [series] = [one for one in history_of(other, made.job).series if one.name == name]
    assert [str(value) for value in series.values] == [str(value) for value in values]
    assert math.isnan(made.metrics[0].value)
    assert carried.opened(carried.export(other, made.name))[1]["history"] == told["history"]


def test_an_import_ends_its_upload(other, file):
    upload = carried.put(other, file)
    importing.import_model(other.app, other.caller, models_pb2.ImportModelRequest(upload=upload))
    with pytest.raises(NotFound):
        uploads.get_upload(other.app, other.caller, uploads_pb2.GetUploadRequest(name=upload))


def test_a_refused_file_leaves_nothing_but_its_upload(other, file):
    before, upload = counts(other), carried.put(other, file[:-1])
    with pytest.raises(InvalidModelFile):
        importing.import_model(other.app, other.caller, models_pb2.ImportModelRequest(upload=upload))
    assert counts(other) == before
    assert uploads.get_upload(other.app, other.caller, uploads_pb2.GetUploadRequest(name=upload)).offset


def test_the_same_request_twice_makes_one_model(other, file):
    request = models_pb2.ImportModelRequest(upload=carried.put(other, file), request_id=str(uuid.uuid4()))
    made = importing.import_model(other.app, other.caller, request)
    before = counts(other)
    assert importing.import_model(other.app, other.caller, request) == made
    assert counts(other) == before
    request.model_id = "another"
    with pytest.raises(RequestIdReused):
        importing.import_model(other.app, other.caller, request)


def test_an_import_that_died_before_its_upload_was_dropped(other, file, monkeypatch):
    request = models_pb2.ImportModelRequest(upload=carried.put(other, file), request_id=str(uuid.uuid4()))
    wanted = uploads_pb2.GetUploadRequest(name=request.upload)

    def die(*_):
        raise SystemExit

    before = counts(other)["model_version"]
    with monkeypatch.context() as dying:
        dying.setattr(uploads, "drop_upload", die)
        with pytest.raises(SystemExit):
            importing.import_model(other.app, other.caller, request)
    assert uploads.get_upload(other.app, other.caller, wanted).offset == len(file)
    made = importing.import_model(other.app, other.caller, request)
    assert model_of(other, made.name) == made
    assert counts(other)["model_version"] == before + 1
    with pytest.raises(NotFound):
        uploads.get_upload(other.app, other.caller, wanted)


def test_the_same_request_at_once_makes_one_model(other, file):
    request = models_pb2.ImportModelRequest(upload=carried.put(other, file), request_id=str(uuid.uuid4()))
    before = counts(other)["model_version"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(importing.import_model, other.app, other.caller, request) for _ in range(4)]
        made = {call.result().name for call in calls}
    assert len(made) == 1
    assert counts(other)["model_version"] == before + 1


def test_a_model_of_somebody_else_is_not_there(laptop):
    lee = laptop.person(f"lee{uuid.uuid4().hex[:6]}")
    with pytest.raises(NotFound):
        carried.export(laptop, "models/kim.exact", lee)


def test_a_model_that_is_not_made_yet(database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab.app, lab.caller, carried.table(), "houses")
    lab.submit(carried.job("exact"))
    with pytest.raises(WrongState, match="QUEUED"):
        carried.export(lab, "exact")


def test_an_upload_of_somebody_else(other, file):
    lee = other.person(f"lee{uuid.uuid4().hex[:6]}")
    upload = carried.put(other, file, lee)
    with pytest.raises(NotFound):
        importing.import_model(other.app, other.caller, models_pb2.ImportModelRequest(upload=upload))


def test_it_belongs_to_who_imports_it(other, file):
    lee = other.person(f"lee{uuid.uuid4().hex[:6]}")
    made = carried.take(other, file, lee)
    assert made.name.startswith(f"models/{lee.user_name}.batch/")
    assert made.origin.user == "kim"
    with pytest.raises(NotFound):
        model_of(other, made.name)


def test_a_larger_model_than_the_server_allows(database, tmp_path, file):
    lab = Lab(database, tmp_path, TRAIND_MAX_PARAMETERS="50")
    with pytest.raises(TooManyParameters, match="TRAIND_MAX_PARAMETERS"):
        carried.take(lab, file)


def test_a_description_that_is_longer_than_a_header_may_be(laptop, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_HEADER", 2000)
    with pytest.raises(TooLarge, match="2,000"):
        carried.export(laptop, "exact")


def test_a_history_that_is_longer_than_a_file_may_tell(laptop, monkeypatch):
    """`several` has 2 series of 3 epochs."""
    monkeypatch.setattr(description, "MOST_FIGURES", 5)
    with pytest.raises(TooLarge, match="history of 6 figures, where at most 5 are taken; train it with fewer"):
        carried.export(laptop, "several")


def test_an_imported_job_is_neither_retried_nor_forked(other, file):
    made = carried.take(other, file)
    with pytest.raises(WrongState, match="SUCCEEDED"):
        forks.retry_job(other.app, other.caller, jobs_pb2.RetryJobRequest(name=made.job))
    fork = json_format.ParseDict({"name": made.job, "learn": {"gradient": {"epochs": 40}}}, jobs_pb2.ForkJobRequest())
    with pytest.raises(WrongState, match="no checkpoint"):
        forks.fork_job(other.app, other.caller, fork)


def test_the_file_is_plain_safetensors(file):
    """Another program reads the weights without knowing of traind."""
    weights = safetensors.torch.load(file)
    assert "layers.0.weight" in weights
    assert "norms.0.running_var" in weights
    assert json.loads(json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]["traind"])
