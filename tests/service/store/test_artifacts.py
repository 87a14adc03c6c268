"""Artifacts: whole or an error, and gone when nobody holds them."""

import random

import pytest
import sqlalchemy

from service.errors import DataCorrupt
from service.store import artifacts
from service.store.tables import artifact, artifact_chunk, artifact_ref

MIB = 1 << 20


def publish(database, artifact_id, holder="model:1"):
    with database.write() as connection:
        artifacts.publish(connection, artifact_id, holder)


def store_small(database, data, holder):
    artifact_id = artifacts.new_id()
    with database.write() as connection:
        artifacts.store_small(connection, data, "checkpoint", holder, artifact_id)
    return artifact_id


def release(database, holder):
    with database.write() as connection:
        artifacts.release(connection, holder)


def count(database, table):
    with database.read() as connection:
        return connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 7])
def test_a_value_of_any_length_comes_back(database, size):
    data = random.Random(size).randbytes(size)
    made = artifacts.stage(database, data, "weights")
    publish(database, made)
    assert artifacts.load(database, made) == data
    assert count(database, artifact_chunk) == max(1, -(-size // MIB))


def test_a_small_value_is_stored_in_the_callers_transaction(database):
    made = artifacts.new_id()

    def store_and_break():
        with database.write() as connection:
            artifacts.store_small(connection, b"abc", "checkpoint", "job:1", made)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        store_and_break()
    assert count(database, artifact) == 0
    kept = store_small(database, b"\x00\xff" * 3, "job:1")
    assert artifacts.load(database, kept) == b"\x00\xff" * 3
    with pytest.raises(ValueError, match="stage"):
        store_small(database, b"x" * (MIB + 1), "job:1")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE artifact_chunk SET data = (SELECT data FROM artifact_chunk WHERE number = 0) WHERE number = 1",
        "DELETE FROM artifact_chunk WHERE number = 0",
        "DELETE FROM artifact_chunk WHERE number = 2",
        "DELETE FROM artifact_chunk",
        "UPDATE artifact SET sha256 = 'x'",
        "UPDATE artifact SET size_bytes = size_bytes - 1",
        "DELETE FROM artifact",
    ],
)
def test_damage_is_noticed(database, damage):
    made = artifacts.stage(database, random.Random(1).randbytes(2 * MIB + 5), "weights")
    artifacts.load(database, made)
    with database.write() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(DataCorrupt):
        artifacts.load(database, made)


def test_a_value_goes_with_its_last_holder(database):
    made = artifacts.stage(database, b"x" * (MIB + 1), "weights")
    publish(database, made, "model:1")
    with database.write() as connection:
        connection.execute(artifact_ref.insert().values(artifact_id=made, holder="model:2"))
    release(database, "model:1")
    assert len(artifacts.load(database, made)) == MIB + 1
    release(database, "model:3")
    release(database, "model:2")
    assert artifacts.collect(database, 3600) == 1
    assert [count(database, table) for table in (artifact, artifact_chunk, artifact_ref)] == [0, 0, 0]


def test_a_holder_lets_go_of_all_it_holds_and_of_no_others(database):
    mine = [store_small(database, b"mine", "job:1") for _ in range(2)]
    others = store_small(database, b"others", "job:2")
    release(database, "job:1")
    for made in mine:
        with pytest.raises(DataCorrupt, match="missing"):
            artifacts.load(database, made)
    assert artifacts.load(database, others) == b"others"


def test_a_value_is_published_once(database):
    made = artifacts.stage(database, b"abc", "weights")
    publish(database, made)
    with pytest.raises(DataCorrupt, match="staged"):
        publish(database, made)
    with pytest.raises(DataCorrupt, match="staged"):
        publish(database, "nothing")


def test_what_was_staged_long_ago_is_collected(database):
    old, published, fresh = (artifacts.stage(database, b"x" * (MIB + 1), "checkpoint") for _ in range(3))
    publish(database, published)
    with database.write() as connection:
        ago = sqlalchemy.update(artifact).values(created_at=artifact.c.created_at - 7200)
        connection.execute(ago.where(artifact.c.id.in_([old, published])))
        assert artifacts.any_abandoned(connection, 3600)
    assert artifacts.collect(database, 3600) == 1
    assert artifacts.collect(database, 3600) == 0
    with database.read() as connection:
        assert not artifacts.any_abandoned(connection, 3600)
    assert len(artifacts.load(database, published)) == MIB + 1
    publish(database, fresh)
    with pytest.raises(DataCorrupt, match="staged"):
        publish(database, old)


def test_a_long_value_goes_by_a_few_chunks_at_a_time(database, monkeypatch):
    """Another process may end what one began; meanwhile nobody can publish it, and nothing else is touched."""
    made, other = (artifacts.stage(database, random.Random(n).randbytes(9 * MIB + 1), "checkpoint") for n in (1, 2))
    publish(database, made, "job:1")
    publish(database, other, "job:2")
    release(database, "job:1")
    assert count(database, artifact_chunk) == 20, "what is long is not deleted within a move"
    with pytest.raises(DataCorrupt, match="staged"):
        publish(database, made)

    class DiedError(Exception):
        pass

    def dies(_):
        raise DiedError

    monkeypatch.setattr(artifacts.time, "sleep", dies)
    with pytest.raises(DiedError):
        artifacts.collect(database, 3600)
    monkeypatch.undo()
    assert count(database, artifact_chunk) == 20 - artifacts.CHUNKS_AT_ONCE
    assert artifacts.collect(database, 3600) == 1
    assert (count(database, artifact_chunk), count(database, artifact)) == (10, 1)
    assert artifacts.load(database, other) == random.Random(2).randbytes(9 * MIB + 1)


def test_a_value_with_another_holder_stays(database):
    made = artifacts.stage(database, b"x" * (MIB + 1), "checkpoint")
    publish(database, made, "job:1")
    with database.write() as connection:
        artifacts.hold(connection, made, "job:2")
    release(database, "job:1")
    assert artifacts.collect(database, 3600) == 0
    assert len(artifacts.load(database, made)) == MIB + 1
    release(database, "job:2")
    assert artifacts.collect(database, 3600) == 1
    assert count(database, artifact) == 0


def test_a_long_value_keeps_no_writer_waiting(database):
    """Each chunk is a transaction of its own, so that another may write between two of them."""
    from service.store import users

    seen = []
    staged = database.write

    class Watched:
        kind = database.kind

        def write(self):
            seen.append(len(seen))
            with staged() as connection:
                users.add_user(connection, f"user{len(seen)}")
            return staged()

    artifacts.stage(Watched(), b"x" * (4 * MIB), "weights")
    assert len(seen) == 4


def test_nothing_goes_of_what_was_not_dropped(database):
    """Whoever asks for the deletion of what somebody holds, or has only staged, changes nothing."""
    held, staged = (artifacts.stage(database, b"x" * (5 * MIB + 1), "checkpoint") for _ in range(2))
    publish(database, held)
    for one in (held, staged):
        artifacts.delete_dropped(database, one)
    publish(database, staged, "model:2")
    for one in (held, staged):
        assert artifacts.load(database, one) == b"x" * (5 * MIB + 1)
