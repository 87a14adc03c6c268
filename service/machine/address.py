"""Where the server of a data folder listens: `<data>/run/address.json`, there while its doors are open."""

import json
import os
import pathlib
from dataclasses import dataclass

from service.machine.profile import write_secret
from service.settings import Settings


@dataclass(frozen=True)
class Address:
    """The doors and the process behind them."""

    http: str
    grpc: str
    pid: int
    # gRPC for predictions; empty for a server from before there was that door.
    predict: str = ""


def address_path(settings: Settings) -> pathlib.Path:
    """The file's path."""
    return settings.run_dir / "address.json"


def write_address(settings: Settings, http_port: int, grpc_port: int, predict_port: int) -> None:
    """Tell where this process listens."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host  # noqa: S104  # compared, not bound
    host = f"[{host}]" if ":" in host else host
    s = "s" if settings.tls_cert else ""
    told = {
        "http": f"http{s}://{host}:{http_port}",
        "grpc": f"grpc{s}://{host}:{grpc_port}",
        "predict": f"grpc{s}://{host}:{predict_port}",
        "pid": os.getpid(),
    }
    write_secret(address_path(settings), json.dumps(told) + "\n")


def read_address(settings: Settings) -> Address | None:
    """What the running server told; None if none did."""
    try:
        return Address(**json.loads(address_path(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove_address(settings: Settings) -> None:
    """Take the file away when this process closes its doors; one of a later process stays."""
    told = read_address(settings)
    if told is not None and told.pid == os.getpid():
        address_path(settings).unlink(missing_ok=True)
