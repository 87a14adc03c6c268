"""What a stored checkpoint says before its tensors: enough to know where it stands without reading all of it.

worker/checkpoints.py writes it; every format has these parts.
"""

import json
from dataclasses import dataclass

from service.errors import DataCorrupt
from service.modelling.tensors import LARGEST_HEADER, read_metadata

MISSING_PART = "the checkpoint cannot be read: a part of it is missing or of another kind"
# Bytes from the beginning within which it ends.
HEAD_BYTES = 8 + LARGEST_HEADER


@dataclass(frozen=True)
class Head:
    """Which format a checkpoint is of, and how many epochs were done when it was stored."""

    format: int
    epoch: int


def read_head(data: bytes) -> Head:
    """The head of a checkpoint, of which `data` is the whole or the first HEAD_BYTES. Raises DataCorrupt."""
    try:
        told = json.loads(read_metadata(data)["checkpoint"])
        head = Head(told["format"], told["epoch"])
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise DataCorrupt(MISSING_PART) from error
    if type(head.format) is not int or type(head.epoch) is not int:
        raise DataCorrupt(MISSING_PART)
    return head
