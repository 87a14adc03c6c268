"""Models: immutable versions under a slug of their owner."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, delete, exists, insert, select, update

from service.store import artifacts
from service.store.clock import clock
from service.store.database import Connection
from service.store.insertion import insert_or_ignore
from service.store.paging import newest_first
from service.store.records import ModelRow, ModelRows
from service.store.tables import (
    ENDED_STATES,
    job,
    model,
    model_alias,
    model_golden,
    model_rows,
    model_version,
    user_,
)


def add_version(
    connection: Connection,
    *,
    version_id: str,
    owner_id: str,
    slug: str,
    job_id: str,
    dataset_name: str,
    display_name: str,
    artifact_id: str,
    weights_sha256: str,
    spec_json: str,
    inputs_json: str,
    outputs_json: str,
    preprocessing_json: str,
    metrics_json: str,
    findings_json: str,
    parameter_count: int,
    size_bytes: int,
    best_epoch: int,
    engine: str,
    confusion_json: str = "[]",
) -> ModelRow:
    """The next version of the slug, under an id by which its artifact is held: `model:{version_id}`."""
    version = _next_version(connection, owner_id, slug)
    named = (model.c.owner_id == owner_id) & (model.c.slug == slug)
    connection.execute(
        insert(model_version).values(
            id=version_id,
            model_id=select(model.c.id).where(named).scalar_subquery(),
            owner_id=owner_id,
            version=version,
            job_id=job_id,
            dataset_name=dataset_name,
            display_name=display_name,
            artifact_id=artifact_id,
            weights_sha256=weights_sha256,
            parameter_count=parameter_count,
            size_bytes=size_bytes,
            best_epoch=best_epoch,
            engine=engine,
            created_at=clock(),
            metrics_json=metrics_json,
            findings_json=findings_json,
            inputs_json=inputs_json,
            outputs_json=outputs_json,
            spec_json=spec_json,
            preprocessing_json=preprocessing_json,
            confusion_json=confusion_json,
        )
    )
    return _row(connection.execute(_models().where(model_version.c.id == version_id)).mappings().one())


def add_rows(connection: Connection, version_id: str, rows: ModelRows) -> None:
    """Record which rows a version saw."""
    connection.execute(
        insert(model_rows).values(
            version_id=version_id, row_count=rows.row_count, train_rows=rows.train_rows, val_rows=rows.val_rows
        )
    )


def find_rows(connection: Connection, version_id: str) -> ModelRows | None:
    """Which rows a version saw; None for one that was made before they were recorded."""
    columns = (model_rows.c.row_count, model_rows.c.train_rows, model_rows.c.val_rows)
    row = connection.execute(select(*columns).where(model_rows.c.version_id == version_id)).first()
    return None if row is None else ModelRows(row.row_count, bytes(row.train_rows), bytes(row.val_rows))


def add_golden(connection: Connection, version_id: str, golden: bytes) -> None:
    """Keep what a version answered when it was trained."""
    connection.execute(insert(model_golden).values(version_id=version_id, golden=golden))


def find_golden(connection: Connection, version_id: str) -> bytes | None:
    """What a version answered when it was trained; None for one that was made before that was kept."""
    found = connection.execute(select(model_golden.c.golden).where(model_golden.c.version_id == version_id)).scalar()
    return None if found is None else bytes(found)


def find(connection: Connection, owner_id: str, slug: str, version: int | None, alias: str = "") -> ModelRow | None:
    """The owner's model; without a version that of the alias, and without an alias the newest one.

    An alias is looked up in the same statement, so that it points to one version however often it is switched.
    """
    query = _models().where(model.c.owner_id == owner_id, model.c.slug == slug)
    if version is not None:
        query = query.where(model_version.c.version == version)
    if alias:
        query = query.join(model_alias, model_alias.c.version_id == model_version.c.id)
        query = query.where(model_alias.c.alias == alias)
    row = connection.execute(query.order_by(model_version.c.version.desc()).limit(1)).mappings().first()
    return None if row is None else _row(row)


def is_there(connection: Connection, version_id: str) -> bool:
    """Whether a version was not deleted."""
    return bool(connection.execute(select(exists().where(model_version.c.id == version_id))).scalar())


def delete_version(connection: Connection, version_id: str) -> None:
    """Forget a version and let go of its weights. No alias may point to it: hold the model before, by aliases.lock."""
    for table in (model_rows, model_golden):
        connection.execute(delete(table).where(table.c.version_id == version_id))
    connection.execute(delete(model_version).where(model_version.c.id == version_id))
    artifacts.release(connection, f"model:{version_id}")


@dataclass(frozen=True)
class Maker:
    """A job that is to make a version of a model, or was to."""

    job_id: str
    state: str

    @property
    def ended(self) -> bool:
        """Whether it can make nothing any more."""
        return self.state in ENDED_STATES


def find_maker(connection: Connection, owner_id: str, slug: str, version: int | None) -> Maker | None:
    """The owner's job that is to make a version of a model that is not there; without a version the first one.

    Jobs that have not ended will make the next versions in the order in which they were taken. Where none of them is
    left, the next version is what the newest job was to make, if that has failed or was cancelled.
    """
    named = (model.c.owner_id == owner_id) & (model.c.slug == slug)
    last = connection.execute(select(model.c.last_version).where(named)).scalar_one_or_none() or 0
    place = 0 if version is None else version - last - 1
    if place < 0:
        return None
    makers = select(job.c.id, job.c.state).where(
        job.c.owner_id == owner_id, job.c.model_slug == slug, job.c.kind == "train"
    )
    waiting = makers.where(job.c.state.not_in(ENDED_STATES)).order_by(job.c.created_at, job.c.id)
    row = connection.execute(waiting.offset(place).limit(1)).first()
    if row is None and place == 0:
        row = connection.execute(makers.order_by(job.c.created_at.desc(), job.c.id.desc()).limit(1)).first()
    return None if row is None or row.state == "SUCCEEDED" else Maker(row.id, row.state)


def list_page(
    connection: Connection, owner_id: str, limit: int, before: tuple[float, str] | None = None
) -> list[ModelRow]:
    """The owner's models, every version, newest first."""
    query = newest_first(_models().where(model_version.c.owner_id == owner_id), model_version, limit, before)
    return [_row(row) for row in connection.execute(query).mappings()]


