"""The first and the last of a column of times."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ZONED = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"


def time_figures(parts: Iterator[pa.Array]) -> dict[str, Any]:
    """The earliest and the latest time, in UTC; one without a zone is taken for UTC. At least one is there."""
    found = [figure for part in parts for figure in _ends(part.drop_null())]
    return {"first": _written(min(found)), "last": _written(max(found))}


def _ends(texts: pa.StringArray) -> Iterator[np.datetime64]:
    if not len(texts):
        return
    # Microseconds reach from the year 0 to 9999; more digits are cut.
    texts = pc.replace_substring_regex(texts, r"([.][0-9]{6})[0-9]+", r"\1")
    zoned = pc.match_substring_regex(pc.utf8_slice_codeunits(texts, 10), _ZONED)
    for mask, kind in ((zoned, pa.timestamp("us", "UTC")), (pc.invert(zoned), pa.timestamp("us"))):
        several = texts.filter(mask)
        if len(several):
            ends = pc.min_max(pc.cast(pc.cast(several, kind), pa.int64())).as_py()
            yield from (np.datetime64(ends[name], "us") for name in ("min", "max"))


def _written(time: np.datetime64) -> str:
    text = str(time).removesuffix(".000000")
    return (text.rstrip("0") if "." in text else text) + "Z"
