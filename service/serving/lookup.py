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

    Asks SQL at most once in a second for each reference, and loads what is not in memory. Raises MustWait where that
    has to be done and `may_wait` is false; NotFound, WrongState, InvalidField naming `field`, and DataCorrupt.
    """
    named = app.names.recall(caller.user_id, text, may_wait=may_wait)
    predictor = None if named is None else app.models.peek(named.id)
    if named is not None and predictor is not None:
        return named, predictor
    if not may_wait:
        raise MustWait
    generation = app.names.generation
    row = models.require_model(app, caller, text, field)
    named = Named(row.id, row.owner_name, row.slug, row.version, row.parameter_count)
    predictor = app.models.get(app.database, row)
    app.names.keep(caller.user_id, text, named, generation)
    return named, predictor


def reference_of(model: str, version: str) -> str:
    """A model and a version of the protocol as one reference; a version is a number, an alias, or none = the newest."""
    if not version:
        return f"models/{model}"
    return f"models/{model}/versions/{version}" if version.isdecimal() else f"models/{model}@{version}"
