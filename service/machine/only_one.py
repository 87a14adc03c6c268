"""One program at a time on a data folder: `run/up.lock`, held as long as the program lives."""

import contextlib
import fcntl
import os
from typing import IO

from service.machine.address import read_address
from service.settings import SettingError, Settings


class only_one:  # noqa: N801  # read as a statement: `with only_one(settings):`
    """Holds the data folder; a second `up` on it, or a restore into it, is refused."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.run_dir / "up.lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            process = self._file.read().strip() or "?"
            self._file.close()
            raise already_runs(self._path.parent.parent, process) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()


def refuse_running_server(settings: Settings) -> None:
    """Raise SettingError where a server that was started by itself, without `up`, tells that it runs."""
    address = read_address(settings)
    if address is None:
        return
    with contextlib.suppress(ProcessLookupError):
        # Somebody else's process is one too.
        with contextlib.suppress(PermissionError):
            os.kill(address.pid, 0)
        raise already_runs(settings.data_dir, str(address.pid))


def already_runs(folder: os.PathLike[str], process: str) -> SettingError:
    """What keeps a second one from using the folder."""
    return SettingError(
        f"traind already runs on {folder} (process {process}): stop it first, or set TRAIND_DATA_DIR to another folder"
    )
