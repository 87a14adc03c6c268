"""Times as numbers: ISO 8601 texts become microseconds since 1970-01-01, in UTC where they tell their offset."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Times = npt.NDArray[np.datetime64]

_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
_DATE_LENGTH = 10  # an offset stands behind a time only, so the `-05` of a date is none


def times_of(texts: pa.StringArray) -> Times:
    """Times datetime64[us] [rows] of texts that have the form of a TIMESTAMP; NaT where a text is null.

    Of fractions finer than a microsecond the rest is cut off.
    """
    days, clock = pc.utf8_slice_codeunits(texts, 0, _DATE_LENGTH), pc.utf8_slice_codeunits(texts, _DATE_LENGTH)
    local = pc.replace_substring_regex(clock, _ZONE, "")
    local = pc.replace_substring_regex(local, r"([.][0-9]{6})[0-9]+$", r"\1")
    stamps = pc.cast(pc.binary_join_element_wise(days, local, ""), pa.timestamp("us"))
    found: Times = stamps.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    return found - _offsets(clock)


def _offsets(clock: pa.StringArray) -> npt.NDArray[np.timedelta64]:
    """What each local time is ahead of UTC."""
    found = pc.extract_regex(clock, r"(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})$")
    hours, minutes = (_whole(pc.struct_field(found, place)) for place in (1, 2))
    west = pc.fill_null(pc.equal(pc.struct_field(found, 0), "-"), pa.scalar(value=False))
    sign = np.where(west.to_numpy(zero_copy_only=False), -1, 1)
    offsets: npt.NDArray[np.timedelta64] = (sign * (60 * hours + minutes)).astype("timedelta64[m]")
    return offsets


def _whole(texts: pa.StringArray) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = pc.cast(texts.fill_null("0"), pa.int64()).to_numpy()
    return numbers
