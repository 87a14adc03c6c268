"""What an administrator can set, read once from the environment into one frozen object."""

import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from service import weak_secrets
from service.machine_cores import usable_cores
from service.machine_memory import share_bytes

MIB = 1 << 20
GIB = 1 << 30
DAY_S = 86_400.0
LONGEST_KEPT_S = 3650 * DAY_S
MOST_SLOTS = 256
_OBJECT_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?")


class SettingError(ValueError):
    """A setting that cannot be used; the text names the variable, the limit and the cure."""


@dataclass(frozen=True)
class LogSettings:
    """What a process writes to its log, and how."""

    # TRAIND_LOG_FORMAT=json: one JSON object a line, for programs; else text, for people.
    json: bool = False
    # TRAIND_LOG_LEVEL: nothing below it is written.
    level: str = "INFO"
    # TRAIND_ACCESS_LOG: a line for each call, for those that were refused, or none (all, errors, off).
    access: str = "off"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "LogSettings":
        """Read the environment; raises SettingError."""
        env = _Reader(os.environ if environ is None else environ)
        as_json = env.choice("TRAIND_LOG_FORMAT", ("text", "json")) == "json"
        accesses = ("all", "errors", "off") if as_json else ("off", "errors", "all")
        return cls(
            json=as_json,
            level=env.choice("TRAIND_LOG_LEVEL", ("info", "debug", "warning", "error")).upper(),
            access=env.choice("TRAIND_ACCESS_LOG", accesses),
        )


