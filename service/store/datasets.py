"""Data sets: immutable versions under a slug of their owner."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, select
from sqlalchemy import delete as delete_from

from service.store.clock import clock
from service.store.database import Connection
from service.store.insertion import insert_or_ignore
from service.store.paging import newest_first
from service.store.records import DatasetRow
from service.store.tables import ENDED_STATES, dataset, dataset_profile, job, user_


def add_version(
    connection: Connection,
    *,
    owner_id: str,
    slug: str,
    display_name: str,
    sha256: str,
    options_sha256: str,
    size_bytes: int,
    row_count: int,
    columns_json: str,
    table_sha256: str,
    encoding: str,
    format: str = "CSV",  # noqa: A002  # the contract's word
    profile: bytes | None = None,
) -> DatasetRow:
    """The next version; the one there is if the same file came before, asked to be read in the same way.

    `profile` is a Profile of the contract in its binary form.
    """
    # Versions are counted one by one; on SQLite a writer is alone anyway.
    connection.execute(select(user_.c.id).where(user_.c.id == owner_id).with_for_update(key_share=True))
    named = (dataset.c.owner_id == owner_id) & (dataset.c.slug == slug)
    same = named & (dataset.c.sha256 == sha256) & (dataset.c.options_sha256 == options_sha256)
    found = connection.execute(_datasets().where(same)).mappings().first()
    if found is not None:
        return DatasetRow(**found)
    newest = connection.execute(select(func.max(dataset.c.version)).where(named)).scalar() or 0
    dataset_id = str(uuid.uuid4())
    connection.execute(
        insert(dataset).values(
            id=dataset_id,
            owner_id=owner_id,
            slug=slug,
            version=newest + 1,
            display_name=display_name,
            state="READY",
            sha256=sha256,
            options_sha256=options_sha256,
            table_sha256=table_sha256,
            size_bytes=size_bytes,
            row_count=row_count,
            encoding=encoding,
            created_at=clock(),
            columns_json=columns_json,
            format=format,
        )
    )
    if profile is not None:
        set_profile(connection, dataset_id, profile)
    return DatasetRow(**connection.execute(_datasets().where(dataset.c.id == dataset_id)).mappings().one())


def find(connection: Connection, owner_id: str, slug: str, version: int | None) -> DatasetRow | None:
    """The owner's data set; without a version the newest one."""
    query = _datasets().where(_named(owner_id, slug, version)).order_by(dataset.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else DatasetRow(**row)


def find_by_id(connection: Connection, dataset_id: str) -> DatasetRow | None:
    """The data set of that id, whoever owns it: for workers."""
    row = connection.execute(_datasets().where(dataset.c.id == dataset_id)).mappings().first()
    return None if row is None else DatasetRow(**row)


def set_profile(connection: Connection, dataset_id: str, profile: bytes) -> None:
    """Keep the profile of a data set; nothing happens where it has one, or was deleted meanwhile."""
    there = select(dataset.c.id).where(dataset.c.id == dataset_id).with_for_update(key_share=True)
    if connection.execute(there).first() is not None:
        values = {"dataset_id": dataset_id, "profile": profile}
        insert_or_ignore(connection, dataset_profile, values, ("dataset_id",))


def find_profile(connection: Connection, dataset_id: str) -> bytes | None:
    """The profile of a data set; None of one that was made by a traind that computed none."""
    return connection.execute(
        select(dataset_profile.c.profile).where(dataset_profile.c.dataset_id == dataset_id)
    ).scalar()


def list_page(
    connection: Connection, owner_id: str, limit: int, before: tuple[float, str] | None = None
) -> list[DatasetRow]:
    """The owner's data sets, every version, newest first."""
    query = newest_first(_datasets().where(dataset.c.owner_id == owner_id), dataset, limit, before)
    return [DatasetRow(**row) for row in connection.execute(query).mappings()]


def in_use(connection: Connection, dataset_ids: Sequence[str]) -> list[str]:
    """Ids of the jobs that have not ended and use one of the data sets.

    In a write transaction no job can be added with them until it ends, so that a deletion that follows is exact.
    """
    connection.execute(
        select(dataset.c.id).where(dataset.c.id.in_(dataset_ids)).order_by(dataset.c.id).with_for_update()
    )
    guard = (job.c.dataset_id.in_(dataset_ids), job.c.state.not_in(ENDED_STATES))
    return list(connection.execute(select(job.c.id).where(*guard).order_by(job.c.created_at, job.c.id)).scalars())


def delete(connection: Connection, owner_id: str, slug: str, version: int | None) -> list[DatasetRow]:
    """Forget a version, or every one; answers what was deleted. Ask `in_use` before, in the same transaction."""
    guard = _named(owner_id, slug, version)
    rows = [DatasetRow(**row) for row in connection.execute(_datasets().where(guard)).mappings()]
    connection.execute(delete_from(dataset).where(dataset.c.id.in_([row.id for row in rows])))
    return rows


def all_objects(connection: Connection) -> set[str]:
    """The hashes of all objects that a data set has as its file or as its table."""
    rows = connection.execute(select(dataset.c.sha256, dataset.c.table_sha256))
    return {sha256 for row in rows for sha256 in row}


def object_in_use(connection: Connection, sha256: str) -> bool:
    """Whether a data set has the object as its file or as its table."""
    guard = (dataset.c.sha256 == sha256) | (dataset.c.table_sha256 == sha256)
    return connection.execute(select(dataset.c.id).where(guard).limit(1)).first() is not None


def _datasets() -> Select[Any]:
    return select(dataset, user_.c.name.label("owner_name")).join(user_, user_.c.id == dataset.c.owner_id)


def _named(owner_id: str, slug: str, version: int | None) -> ColumnElement[bool]:
    named = (dataset.c.owner_id == owner_id) & (dataset.c.slug == slug)
    return named if version is None else named & (dataset.c.version == version)
