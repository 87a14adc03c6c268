"""What an administrator can set, read once from the environment into one frozen object."""

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1 << 20


class SettingError(ValueError):
    """A setting that cannot be used; the text names the variable, the limit and the cure."""


@dataclass(frozen=True)
class Settings:
    """The settings of one server. Times are seconds, sizes bytes."""

    # TRAIND_DATA_DIR: database, objects and addresses; mode 0700.
    data_dir: pathlib.Path
    # TRAIND_DATABASE_URL: `sqlite:////abs/path` or `postgresql://user@host/name`.
    database_url: str
    # TRAIND_BROKER_URL: `redis://…` or `redis+socket:///abs/path`; None = embedded under `up`, else workers poll.
    # A password stands in it, so it never shows in a repr.
    broker_url: str | None = field(default=None, repr=False)
    # TRAIND_BROKER_PREFIX: begins every key, where a Redis server is shared.
    broker_prefix: str = "traind:"
    # TRAIND_HOST, TRAIND_HTTP_PORT, TRAIND_GRPC_PORT: port 0 takes a free one, told in <data>/run/address.json.
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    # TRAIND_SLOTS: jobs that one worker runs at once.
    slots: int = 1
    # TRAIND_DEVICES: kinds of device this worker trains on.
    devices: tuple[str, ...] = ("cpu",)
    # TRAIND_LEASE_S, TRAIND_BEAT_S, TRAIND_SWEEP_S: a worker that has not renewed for a lease has lost its job; it
    # renews every beat; the sweep finds lost jobs.
    lease_s: float = 15.0
    beat_s: float = 3.0
    sweep_s: float = 5.0
    # TRAIND_MAX_PARAMETERS: largest network that is taken.
    max_parameters: int = 50_000_000
    # TRAIND_MAX_UPLOAD_BYTES: largest file.
    max_upload_bytes: int = 2048 * MIB
    # TRAIND_DOCS=off hides /openapi.json and /docs; TRAIND_REFLECTION=on shows the contract to grpcurl and the like.
    docs: bool = True
    reflection: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; raise SettingError naming the first variable that cannot be used."""
        env = _Reader(os.environ if environ is None else environ)
        default_dir = pathlib.Path(env.text("XDG_DATA_HOME", "~/.local/share")).expanduser() / "traind"
        data_dir = pathlib.Path(env.text("TRAIND_DATA_DIR", str(default_dir))).expanduser().resolve()
        settings = cls(
            data_dir=data_dir,
            database_url=env.text("TRAIND_DATABASE_URL", f"sqlite:///{data_dir / 'traind.db'}"),
            broker_url=env.text("TRAIND_BROKER_URL", "") or None,
            broker_prefix=env.text("TRAIND_BROKER_PREFIX", cls.broker_prefix),
            host=env.text("TRAIND_HOST", cls.host),
            http_port=env.whole("TRAIND_HTTP_PORT", cls.http_port, 0, 65535),
            grpc_port=env.whole("TRAIND_GRPC_PORT", cls.grpc_port, 0, 65535),
            slots=env.whole("TRAIND_SLOTS", os.cpu_count() or 1, 1, 256),
            devices=tuple(d for d in env.text("TRAIND_DEVICES", "cpu").split(",") if d),
            lease_s=env.seconds("TRAIND_LEASE_S", cls.lease_s),
            beat_s=env.seconds("TRAIND_BEAT_S", cls.beat_s),
            sweep_s=env.seconds("TRAIND_SWEEP_S", cls.sweep_s),
            max_parameters=env.whole("TRAIND_MAX_PARAMETERS", cls.max_parameters, 1, 10**12),
            max_upload_bytes=env.whole("TRAIND_MAX_UPLOAD_BYTES", cls.max_upload_bytes, 1, 1 << 50),
            docs=env.switch("TRAIND_DOCS", default=cls.docs),
            reflection=env.switch("TRAIND_REFLECTION", default=cls.reflection),
        )
        if settings.beat_s * 3 > settings.lease_s:
            raise SettingError(
                f"TRAIND_BEAT_S is {settings.beat_s:g} and TRAIND_LEASE_S {settings.lease_s:g}: "
                "a lease must hold at least 3 beats; raise TRAIND_LEASE_S or lower TRAIND_BEAT_S"
            )
        unknown = sorted(set(settings.devices) - {"cpu", "cuda"})
        if unknown or not settings.devices:
            raise SettingError(f"TRAIND_DEVICES names {', '.join(unknown) or 'nothing'}: allowed are cpu and cuda")
        return settings

    @property
    def objects_dir(self) -> pathlib.Path:
        """Files of data sets, named by their SHA-256."""
        return self.data_dir / "objects"

    @property
    def tmp_dir(self) -> pathlib.Path:
        """Unfinished uploads and scratch files, on the same file system as the objects."""
        return self.data_dir / "tmp"

    @property
    def run_dir(self) -> pathlib.Path:
        """What belongs to the running processes: address.json, logs; mode 0700."""
        return self.data_dir / "run"


class _Reader:
    """Reads variables and turns what cannot be used into a SettingError that names it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        given = self.text(name, str(default))
        try:
            number = int(given)
        except ValueError:
            raise SettingError(f"{name} is {given!r}: it must be a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise SettingError(f"{name} is {number}: it must be from {low} to {high}")
        return number

    def seconds(self, name: str, default: float) -> float:
        given = self.text(name, str(default))
        try:
            number = float(given)
        except ValueError:
            number = float("nan")
        if not 0 < number <= 86400:
            raise SettingError(f"{name} is {given!r}: it must be a number of seconds above 0, at most 86400")
        return number

    def switch(self, name: str, *, default: bool) -> bool:
        given = self.text(name, "on" if default else "off").lower()
        if given not in {"on", "off"}:
            raise SettingError(f"{name} is {given!r}: it must be on or off")
        return given == "on"
