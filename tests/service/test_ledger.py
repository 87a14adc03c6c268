"""The life of a job row: legal moves and no others, one owner at a time, all that a worker stores whole or not."""

import dataclasses
import json
import math
import random
import threading

import pytest
import sqlalchemy

from service import ledger
from service.errors import WrongState
from service.ledger import Beat, EpochFigures, Fenced, NewModel
from service.store import artifacts, events, jobs, metrics, models, moves
from service.store.database import Database, now
from service.store.tables import ENDED_STATES, LIVE_STATES, STATES, metadata
from tests.conftest import empty
from tests.contenders import contend
from tests.service.store.rows import job_of, make_dataset, make_job, make_queue, make_user
from tests.waiting import wait_until
from traind.v1 import tables_pb2

MIB = 1 << 20
LEASE_S = 60.0

MODEL = NewModel(
    slug="churn",
    display_name="이탈",
    weights=b"weights",
    weights_sha256="w",
    spec_json='{"seed":7}',
    inputs_json="[]",
    outputs_json="[]",
    preprocessing_json="{}",
    metrics={"val_loss": 0.5},
    findings_json="[]",
    parameter_count=4,
    best_epoch=2,
    engine="1.0",
)


def epochs_of(first, last, value=None):
    return [
        EpochFigures(epoch, {("train_loss", "train"): 1 / epoch if value is None else value, ("mae", "val"): 2 / epoch})
        for epoch in range(first, last + 1)
    ]


def sql(database, statement):
    with database.write() as connection:
        connection.exec_driver_sql(statement)


def expire(database):
    """As if the lease had passed without a beat."""
    sql(database, "UPDATE job SET lease_until = 1 WHERE lease_until > 0")


def no_back_off(database):
    sql(database, "UPDATE job SET not_before = 0")


def contents(database):
    """Every row of every table."""
    with database.read() as connection:
        return {
            name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}"))) for name in metadata.tables
        }


def events_of(database, job_id):
    with database.read() as connection:
        return events.list_from(connection, job_id, 1, 10_000)


def states_of(database, job_id):
    return [json.loads(row.body_json)["state"] for row in events_of(database, job_id) if row.kind == "state"]


def claimed(database):
    make_queue(database)
    return ledger.claim(database, "w1", LEASE_S)


def lose_and_claim_again(database, claim, worker="w2"):
    expire(database)
    assert ledger.reconcile(database).expired == 1
    no_back_off(database)
    again = ledger.claim(database, worker, LEASE_S)
    assert again.job.id == claim.job.id
    return again


def bring(database, state):
    """A job in that state, and the claim of the worker that had it last."""
    owner, _ = make_queue(database)
    claim = ledger.claim(database, "w1", LEASE_S)
    job_id = claim.job.id
    if state in {"PAUSING", "PAUSED"}:
        ledger.pause(database, owner.id, job_id)
    if state in {"CANCELLING", "CANCELLED"}:
        ledger.cancel(database, owner.id, job_id)
    if state in {"QUEUED", "PAUSED", "CANCELLED"}:
        ledger.settle_stopped(database, claim)
    if state == "SUCCEEDED":
        ledger.succeed(database, claim, None, metrics={}, best_epoch=0)
    if state == "FAILED":
        ledger.fail(database, claim, "INTERNAL", "a defect")
    assert job_of(database, job_id).state == state
    return claim


