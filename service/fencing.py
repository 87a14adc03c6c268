"""What the transactions of ledger.py are composed of: a worker's hold on a job, its fence, and what follows a move."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson

from service.errors import WrongState
from service.store import artifacts, datasets, events, jobs, metrics, models, moves, webhooks
from service.store.database import Connection
from service.store.records import JobRow, ModelRows, encode_figures
from service.store.tables import ENDED_STATES, LIVE_STATES, LOSSES_CAP
from traind.v1 import jobs_pb2, tables_pb2

# What is staged and not published for so long was left by a worker that died.
STAGED_S = 3600.0
LONGEST_MESSAGE = 2000  # characters of a failure or a log line


class Fenced(Exception):
    """This attempt no longer owns the job: it was settled or claimed by another. Nothing was changed."""


@dataclass(frozen=True)
class Claim:
    """A worker's hold on a job; `job` as it was when it was claimed."""

    job: JobRow
    attempt: int
    worker: str


@dataclass(frozen=True)
class Beat:
    """What a worker that holds a job is told.

    `fenced`: stop at once and write nothing, for the job is another's or was settled from outside. False when the
    trainer itself has just ended the job.
    """

    state: str
    fenced: bool


@dataclass(frozen=True)
class EpochFigures:
    """The figures of one epoch by (name, split): `("train_loss", "train")`."""

    epoch: int
    metrics: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class NewModel:
    """A trained model as `succeed` stores it."""

    slug: str
    display_name: str
    weights: bytes | bytearray
    weights_sha256: str
    spec_json: str
    inputs_json: str
    outputs_json: str
    preprocessing_json: str
    metrics: Mapping[str, float]
    findings_json: str
    parameter_count: int
    best_epoch: int
    engine: str
    confusion_json: str = "[]"
    # Which rows it was trained with and which were held out.
    rows: ModelRows | None = None
    # Rows with its answers: GoldenRows of the contract in its binary form.
    golden: bytes | None = None


@dataclass(frozen=True)
class NewDataset:
    """A table that a job has made, as `succeed` stores it; its file is there already."""

    slug: str
    display_name: str
    sha256: str
    size_bytes: int
    row_count: int
    columns_json: str


@dataclass(frozen=True)
class Predictions:
    """What a job that predicts has made: the answers, and the rows that have none."""

    output: NewDataset | None
    rejected: NewDataset | None


def beat_of(here: moves.Standing | None, claim: Claim) -> Beat:
    """What the worker is told of a job that stands here."""
    if here is None:
        return Beat("", fenced=True)
    if here.attempt != claim.attempt:
        return Beat(here.state, fenced=True)
    # Only the trainer that holds the job ends it so; any other end came from outside.
    own_end = here.state == "SUCCEEDED" or (here.state == "FAILED" and here.failure_reason != "WORKER_LOST")
    return Beat(here.state, fenced=here.state not in LIVE_STATES and not own_end)


def fence(connection: Connection, claim: Claim) -> None:
    """Hold the row for the rest of the transaction. Raises Fenced."""
    if moves.touch(connection, claim.job.id, claim.attempt) is None:
        raise fenced(claim, moves.standing(connection, claim.job.id))


def fenced(claim: Claim, here: moves.Standing | None) -> Fenced:
    """Why the worker may not write."""
    now = "is gone" if here is None else f"is {here.state} in attempt {here.attempt}"
    return Fenced(f"attempt {claim.attempt} no longer owns jobs/{claim.job.id}, which {now}")


def settled_before(connection: Connection, claim: Claim, states: Collection[str]) -> moves.Standing:
    """Where the job stands, if this attempt left it in one of `states` before: its call comes a second time.

    Raises Fenced otherwise.
    """
    here = moves.standing(connection, claim.job.id)
    if here is None or here.attempt != claim.attempt or here.state not in states:
        raise fenced(claim, here)
    return here


