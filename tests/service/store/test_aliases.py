"""Aliases and deletions in the store: a reader finds one version, whatever is switched meanwhile."""

import threading

import pytest
import sqlalchemy

from service.errors import DataCorrupt
from service.store import aliases, artifacts, models
from service.store.records import ModelRows
from tests.service.store.rows import make_queue, make_user
from tests.service.store.test_models import add


def point(database, owner, version, alias="champion", slug="churn"):
    with database.write() as connection:
        model_id = aliases.lock(connection, owner.id, slug)
        there = aliases.find(connection, owner.id, slug, alias) is not None
        aliases.put(connection, model_id, alias, version.id, there=there)
        return aliases.find(connection, owner.id, slug, alias)


def test_an_alias_points_to_one_version_until_it_is_put_elsewhere(database):
    owner, made = make_queue(database, 2)
    lee = make_user(database, "lee")
    first, second = (add(database, owner, job) for job in made)
    before = point(database, owner, first)
    assert (before.owner_name, before.slug, before.alias, before.version) == ("kim", "churn", "champion", 1)
    after = point(database, owner, second)
    assert after.version == 2
    assert after.etag != before.etag
    assert after.updated_at >= before.updated_at
    with database.read() as connection:
        assert models.find(connection, owner.id, "churn", None, "champion") == second
        assert models.find(connection, owner.id, "churn", None, "challenger") is None
        assert models.find(connection, owner.id, "house", None, "champion") is None
        assert models.find(connection, lee.id, "churn", None, "champion") is None
        assert aliases.find(connection, lee.id, "churn", "champion") is None
        assert aliases.of_versions(connection, [first.id, second.id]) == {second.id: ["champion"]}


def test_aliases_are_listed_by_name_and_counted(database):
    owner, (job, other) = make_queue(database, 2)
    version = add(database, owner, job)
    house = add(database, owner, other, slug="house")
    point(database, owner, house, slug="house")
    for alias in ("b", "c", "a"):
        point(database, owner, version, alias)
    with database.read() as connection:
        assert [row.alias for row in aliases.list_all(connection, owner.id, "churn")] == ["a", "b", "c"]
        assert aliases.of_versions(connection, [version.id])[version.id] == ["a", "b", "c"]
        assert aliases.of_versions(connection, []) == {}
    with database.write() as connection:
        model_id = aliases.lock(connection, owner.id, "churn")
        assert aliases.count(connection, model_id) == 3
        aliases.remove(connection, model_id, "b")
        assert aliases.count(connection, model_id) == 2
        assert aliases.lock(connection, owner.id, "nothing") is None


def test_readers_find_one_version_while_the_alias_is_switched(database):
    owner, made = make_queue(database, 2)
    versions = [add(database, owner, job) for job in made]
    point(database, owner, versions[0])
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            with database.read() as connection:
                found = models.find(connection, owner.id, "churn", None, "champion")
            seen.add(found and (found.version, found.id))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(40):
        point(database, owner, versions[turn % 2])
    stop.set()
    for reader in readers:
        reader.join(60)
    assert seen <= {(version.version, version.id) for version in versions}
    assert seen


def test_a_version_goes_with_all_that_is_its_own(database):
    owner, made = make_queue(database, 3)
    first, second = (add(database, owner, job) for job in made[:2])
    with database.write() as connection:
        models.add_rows(connection, first.id, ModelRows(8, b"a", b"b"))
        models.add_golden(connection, first.id, b"golden")
        assert models.find_golden(connection, first.id) == b"golden"
        assert models.find_golden(connection, second.id) is None
    with database.write() as connection:
        models.delete_version(connection, first.id)
    with database.read() as connection:
        assert models.find(connection, owner.id, "churn", 1) is None
        assert models.find(connection, owner.id, "churn", None) == second
        assert not models.is_there(connection, first.id)
        assert models.is_there(connection, second.id)
        assert models.find_rows(connection, first.id) is None
        assert models.find_golden(connection, first.id) is None
        assert models.find_maker(connection, owner.id, "churn", 1) is None
    with pytest.raises(DataCorrupt):
        artifacts.load(database, first.artifact_id)
    assert artifacts.load(database, second.artifact_id) == b"abc"
    with database.write() as connection:
        models.delete_version(connection, second.id)
    assert add(database, owner, made[2]).version == 3


def test_the_database_itself_keeps_a_version_that_an_alias_points_to(database):
    owner, (job,) = make_queue(database)
    version = add(database, owner, job)
    point(database, owner, version)
    with pytest.raises(sqlalchemy.exc.IntegrityError), database.write() as connection:
        models.delete_version(connection, version.id)
    with database.read() as connection:
        assert models.find(connection, owner.id, "churn", None, "champion") == version
