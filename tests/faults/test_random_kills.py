"""SIGKILL of any process at any moment, with eight jobs in flight: nothing is lost, doubled, stuck or other."""

import os
import random

import pytest

from tests.faults.chaos import Flight, Killer, outcomes

KILLS = 40
IN_FLIGHT = 8


@pytest.mark.timeout(900)
def test_forty_random_kills(lab):
    """By a seed that is told, and taken from FAULTS_SEED to be played again."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 30))
    print(f"FAULTS_SEED={seed}")
    rng = random.Random(seed)
    killer = Killer(lab, rng)
    with Flight(lab, rng, IN_FLIGHT) as flight:
        for _ in range(KILLS):
            killer.kill()
    ended = outcomes(lab, flight.names)
    print(f"{killer.kills}; jobs: {ended}")
    assert sum(killer.kills.values()) == KILLS
    assert len(flight.names) >= IN_FLIGHT
    # A job whose workers were killed three times before its next epoch may end so, as it is promised.
    assert ended.keys() <= {"SUCCEEDED", "WORKER_LOST"}