def advance(
    connection: Connection, claim: Claim, epochs: Sequence[EpochFigures], checkpoint_id: str | None, best_epoch: int
) -> tuple[Sequence[EpochFigures], moves.Standing | None]:
    """Move the job to the last of `epochs`, passing over those that are stored; answers what is left to store.

    The move is None if nothing is left. Raises Fenced, and ValueError if there is a gap before the first one.
    """
    for _ in range(2):
        moved = moves.publish(
            connection,
            claim.job.id,
            claim.attempt,
            stored=epochs[0].epoch - 1,
            last=epochs[-1].epoch,
            best_epoch=best_epoch,
            checkpoint_id=checkpoint_id,
            metrics_json=figures_json(epochs[-1]),
        )
        if moved is not None:
            return epochs, moved
        # Perhaps the commit of a call before went unanswered: then its epochs are stored.
        here = settled_before(connection, claim, LIVE_STATES)
        epochs, stored = following(epochs, here.epoch), here.epoch
        if not epochs:
            return (), None
    raise ValueError(f"epoch {epochs[0].epoch} does not follow epoch {stored}, the last one stored")


def following(epochs: Sequence[EpochFigures], stored: int) -> Sequence[EpochFigures]:
    """Those after the last stored one."""
    return [figures for figures in epochs if figures.epoch > stored]


def figures_json(figures: EpochFigures) -> str:
    """The figures by name, as the job's row has them."""
    return encode_figures({name: value for (name, _), value in figures.metrics.items()})


def epoch_bodies(epochs: Sequence[EpochFigures]) -> list[tuple[str, str]]:
    """An event for each epoch, which points at its metrics."""
    return [("epoch", f'{{"epoch":{figures.epoch}}}') for figures in epochs]


def store_points(connection: Connection, claim: Claim, epochs: Sequence[EpochFigures]) -> None:
    """Every figure as a point of its series."""
    points = [
        (name, split, figures.epoch, value) for figures in epochs for (name, split), value in figures.metrics.items()
    ]
    metrics.insert(connection, claim.job.id, points)


def hold_checkpoint(connection: Connection, claim: Claim, checkpoint_id: str, data: bytes | None) -> None:
    """Give the job its newest checkpoint, and drop all but that and the one before; `data` is None if it is staged."""
    holder = job_holder(claim.job.id)
    if data is None:
        artifacts.publish(connection, checkpoint_id, holder)
    else:
        artifacts.store_small(connection, data, "checkpoint", holder, checkpoint_id)
    drop_older_checkpoints(connection, claim.job.id)


def drop_older_checkpoints(connection: Connection, job_id: str) -> None:
    """Let go of all checkpoints that the job's row does not name any more: it names two, and one after its end."""
    named = moves.checkpoints(connection, job_id)
    if named:
        artifacts.release_others(connection, job_holder(job_id), named[0], named[-1])


def note_end(connection: Connection, job_id: str) -> None:
    """After a move that ended the job: one checkpoint is enough, and who wants to hear of it shall."""
    drop_older_checkpoints(connection, job_id)
    webhooks.add_for(connection, job_id)


def finding_bodies(
    connection: Connection, claim: Claim, findings: Sequence[tables_pb2.Finding]
) -> list[tuple[str, str]]:
    """An event for each finding that the job does not have yet: a later attempt finds the same again."""
    if not findings:
        return []
    told = set(events.findings(connection, claim.job.id))
    bodies = [MessageToJson(finding, indent=None, sort_keys=True) for finding in findings]
    return [("finding", body) for body in dict.fromkeys(bodies) if body not in told]