def list_names(connection: Connection, owner_id: str, limit: int) -> list[tuple[str, int]]:
    """The owner's models, every version as (slug, number), newest first."""
    query = select(model.c.slug, model_version.c.version).join(model, model.c.id == model_version.c.model_id)
    newest = query.where(model_version.c.owner_id == owner_id).order_by(
        model_version.c.created_at.desc(), model_version.c.id.desc()
    )
    return [(row.slug, row.version) for row in connection.execute(newest.limit(limit))]


def _next_version(connection: Connection, owner_id: str, slug: str) -> int:
    """Take the next number. The row of the model, locked by the update, serialises those who ask at once."""
    first = {"id": str(uuid.uuid4()), "owner_id": owner_id, "slug": slug, "last_version": 0}
    insert_or_ignore(connection, model, first, ("owner_id", "slug"))
    named = (model.c.owner_id == owner_id) & (model.c.slug == slug)
    counted = update(model).where(named).values(last_version=model.c.last_version + 1)
    return int(connection.execute(counted.returning(model.c.last_version)).scalar_one())


def _models() -> Select[Any]:
    return (
        select(model_version, model.c.slug, user_.c.name.label("owner_name"), job.c.origin_json)
        .join(model, model.c.id == model_version.c.model_id)
        .join(job, job.c.id == model_version.c.job_id)
        .join(user_, user_.c.id == model_version.c.owner_id)
    )


def _row(row: RowMapping) -> ModelRow:
    values = dict(row)
    del values["model_id"]
    return ModelRow(**values)
