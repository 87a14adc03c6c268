"""Aliases: names that point to one version of a model each."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update

from service.store.clock import clock
from service.store.database import Connection
from service.store.records import AliasRow
from service.store.tables import model, model_alias, model_version, user_


def lock(connection: Connection, owner_id: str, slug: str) -> str | None:
    """Hold a model for the rest of the transaction, in which none of its aliases and versions goes or comes; its id.

    None if the owner has no such model. On SQLite a writer is alone anyway.
    """
    named = (model.c.owner_id == owner_id) & (model.c.slug == slug)
    return connection.execute(select(model.c.id).where(named).with_for_update(key_share=True)).scalar_one_or_none()


def find(connection: Connection, owner_id: str, slug: str, alias: str) -> AliasRow | None:
    """The alias of that name."""
    query = _aliases(owner_id, slug).where(model_alias.c.alias == alias)
    row = connection.execute(query).mappings().first()
    return None if row is None else AliasRow(**row)


def list_all(connection: Connection, owner_id: str, slug: str) -> list[AliasRow]:
    """All aliases of a model, by name."""
    query = _aliases(owner_id, slug).order_by(model_alias.c.alias)
    return [AliasRow(**row) for row in connection.execute(query).mappings()]


def count(connection: Connection, model_id: str) -> int:
    """How many aliases a model has."""
    counted = select(func.count()).select_from(model_alias).where(model_alias.c.model_id == model_id)
    return int(connection.execute(counted).scalar_one())


def of_versions(connection: Connection, version_ids: Iterable[str]) -> dict[str, list[str]]:
    """The aliases that point to some versions, by the version's id and in the order of their names."""
    pointing = select(model_alias.c.version_id, model_alias.c.alias).where(model_alias.c.version_id.in_(version_ids))
    found: dict[str, list[str]] = {}
    for version_id, alias in connection.execute(pointing.order_by(model_alias.c.alias)):
        found.setdefault(version_id, []).append(alias)
    return found


def put(connection: Connection, model_id: str, alias: str, version_id: str, *, there: bool) -> None:
    """Point an alias to a version, under a new etag; `there`: whether it stands already. Lock the model before."""
    values = {"version_id": version_id, "etag": uuid.uuid4().hex, "updated_at": clock()}
    if there:
        connection.execute(update(model_alias).where(_named(model_id, alias)).values(values))
    else:
        connection.execute(insert(model_alias).values(values | {"model_id": model_id, "alias": alias}))


def remove(connection: Connection, model_id: str, alias: str) -> None:
    """Forget an alias."""
    connection.execute(delete(model_alias).where(_named(model_id, alias)))


def _named(model_id: str, alias: str) -> ColumnElement[bool]:
    return (model_alias.c.model_id == model_id) & (model_alias.c.alias == alias)


def _aliases(owner_id: str, slug: str) -> Select[Any]:
    return (
        select(
            model_alias.c.alias,
            model_alias.c.etag,
            model_alias.c.updated_at,
            model_version.c.version,
            model.c.slug,
            user_.c.name.label("owner_name"),
        )
        .join(model_version, model_version.c.id == model_alias.c.version_id)
        .join(model, model.c.id == model_alias.c.model_id)
        .join(user_, user_.c.id == model.c.owner_id)
        .where(model.c.owner_id == owner_id, model.c.slug == slug)
    )
