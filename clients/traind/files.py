"""Files that the client writes: whole under their name, or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


def refuse_existing(path: pathlib.Path) -> None:
    """Raise FileExistsError where something has that name."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; give another name, or say that it may be written over")


@contextlib.contextmanager
def writing(path: pathlib.Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file beside `path` to write to, which gets that name at the end; on an error nothing is left of it.

    Raises FileExistsError unless `overwrite`, OSError where the folder cannot be written to.
    """
    if not overwrite:
        refuse_existing(path)
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            refuse_existing(path)
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
