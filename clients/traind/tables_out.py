"""Data frames of what the client was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traind.errors import TraindError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def frame_of(records: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas DataFrame, a row a record; a column for every key. Raises TraindError where pandas is not installed."""
    try:
        import pandas as pd  # loaded when it is asked for: the client does not need it
    except ModuleNotFoundError:
        raise TraindError("a data frame needs pandas", fix="pip install 'traind[pandas]'") from None
    return pd.DataFrame([dict(record) for record in records])
