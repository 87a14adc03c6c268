"""What a release has left behind, put where today's code finds it. The files are written by make.py."""

import json
import os
import pathlib
import tarfile
import time

import psycopg
import torch

from service.store.database import Database
from tests import servers
from tests.acceptance.stack import Stack

FOLDERS = sorted(pathlib.Path(__file__).parent.glob("release-*"))


class Release:
    """One release's files."""

    def __init__(self, folder):
        self.folder = folder
        self.told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
        self.descriptors = (folder / "api.binpb").read_bytes()

    @property
    def same_bits(self):
        """Whether this machine computes as the one did on which the release's figures were made."""
        here = {"torch": str(torch.__version__), "cpu": torch.backends.cpu.get_cpu_capability()}
        here["machine"] = os.uname().machine
        return all(self.told["machine"][name] == value for name, value in here.items())

    def unpack(self, kind, data):
        """The data folder as it was left."""
        data.mkdir(mode=0o700)
        with tarfile.open(self.folder / f"{kind}.tar.gz") as archive:
            archive.extractall(data, filter="data")
        for path in data.rglob("*"):
            # The archive has no times, and a file of old is swept away as a dead process's.
            os.utime(path)


def opened(release, kind, exits):
    """Today's code, started on what the release has left."""
    if kind == "postgresql":
        broker, url = servers.redis_url(), exits.enter_context(servers.fresh_database("postgresql"))
        stack = exits.enter_context(Stack(url, broker))
    else:
        stack = exits.enter_context(Stack())
    release.unpack(kind, stack.data)
    if kind == "postgresql":
        # No two statements of a dump depend on a transaction, and a driver sends them as they are.
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute((stack.data / "dump.sql").read_text(encoding="utf-8"))
    _within_the_hour(stack.database_url)
    if kind == "postgresql":
        stack.start("api", "service", "api")
        stack.start("worker", "service", "worker")
    else:
        stack.start("up", "service", "up")
    stack.wait_ready()
    stack.token = release.told[kind]["token"]
    return stack


def _within_the_hour(url):
    """Uploads live for an hour: as if the release had been stopped just now."""
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE upload SET expires_at = {time.time() + 3600}")
    database.dispose()
