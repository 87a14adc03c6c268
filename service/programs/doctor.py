"""`doctor`: looks at everything that traind needs and says for each whether it is well, or what to do."""

import datetime as dt
import shutil
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable

from service.data.opening import open_objects
from service.data.remote_objects import RemoteObjects
from service.errors import ObjectsUnavailable, TraindError
from service.machine.address import read_address
from service.machine.broker import ANSWER_TIMEOUT_S, find_program
from service.machine.folders import make_folders
from service.machine.tls import load_tls
from service.programs.exposure import refuse_open_without_token, warning_without_tls
from service.settings import SettingError, Settings
from service.store import refusals
from service.store.database import Database

Say = Callable[[str], None]

LEAST_FREE_BYTES = 1 << 30
IMPORT_S = 60.0
DEFAULT_REDIS_PORT = 6379


class Unwell(Exception):
    """Something keeps traind from running; the text says what to do."""


def examine(say: Say) -> int:
    """Say how everything is; return 0 if traind can run, else 1."""
    try:
        settings = Settings.from_env()
        make_folders(settings)
    except SettingError as error:
        say(f"BAD  settings: {error}")
        return 1
    say(f"ok   settings: data folder {settings.data_dir}")
    checks = {
        "database": _database,
        "fencing": _fencing,
        "broker": look_at_broker,
        "objects": _objects,
        "disk": _disk,
        "torch": _torch,
        "ports": _ports,
        "exposure": _exposure,
    }
    return max(_told(say, name, check, settings) for name, check in checks.items())


def _told(say: Say, name: str, check: Callable[[Settings], str], settings: Settings) -> int:
    try:
        say(f"ok   {name}: {check(settings)}")
    except (Unwell, SettingError, TraindError) as error:
        say(f"BAD  {name}: {error}")
        return 1
    return 0


def _database(settings: Settings) -> str:
    database = Database(settings.database_url)
    database.migrate()
    with database.read():
        return f"{database.kind}, of this version"


def _fencing(settings: Settings) -> str:
    with Database(settings.database_url).read() as connection:
        found = refusals.total(connection)
    if not found.count:
        return "no worker wrote to a job that it had lost"
    when = dt.datetime.fromtimestamp(found.last_at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{found.count} writes of workers that had lost their job were refused and changed nothing, the last one of "
        f"{found.worker} to jobs/{found.job_id} at {when}"
    )


def look_at_broker(settings: Settings) -> str:
    """Which broker there is, in words. Raises Unwell where the configured one does not answer."""
    if settings.broker_url is None:
        program = find_program()
        return f"`up` starts {program}" if program else "none; workers look for work themselves, up to 1 s later"
    url = urllib.parse.urlsplit(settings.broker_url)
    try:
        _connect(url)
    except OSError as error:
        where = url.path if url.scheme.endswith("socket") else f"{url.hostname}:{url.port or DEFAULT_REDIS_PORT}"
        raise Unwell(f"{where} does not answer ({error}): start it, or correct TRAIND_BROKER_URL") from error
    return f"{url.scheme} answers"


def _connect(url: urllib.parse.SplitResult) -> None:
    if url.scheme.endswith("socket"):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_TIMEOUT_S)
            line.connect(url.path)
        return
    address = (url.hostname or "localhost", url.port or DEFAULT_REDIS_PORT)
    socket.create_connection(address, timeout=ANSWER_TIMEOUT_S).close()


def _objects(settings: Settings) -> str:
    objects = open_objects(settings)
    if not isinstance(objects, RemoteObjects):
        return f"in {objects.root}"
    try:
        objects.check()
    except ObjectsUnavailable as error:
        raise Unwell(
            f"{settings.object_store} cannot be used ({_first_line(error.__cause__)}): correct TRAIND_OBJECT_STORE and "
            "the AWS_… variables, and let the key read, write and delete there"
        ) from error
    return f"{settings.object_store} can be written, read and deleted"


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0][:200]


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(settings.data_dir).free
    if free < LEAST_FREE_BYTES:
        raise Unwell(f"{free >> 20} MiB are free in {settings.data_dir}: make room, a GiB is the least")
    return f"{free >> 30} GiB free"


def _torch(_settings: Settings) -> str:
    # In a process of its own: a library that kills its process must not take the doctor along.
    program = "import torch; print(torch.__version__, 'cuda' if torch.cuda.is_available() else 'cpu')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unwell(f"`import torch` takes more than {IMPORT_S:g} s") from None
    if done.returncode:
        raise Unwell(f"`import torch` fails ({(done.stderr.strip().splitlines() or ['it died'])[-1]}): install it anew")
    return done.stdout.strip()


def _exposure(settings: Settings) -> str:
    spoken = "TLS" if load_tls(settings) else "no TLS"
    if not settings.open_address:
        return f"only this machine can reach {settings.host}; {spoken}"
    refuse_open_without_token(settings, Database(settings.database_url))
    if warning := warning_without_tls(settings):
        raise Unwell(warning)
    return f"others can reach {settings.host}; {spoken}"


def _ports(settings: Settings) -> str:
    running = read_address(settings)
    if running is not None:
        return f"a server of this data folder listens at {running.http} and {running.grpc}"
    ports = {
        "TRAIND_HTTP_PORT": settings.http_port,
        "TRAIND_GRPC_PORT": settings.grpc_port,
        "TRAIND_PREDICT_PORT": settings.predict_port,
    }
    for name, port in ports.items():
        with socket.socket() as door:
            # As the server itself: a port whose last connections still fade away is free.
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind((settings.host, port))
            except OSError as error:
                raise Unwell(f"{settings.host}:{port} is taken ({error.strerror}): set {name} to another") from error
    return f"{settings.http_port} and {settings.grpc_port} are free"
