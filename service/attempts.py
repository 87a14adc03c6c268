"""What an attempt writes while its job runs: epochs, checkpoints, findings, lines of its log.

None of it moves the job to another state. All is guarded by the attempt, and stores nothing twice when it is called
again because a commit went unanswered. Errors of all: Fenced, and DatabaseUnavailable, DiskFull, DataCorrupt of the
store.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.json_format import MessageToJson

from service.fencing import (
    STAGED_S,
    Claim,
    EpochFigures,
    advance,
    clean,
    epoch_bodies,
    fence,
    finding_bodies,
    hold_checkpoint,
    settled_before,
    store_points,
)
from service.points import point
from service.store import artifacts, events, metrics, moves
from service.store.database import Database
from service.store.records import encode_figures
from service.store.tables import LIVE_STATES
from traind.v1 import jobs_pb2, tables_pb2


def publish_epochs(
    database: Database, claim: Claim, epochs: Sequence[EpochFigures], checkpoint: bytes | None, best_epoch: int
) -> None:
    """Store finished epochs, one event each, and with `checkpoint` from where the job goes on if it is taken over.

    `epochs` ascend without a gap from the one after those stored; stored ones are passed over. All of it, or nothing.
    Raises Fenced.
    """
    point("C8")
    checkpoint_id, small = _stage(database, checkpoint) if checkpoint is not None else (None, None)
    with database.write() as connection:
        epochs, moved = advance(connection, claim, epochs, checkpoint_id, best_epoch)
        if moved is None:
            return
        if checkpoint_id is not None:
            hold_checkpoint(connection, claim, checkpoint_id, small)
        point("C9")
        store_points(connection, claim, epochs)
        first_seq = moved.last_seq - len(epochs) + 1
        events.insert_all(connection, claim.job.id, claim.attempt, first_seq, epoch_bodies(epochs))
    point("C10")
    if checkpoint_id is not None and small is None:
        artifacts.collect(database, STAGED_S)


def keep_checkpoint(database: Database, claim: Claim, checkpoint: bytes) -> None:
    """Store where a job stands whose finished epochs are all stored: within an epoch, or once more. Raises Fenced."""
    with database.read() as connection:
        newest = moves.checkpoints(connection, claim.job.id)[:1]
        if newest and artifacts.is_of(connection, newest[0], checkpoint):
            settled_before(connection, claim, LIVE_STATES)
            return
    checkpoint_id, small = _stage(database, checkpoint)
    with database.write() as connection:
        if moves.keep(connection, claim.job.id, claim.attempt, checkpoint_id) is None:
            settled_before(connection, claim, LIVE_STATES)
            return
        hold_checkpoint(connection, claim, checkpoint_id, small)
    if small is None:
        artifacts.collect(database, STAGED_S)


def _stage(database: Database, data: bytes) -> tuple[str, bytes | None]:
    """The id of a new artifact, and its bytes where they are few enough to be stored within the transaction."""
    if len(data) > artifacts.CHUNK_BYTES:
        return artifacts.stage(database, data, "checkpoint"), None
    return artifacts.new_id(), data


def going_on(database: Database, claim: Claim, epoch: int, batch: int, *, bitwise_equal: bool, reason: str) -> None:
    """Tell that this attempt goes on where a checkpoint stands, once. Raises Fenced."""
    told = jobs_pb2.Resumed(epoch=epoch, batch=batch, bitwise_equal=bitwise_equal, reason=clean(reason))
    body = MessageToJson(told, indent=None)
    with database.write() as connection:
        fence(connection, claim)
        if body not in events.bodies(connection, claim.job.id, claim.attempt, "resumed"):
            events.append(connection, claim.job.id, claim.attempt, "resumed", body)


def stored_figures(database: Database, claim: Claim, epoch: int) -> Mapping[str, float]:
    """The figures by name that are stored of an epoch; empty where there are none."""
    with database.read() as connection:
        return metrics.at_steps(connection, claim.job.id, epoch, epoch).get(epoch, {})


def rewind(database: Database, claim: Claim, epoch: int, best_epoch: int, reason: str) -> None:
    """Take back the stored epochs after `epoch`, for they were computed again and differ; tell it. Raises Fenced."""
    told = jobs_pb2.Resumed(epoch=epoch, rewound=True, reason=clean(reason))
    with database.write() as connection:
        figures = encode_figures(metrics.at_steps(connection, claim.job.id, epoch, epoch).get(epoch, {}))
        moved = moves.rewind(
            connection, claim.job.id, claim.attempt, last=epoch, best_epoch=best_epoch, metrics_json=figures
        )
        if moved is None:
            settled_before(connection, claim, LIVE_STATES)
            return
        metrics.delete_after(connection, claim.job.id, epoch)
        body = MessageToJson(told, indent=None)
        events.insert_all(connection, claim.job.id, claim.attempt, moved.last_seq, [("resumed", body)])


def add_finding(database: Database, claim: Claim, finding: tables_pb2.Finding) -> None:
    """Tell the owner something; the same finding again, by a later attempt, is not told twice. Raises Fenced."""
    with database.write() as connection:
        fence(connection, claim)
        for kind, body in finding_bodies(connection, claim, [finding]):
            events.append(connection, claim.job.id, claim.attempt, kind, body)


def add_log(database: Database, claim: Claim, message: str) -> None:
    """Add a line to the job's log; a line that this attempt told last is not told again. Raises Fenced."""
    body = MessageToJson(jobs_pb2.LogLine(message=clean(message)), indent=None)
    with database.write() as connection:
        fence(connection, claim)
        if events.bodies(connection, claim.job.id, claim.attempt, "log")[-1:] != [body]:
            events.append(connection, claim.job.id, claim.attempt, "log", body)