# Every verb, what it is asked with, and the state after it for each state before: a state, the same for "nothing
# changes", or the error.
VERBS = {
    "claim": lambda db, _: ledger.claim(db, "w2", LEASE_S),
    "pause": lambda db, claim: ledger.pause(db, claim.job.owner_id, claim.job.id),
    "resume": lambda db, claim: ledger.resume(db, claim.job.owner_id, claim.job.id),
    "cancel": lambda db, claim: ledger.cancel(db, claim.job.owner_id, claim.job.id),
    "succeed": lambda db, claim: ledger.succeed(db, claim, None, metrics={}, best_epoch=0),
    "fail": lambda db, claim: ledger.fail(db, claim, "INTERNAL", "a defect"),
    "fail otherwise": lambda db, claim: ledger.fail(db, claim, "DIVERGED", "too fast"),
    "settle_stopped": ledger.settle_stopped,
    "lost": lambda db, claim: ledger.lost(db, claim, "exit 9"),
    "reconcile": lambda db, _: (expire(db), ledger.reconcile(db)),
    "beat": lambda db, claim: ledger.beat(db, claim, LEASE_S),
    "look": ledger.look,
    "publish": lambda db, claim: ledger.publish_epochs(db, claim, epochs_of(1, 1), b"c", 1),
    "log": lambda db, claim: ledger.add_log(db, claim, "hello"),
    "finding": lambda db, claim: ledger.add_finding(db, claim, tables_pb2.Finding(code=3, message="no line")),
}
LEGAL = {
    #          QUEUED       RUNNING      PAUSING      PAUSED       CANCELLING    SUCCEEDED    FAILED       CANCELLED
    "claim": ["RUNNING", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"],
    "pause": ["PAUSED", "PAUSING", "PAUSING", "PAUSED", WrongState, WrongState, WrongState, WrongState],
    "resume": [WrongState, WrongState, WrongState, "QUEUED", WrongState, WrongState, WrongState, WrongState],
    "cancel": ["CANCELLED", "CANCELLING", "CANCELLING", "CANCELLED", "CANCELLING", WrongState, WrongState, "CANCELLED"],
    "succeed": [Fenced, "SUCCEEDED", "SUCCEEDED", Fenced, "SUCCEEDED", "SUCCEEDED", Fenced, Fenced],
    "fail": [Fenced, "FAILED", "FAILED", Fenced, "FAILED", Fenced, "FAILED", Fenced],
    "fail otherwise": [Fenced, "FAILED", "FAILED", Fenced, "FAILED", Fenced, Fenced, Fenced],
    "settle_stopped": ["QUEUED", "QUEUED", "PAUSED", "PAUSED", "CANCELLED", Fenced, Fenced, "CANCELLED"],
    "lost": ["QUEUED", "QUEUED", "PAUSED", "PAUSED", "CANCELLED", "SUCCEEDED", "FAILED", "CANCELLED"],
    "reconcile": ["QUEUED", "QUEUED", "PAUSED", "PAUSED", "CANCELLED", "SUCCEEDED", "FAILED", "CANCELLED"],
    "beat": list(STATES),
    "look": list(STATES),
    "publish": [Fenced, "RUNNING", "PAUSING", Fenced, "CANCELLING", Fenced, Fenced, Fenced],
    "log": [Fenced, "RUNNING", "PAUSING", Fenced, "CANCELLING", Fenced, Fenced, Fenced],
    "finding": [Fenced, "RUNNING", "PAUSING", Fenced, "CANCELLING", Fenced, Fenced, Fenced],
}
WRITES_WITHOUT_MOVING = {"beat", "publish", "log", "finding"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_in_every_state(database, verb):
    for state, expected in zip(STATES, LEGAL[verb], strict=True):
        claim = bring(database, state)
        before = contents(database)
        if isinstance(expected, str):
            VERBS[verb](database, claim)
            check_move(database, claim, verb, state, expected, before)
        else:
            with pytest.raises(expected):
                VERBS[verb](database, claim)
            assert contents(database) == before, state
        empty(database)


def check_move(database, claim, verb, state, expected, before):
    row, told = job_of(database, claim.job.id), states_of(database, claim.job.id)
    assert row.state == told[-1] == expected, state
    if expected != state:
        assert told[-2] == state
    else:
        # Nothing moved, so nothing is told, nor changed but by those who write without moving.
        assert len(told) == len(states_in(before))
        assert contents(database) == before or (verb in WRITES_WITHOUT_MOVING and state in LIVE_STATES), state
    assert (row.ended_at is not None) == (expected in ENDED_STATES)
    assert (row.lease_until > 0) == (expected in LIVE_STATES)
    check_invariants(database)


def states_in(rows):
    return [row for row in rows["event"] if "'state'" in row]


def check_invariants(database):
    """What holds for every job at every moment, whatever happened to it."""
    with database.read() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT id FROM job")).scalars().all()
        refs = connection.execute(sqlalchemy.text("SELECT holder, artifact_id FROM artifact_ref")).all()
        ready = connection.execute(sqlalchemy.text("SELECT id FROM artifact WHERE state = 'ready'")).scalars().all()
    assert sorted(ready) == sorted({artifact_id for _, artifact_id in refs}), "an artifact that nobody holds"
    for job_id in rows:
        row, told = job_of(database, job_id), events_of(database, job_id)
        assert [event.seq for event in told] == list(range(1, row.last_seq + 1)), "events are not dense"
        changes = [(event.seq, json.loads(event.body_json)["state"]) for event in told if event.kind == "state"]
        ends = [seq for seq, state in changes if state in ENDED_STATES]
        assert ends == ([row.last_seq] if row.state in ENDED_STATES else []), "not exactly one end, at the end"
        assert changes[-1][1] == row.state
        stored = [json.loads(event.body_json)["epoch"] for event in told if event.kind == "epoch"]
        assert stored == list(range(1, row.epoch + 1)), "epochs are not stored once each"
        with database.read() as connection:
            for series in metrics.history(connection, job_id):
                assert series.steps == stored
        held = [artifact_id for holder, artifact_id in refs if holder == f"job:{job_id}"]
        assert sorted(held) == sorted(filter(None, {row.checkpoint_id, row.older_checkpoint_id}))
        assert row.checkpoint_id or not row.older_checkpoint_id
        assert row.state not in ENDED_STATES or not row.older_checkpoint_id
        assert (row.worker == "") == (row.state not in LIVE_STATES)


def test_a_random_life_keeps_every_promise(database):
    """Hundreds of verbs in any order by two workers, one of which is always behind; checked against the table."""
    dice = random.Random(20261122)
    owner, made = make_queue(database, 3)
    claims = {}
    moved = set()
    for step in range(150):
        no_back_off(database)
        job_id = dice.choice(made).id
        before = job_of(database, job_id).state
        claim = dice.choice(claims.get(job_id) or [None])
        verb = dice.choice([*VERBS, "claim", "publish", "publish"])
        try:
            if verb == "claim":
                taken = ledger.claim(database, f"w{step}", LEASE_S)
                if taken is not None:
                    claims.setdefault(taken.job.id, []).append(taken)
            elif verb == "publish" and claim is not None:
                row = job_of(database, job_id)
                ledger.publish_epochs(
                    database, claim, epochs_of(row.epoch + 1, row.epoch + dice.randint(1, 3)), b"c", 1
                )
            elif verb in {"pause", "resume", "cancel"} or claim is not None:
                stale = dataclasses.replace(claim, job=job_of(database, job_id)) if claim else None
                VERBS[verb](database, stale or ledger.Claim(job_of(database, job_id), 0, "nobody"))
        except (Fenced, WrongState):
            assert job_of(database, job_id).state == before
        after = job_of(database, job_id).state
        if after != before:
            moved.add((before, after))
        if after in ENDED_STATES:
            made[[row.id for row in made].index(job_id)] = make_job(database, owner, make_dataset(database, owner))
        if step % 50 == 0:
            check_invariants(database)
    check_invariants(database)
    allowed = {
        (before, after)
        for row in LEGAL.values()
        for before, after in zip(STATES, row, strict=True)
        if isinstance(after, str) and before != after
    }
    assert moved <= allowed | {("RUNNING", "FAILED")}
    assert len(moved) >= 8, "the walk came not far enough to mean something"


def test_claims_are_first_come_first_served_and_count_attempts(database):
    _, made = make_queue(database, 3)
    order = [row.id for row in sorted(made, key=lambda row: (row.created_at, row.id))]
    first = ledger.claim(database, "w1", LEASE_S)
    assert (first.job.id, first.attempt, first.worker) == (order[0], 1, "w1")
    assert (first.job.state, first.job.worker, first.job.attempt) == ("RUNNING", "w1", 1)
    assert first.job.started_at is not None
    assert [ledger.claim(database, "w2", LEASE_S).job.id for _ in range(2)] == order[1:]
    assert ledger.claim(database, "w3", LEASE_S) is None
    with database.read() as connection:
        assert first.job.lease_until - now(connection) == pytest.approx(LEASE_S, abs=5)


def test_a_job_that_is_left_to_newer_workers_is_claimed_by_nobody_for_a_while(database):
    _, made = make_queue(database, 2)
    order = [row.id for row in sorted(made, key=lambda row: (row.created_at, row.id))]
    claim = ledger.claim(database, "old", LEASE_S)
    assert ledger.settle_left(database, claim) == "QUEUED"
    assert ledger.claim(database, "older", LEASE_S).job.id == order[1]
    assert not ledger.any_waits(database)
    assert ledger.claim(database, "old", LEASE_S) is None
    assert ledger.reconcile(database).queued == 0, "no slot is looked for in vain"
    row = job_of(database, order[0])
    assert (row.attempt, row.losses, row.state) == (1, 0, "QUEUED")
    with database.read() as connection:
        assert row.not_before - now(connection) == pytest.approx(ledger.LEFT_S, abs=5)


def test_processes_that_claim_at_once_never_share_a_job(database_url, database):
    _, made = make_queue(database, 40)
    got = contend("claim_all", database_url)
    assert sorted(job_id for each in got for job_id in each) == sorted(row.id for row in made)
    for row in made:
        assert job_of(database, row.id).attempt == 1
        assert states_of(database, row.id) == ["QUEUED", "RUNNING"]


def test_a_claim_waits_for_the_one_before_it_and_takes_the_next(database):
    """It must not look while the other has not committed: it would choose the same job, and go away with none."""
    make_queue(database, 2)
    got = []
    thread = threading.Thread(target=lambda: got.append(ledger.claim(database, "w2", LEASE_S)))
    with database.write() as connection:
        first, _ = moves.claim(connection, "w1", LEASE_S)
        thread.start()
        thread.join(0.2)
        assert got == []
    thread.join(10)
    assert got[0].job.id != first


def test_an_empty_queue_takes_no_write_lock(database_url, database):
    owner, (waiting,) = make_queue(database)
    ledger.cancel(database, owner.id, waiting.id)
    other = Database(database_url)
    with other.write() as connection:
        # On SQLite this is the only writer; on PostgreSQL it holds the lock that serialises claims.
        assert moves.claim(connection, "w1", LEASE_S) is None
        assert ledger.claim(database, "w2", LEASE_S) is None
        assert ledger.reconcile(database) == ledger.Reconciled(0, 0, 0)
    other.dispose()


def test_a_job_is_not_claimed_before_its_time(database):
    make_queue(database)
    sql(database, "UPDATE job SET not_before = 4e9")
    assert ledger.claim(database, "w1", LEASE_S) is None
    assert ledger.reconcile(database).queued == 0
    no_back_off(database)
    assert ledger.reconcile(database).queued == 1
    assert ledger.claim(database, "w1", LEASE_S) is not None


def test_a_beat_renews_the_lease_and_tells_what_is_asked(database):
    claim = claimed(database)
    sql(database, "UPDATE job SET lease_until = 5")
    assert ledger.beat(database, claim, LEASE_S) == Beat("RUNNING", fenced=False)
    with database.read() as connection:
        assert job_of(database, claim.job.id).lease_until - now(connection) == pytest.approx(LEASE_S, abs=5)
    ledger.pause(database, claim.job.owner_id, claim.job.id)
    assert ledger.beat(database, claim, LEASE_S) == ledger.look(database, claim) == Beat("PAUSING", fenced=False)
    ledger.cancel(database, claim.job.owner_id, claim.job.id)
    assert ledger.beat(database, claim, LEASE_S) == ledger.look(database, claim) == Beat("CANCELLING", fenced=False)


def test_the_trainers_own_end_is_no_fence(database):
    """A renewal touches no row then; whoever took that for a fence would kill a trainer that did well."""
    done = claimed(database)
    ledger.succeed(database, done, None, metrics={}, best_epoch=0)
    assert ledger.beat(database, done, LEASE_S) == ledger.look(database, done) == Beat("SUCCEEDED", fenced=False)
    owner = make_user(database, "lee")
    make_job(database, owner, make_dataset(database, owner))
    failed = ledger.claim(database, "w1", LEASE_S)
    ledger.fail(database, failed, "DIVERGED", "too fast")
    assert ledger.beat(database, failed, LEASE_S) == ledger.look(database, failed) == Beat("FAILED", fenced=False)


def test_an_end_from_outside_is_a_fence(database):
    claim = claimed(database)
    expire(database)
    ledger.reconcile(database)
    assert ledger.beat(database, claim, LEASE_S) == ledger.look(database, claim) == Beat("QUEUED", fenced=True)
    no_back_off(database)
    again = ledger.claim(database, "w2", LEASE_S)
    assert ledger.beat(database, claim, LEASE_S) == ledger.look(database, claim) == Beat("RUNNING", fenced=True)
    assert ledger.beat(database, again, LEASE_S) == Beat("RUNNING", fenced=False)
    sql(database, "UPDATE job SET losses = 2")
    expire(database)
    ledger.reconcile(database)
    assert ledger.look(database, again) == Beat("FAILED", fenced=True)
    gone = dataclasses.replace(again, job=dataclasses.replace(again.job, id="nothing"))
    assert ledger.look(database, gone) == ledger.beat(database, gone, LEASE_S) == Beat("", fenced=True)


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in {"claim", "pause", "resume", "cancel", "reconcile", "beat", "look"}]
)
def test_an_old_attempt_changes_nothing(database, verb):
    old = claimed(database)
    ledger.publish_epochs(database, old, epochs_of(1, 2), b"checkpoint", 1)
    new = lose_and_claim_again(database, old)
    before = contents(database)
    with pytest.raises(Fenced, match=r"attempt 1 no longer owns jobs/.* RUNNING in attempt 2"):
        VERBS[verb](database, old)
    assert contents(database) == before
    assert ledger.look(database, new) == Beat("RUNNING", fenced=False)


