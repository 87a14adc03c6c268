"""Aliases and the deletion of models: who may, what is refused in which words, and who is answered by which version."""

import threading

import pytest

from service import aliases, jobs, models
from service.errors import AliasMoved, InvalidField, ModelInUse, NotFound, WrongState
from service.model_cache import ModelCache, unless_deleted
from service.store import artifacts
from service.store import models as model_store
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import INPUTS, Lab
from traind.v1 import jobs_pb2, models_pb2

HOUSE = {
    "inputs": INPUTS,
    "target": ["price"],
    "network": {"linear": {}},
    "learn": {"exact": {}},
    "preprocess": {"scale": "NONE"},
    "split": {"none": {}},
}
ROW = {"area": [32.0], "rooms": [2.0], "station_km": [1.0]}


@pytest.fixture
def lab(database, tmp_path):
    """kim has two versions of `house`, of other weights."""
    lab = Lab(database, tmp_path)
    lab.push("house_prices")
    for scale in (1.0, 2.0):
        values = [0.1 * scale, 0.3 * scale, 4.0 * scale]
        given = {"weight": {"shape": [1, 3], "values": values}, "bias": {"shape": [1], "values": [0.0]}}
        lab.submit(
            {"dataset": "house-prices", "model": "house", "train": HOUSE | {"learn": {"given": {"weights": given}}}}
        )
    assert lab.work() == 2
    return lab


def put(lab, alias, version, name="models/house", caller=None, **more):
    request = models_pb2.SetAliasRequest(name=name, alias=alias, version=version, **more)
    return aliases.set_alias(lab.app, caller or lab.caller, request)


def get(lab, name, caller=None):
    return models.get_model(lab.app, caller or lab.caller, models_pb2.GetModelRequest(name=name))


def drop(lab, name, caller=None):
    return models.delete_model(lab.app, caller or lab.caller, models_pb2.DeleteModelRequest(name=name))


def remove(lab, name, caller=None, **more):
    return aliases.delete_alias(lab.app, caller or lab.caller, models_pb2.DeleteAliasRequest(name=name, **more))


def answer(lab, name):
    found = lab.predict(name, ROW)
    return found.model, found.predictions[0].numbers[0]


def test_an_alias_is_set_switched_seen_and_deleted(lab):
    first = put(lab, "champion", 1)
    assert (first.name, first.version) == ("models/kim.house/aliases/champion", 1)
    assert first.HasField("update_time")
    put(lab, "a", 1)
    assert get(lab, "house:1").aliases == ["a", "champion"]
    assert get(lab, "house:2").aliases == []
    second = put(lab, "champion", 2, name="kim.house")
    assert second.version == 2
    assert second.etag != first.etag
    assert aliases.get_alias(lab.app, lab.caller, models_pb2.GetAliasRequest(name=second.name)) == second
    listed = aliases.list_aliases(lab.app, lab.caller, models_pb2.ListAliasesRequest(parent="models/house")).aliases
    assert [one.name.rpartition("/")[2] for one in listed] == ["a", "champion"]
    page = models.list_models(lab.app, lab.caller, models_pb2.ListModelsRequest()).models
    assert [(one.name[-1], list(one.aliases)) for one in page] == [("2", ["champion"]), ("1", ["a"])]
    remove(lab, "models/house/aliases/champion")
    with pytest.raises(NotFound):
        aliases.get_alias(lab.app, lab.caller, models_pb2.GetAliasRequest(name=second.name))
    with pytest.raises(NotFound):
        get(lab, "house@champion")


@pytest.mark.parametrize("name", ["house@champion", "kim.house@champion", "models/kim.house@champion", "house:1"])
def test_wherever_a_model_is_named_the_version_is_told(lab, name):
    put(lab, "champion", 1)
    assert get(lab, name).name == "models/kim.house/versions/1"
    assert answer(lab, name)[0] == "models/kim.house/versions/1"
    request = models_pb2.EvaluateModelRequest(name=name, dataset="house-prices")
    assert models.evaluate_model(lab.app, lab.caller, request).model == "models/kim.house/versions/1"
    models.get_weights(lab.app, lab.caller, models_pb2.GetWeightsRequest(name=name))
    models.get_split(lab.app, lab.caller, models_pb2.GetSplitRequest(name=name))
    assert carried.export(lab, name) == carried.export(lab, "house:1")
    job = lab.submit({"dataset": "house-prices", "evaluate": {"model": name}})
    put(lab, "champion", 2)
    assert job.evaluate.model == "models/kim.house/versions/1"
    assert lab.work() == 1
    assert lab.get(job.name).state == jobs_pb2.Job.SUCCEEDED


