"""Which workers are alive: each says so with every sweep, so that callers are told who will do their work."""

import os
import socket

from service.settings import Settings
from service.store import workers
from service.store.database import Database

# A worker that stays silent for so many sweeps, or for a lease, is gone.
MISSED_SWEEPS = 3


class Presence:
    """One worker's word that it lives."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def announce(self) -> None:
        """Say it until the next sweep but two. Raises DatabaseUnavailable."""
        settings = self._settings
        alive_s = max(MISSED_SWEEPS * settings.sweep_s, settings.lease_s)
        with self._database.write() as connection:
            workers.announce(connection, self.name, settings.devices, settings.slots, alive_s)

    def leave(self) -> None:
        """Take it back: the worker is being stopped. Raises DatabaseUnavailable."""
        with self._database.write() as connection:
            workers.leave(connection, self.name)