def test_an_old_attempts_long_checkpoint_is_only_staged(database):
    old = claimed(database)
    lose_and_claim_again(database, old)
    with pytest.raises(Fenced):
        ledger.publish_epochs(database, old, epochs_of(1, 1), b"x" * (MIB + 1), 1)
    model = dataclasses.replace(MODEL, weights=b"x" * (MIB + 1))
    with pytest.raises(Fenced):
        ledger.succeed(database, old, model, metrics={}, best_epoch=1)
    assert job_of(database, old.job.id).epoch == 0
    assert ledger.reconcile(database).staged == 0
    sql(database, "UPDATE artifact SET created_at = created_at - 7200")
    assert ledger.reconcile(database).staged == 2
    assert contents(database)["artifact_chunk"] == []


def test_a_lease_ends_by_the_databases_clock(database):
    make_queue(database)
    claim = ledger.claim(database, "w1", 0.3)
    assert ledger.reconcile(database).expired == 0
    wait_until(lambda: ledger.reconcile(database).expired == 1, "the lease ends")
    with database.read() as connection:
        assert now(connection) >= claim.job.lease_until
    assert job_of(database, claim.job.id).state == "QUEUED"


def test_a_renewed_lease_is_not_taken(database):
    """The sweep reads first and writes later; what was renewed between stays with its worker."""
    claim = claimed(database)
    expire(database)
    with database.read() as connection:
        assert moves.expired(connection) == [(claim.job.id, 1)]
    ledger.beat(database, claim, LEASE_S)
    with database.write() as connection:
        assert moves.lose(connection, claim.job.id, 1, ("WORKER_LOST", ""), expired_only=True) is None
    assert ledger.look(database, claim) == Beat("RUNNING", fenced=False)


