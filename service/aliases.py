"""Aliases: a name such as `champion` that callers use, and that points to the version of a model that shall answer."""

from google.protobuf import empty_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from service import references
from service.app import App
from service.callers import Caller
from service.errors import AliasMoved, invalid, shown
from service.store import aliases as alias_store
from service.store import models as model_store
from service.store.database import Connection
from service.store.records import AliasRow
from traind.v1 import models_pb2

MOST_ALIASES = 100


def set_alias(app: App, caller: Caller, request: models_pb2.SetAliasRequest) -> models_pb2.ModelAlias:
    """Point an alias to a version, in one transaction with the look at what stands there."""
    reference = _model(caller, request.name, "name")
    wanted = f"{request.name}/versions/{request.version}"
    _own(caller, reference, wanted)
    with app.database.write() as connection:
        model_id = alias_store.lock(connection, caller.user_id, reference.slug)
        version = model_store.find(connection, caller.user_id, reference.slug, request.version)
        if model_id is None or version is None:
            raise references.not_found("models", wanted)
        name = references.alias_name(caller.user_name, reference.slug, request.alias)
        standing = alias_store.find(connection, caller.user_id, reference.slug, request.alias)
        _check_etag(name, request.etag, standing)
        if standing is None:
            _check_room(connection, model_id, reference)
        alias_store.put(connection, model_id, request.alias, version.id, there=standing is not None)
        row = alias_store.find(connection, caller.user_id, reference.slug, request.alias)
    app.names.changed()
    assert row is not None
    return _encode(row)


def get_alias(app: App, caller: Caller, request: models_pb2.GetAliasRequest) -> models_pb2.ModelAlias:
    """Where an alias points."""
    reference = references.parse_alias(request.name, caller.user_name, "name")
    _own(caller, reference, request.name)
    with app.database.read() as connection:
        row = alias_store.find(connection, caller.user_id, reference.slug, reference.alias)
    if row is None:
        raise references.not_found("models", request.name)
    return _encode(row)


def list_aliases(app: App, caller: Caller, request: models_pb2.ListAliasesRequest) -> models_pb2.ListAliasesResponse:
    """Every alias of a model."""
    reference = _model(caller, request.parent, "parent")
    _own(caller, reference, request.parent)
    with app.database.read() as connection:
        rows = alias_store.list_all(connection, caller.user_id, reference.slug)
        if not rows and model_store.find(connection, caller.user_id, reference.slug, None) is None:
            raise references.not_found("models", request.parent)
    return models_pb2.ListAliasesResponse(aliases=map(_encode, rows))


def delete_alias(app: App, caller: Caller, request: models_pb2.DeleteAliasRequest) -> empty_pb2.Empty:
    """Forget an alias; its version stays."""
    reference = references.parse_alias(request.name, caller.user_name, "name")
    _own(caller, reference, request.name)
    with app.database.write() as connection:
        model_id = alias_store.lock(connection, caller.user_id, reference.slug)
        standing = alias_store.find(connection, caller.user_id, reference.slug, reference.alias)
        if model_id is None or standing is None:
            raise references.not_found("models", request.name)
        name = references.alias_name(caller.user_name, reference.slug, reference.alias)
        _check_etag(name, request.etag, standing)
        alias_store.remove(connection, model_id, reference.alias)
    app.names.changed()
    return empty_pb2.Empty()


def _model(caller: Caller, text: str, field: str) -> references.Reference:
    """The model that a text means, which names no version. Raises InvalidField."""
    reference = references.parse_reference("models", text, caller.user_name, field)
    if reference.version is not None or reference.alias:
        raise invalid(field, f"{shown(text)} names a version; write the model alone, as models/{reference.slug}")
    return reference


def _own(caller: Caller, reference: references.Reference, text: str) -> None:
    """Raise NotFound unless it is the caller's."""
    if reference.owner_name != caller.user_name:
        raise references.not_found("models", text)


def _check_etag(name: str, given: str, standing: AliasRow | None) -> None:
    """Raise AliasMoved if an etag was given and is not that of the alias."""
    if not given or (standing is not None and given.strip('"') == standing.etag):
        return
    metadata = {"resource": name, "etag": given}
    if standing is None:
        raise AliasMoved(
            f"{name} is not there, and the call came with the etag {given}: somebody has deleted it since; send the "
            "call without an etag to set it anew",
            metadata=metadata,
        )
    there = _etag(standing)
    raise AliasMoved(
        f"{name} has the etag {there}, and the call came with {given}: somebody has set it since, to version "
        f"{standing.version}; get it again, and send the call with its etag if that version shall still be replaced",
        metadata=metadata | {"standing_etag": there, "version": str(standing.version)},
    )


def _check_room(connection: Connection, model_id: str, reference: references.Reference) -> None:
    """Raise InvalidField where the model has as many aliases as it may."""
    if alias_store.count(connection, model_id) >= MOST_ALIASES:
        raise invalid(
            "alias",
            f"would be one more than the {MOST_ALIASES} that a model may have; delete one of models/{reference.slug} "
            "first, or set one that is there",
        )


def _etag(row: AliasRow) -> str:
    """With its quotes, as HTTP has etags."""
    return f'"{row.etag}"'


def _encode(row: AliasRow) -> models_pb2.ModelAlias:
    updated = Timestamp()
    updated.FromMicroseconds(round(row.updated_at * 1_000_000))
    name = references.alias_name(row.owner_name, row.slug, row.alias)
    return models_pb2.ModelAlias(name=name, version=row.version, etag=_etag(row), update_time=updated)