def test_an_etag_of_before_is_refused_and_told_with_that_of_now(lab):
    old = put(lab, "champion", 1)
    new = put(lab, "champion", 2, etag=old.etag)
    with pytest.raises(AliasMoved) as refused:
        put(lab, "champion", 1, etag=old.etag)
    assert old.etag in refused.value.message
    assert new.etag in refused.value.message
    assert "to version 2; get it again" in refused.value.message
    assert refused.value.metadata["standing_etag"] == new.etag
    with pytest.raises(AliasMoved):
        remove(lab, new.name, etag=old.etag)
    # With the quotes or without.
    third = put(lab, "champion", 1, etag=new.etag.strip('"'))
    remove(lab, new.name, etag=third.etag)
    with pytest.raises(AliasMoved, match="without an etag to set it anew"):
        put(lab, "champion", 1, etag=third.etag)
    assert put(lab, "champion", 2).version == 2


def test_of_two_who_switch_with_one_etag_one_wins(lab):
    for turn in range(10):
        etag = put(lab, "champion", 1).etag
        won, lost = [], []
        begin = threading.Barrier(4)

        def switch(version, etag=etag, won=won, lost=lost, begin=begin):
            begin.wait()
            try:
                won.append(put(lab, "champion", version, etag=etag))
            except AliasMoved:
                lost.append(version)

        threads = [threading.Thread(target=switch, args=(1 + number % 2,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (len(won), len(lost)) == (1, 3), turn
        assert get(lab, "house@champion").name[-1] == str(won[0].version)


def test_callers_are_answered_by_one_version_or_the_other_while_it_is_switched(lab):
    put(lab, "champion", 1)
    right = {answer(lab, "house:1"), answer(lab, "house:2")}
    assert len(right) == 2
    seen, failed, stop = set(), [], threading.Event()

    def call():
        while not stop.is_set():
            try:
                seen.add(answer(lab, "house@champion"))
            except Exception as error:
                failed.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for turn in range(40):
        put(lab, "champion", 1 + turn % 2)
    stop.set()
    for caller in callers:
        caller.join(60)
    assert not failed
    assert seen <= right


def test_what_is_not_there_is_not_pointed_to(lab):
    with pytest.raises(NotFound, match="models/house/versions/3"):
        put(lab, "champion", 3)
    with pytest.raises(NotFound):
        put(lab, "champion", 1, name="models/none")
    with pytest.raises(NotFound):
        remove(lab, "models/house/aliases/champion")
    for name in ("none", "lee.none"):
        with pytest.raises(NotFound):
            aliases.list_aliases(lab.app, lab.caller, models_pb2.ListAliasesRequest(parent=name))
    assert aliases.list_aliases(lab.app, lab.caller, models_pb2.ListAliasesRequest(parent="house")).aliases == []


@pytest.mark.parametrize("name", ["house:1", "house@champion", "models/house/versions/1"])
def test_an_alias_is_of_a_model_and_not_of_a_version(lab, name):
    with pytest.raises(InvalidField, match="names a version; write the model alone, as models/house"):
        put(lab, "champion", 1, name=name)


@pytest.mark.parametrize("name", ["house", "models/house/aliases/", "models/house/aliases/A", "house:1/aliases/a"])
def test_no_name_of_an_alias(lab, name):
    with pytest.raises(InvalidField, match="is no alias; write models/ID/aliases/ALIAS"):
        remove(lab, name)


def test_data_sets_have_no_aliases(lab):
    with pytest.raises(InvalidField, match=r"job\.dataset|is no name"):
        lab.submit({"dataset": "house-prices@champion", "model": "m", "train": HOUSE})


def test_a_model_has_so_many_aliases_and_no_more(lab, monkeypatch):
    monkeypatch.setattr(aliases, "MOST_ALIASES", 2)
    put(lab, "a", 1)
    put(lab, "b", 1)
    with pytest.raises(InvalidField, match="one more than the 2 that a model may have; delete one"):
        put(lab, "c", 1)
    put(lab, "b", 2)


def test_another_s_alias_and_model_are_not_there(lab):
    put(lab, "champion", 1)
    lee = lab.person("lee")
    calls = [
        lambda name: put(lab, "champion", 1, f"models/{name}", lee),
        lambda name: aliases.get_alias(
            lab.app, lee, models_pb2.GetAliasRequest(name=f"models/{name}/aliases/champion")
        ),
        lambda name: aliases.list_aliases(lab.app, lee, models_pb2.ListAliasesRequest(parent=f"models/{name}")),
        lambda name: remove(lab, f"models/{name}/aliases/champion", lee),
        lambda name: drop(lab, f"models/{name}/versions/1", lee),
        lambda name: get(lab, f"models/{name}@champion", lee),
    ]
    for call in calls:
        told = []
        for name in ("kim.house", "kim.nothing"):
            with pytest.raises(NotFound) as refused:
                call(name)
            told.append(refused.value.message.replace(name, ""))
        assert told[0] == told[1]
    assert get(lab, "house@champion").name == "models/kim.house/versions/1"


def test_a_version_is_deleted_and_its_number_never_given_again(lab):
    job = get(lab, "house:2").job
    drop(lab, "models/house/versions/2")
    with pytest.raises(NotFound):
        lab.predict("house:2", ROW)
    assert answer(lab, "house")[0] == "models/kim.house/versions/1"
    kept = jobs.get_job(lab.app, lab.caller, jobs_pb2.GetJobRequest(name=job))
    assert kept.model_version == "models/kim.house/versions/2"
    lab.submit({"dataset": "house-prices", "model": "house", "train": HOUSE})
    assert lab.work() == 1
    assert get(lab, "house").name == "models/kim.house/versions/3"
    for version in (1, 3):
        drop(lab, f"house:{version}")
    with pytest.raises(NotFound):
        get(lab, "house")
    lab.submit({"dataset": "house-prices", "model": "house", "train": HOUSE})
    with pytest.raises(WrongState, match="wait until it is SUCCEEDED"):
        lab.predict("house", ROW)


def test_a_version_with_an_alias_stays(lab):
    put(lab, "champion", 1)
    put(lab, "best", 1)
    with pytest.raises(ModelInUse, match="has the alias best, champion; set it to another version or delete it first"):
        drop(lab, "house:1")
    put(lab, "champion", 2)
    remove(lab, "house/aliases/best")
    drop(lab, "house:1")
    assert answer(lab, "house@champion")[0] == "models/kim.house/versions/2"


@pytest.mark.parametrize("name", ["house", "house@champion"])
def test_only_a_version_by_its_number_is_deleted(lab, name):
    put(lab, "champion", 1)
    with pytest.raises(InvalidField, match="names no version; write models/house/versions/N"):
        drop(lab, name)


def test_a_queued_job_that_measures_a_deleted_model_fails_and_says_so(lab):
    job = lab.submit({"dataset": "house-prices", "evaluate": {"model": "house:1"}})
    drop(lab, "house:1")
    assert lab.work() == 1
    failure = lab.get(job.name).failure
    assert jobs_pb2.Failure.Reason.Name(failure.reason) == "INVALID_DATA"
    assert "there is no models/kim.house/versions/1 any more: it was deleted while the job waited" in failure.message


def row_of(lab, version):
    with lab.app.database.read() as connection:
        return model_store.find(connection, lab.caller.user_id, "house", version)


def test_the_cache_forgets_it_at_once(lab):
    answer(lab, "house:1")
    answer(lab, "house:2")
    before = lab.app.models.used_bytes
    row = row_of(lab, 1)
    drop(lab, "house:1")
    assert lab.app.models.used_bytes < before
    with pytest.raises(NotFound, match=r"there is no models/kim.house/versions/1 any more: it was deleted meanwhile"):
        lab.app.models.get(lab.app.database, row)


def test_what_is_loaded_while_it_is_deleted_is_not_kept(lab, monkeypatch):
    cache, row = ModelCache(1 << 20), row_of(lab, 1)
    loaded = artifacts.load

    def load_and_delete(database, artifact_id):
        data = loaded(database, artifact_id)
        cache.forget(row.id)
        return data

    monkeypatch.setattr(artifacts, "load", load_and_delete)
    cache.get(lab.app.database, row)
    assert cache.used_bytes == 0
    monkeypatch.undo()
    cache.get(lab.app.database, row)
    assert cache.used_bytes > 0


def test_predictions_of_a_model_that_is_deleted_are_right_or_not_there(lab):
    right = answer(lab, "house:2")
    seen, failed, deleted = set(), [], threading.Event()

    def call():
        while True:
            over = deleted.is_set()
            try:
                seen.add(answer(lab, "house:2"))
                assert not over
            except NotFound:
                if over:
                    return
            except Exception as error:
                failed.append(error)
                return

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    lab.app.models.forget(row_of(lab, 2).id)
    drop(lab, "house:2")
    deleted.set()
    for caller in callers:
        caller.join(60)
    assert not failed
    assert seen <= {right}


def test_long_weights_are_let_go_too(lab):
    """Of more than one chunk: only marked, and collected by the sweep."""
    data = "a,b,y\n" + "".join(f"{row},{row * row % 7},{row}\n" for row in range(40))
    push(lab.app, lab.caller, data.encode(), "wide")
    train = {"target": ["y"], "network": {"mlp": {"hidden": [600, 600]}}, "learn": {"gradient": {"epochs": 1}}}
    lab.submit({"dataset": "wide", "model": "wide", "train": train})
    assert lab.work() == 1
    with lab.app.database.read() as connection:
        row = model_store.find(connection, lab.caller.user_id, "wide", 1)
    assert row.size_bytes > artifacts.CHUNK_BYTES
    drop(lab, "wide:1")
    artifacts.collect(lab.app.database, 0.0)
    with lab.app.database.read() as connection:
        left = connection.exec_driver_sql(
            f"SELECT count(*) FROM artifact_chunk WHERE artifact_id = '{row.artifact_id}'"
        )
        assert left.scalar() == 0
    with pytest.raises(NotFound), unless_deleted(lab.app.database, row):
        artifacts.load(lab.app.database, row.artifact_id)
