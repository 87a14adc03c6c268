"""Scratch files that tell which process made them: `scratch-<process>-<uuid>.arrow`, `ingest-<process>-<random>`.

Whoever cleans up need not guess by age then whether somebody still uses them: reading a large table takes hours, and a
process that was killed leaves gigabytes. `<process>` is `<place>.<pid>.<start>`: numbers of processes mean something
within one start of one machine, and within one container of it; start is the time by which a number that was given
again is told from the one before.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UPLOAD = "upload-"
_OWNED = re.compile(r"(?:scratch|ingest)-([0-9a-f]{8})\.(\d+)\.(\d+)-.+")
_UPLOAD_NAME = re.compile(rf"{UPLOAD}([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")
# What a process of another place made is older than this before it is taken for left.
ELSEWHERE_S = 86_400.0


def scratch_path(tmp: Path, suffix: str) -> Path:
    """A path for a new scratch file that nobody else uses."""
    tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tmp / f"scratch-{_myself()}-{uuid.uuid4()}{suffix}"


def scratch_folder(tmp: Path, kind: str) -> Path:
    """A new empty folder; `kind` is `scratch` or `ingest`."""
    tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{kind}-{_myself()}-", dir=tmp)).resolve()


def upload_path(tmp: Path, upload_id: str) -> Path:
    """The file that holds the bytes of an upload."""
    return tmp / f"{UPLOAD}{upload_id}"


def upload_files(tmp: Path, older_than_s: float) -> dict[str, Path]:
    """Files of uploads to which nothing was written for so long, by the upload's id."""
    found = {match[1]: path for path in _entries(tmp) if (match := _UPLOAD_NAME.fullmatch(path.name))}
    return {upload_id: path for upload_id, path in found.items() if age(path) > older_than_s}


def left_behind(tmp: Path) -> list[Path]:
    """Scratch files and folders whose process is dead."""
    return [path for path in _entries(tmp) if path.name.startswith(("scratch-", "ingest-")) and _is_left(path)]


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; no error if somebody else does it too."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(inner) for inner in path.iterdir())
        return path.lstat().st_size
    return 0


def age(path: Path) -> float:
    """Seconds since something was written to it; below 0 if it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return -1.0


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Whether nobody holds the file's lock, as whoever writes or reads an upload does; nobody can take it meanwhile.

    A file that is gone is held by nobody.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entries(tmp: Path) -> list[Path]:
    return sorted(tmp.iterdir()) if tmp.is_dir() else []


def _is_left(path: Path) -> bool:
    owned = _OWNED.fullmatch(path.name)
    if owned and owned[1] == _place():
        return not _lives(int(owned[2]), int(owned[3]))
    return age(path) > ELSEWHERE_S


def _myself() -> str:
    pid = os.getpid()
    return f"{_place()}.{pid}.{_start_of(pid) or 0}"


@functools.cache
def _place() -> str:
    """What stands for this start of this machine, and this container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        names = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux: then age alone tells
        boot, names = str(uuid.uuid4()), ""
    return hashlib.sha256((boot + names).encode()).hexdigest()[:8]


def _lives(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False  # no number of a process
    except PermissionError:
        pass
    return _start_of(pid) in {start, None}


def _start_of(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; 0 of one that has ended; None if nobody tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name stands in brackets, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])