def test_a_job_that_loses_its_workers_backs_off_and_then_fails(database):
    claim = claimed(database)
    for losses, wait in ((1, 1.0), (2, 2.0)):
        assert ledger.lost(database, claim, "the trainer ended with signal 9") == "QUEUED"
        row = job_of(database, claim.job.id)
        with database.read() as connection:
            assert row.not_before - now(connection) == pytest.approx(wait, abs=0.9)
        assert row.losses == losses
        assert ledger.claim(database, "w", LEASE_S) is None
        assert json.loads(events_of(database, row.id)[-1].body_json)["message"] == "the trainer ended with signal 9"
        no_back_off(database)
        claim = ledger.claim(database, "w", LEASE_S)
        assert claim.attempt == losses + 1
    assert ledger.lost(database, claim, "the trainer ended with signal 9") == "FAILED"
    row = job_of(database, claim.job.id)
    assert (row.failure_reason, row.losses, row.attempt) == ("WORKER_LOST", 3, 3)
    for part in ("3 times", "signal 9", "smaller", "submit the job again"):
        assert part in row.failure_message
    last = json.loads(events_of(database, row.id)[-1].body_json)
    assert last["failure"] == {"reason": "WORKER_LOST", "message": row.failure_message}
    check_invariants(database)


def test_a_job_that_the_system_kills_for_its_memory_fails_by_that_reason(database):
    claim = claimed(database)
    for _ in range(2):
        assert ledger.lost(database, claim, "killed", out_of_memory=True) == "QUEUED"
        assert job_of(database, claim.job.id).failure_reason is None
        no_back_off(database)
        claim = ledger.claim(database, "w", LEASE_S)
    assert ledger.lost(database, claim, "killed", out_of_memory=True) == "FAILED"
    row = job_of(database, claim.job.id)
    assert (row.failure_reason, row.losses) == ("OUT_OF_MEMORY", 3)
    for part in ("3 times", "killed", "smaller", "what else takes the worker's memory"):
        assert part in row.failure_message
    check_invariants(database)


