"""The life of a job row, used by the service and by its workers. What a running attempt writes is in attempts.py.

    from        verb                                to
    QUEUED      claim                               RUNNING     attempt + 1
    RUNNING     pause                               PAUSING
    QUEUED      pause                               PAUSED
    PAUSED      resume                              QUEUED
    RUNNING     cancel (PAUSING too)                CANCELLING
    QUEUED      cancel (PAUSED too)                 CANCELLED
    RUNNING     succeed (PAUSING, CANCELLING too)   SUCCEEDED   the work was done before anybody could stop it
    RUNNING     fail (PAUSING, CANCELLING too)      FAILED
    RUNNING     settle_stopped                      QUEUED      the worker drains
    RUNNING     settle_left                         QUEUED      the worker is too old for its checkpoint; after LEFT_S
    RUNNING     lost, reconcile                     QUEUED      losses + 1, after a back-off
    RUNNING     lost, reconcile, for the 3rd time   FAILED      WORKER_LOST, or OUT_OF_MEMORY where `lost` says so
    PAUSING     settle_stopped, lost, reconcile     PAUSED
    CANCELLING  settle_stopped, lost, reconcile     CANCELLED

Nothing else moves, and nothing leaves SUCCEEDED, FAILED or CANCELLED. Each move is one UPDATE whose WHERE holds the
state before, first in its transaction, with its event in the same one. What a worker writes is also guarded by its
attempt: when the job was lost and claimed again, everything the old attempt still tries raises Fenced and changes
nothing. A call whose commit went unanswered can be made again: what is stored already is not stored twice.

Errors of all: DatabaseUnavailable, DiskFull, DataCorrupt of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.attempts import (
    add_finding,
    add_log,
    going_on,
    keep_checkpoint,
    publish_epochs,
    rewind,
    stored_figures,
)
from service.fencing import (
    STAGED_S,
    Beat,
    Claim,
    EpochFigures,
    Fenced,
    NewDataset,
    NewModel,
    Predictions,
    add_dataset,
    add_model,
    asked,
    beat_of,
    clean,
    epoch_bodies,
    fenced,
    figures_json,
    finding_bodies,
    following,
    loss_told,
    note_end,
    note_state,
    settled_before,
    store_points,
)
from service.points import point
from service.store import artifacts, events, jobs, moves, refusals
from service.store.database import Database
from service.store.records import JobRow, encode_figures
from service.store.tables import STATES
from traind.v1 import jobs_pb2, tables_pb2

__all__ = ["Beat", "Claim", "EpochFigures", "Fenced", "NewDataset", "NewModel", "Predictions", "Reconciled"]
__all__ += ["any_waits", "beat", "cancel", "claim"]
__all__ += ["add_finding", "add_log", "fail", "going_on", "keep_checkpoint", "look", "lost", "note_refused", "pause"]
__all__ += ["publish_epochs", "reconcile", "resume", "rewind", "settle_left", "settle_stopped", "stored_figures"]
__all__ += ["succeed"]

# Seconds for which nobody claims a job again that an older worker has left: a newer one waits as long at most.
LEFT_S = 300.0


@dataclass(frozen=True)
class Reconciled:
    """What a sweep did: leases found expired, jobs that could be claimed now, staged artifacts deleted."""

    expired: int
    queued: int
    staged: int


def any_waits(database: Database) -> bool:
    """Whether a claim would find a job now; takes no lock."""
    with database.read() as connection:
        return moves.any_runnable(connection)


def claim(database: Database, worker: str, lease_s: float) -> Claim | None:
    """Take the queued job that waits longest; None if none waits, which takes no write lock."""
    if not any_waits(database):
        return None
    point("C4")
    with database.write() as connection:
        claimed = moves.claim(connection, worker, lease_s)
        if claimed is None:
            return None
        job_id, moved = claimed
        note_state(connection, job_id, moved, "" if moved.attempt == 1 else f"attempt {moved.attempt}")
        row = jobs.find_by_id(connection, job_id)
    assert row is not None
    return Claim(row, moved.attempt, worker)


def beat(database: Database, claim: Claim, lease_s: float) -> Beat:
    """Renew the lease, and learn what the owner wants."""
    with database.write() as connection:
        renewed = moves.renew(connection, claim.job.id, claim.attempt, lease_s)
        # No row was touched: perhaps the trainer has ended the job by itself, which is no fence.
        return beat_of(renewed or moves.standing(connection, claim.job.id), claim)


def look(database: Database, claim: Claim) -> Beat:
    """What beat answers, without a write."""
    with database.read() as connection:
        return beat_of(moves.standing(connection, claim.job.id), claim)


def succeed(
    database: Database,
    claim: Claim,
    model: NewModel | None,
    *,
    metrics: Mapping[str, float],
    best_epoch: int,
    findings: Sequence[tables_pb2.Finding] = (),
    predictions: Predictions | None = None,
) -> str:
    """End the job well, with the model or the data sets that it makes; answers the model's name,
    `models/kim.churn/versions/3`.

    A pause or cancel that came too late changes nothing: the work is done. Raises Fenced.
    """
    point("C11")
    large = model is not None and len(model.weights) > artifacts.CHUNK_BYTES
    staged = artifacts.stage(database, model.weights, "weights") if model and large else None
    figures = encode_figures(metrics)
    with database.write() as connection:
        moved = moves.succeed(connection, claim.job.id, claim.attempt, best_epoch=best_epoch, metrics_json=figures)
        if moved is None:
            return settled_before(connection, claim, {"SUCCEEDED"}).model_name
        note_end(connection, claim.job.id)
        name = add_model(connection, claim.job, model, staged) if model else ""
        output, rejected = (
            add_dataset(connection, claim.job, made)
            for made in ((predictions.output, predictions.rejected) if predictions else (None, None))
        )
        point("C12")
        moves.set_values(connection, claim.job.id, model_name=name, output_name=output, rejected_name=rejected)
        change = events.state_json("SUCCEEDED", model_version=name, output_dataset=output, rejected_dataset=rejected)
        last = ("state", change)
        told = [*finding_bodies(connection, claim, findings), last]
        events.append_all(connection, claim.job.id, claim.attempt, told)
    point("C13")
    return name


def fail(
    database: Database,
    claim: Claim,
    reason: str,
    message: str,
    *,
    epochs: Sequence[EpochFigures] = (),
    findings: Sequence[tables_pb2.Finding] = (),
) -> None:
    """End the job badly; `epochs` that are not stored yet become part of its history. Raises Fenced."""
    message = clean(message)
    failure = jobs_pb2.Failure(reason=jobs_pb2.Failure.Reason.Value(reason), message=message)
    with database.write() as connection:
        moved = moves.fail(connection, claim.job.id, claim.attempt, reason=reason, message=message)
        if moved is None:
            here = settled_before(connection, claim, {"FAILED"})
            if here.failure_reason != reason:
                raise fenced(claim, here)
            return
        note_end(connection, claim.job.id)
        new = following(epochs, moved.epoch)
        store_points(connection, claim, new)
        if new:
            moves.set_values(connection, claim.job.id, epoch=new[-1].epoch, metrics_json=figures_json(new[-1]))
        last = ("state", events.state_json("FAILED", message, failure))
        told = [*epoch_bodies(new), *finding_bodies(connection, claim, findings), last]
        events.append_all(connection, claim.job.id, claim.attempt, told)


def settle_stopped(database: Database, claim: Claim) -> str:
    """After the trainer stopped as it was asked to; answers the new state. Raises Fenced."""
    return _settle_without_loss(database, claim, "the worker makes room", 0.0)


def settle_left(database: Database, claim: Claim) -> str:
    """After the trainer left the job, as it was, to a worker of a newer version; answers the new state.

    Nobody claims it again for LEFT_S, so that older workers try it now and then and not all the time. Raises Fenced.
    """
    return _settle_without_loss(database, claim, "it waits for a worker of a newer version", LEFT_S)


def _settle_without_loss(database: Database, claim: Claim, why: str, wait_s: float) -> str:
    with database.write() as connection:
        moved = moves.stop(connection, claim.job.id, claim.attempt, wait_s)
        if moved is None:
            return settled_before(connection, claim, {"CANCELLED", "PAUSED", "QUEUED"}).state
        note_state(connection, claim.job.id, moved, why if moved.state == "QUEUED" else "")
        return moved.state


def note_refused(database: Database, claim: Claim, count: int) -> None:
    """Count writes of this attempt that were refused because the job was not its own any more."""
    with database.write() as connection:
        refusals.add(connection, claim.job.id, claim.worker, count)


def lost(database: Database, claim: Claim, message: str, *, out_of_memory: bool = False) -> str:
    """After the trainer died; answers the new state, or that in which it had left the job. Raises Fenced.

    `out_of_memory` tells that the system probably killed it for lack of memory.
    """
    message = clean(message)
    with database.write() as connection:
        failure = loss_told(message, out_of_memory=out_of_memory)
        moved = moves.lose(connection, claim.job.id, claim.attempt, failure, expired_only=False)
        if moved is None:
            return settled_before(connection, claim, STATES).state
        note_state(connection, claim.job.id, moved, message)
        return moved.state


def reconcile(database: Database) -> Reconciled:
    """Settle jobs whose worker has not renewed its lease, and collect what dead workers left. Any process may."""
    with database.read() as connection:
        suspects, abandoned = moves.expired(connection), artifacts.any_abandoned(connection, STAGED_S)
    message, expired = "the worker did not answer for the whole of its lease", 0
    for job_id, attempt in suspects:
        with database.write() as connection:
            moved = moves.lose(connection, job_id, attempt, loss_told(message), expired_only=True)
            if moved is not None:
                note_state(connection, job_id, moved, message)
                expired += 1
    staged = artifacts.collect(database, STAGED_S) if abandoned else 0
    with database.read() as connection:
        return Reconciled(expired, moves.count_runnable(connection), staged)


def cancel(database: Database, owner_id: str, job_id: str) -> JobRow | None:
    """Ask for the job's end; one that no worker holds ends at once. None if the owner has no such job.

    Again changes nothing. Raises WrongState if it has ended otherwise.
    """
    with database.write() as connection:
        moved = moves.cancel(connection, owner_id, job_id)
        return asked(connection, owner_id, job_id, moved, done_in=("CANCELLING", "CANCELLED"), what="cancelled")


def pause(database: Database, owner_id: str, job_id: str) -> JobRow | None:
    """Ask that the job frees its place; one that waits is paused at once. None if the owner has no such job.

    Again changes nothing. Raises WrongState if it has ended or is being cancelled.
    """
    with database.write() as connection:
        moved = moves.pause(connection, owner_id, job_id)
        return asked(connection, owner_id, job_id, moved, done_in=("PAUSING", "PAUSED"), what="paused")


def resume(database: Database, owner_id: str, job_id: str) -> JobRow | None:
    """Queue a paused job again. None if the owner has no such job. Raises WrongState if it is not paused."""
    with database.write() as connection:
        moved = moves.resume(connection, owner_id, job_id)
        return asked(connection, owner_id, job_id, moved, done_in=(), what="resumed")
