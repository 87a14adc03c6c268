"""Any order of verbs, crashes, unanswered commits, lost and doubled tickets leaves what the book says: nothing else.

300 lives of 50 steps on SQLite and 40 on PostgreSQL; TRAIND_TEST_SOAK=1 makes them 20,000 and 1,000, with a new seed,
which TRAIND_TEST_SEED sets again.
"""

import uuid

import pytest

from service.store import artifacts
from tests.faults import lives, profiles
from tests.faults.shaky import ShakyDatabase
from tests.faults.world import World

STEPS = 50
LIVES = {"sqlite": 300, "postgresql": 40}
SOAK = {"sqlite": 20_000, "postgresql": 1_000}


@pytest.fixture
def world(database_url, tmp_path, monkeypatch):
    # So that what is short takes the way of what is long.
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", lives.CHUNK)
    # Nobody else writes.
    monkeypatch.setattr(artifacts, "PAUSE_S", 0)
    database = ShakyDatabase(database_url)
    made = World(database, tmp_path)
    monkeypatch.setattr(uuid, "uuid4", made.new_id)
    yield made
    database.close()


# Every move that a job can make.
MOVES = {
    *(("QUEUED", after) for after in ("RUNNING", "PAUSED", "CANCELLED")),
    *(("RUNNING", after) for after in ("QUEUED", "PAUSING", "CANCELLING", "SUCCEEDED", "FAILED")),
    *(("PAUSING", after) for after in ("PAUSED", "CANCELLING", "SUCCEEDED", "FAILED")),
    *(("PAUSED", after) for after in ("QUEUED", "CANCELLED")),
    *(("CANCELLING", after) for after in ("CANCELLED", "SUCCEEDED", "FAILED")),
}
OUTCOMES = {"answered", "died", "unanswered, again", "unanswered, dies", "Fenced", "WrongState", "RequestIdReused"}


@pytest.mark.timeout(profiles.LONGEST_S)
def test_lives_of_jobs(world):
    kind = world.database.kind
    profiles.run(lives.Life, world, (SOAK if profiles.SOAKING else LIVES)[kind], STEPS)
    print(f"{world.lives} lives, {sum(world.moves.values())} moves; {dict(sorted(world.outcomes.items()))}")
    # Lives in which nothing happens would prove nothing.
    assert world.moves.keys() <= MOVES
    assert len(world.moves) >= (15 if kind == "sqlite" else 8)
    assert world.outcomes.keys() >= OUTCOMES