def test_a_stored_epoch_forgives_losses(database):
    claim = claimed(database)
    for epoch in range(1, 6):
        ledger.lost(database, claim, "gone")
        no_back_off(database)
        claim = ledger.claim(database, "w", LEASE_S)
        assert claim.job.losses == 1
        ledger.publish_epochs(database, claim, epochs_of(epoch, epoch), b"c", epoch)
        assert job_of(database, claim.job.id).losses == 0
    assert claim.attempt == 6


def test_pauses_and_drains_cost_nothing(database):
    claim = claimed(database)
    owner_id, job_id = claim.job.owner_id, claim.job.id
    started_at = claim.job.started_at
    for attempt in range(2, 6):
        assert ledger.settle_stopped(database, claim) == "QUEUED"
        claim = ledger.claim(database, "w", LEASE_S)
        ledger.pause(database, owner_id, job_id)
        assert ledger.settle_stopped(database, claim) == "PAUSED"
        assert ledger.claim(database, "w", LEASE_S) is None
        ledger.resume(database, owner_id, job_id)
        claim = ledger.claim(database, "w", LEASE_S)
        assert (claim.job.losses, claim.attempt) == (0, 2 * attempt - 1)
        assert claim.job.started_at == started_at


def test_published_epochs_are_stored_whole(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 1), b"first", 1)
    ledger.publish_epochs(database, claim, epochs_of(2, 4), b"second", 3)
    row = job_of(database, claim.job.id)
    assert (row.epoch, row.best_epoch) == (4, 3)
    assert row.metrics == {"train_loss": 0.25, "mae": 0.5}
    assert artifacts.load(database, row.checkpoint_id) == b"second"
    assert artifacts.load(database, row.older_checkpoint_id) == b"first"
    assert len(contents(database)["artifact"]) == 2
    with database.read() as connection:
        mae, loss = metrics.history(connection, row.id)
    assert (mae.name, mae.split, mae.steps) == ("mae", "val", [1, 2, 3, 4])
    assert loss.values == [1.0, 0.5, 1 / 3, 0.25]
    told = [(event.seq, event.attempt, json.loads(event.body_json)) for event in events_of(database, row.id)[2:]]
    assert told == [(seq, 1, {"epoch": seq - 2}) for seq in range(3, 7)]
    check_invariants(database)


