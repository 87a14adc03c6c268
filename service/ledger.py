"""The life of a job row, used by the service and by its workers.

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
    RUNNING     lost, reconcile                     QUEUED      losses + 1, after a back-off
    RUNNING     lost, reconcile, for the 3rd time   FAILED      WORKER_LOST
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

from google.protobuf.json_format import MessageToJson

from service.fencing import (
    Beat,
    Claim,
    EpochFigures,
    Fenced,
    NewModel,
    add_model,
    advance,
    asked,
    beat_of,
    clean,
    epoch_bodies,
    fence,
    fenced,
    figures_json,
    finding_bodies,
    following,
    job_holder,
    loss_told,
    note_state,
    settled_before,
    store_points,
)
from service.store import artifacts, events, jobs, moves
from service.store.database import Database
from service.store.records import JobRow, encode_figures
from service.store.tables import STATES
from traind.v1 import jobs_pb2, tables_pb2

__all__ = ["Beat", "Claim", "EpochFigures", "Fenced", "NewModel", "Reconciled", "beat", "cancel", "claim", "fail"]
__all__ += ["add_finding", "add_log", "look", "lost", "pause", "publish_epochs", "reconcile", "resume"]
__all__ += ["settle_stopped", "succeed"]

# What is staged and not published for so long was left by a worker that died.
STAGED_S = 3600.0


@dataclass(frozen=True)
class Reconciled:
    """What a sweep did: leases found expired, jobs that could be claimed now, staged artifacts deleted."""

    expired: int
    queued: int
    staged: int


def claim(database: Database, worker: str, lease_s: float) -> Claim | None:
    """Take the queued job that waits longest; None if none waits, which takes no write lock."""
    with database.read() as connection:
        if not moves.any_runnable(connection):
            return None
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


def publish_epochs(
    database: Database, claim: Claim, epochs: Sequence[EpochFigures], checkpoint: bytes, best_epoch: int
) -> None:
    """Store finished epochs, one event each, with the checkpoint from which the one after the last goes on.

    `epochs` ascend without a gap from the one after those stored; stored ones are passed over. All of it, or nothing:
    a job taken over by another worker goes on exactly behind its last stored epoch. Raises Fenced.
    """
    large = len(checkpoint) > artifacts.CHUNK_BYTES
    checkpoint_id = artifacts.stage(database, checkpoint, "checkpoint") if large else artifacts.new_id()
    with database.write() as connection:
        epochs, moved = advance(connection, claim, epochs, checkpoint_id, best_epoch)
        if moved is None:
            return
        artifacts.release(connection, job_holder(claim.job.id))
        if large:
            artifacts.publish(connection, checkpoint_id, job_holder(claim.job.id))
        else:
            artifacts.store_small(connection, checkpoint, "checkpoint", job_holder(claim.job.id), checkpoint_id)
        store_points(connection, claim, epochs)
        first_seq = moved.last_seq - len(epochs) + 1
        events.insert_all(connection, claim.job.id, claim.attempt, first_seq, epoch_bodies(epochs))


def add_finding(database: Database, claim: Claim, finding: tables_pb2.Finding) -> None:
    """Tell the owner something; the same finding again, by a later attempt, is not told twice. Raises Fenced."""
    with database.write() as connection:
        fence(connection, claim)
        for kind, body in finding_bodies(connection, claim, [finding]):
            events.append(connection, claim.job.id, claim.attempt, kind, body)


def add_log(database: Database, claim: Claim, message: str) -> None:
    """Add a line to the job's log. Raises Fenced."""
    body = MessageToJson(jobs_pb2.LogLine(message=clean(message)), indent=None)
    with database.write() as connection:
        fence(connection, claim)
        events.append(connection, claim.job.id, claim.attempt, "log", body)


def succeed(
    database: Database,
    claim: Claim,
    model: NewModel | None,
    *,
    metrics: Mapping[str, float],
    best_epoch: int,
    findings: Sequence[tables_pb2.Finding] = (),
) -> str:
    """End the job well, with its model if it makes one; answers the model's name, `models/kim.churn/versions/3`.

    A pause or cancel that came too late changes nothing: the work is done. Raises Fenced.
    """
    large = model is not None and len(model.weights) > artifacts.CHUNK_BYTES
    staged = artifacts.stage(database, model.weights, "weights") if model and large else None
    figures = encode_figures(metrics)
    with database.write() as connection:
        moved = moves.succeed(connection, claim.job.id, claim.attempt, best_epoch=best_epoch, metrics_json=figures)
        if moved is None:
            return settled_before(connection, claim, {"SUCCEEDED"}).model_name
        artifacts.release(connection, job_holder(claim.job.id))
        name = add_model(connection, claim.job, model, staged) if model else ""
        moves.set_values(connection, claim.job.id, model_name=name)
        last = ("state", events.state_json("SUCCEEDED", model_version=name))
        told = [*finding_bodies(connection, claim, findings), last]
        events.append_all(connection, claim.job.id, claim.attempt, told)
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
        artifacts.release(connection, job_holder(claim.job.id))
        new = following(epochs, moved.epoch)
        store_points(connection, claim, new)
        if new:
            moves.set_values(connection, claim.job.id, epoch=new[-1].epoch, metrics_json=figures_json(new[-1]))
        last = ("state", events.state_json("FAILED", message, failure))
        told = [*epoch_bodies(new), *finding_bodies(connection, claim, findings), last]
        events.append_all(connection, claim.job.id, claim.attempt, told)


def settle_stopped(database: Database, claim: Claim) -> str:
    """After the trainer stopped as it was asked to; answers the new state. Raises Fenced."""
    with database.write() as connection:
        moved = moves.stop(connection, claim.job.id, claim.attempt)
        if moved is None:
            return settled_before(connection, claim, {"CANCELLED", "PAUSED", "QUEUED"}).state
        note_state(connection, claim.job.id, moved, "the worker makes room" if moved.state == "QUEUED" else "")
        return moved.state


def lost(database: Database, claim: Claim, message: str) -> str:
    """After the trainer died; answers the new state, or that in which it had left the job. Raises Fenced."""
    message = clean(message)
    with database.write() as connection:
        moved = moves.lose(connection, claim.job.id, claim.attempt, loss_told(message), expired_only=False)
        if moved is None:
            return settled_before(connection, claim, STATES).state
        note_state(connection, claim.job.id, moved, message)
        return moved.state


def reconcile(database: Database) -> Reconciled:
    """Settle jobs whose worker has not renewed its lease, and collect what dead workers left. Any process may."""
    with database.read() as connection:
        suspects, abandoned = moves.expired(connection), artifacts.abandoned(connection, STAGED_S)
    message, expired, staged = "the worker did not answer for the whole of its lease", 0, 0
    for job_id, attempt in suspects:
        with database.write() as connection:
            moved = moves.lose(connection, job_id, attempt, loss_told(message), expired_only=True)
            if moved is not None:
                note_state(connection, job_id, moved, message)
                expired += 1
    for _ in abandoned:
        # One by one, for deleting long values keeps other writers waiting.
        with database.write() as connection:
            staged += artifacts.collect_staged(connection, STAGED_S, at_most=1)
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
