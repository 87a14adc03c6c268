"""Files of a person that nobody else may read: changed by one program at a time, and replaced whole."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@contextlib.contextmanager
def changing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Hold the file for a change and answer where it lies: behind a link, so that one kept elsewhere stays there.

    Its folder is made, of mode 0700. Other programs wait. Raises OSError where that cannot be done.
    """
    file = path.resolve()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with _alone(file.with_name(f"{file.name}.lock")):
        yield file


def replace(file: pathlib.Path, text: str) -> None:
    """Write the file whole or not at all, readable by its owner only (0600)."""
    handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, file)  # noqa: PTH105 - of a name, not a path
    except BaseException:
        os.unlink(scratch)  # noqa: PTH108
        raise


@contextlib.contextmanager
def _alone(lock: pathlib.Path) -> Iterator[None]:
    """Wait until no other process writes; the system frees the lock of a process that dies."""
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as held:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(held.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX)
        yield