@pytest.mark.parametrize("size", [0, MIB, MIB + 1, 3 * MIB])
def test_checkpoints_of_any_length_replace_each_other(database, size):
    claim = claimed(database)
    data = random.Random(size).randbytes(size)
    for epoch, checkpoint in enumerate((b"small", data, b"small"), 1):
        ledger.publish_epochs(database, claim, epochs_of(epoch, epoch), checkpoint, 1)
        assert artifacts.load(database, job_of(database, claim.job.id).checkpoint_id) == checkpoint
    check_invariants(database)


def test_the_last_two_checkpoints_are_kept(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 1), b"after 1", 1)
    ledger.publish_epochs(database, claim, epochs_of(2, 3), None, 1)
    row = job_of(database, claim.job.id)
    assert (row.epoch, row.older_checkpoint_id) == (3, None)
    ledger.keep_checkpoint(database, claim, b"within 4" * MIB)
    row = job_of(database, claim.job.id)
    assert artifacts.load(database, row.checkpoint_id) == b"within 4" * MIB
    assert artifacts.load(database, row.older_checkpoint_id) == b"after 1"
    ledger.publish_epochs(database, claim, epochs_of(4, 4), b"after 4", 1)
    row = job_of(database, claim.job.id)
    assert artifacts.load(database, row.older_checkpoint_id) == b"within 4" * MIB
    assert len(contents(database)["artifact"]) == 2
    check_invariants(database)
    new = lose_and_claim_again(database, claim)
    with pytest.raises(Fenced):
        ledger.keep_checkpoint(database, claim, b"of a zombie")
    assert job_of(database, new.job.id).checkpoint_id == row.checkpoint_id
    ledger.fail(database, new, "DIVERGED", "it was too fast")
    kept = artifacts.load(database, job_of(database, new.job.id).checkpoint_id)
    assert kept == b"within 4" * MIB, "the newest stands at the brink"
    assert len(contents(database)["artifact"]) == 1, "a job that has ended keeps one checkpoint"
    check_invariants(database)


def test_a_checkpoint_forgives_losses(database):
    claim = claimed(database)
    for number in range(4):
        claim = lose_and_claim_again(database, claim)
        ledger.keep_checkpoint(database, claim, b"within epoch 1, batch %d" % number)
        assert job_of(database, claim.job.id).losses == 0


def test_epochs_that_came_out_otherwise_are_taken_back(database):
    old = claimed(database)
    ledger.publish_epochs(database, old, epochs_of(1, 1), b"after 1", 1)
    ledger.publish_epochs(database, old, epochs_of(2, 4), None, 4)
    new = lose_and_claim_again(database, old)
    ledger.going_on(database, new, 1, 0, bitwise_equal=False, reason="threads 1 -> 2")
    assert ledger.stored_figures(database, new, 3) == {"train_loss": 1 / 3, "mae": 2 / 3}
    assert ledger.stored_figures(database, new, 5) == {}
    with pytest.raises(Fenced):
        ledger.rewind(database, old, 2, 2, "a zombie")
    ledger.rewind(database, new, 2, 2, "train_loss came out otherwise")
    before = contents(database)
    ledger.rewind(database, new, 2, 2, "again, for its answer was lost")
    assert contents(database) == before
    row = job_of(database, new.job.id)
    assert (row.epoch, row.best_epoch, row.metrics["train_loss"]) == (2, 2, 0.5)
    with database.read() as connection:
        assert [series.steps for series in metrics.history(connection, row.id)] == [[1, 2], [1, 2]]
    ledger.publish_epochs(database, new, epochs_of(3, 3), b"after 3", 3)
    told = [(event.kind, json.loads(event.body_json)) for event in events_of(database, row.id) if event.attempt == 2]
    assert told[1:] == [
        ("resumed", {"epoch": "1", "reason": "threads 1 -> 2"}),
        ("resumed", {"epoch": "2", "rewound": True, "reason": "train_loss came out otherwise"}),
        ("epoch", {"epoch": 3}),
    ]


