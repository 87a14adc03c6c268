"""What clients of the Open Inference Protocol are told of a server and of what it holds."""

from collections.abc import Iterator

from service.app import App
from service.callers import Caller
from service.store import models as model_store

PLATFORM = "traind_safetensors"
EXTENSIONS = ("binary_tensor_data", "model_repository")
# Versions that an index tells, the newest ones.
MOST_INDEXED = 10_000


def index(app: App, caller: Caller) -> Iterator[tuple[str, str]]:
    """The caller's models, each version as (`{owner}.{id}`, number), newest first."""
    with app.database.read() as connection:
        for slug, version in model_store.list_names(connection, caller.user_id, MOST_INDEXED):
            yield f"{caller.user_name}.{slug}", str(version)
