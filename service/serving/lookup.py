"""The model that a call names, in memory."""

from service import models
from service.app import App
from service.callers import Caller
from service.model_names import Named
from service.modelling.predictor import Predictor


class MustWait(Exception):
    """This cannot be done at once: do it again on a thread that may wait. Nothing was changed."""


def find(app: App, caller: Caller, text: str, field: str, *, may_wait: bool) -> tuple[Named, Predictor]:
    """The version that a caller's reference means, and its predictor.

    Asks SQL about each reference once in a while (see believing), and loads what is not in memory. Raises MustWait
    where that has to be done and `may_wait` is false; NotFound, WrongState, InvalidField naming `field`, DataCorrupt.
    """
    key = (caller.user_id, text)
    said = app.names.recall(key, may_wait=may_wait)
    if said is not None and (kept := app.models.peek(said.told.id)) is not None:
        return said.told, kept
    if not may_wait:
        raise MustWait
    asked = app.names.moment()
    row = models.require_model(app, caller, text, field)
    named = Named(row.id, row.owner_name, row.slug, row.version, row.parameter_count)
    predictor = app.models.get(app.database, row)
    app.names.keep(key, named, asked)
    return named, predictor


def reference_of(model: str, version: str) -> str:
    """A model and a version of the protocol as one reference; a version is a number, an alias, or none = the newest."""
    if not version:
        return f"models/{model}"
    return f"models/{model}/versions/{version}" if version.isdecimal() else f"models/{model}@{version}"