def test_a_publication_that_fails_midway_leaves_nothing(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 1), b"first", 1)
    with database.write() as connection:
        metrics.insert(connection, claim.job.id, [("mae", "val", 3, 0.0)])
    before = contents(database)
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        ledger.publish_epochs(database, claim, epochs_of(2, 3), b"second", 2)
    assert contents(database) == before


def test_a_publication_made_again_stores_nothing_twice(database):
    """A caller whose commit went unanswered may call again, with later epochs too."""
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"first", 1)
    before = contents(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"first", 1)
    ledger.publish_epochs(database, claim, epochs_of(2, 2), b"first", 1)
    assert contents(database) == before
    ledger.publish_epochs(database, claim, epochs_of(1, 4), b"second", 4)
    row = job_of(database, claim.job.id)
    assert (row.epoch, row.best_epoch) == (4, 4)
    assert artifacts.load(database, row.checkpoint_id) == b"second"
    check_invariants(database)


def test_a_gap_between_epochs_is_a_defect(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"first", 1)
    before = contents(database)
    with pytest.raises(ValueError, match=r"epoch 4 does not follow epoch 2"):
        ledger.publish_epochs(database, claim, epochs_of(4, 5), b"second", 1)
    assert contents(database) == before


def test_the_next_attempt_goes_on_from_the_checkpoint(database):
    old = claimed(database)
    ledger.publish_epochs(database, old, epochs_of(1, 3), b"after 3", 2)
    new = lose_and_claim_again(database, old)
    assert (new.job.epoch, new.job.best_epoch) == (3, 2)
    assert artifacts.load(database, new.job.checkpoint_id) == b"after 3"
    ledger.publish_epochs(database, new, epochs_of(4, 4), b"after 4", 2)
    assert [event.attempt for event in events_of(database, new.job.id)] == [0, 1, 1, 1, 1, 1, 2, 2]
    check_invariants(database)


def test_success_makes_the_model_in_the_same_transaction(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"checkpoint", 2)
    finding = tables_pb2.Finding(code=tables_pb2.Finding.NO_HOLD_OUT, message="few", figures={"rows": 3, "limit": 20})
    name = ledger.succeed(
        database, claim, MODEL, metrics={"val_loss": 0.5, "r2": math.nan}, best_epoch=2, findings=[finding]
    )
    assert name == "models/kim.churn/versions/1"
    row = job_of(database, claim.job.id)
    assert (row.state, row.model_name, row.epoch, row.best_epoch) == ("SUCCEEDED", name, 2, 2)
    assert (row.older_checkpoint_id, row.lease_until, row.worker) == (None, 0.0, "")
    assert artifacts.load(database, row.checkpoint_id) == b"checkpoint"
    assert math.isnan(row.metrics["r2"])
    with database.read() as connection:
        model = models.find(connection, row.owner_id, "churn", None)
    assert (model.job_id, model.dataset_name, model.display_name) == (row.id, row.dataset_name, "이탈")
    assert (model.size_bytes, model.metrics, model.name) == (7, {"val_loss": 0.5}, name)
    assert artifacts.load(database, model.artifact_id) == b"weights"
    told = [(event.kind, json.loads(event.body_json)) for event in events_of(database, row.id)[-2:]]
    assert told == [
        ("finding", {"code": "NO_HOLD_OUT", "message": "few", "figures": {"rows": 3.0, "limit": 20.0}}),
        ("state", {"state": "SUCCEEDED", "modelVersion": name}),
    ]
    before = contents(database)
    assert ledger.succeed(database, claim, MODEL, metrics={}, best_epoch=2) == name
    assert contents(database) == before


