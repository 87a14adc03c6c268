"""Names of things: as the API has them, and short as people write them."""

from __future__ import annotations

import re
from typing import Any

# Before the name of a data set that is on another server, so that it is not taken for one of this.
IMPORTED = "imported/"


def name_of(thing: Any) -> str:
    """The name of a Dataset, Model or Job, or the text itself."""
    return thing if isinstance(thing, str) else str(thing.name)


def model_of(name: str) -> str:
    """A model's name without its version or alias: `models/kim.churn` of `models/kim.churn/versions/3`."""
    return re.split(r"/versions/|/aliases/|[:@]", name, maxsplit=1)[0]


def short_name(name: str) -> str:
    """`models/kim.churn/versions/3` as commands take it: `kim.churn:3`.

    What stands on another server stays to be seen: `imported/datasets/kim.churn/versions/3` is `imported/kim.churn:3`.
    """
    if name.startswith(IMPORTED):
        return IMPORTED + short_name(name.removeprefix(IMPORTED))
    return name.partition("/")[2].replace("/versions/", ":")
