"""Defects that are put in on purpose: the model finds each, mostly within the size that guards a change."""

import contextlib

import pytest
from sqlalchemy import func

from service import attempts, fencing, jobs, ledger
from service.dispatcher import Dispatcher
from service.store import artifacts, moves
from service.store.clock import clock
from service.store.fixed import Fixed, given
from service.store.tables import LIVE_STATES
from tests.faults import lives, profiles
from tests.faults.test_stateful_model import LIVES, STEPS, world
from tests.service.store.rows import only

__all__ = ["world"]

# The lives follow from the machine's code, so that a change of it finds sooner or later.
FIND_WITHIN = 4 * LIVES["sqlite"]


def no_attempt_guard(patch):
    made = moves._made

    def unguarded(move, connection, **parameters):
        if "mine" in parameters:
            here = moves._STAND(connection, job_id=parameters["job_id"]).first()
            parameters["mine"] = here.attempt
        return made(move, connection, **parameters)

    patch(moves, "_made", unguarded)


def no_state_guard(patch):
    held = (moves.job.c.id == given("job_id")) & (moves.job.c.attempt == given("mine"))
    patch(moves, "_RENEW", moves._moves(held, lease_until=clock() + given("lease_s")))


def publish_without_epoch_guard(patch):
    patch(moves, "_PUBLISH", moves._moves(moves._HELD, **moves._PUBLISHED))
    patch(moves, "_PUBLISH_WITH_CHECKPOINT", moves._moves(moves._HELD, **(moves._PUBLISHED | moves._NEW_CHECKPOINT)))


def cancel_overwrites_an_end(patch):
    after = {"QUEUED": "CANCELLED", "PAUSED": "CANCELLED", "RUNNING": "CANCELLING", "PAUSING": "CANCELLING"}
    patch(moves, "_CANCEL", moves._asks(after | {"SUCCEEDED": "CANCELLED"}))


def claim_without_another_attempt(patch):
    statement = (
        moves.update(moves.job)
        .where(moves.job.c.id == moves._LONGEST_WAITING, moves.job.c.state == "QUEUED")
        .values(
            state="RUNNING",
            attempt=func.max(moves.job.c.attempt, 1),
            worker=given("by"),
            lease_until=clock() + given("lease_s"),
            started_at=func.coalesce(moves.job.c.started_at, clock()),
            **moves._ONE_EVENT,
        )
    )
    patch(moves, "_CLAIM", Fixed(statement.returning(moves.job.c.id, *moves._STANDING)))


def sweep_whether_or_not_the_lease_is_over(patch):
    every = moves.select(moves.job.c.id, moves.job.c.attempt).where(moves.one_of(moves.job.c.state, LIVE_STATES))
    patch(moves, "_ALL_EXPIRED", Fixed(every))
    patch(moves, "_LOSE_EXPIRED", moves._LOSE)


def no_sweep(patch):
    patch(Dispatcher, "_sweep", lambda _: None)


def a_sweep_without_tickets(patch):
    patch(Dispatcher, "_send", lambda *_: None)


def losses_are_not_counted_anew(patch):
    kept = {name: value for name, value in moves._PUBLISHED.items() if name != "losses"}
    patch(moves, "_PUBLISH", moves._moves(moves._HELD & (moves.job.c.epoch == given("stored")), **kept))


def metrics_outside_the_transaction(patch):
    store = attempts.store_points

    def early(connection, claim, epochs):
        # What was moved is committed, and the rest is another transaction's.
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        store(connection, claim, epochs)

    patch(attempts, "store_points", early)


def a_key_is_not_looked_up(patch):
    def keyless(*arguments, **values):
        return found(*arguments, **(values | {"request_id": None}))

    found = jobs.job_store.add
    patch(jobs.job_store, "find_by_request", lambda *_: None)
    patch(jobs.job_store, "add", keyless)


def checkpoints_pile_up(patch):
    patch(artifacts, "release_others", lambda *_: None)


def a_checkpoint_is_dropped_for_its_elder(patch):
    def wrong(connection, job_id):
        return found(connection, job_id)[::-1][:1]

    found = moves.checkpoints
    patch(moves, "checkpoints", wrong)


def staged_bytes_stay(patch):
    patch(artifacts, "collect", lambda *_: 0)


def a_fork_does_not_hold_its_checkpoint(patch):
    patch(artifacts, "hold", lambda *_: None)


def a_finding_is_told_by_each_attempt(patch):
    patch(fencing.events, "findings", lambda *_: [])


def a_rewind_leaves_the_figures(patch):
    patch(attempts.metrics, "delete_after", lambda *_: None)


def success_makes_a_model_each_time(patch):
    add = ledger.add_model

    def twice(connection, job, model, staged):
        artifacts.store_small(connection, b"beside it", "weights", f"model:{job.id}", artifacts.new_id())
        return add(connection, job, model, staged)

    patch(ledger, "add_model", twice)


DEFECTS = [
    no_attempt_guard,
    no_state_guard,
    publish_without_epoch_guard,
    cancel_overwrites_an_end,
    claim_without_another_attempt,
    sweep_whether_or_not_the_lease_is_over,
    no_sweep,
    a_sweep_without_tickets,
    losses_are_not_counted_anew,
    metrics_outside_the_transaction,
    a_key_is_not_looked_up,
    checkpoints_pile_up,
    a_checkpoint_is_dropped_for_its_elder,
    staged_bytes_stay,
    a_fork_does_not_hold_its_checkpoint,
    a_finding_is_told_by_each_attempt,
    a_rewind_leaves_the_figures,
    success_makes_a_model_each_time,
]


@only("sqlite")
@pytest.mark.timeout(profiles.LONGEST_S)
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(world, monkeypatch, defect):
    defect(monkeypatch.setattr)
    with pytest.raises(Exception) as found, contextlib.redirect_stdout(None):
        profiles.run(lives.Life, world, FIND_WITHIN, STEPS, phases=profiles.FIND_ONLY)
    # By what the store says or does, and not by an accident of the test's own.
    assert "/tests/faults/" in str(found.traceback[-1].path) or "sqlalchemy" in str(found.traceback[-1].path), found
    print(f"found in life {world.lives}")