def test_long_weights_are_staged_and_published(database):
    claim = claimed(database)
    weights = random.Random(1).randbytes(2 * MIB + 3)
    ledger.succeed(database, claim, dataclasses.replace(MODEL, weights=weights), metrics={}, best_epoch=0)
    with database.read() as connection:
        model = models.find(connection, claim.job.owner_id, "churn", 1)
    assert artifacts.load(database, model.artifact_id) == weights
    check_like_a_model(database, model)


def check_like_a_model(database, model):
    with database.read() as connection:
        refs = connection.execute(sqlalchemy.text("SELECT holder, artifact_id FROM artifact_ref")).all()
    assert refs == [(f"model:{model.id}", model.artifact_id)]


def test_a_success_that_fails_midway_leaves_the_job_running(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 1), b"checkpoint", 1)
    before = contents(database)
    broken = dataclasses.replace(MODEL, engine=None)
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        ledger.succeed(database, claim, broken, metrics={}, best_epoch=1)
    assert contents(database) == before
    assert ledger.look(database, claim) == Beat("RUNNING", fenced=False)


def test_a_diverged_job_keeps_its_whole_history(database):
    claim = claimed(database)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"checkpoint", 1)
    finding = tables_pb2.Finding(code=tables_pb2.Finding.DIVERGED, message="lower the rate", figures={"lr": 0.01})
    rest = [*epochs_of(2, 3), *epochs_of(4, 4, math.inf), *epochs_of(5, 5, math.nan)]
    ledger.fail(database, claim, "DIVERGED", "the loss is NaN", epochs=rest, findings=[finding])
    row = job_of(database, claim.job.id)
    assert (row.state, row.failure_reason, row.failure_message, row.epoch) == (
        "FAILED",
        "DIVERGED",
        "the loss is NaN",
        5,
    )
    assert math.isnan(row.metrics["train_loss"])
    with database.read() as connection:
        _, loss = metrics.history(connection, row.id)
    assert loss.steps == [1, 2, 3, 4, 5]
    assert loss.values[3] == math.inf
    assert math.isnan(loss.values[4])
    kinds = [event.kind for event in events_of(database, row.id)]
    assert kinds == ["state", "state", "epoch", "epoch", "epoch", "epoch", "epoch", "finding", "state"]
    last = json.loads(events_of(database, row.id)[-1].body_json)
    assert last == {
        "state": "FAILED",
        "message": "the loss is NaN",
        "failure": {"reason": "DIVERGED", "message": "the loss is NaN"},
    }
    check_invariants(database)


def test_findings_of_a_later_attempt_are_not_told_twice(database):
    claim = claimed(database)
    finding = tables_pb2.Finding(code=tables_pb2.Finding.CONSTANT_COLUMN, figures={"columns": 1, "a": 2, "b": 3})
    other = tables_pb2.Finding(code=tables_pb2.Finding.CONSTANT_COLUMN, figures={"columns": 2})
    ledger.add_finding(database, claim, finding)
    again = lose_and_claim_again(database, claim)
    ledger.add_finding(database, again, finding)
    ledger.add_finding(database, again, other)
    ledger.succeed(database, again, None, metrics={}, best_epoch=0, findings=[other, finding])
    with database.read() as connection:
        assert len(events.findings(connection, claim.job.id)) == 2
    check_invariants(database)


def test_log_lines_hold_any_text(database):
    claim = claimed(database)
    ledger.add_log(database, claim, "줄\0\udcff" + "x" * 5000)
    (line,) = [event for event in events_of(database, claim.job.id) if event.kind == "log"]
    message = json.loads(line.body_json)["message"]
    assert message.startswith("줄\N{REPLACEMENT CHARACTER}?")
    assert len(message) == 2000
    ledger.fail(database, claim, "INTERNAL", "a defect\0")
    assert job_of(database, claim.job.id).failure_message == "a defect\N{REPLACEMENT CHARACTER}"


def test_a_wrong_state_is_named(database):
    claim = bring(database, "SUCCEEDED")
    with pytest.raises(WrongState) as refused:
        ledger.cancel(database, claim.job.owner_id, claim.job.id)
    assert "SUCCEEDED" in str(refused.value)
    assert "cancelled" in str(refused.value)
    assert refused.value.metadata == {"resource": f"jobs/{claim.job.id}", "state": "SUCCEEDED"}


def test_owners_are_answered_with_the_row_after_the_move(database):
    claim = claimed(database)
    owner_id, job_id = claim.job.owner_id, claim.job.id
    assert ledger.cancel(database, owner_id, "nothing") is None
    assert ledger.pause(database, owner_id, job_id) == job_of(database, job_id)
    assert ledger.cancel(database, owner_id, job_id).state == "CANCELLING"
    with database.read() as connection:
        assert jobs.last_seqs(connection, [job_id]) == {job_id: 4}