def add_model(connection: Connection, job: JobRow, model: NewModel, staged: str | None) -> str:
    """The model's next version, with its weights, which are staged if they are long; answers its name."""
    version_id, artifact_id = str(uuid.uuid4()), staged or artifacts.new_id()
    if staged is None:
        artifacts.store_small(connection, model.weights, "weights", f"model:{version_id}", artifact_id)
    else:
        artifacts.publish(connection, staged, f"model:{version_id}")
    row = models.add_version(
        connection,
        version_id=version_id,
        owner_id=job.owner_id,
        slug=model.slug,
        job_id=job.id,
        dataset_name=job.dataset_name,
        display_name=model.display_name,
        artifact_id=artifact_id,
        weights_sha256=model.weights_sha256,
        spec_json=model.spec_json,
        inputs_json=model.inputs_json,
        outputs_json=model.outputs_json,
        preprocessing_json=model.preprocessing_json,
        metrics_json=encode_figures(model.metrics),
        findings_json=model.findings_json,
        parameter_count=model.parameter_count,
        size_bytes=len(model.weights),
        best_epoch=model.best_epoch,
        engine=model.engine,
        confusion_json=model.confusion_json,
    )
    if model.rows is not None:
        models.add_rows(connection, version_id, model.rows)
    if model.golden is not None:
        models.add_golden(connection, version_id, model.golden)
    return row.name


def add_dataset(connection: Connection, job: JobRow, made: NewDataset | None) -> str:
    """The data set's next version, or the one that is the same; answers its name, empty without a table."""
    if made is None:
        return ""
    row = datasets.add_version(
        connection,
        owner_id=job.owner_id,
        slug=made.slug,
        display_name=made.display_name,
        # The table is the file.
        sha256=made.sha256,
        table_sha256=made.sha256,
        options_sha256="",
        size_bytes=made.size_bytes,
        row_count=made.row_count,
        columns_json=made.columns_json,
        encoding="",
        format="ARROW",
    )
    return row.name


def note_state(connection: Connection, job_id: str, moved: moves.Standing, message: str) -> None:
    """After a move that counted one event: that event, and what belongs to an end."""
    failure = None
    if moved.failure_reason is not None:
        reason = jobs_pb2.Failure.Reason.Value(moved.failure_reason)
        failure = jobs_pb2.Failure(reason=reason, message=moved.failure_message or "")
        message = failure.message
    body = events.state_json(moved.state, message, failure)
    events.insert_all(connection, job_id, moved.attempt, moved.last_seq, [("state", body)])
    if moved.state in ENDED_STATES:
        note_end(connection, job_id)


def asked(
    connection: Connection,
    owner_id: str,
    job_id: str,
    moved: moves.Standing | None,
    *,
    done_in: Collection[str],
    what: str,
) -> JobRow | None:
    """The answer to an owner who asked for a move: the row after it, or as it is in a state where it is done already.

    Raises WrongState.
    """
    if moved is not None:
        note_state(connection, job_id, moved, "")
    row = jobs.find(connection, owner_id, job_id)
    if row is not None and moved is None and row.state not in done_in:
        raise WrongState(
            f"jobs/{job_id} is {row.state} and cannot be {what}; look at it with GET /v1/jobs/{job_id}",
            metadata={"resource": f"jobs/{job_id}", "state": row.state},
        )
    return row


def job_holder(job_id: str) -> str:
    """Who holds a job's checkpoint."""
    return f"job:{job_id}"


def loss_told(message: str, *, out_of_memory: bool = False) -> tuple[str, str]:
    """Reason and words by which a job FAILED that lost its workers, with what to do."""
    lost = f"its worker was lost {LOSSES_CAP} times in a row without a finished epoch between, the last time: {message}"
    if out_of_memory:
        return "OUT_OF_MEMORY", (
            f"{lost}. Make the network or the batch smaller, or ask the administrator what else takes the worker's "
            "memory, and submit the job again"
        )
    return "WORKER_LOST", (
        f"{lost}. If memory ran out, make the network or the batch smaller; else ask the administrator for the "
        "worker's log, and submit the job again"
    )


def clean(text: str) -> str:
    """Text as both databases and the contract can hold it, cut at 2000 characters."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
