"""Jobs that were done elsewhere: the row, the events and the history of one, made at once and at its end.

No worker of this server ever holds such a job. It tells the life that a job has which nothing interrupts: queued, begun
once, an event for each epoch, its end. So all that is told of jobs holds of it too.
"""

import uuid
from collections.abc import Sequence

from service.errors import RequestIdReused
from service.store import events, jobs, metrics, moves
from service.store.database import Connection
from service.store.insertion import insert_or_ignore
from service.store.records import JobRow
from service.store.tables import job


def add_job(
    connection: Connection,
    *,
    owner_id: str,
    dataset_name: str,
    display_name: str,
    model_slug: str,
    task_json: str,
    resolved_json: str,
    origin_json: str,
    parameter_count: int,
    epochs: int,
    epoch: int,
    best_epoch: int,
    metrics_json: str,
    request_id: str | None,
    request_hash: str | None,
) -> JobRow:
    """The row of a job that SUCCEEDED, for `add_life` of the same transaction to complete.

    Raises RequestIdReused where the owner has a job of that request id meanwhile.
    """
    values = {
        "id": str(uuid.uuid4()),
        "owner_id": owner_id,
        "state": "SUCCEEDED",
        "attempt": 1,
        "losses": 0,
        "not_before": 0.0,
        "lease_until": 0.0,
        "worker": "",
        "epoch": epoch,
        "epochs": epochs,
        "best_epoch": best_epoch,
        "last_seq": 0,
        "metrics_json": metrics_json,
        "kind": "train",
        "dataset_id": "",
        "dataset_name": dataset_name,
        "display_name": display_name,
        "model_slug": model_slug,
        "model_name": "",
        "parameter_count": parameter_count,
        "memory_bytes": 0,
        "request_id": request_id,
        "request_hash": request_hash,
        "webhooks": "",
        "task_json": task_json,
        "resolved_json": resolved_json,
        "origin_json": origin_json,
    }
    times = ("created_at", "started_at", "ended_at")
    if not insert_or_ignore(connection, job, values, ("owner_id", "request_id"), times):
        raise RequestIdReused(
            f"request_id {request_id} came meanwhile with another call; send a new UUID",
            metadata={"request_id": request_id or ""},
        )
    row = jobs.find_by_id(connection, str(values["id"]))
    assert row is not None
    return row


def add_life(
    connection: Connection,
    row: JobRow,
    model_name: str,
    findings: Sequence[str],
    history: Sequence[tuple[str, str, Sequence[float]]],
) -> None:
    """Its events and its history, each series as (name, split, a value for each epoch); `findings` are JSON."""
    moves.set_values(connection, row.id, model_name=model_name)
    points = [
        (name, split, step, value) for name, split, values in history for step, value in enumerate(values, start=1)
    ]
    metrics.insert(connection, row.id, points)
    events.append_all(connection, row.id, 0, [("state", events.state_json("QUEUED"))])
    events.append_all(
        connection,
        row.id,
        row.attempt,
        [
            ("state", events.state_json("RUNNING")),
            *(("epoch", f'{{"epoch":{epoch}}}') for epoch in range(1, row.epoch + 1)),
            *(("finding", body) for body in findings),
            ("state", events.state_json("SUCCEEDED", model_version=model_name)),
        ],
    )
