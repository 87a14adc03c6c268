"""The faults at length: `make soak`, or `python -m tests.faults --kills 300 --loss-s 600 --users 30 --minutes 120`.

An installation over its own PostgreSQL and Valkey is killed at random with eight jobs in flight; then one worker loses
its way to the database; then users work while a fault strikes every 30 seconds. After each part every invariant is
asked. Tells its counts, and exits with 1 if anything was violated.
"""

import argparse
import contextlib
import pathlib
import random
import sys
import time

import psutil
import pytest

from tests.faults import lab as labs
from tests.faults.chaos import Flight, Killer, Storm, outcomes
from tests.faults.record import tiny
from tests.faults.users import Crowd

IN_FLIGHT = 8
# From the begin of one fault to that of the next, and how long each holds.
EVERY_S, LASTS_S = 30.0, 5.0
# What the processes may grow by in a run of an hour or more; a short one tells nothing.
MOST_GROWTH = 0.05
MEASURED_MINUTES = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="SIGKILLs of any process")
    parser.add_argument("--loss-s", type=float, default=600.0, help="how long the worker is cut off")
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=120.0, help="how long the users work")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of all that is drawn; told, to be given again"
    )
    asked = parser.parse_args()
    found = 0
    print(f"faults, --seed {asked.seed}", flush=True)
    with labs.opened() as lab:
        lab.refer()
        if asked.kills:
            found += told(lab, "kills", lambda: kills(lab, random.Random(asked.seed), asked.kills))
        if asked.loss_s:
            found += told(lab, "network loss", lambda: loss(lab, asked.loss_s))
        if asked.users and asked.minutes:
            found += told(lab, "users", lambda: users(lab, asked.seed, asked.users, asked.minutes))
        print(f"refused writes of workers that had lost their job: {lab.refused()}")
    print(f"\nfaults: {found} violations")
    return min(found, 1)


def told(lab, what, part) -> int:
    """Run a part, ask every invariant, tell both; how many violations there were."""
    lab.begin()
    began = time.monotonic()
    violations = []
    for step, name in ((part, what), (lab.violations, f"the question what {what} violated")):
        try:
            violations += step()
        except (Exception, pytest.fail.Exception) as error:  # the latter is no Exception
            violations.append(f"{name} did not come to its end: {error!r}")
    print(f"{what}: {len(lab.record.acknowledged)} jobs acknowledged, {len(violations)} violations", flush=True)
    print(f"  {time.monotonic() - began:.0f} s")
    for violation in violations:
        print(f"FOUND {violation}")
    return len(violations)


def kills(lab, rng, count) -> list[str]:
    killer = Killer(lab, rng)
    with Flight(lab, rng, IN_FLIGHT) as flight:
        for _ in range(count):
            killer.kill()
    print(f"kills: {sum(killer.kills.values())} {killer.kills}; jobs ended: {outcomes(lab, flight.names)}")
    return []


def loss(lab, seconds) -> list[str]:
    """A worker in the middle of a job is cut off from the database: the other one takes the job over."""
    job = lab.steady("worker")
    refused = lab.refused()
    lab.worker_db.inflict(black_hole=True)
    began = time.monotonic()
    done = 0
    while time.monotonic() - began < seconds:
        lab.run(tiny())
        done += 1
    lab.worker_db.heal()
    ended = lab.client.wait(job.name)
    after = lab.run(labs.steady())
    print(
        f"network loss of {seconds:g} s: the job ended {labs.Job.State.Name(ended.state)} in attempt {ended.attempt}, "
        f"{done} others beside it, one after it in attempt {after.attempt}; refused writes: {lab.refused() - refused}"
    )
    return [] if ended.attempt == 2 else [f"the job had {ended.attempt} attempts where 2 were to be expected"]


def users(lab, seed, count, minutes) -> list[str]:
    storm, rng = Storm(lab, random.Random(seed)), random.Random(seed)
    lab.run(tiny())
    before = sizes(lab)
    until = time.monotonic() + 60 * minutes
    with Crowd(lab, count, rng.randrange(1 << 30)) as crowd:
        while time.monotonic() < until:
            struck = time.monotonic()
            storm.strike(LASTS_S)
            time.sleep(max(min(struck + EVERY_S, until) - time.monotonic(), 0))
        lab.unhurt()
    lab.heal()
    ended = outcomes(lab, sorted(lab.record.acknowledged))
    after = sizes(lab)
    growth = after[0] / before[0] - 1
    print(f"users: {count} for {minutes:g} min, {crowd.acts}; faults: {storm.faults}; jobs ended: {ended}")
    megabytes = [round(size / 1e6) for size, _ in (before, after)]
    print(f"  own memory {megabytes[0]} -> {megabytes[1]} MB ({growth:+.1%}), files {before[1]} -> {after[1]}")
    found = [f"a user met: {error}" for error in crowd.errors]
    if minutes >= MEASURED_MINUTES and growth > MOST_GROWTH:
        found.append(f"the processes grew by {growth:.1%}; at most {MOST_GROWTH:.0%} are allowed")
    return found


def sizes(lab) -> tuple[int, int]:
    """(own bytes, open files) of all processes of the lab's stack at rest."""
    total = files = 0
    for process in lab.stack.family():
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            files += process.num_fds()
            total += 1024 * int(status.split("RssAnon:")[1].split()[0])
    return total, files


if __name__ == "__main__":
    sys.exit(main())