@dataclass(frozen=True)
class Settings:
    """The settings of one server. Times are seconds, sizes bytes."""

    # TRAIND_DATA_DIR: database, objects and addresses; mode 0700.
    data_dir: pathlib.Path
    # TRAIND_DATABASE_URL: `sqlite:////abs/path` or `postgresql://user@host/name`.
    # A password may stand in it, and in that of the broker, so they never show in a repr.
    database_url: str = field(repr=False)
    # TRAIND_BROKER_URL: `redis://…` or `redis+socket:///abs/path`; None = embedded under `up`, else workers poll.
    broker_url: str | None = field(default=None, repr=False)
    # TRAIND_BROKER_PREFIX: begins every key, where a Redis server is shared.
    broker_prefix: str = "traind:"
    # TRAIND_HOST, TRAIND_HTTP_PORT, TRAIND_GRPC_PORT, TRAIND_PREDICT_PORT (gRPC for predictions alone): port 0 takes a
    # free one, told in <data>/run/address.json. That of predictions is 0 too where TRAIND_GRPC_PORT is, unless set.
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    predict_port: int = 8082
    # TRAIND_PREDICT_SHARED=on: several processes (`python -m service predict`) take TRAIND_PREDICT_PORT together, and
    # the kernel gives each new connection to one of them.
    predict_shared: bool = False
    # TRAIND_PREDICT_HTTP_PORT: where one of those processes answers /metrics and /v2; 0 = nowhere.
    predict_http_port: int = 0
    # TRAIND_TLS_CERT, TRAIND_TLS_KEY: PEM files (the certificate with its chain); both doors speak TLS then.
    tls_cert: pathlib.Path | None = None
    tls_key: pathlib.Path | None = None
    # TRAIND_WEBHOOKS: a TOML file of the targets that jobs may name, each [name] with url and secret; mode 0600.
    webhooks: pathlib.Path | None = None
    # TRAIND_INSECURE=on: no warning where an open address goes without TLS.
    insecure: bool = False
    # TRAIND_MODEL_CACHE_BYTES: models that a process keeps in memory to answer; the least recently asked leaves first.
    model_cache_bytes: int = 256 * MIB
    # TRAIND_OBJECT_STORE: `s3://bucket/prefix` keeps the files of data sets where workers of other machines see them;
    # empty = in the data folder. Keys and endpoint come from the usual AWS_… variables.
    object_store: str = ""
    # TRAIND_OBJECT_CACHE_BYTES: of fetched files, how many bytes stay on this machine.
    object_cache_bytes: int = 20 * GIB
    # TRAIND_SLOTS: jobs that one worker runs at once; else one for each core that it may use.
    slots: int = 1
    # TRAIND_DEVICES: kinds of device this worker trains on.
    devices: tuple[str, ...] = ("cpu",)
    # TRAIND_LEASE_S, TRAIND_BEAT_S, TRAIND_SWEEP_S: a worker that has not renewed for a lease has lost its job; it
    # renews every beat; the sweep finds lost jobs.
    lease_s: float = 15.0
    beat_s: float = 3.0
    sweep_s: float = 5.0
    # TRAIND_HOUSEKEEPING_S: how often what nobody needs is collected; 0 = only by the command.
    housekeeping_s: float = 3600.0
    # TRAIND_KEEP_CHECKPOINTS_S: how long a job's last checkpoint stays after its end; 0 = until the next housekeeping.
    keep_checkpoints_s: float = 7 * DAY_S
    # TRAIND_KEEP_WEBHOOKS_S: how long it is known what became of a webhook; 0 = until the next housekeeping.
    keep_webhooks_s: float = 7 * DAY_S
    # TRAIND_KEEP_ORPHANS_S: what nothing refers to stays so long, for it may belong to something under way.
    keep_orphans_s: float = DAY_S
    # TRAIND_MAX_PARAMETERS: largest network that is taken.
    max_parameters: int = 50_000_000
    # TRAIND_MAX_JOB_BYTES: memory of one job; else what this machine has for each of its slots.
    max_job_bytes: int = 16 * GIB
    # TRAIND_MAX_QUEUED_JOBS: jobs of one person that may wait at once.
    max_queued_jobs: int = 1000
    # TRAIND_MAX_UPLOAD_BYTES: largest file.
    max_upload_bytes: int = 2048 * MIB
    # TRAIND_DOCS=off hides /openapi.json and /docs; TRAIND_REFLECTION=on shows the contract to grpcurl and the like.
    docs: bool = True
    reflection: bool = False
    # TRAIND_METRICS: who may read /metrics: whoever has a token with the scope `metrics` or `admin` (token), everybody
    # on this machine too (loopback), or nobody (off).
    metrics: str = "token"
    # TRAIND_OTEL=on: spans go out by OTLP over HTTP, to where the usual OTEL_… variables say.
    otel: bool = False
    # OTEL_EXPORTER_OTLP_PROTOCOL: `http/protobuf`, the only one that is spoken here.
    otel_protocol: str = "http/protobuf"
    logs: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; raise SettingError naming the first variable that cannot be used."""
        env = _Reader(os.environ if environ is None else environ)
        default_dir = pathlib.Path(env.text("XDG_DATA_HOME", "~/.local/share")).expanduser() / "traind"
        slots = env.whole("TRAIND_SLOTS", min(usable_cores(), MOST_SLOTS), 1, MOST_SLOTS)
        data_dir = pathlib.Path(env.text("TRAIND_DATA_DIR", str(default_dir))).expanduser().resolve()
        grpc_port = env.whole("TRAIND_GRPC_PORT", cls.grpc_port, 0, 65535)
        settings = cls(
            data_dir=data_dir,
            database_url=env.text("TRAIND_DATABASE_URL", f"sqlite:///{data_dir / 'traind.db'}"),
            broker_url=env.text("TRAIND_BROKER_URL", "") or None,
            broker_prefix=env.text("TRAIND_BROKER_PREFIX", cls.broker_prefix),
            host=env.text("TRAIND_HOST", cls.host),
            http_port=env.whole("TRAIND_HTTP_PORT", cls.http_port, 0, 65535),
            grpc_port=grpc_port,
            predict_port=env.whole("TRAIND_PREDICT_PORT", cls.predict_port if grpc_port else 0, 0, 65535),
            predict_shared=env.switch("TRAIND_PREDICT_SHARED", default=cls.predict_shared),
            predict_http_port=env.whole("TRAIND_PREDICT_HTTP_PORT", cls.predict_http_port, 0, 65535),
            tls_cert=env.path("TRAIND_TLS_CERT"),
            tls_key=env.path("TRAIND_TLS_KEY"),
            webhooks=env.path("TRAIND_WEBHOOKS"),
            insecure=env.switch("TRAIND_INSECURE", default=cls.insecure),
            model_cache_bytes=env.whole("TRAIND_MODEL_CACHE_BYTES", cls.model_cache_bytes, MIB, 1 << 50),
            object_store=env.text("TRAIND_OBJECT_STORE", "").rstrip("/"),
            object_cache_bytes=env.whole("TRAIND_OBJECT_CACHE_BYTES", cls.object_cache_bytes, MIB, 1 << 60),
            slots=slots,
            devices=tuple(d for d in env.text("TRAIND_DEVICES", "cpu").split(",") if d),
            lease_s=env.seconds("TRAIND_LEASE_S", cls.lease_s),
            beat_s=env.seconds("TRAIND_BEAT_S", cls.beat_s),
            sweep_s=env.seconds("TRAIND_SWEEP_S", cls.sweep_s),
            housekeeping_s=env.span("TRAIND_HOUSEKEEPING_S", cls.housekeeping_s, 1, 7 * DAY_S, zero="off"),
            keep_checkpoints_s=env.span(
                "TRAIND_KEEP_CHECKPOINTS_S", cls.keep_checkpoints_s, 0, LONGEST_KEPT_S, zero="keep none"
            ),
            keep_webhooks_s=env.span(
                "TRAIND_KEEP_WEBHOOKS_S", cls.keep_webhooks_s, 0, LONGEST_KEPT_S, zero="keep none"
            ),
            keep_orphans_s=env.span("TRAIND_KEEP_ORPHANS_S", cls.keep_orphans_s, 60, LONGEST_KEPT_S),
            max_parameters=env.whole("TRAIND_MAX_PARAMETERS", cls.max_parameters, 1, 10**12),
            max_job_bytes=env.whole("TRAIND_MAX_JOB_BYTES", share_bytes(slots), MIB, 1 << 50),
            max_queued_jobs=env.whole("TRAIND_MAX_QUEUED_JOBS", cls.max_queued_jobs, 1, 10**6),
            max_upload_bytes=env.whole("TRAIND_MAX_UPLOAD_BYTES", cls.max_upload_bytes, 1, 1 << 50),
            docs=env.switch("TRAIND_DOCS", default=cls.docs),
            reflection=env.switch("TRAIND_REFLECTION", default=cls.reflection),
            metrics=env.choice("TRAIND_METRICS", ("token", "loopback", "off")),
            otel=env.switch("TRAIND_OTEL", default=cls.otel),
            otel_protocol=env.text("OTEL_EXPORTER_OTLP_PROTOCOL", cls.otel_protocol),
            logs=LogSettings.from_env(environ),
        )
        env.refuse_weak_secrets(
            {"TRAIND_DATABASE_URL": settings.database_url, "TRAIND_BROKER_URL": settings.broker_url}
        )
        settings._check()
        return settings

    def _check(self) -> None:
        """Refuse what does not fit together."""
        if self.beat_s * 3 > self.lease_s:
            raise SettingError(
                f"TRAIND_BEAT_S is {self.beat_s:g} and TRAIND_LEASE_S {self.lease_s:g}: "
                "a lease must hold at least 3 beats; raise TRAIND_LEASE_S or lower TRAIND_BEAT_S"
            )
        unknown = sorted(set(self.devices) - {"cpu", "cuda"})
        if unknown or not self.devices:
            raise SettingError(f"TRAIND_DEVICES names {', '.join(unknown) or 'nothing'}: allowed are cpu and cuda")
        if (self.tls_cert is None) != (self.tls_key is None):
            given, lacking = ("CERT", "KEY") if self.tls_cert else ("KEY", "CERT")
            raise SettingError(f"TRAIND_TLS_{given} is set and TRAIND_TLS_{lacking} is not: TLS needs both PEM files")
        if self.object_store and not _OBJECT_STORE.fullmatch(self.object_store):
            raise SettingError(
                f"TRAIND_OBJECT_STORE is {self.object_store!r}: it must be s3://BUCKET or s3://BUCKET/PREFIX, or empty "
                "for the data folder; keys and endpoint stand in the AWS_… variables"
            )
        if self.otel and self.otel_protocol != "http/protobuf":
            raise SettingError(
                f"OTEL_EXPORTER_OTLP_PROTOCOL is {self.otel_protocol!r}: spans are sent by http/protobuf only; leave "
                "it out, and let OTEL_EXPORTER_OTLP_ENDPOINT name the collector's HTTP port (http://HOST:4318)"
            )
        if self.metrics == "loopback" and self.open_address:
            raise SettingError(
                f"TRAIND_METRICS is loopback and TRAIND_HOST is {self.host}, which others can reach: set "
                "TRAIND_METRICS=token, and give the scraper a token with the scope metrics"
            )

    @property
    def open_address(self) -> bool:
        """Whether other machines can reach the doors."""
        return not weak_secrets.is_loopback(self.host)

    @property
    def objects_dir(self) -> pathlib.Path:
        """Files of data sets, named by their SHA-256."""
        return self.data_dir / "objects"

    @property
    def cache_dir(self) -> pathlib.Path:
        """What was fetched from an object store; may be removed at any time."""
        return self.data_dir / "cache"

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

    def path(self, name: str) -> pathlib.Path | None:
        given = self.text(name, "")
        return pathlib.Path(given).expanduser() if given else None

    def refuse_weak_secrets(self, urls: Mapping[str, str | None]) -> None:
        for name, url in urls.items():
            try:
                fault = weak_secrets.why_weak(url, self._environ) if url else None
            except ValueError:
                raise SettingError(
                    f"{name} is no URL: it must look like scheme://user:password@host:port/name"
                ) from None
            if fault:
                raise SettingError(f"{name} {fault}")

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

    def span(self, name: str, default: float, low: float, high: float, *, zero: str = "") -> float:
        """Seconds from `low` to `high`, or 0 where it means something: `zero` says what."""
        given = self.text(name, f"{default:g}")
        try:
            number = float(given)
        except ValueError:
            number = float("nan")
        if not (low <= number <= high or (zero and number == 0)):
            or_zero = f", or 0 ({zero})" if zero else ""
            raise SettingError(f"{name} is {given!r}: it must be seconds from {low:.0f} to {high:.0f}{or_zero}")
        return number

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of the words that are allowed; the first where there is none."""
        given = self.text(name, allowed[0]).lower()
        if given not in allowed:
            raise SettingError(f"{name} is {given!r}: it must be {', '.join(allowed[:-1])} or {allowed[-1]}")
        return given

    def switch(self, name: str, *, default: bool) -> bool:
        given = self.text(name, "on" if default else "off").lower()
        if given not in {"on", "off", "1", "0"}:
            raise SettingError(f"{name} is {given!r}: it must be on or off")
        return given in {"on", "1"}
