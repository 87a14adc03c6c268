"""What the store hands out: frozen rows, with the names of their columns.

Times are seconds since 1970 by the database's clock.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import json_format
from google.protobuf.message import Message

from service.store.tables import ENDED_STATES


def encode_figures(figures: Mapping[str, float]) -> str:
    """Figures by name as JSON; NaN and infinities as strings, as proto3 JSON writes them."""
    return json.dumps({name: _encode_figure(value) for name, value in figures.items()}, ensure_ascii=False)


def encode_messages(messages: Sequence[Message]) -> str:
    """Messages as one JSON array, as rows keep them."""
    return json.dumps([json_format.MessageToDict(message) for message in messages], ensure_ascii=False)


def decode_figures(text: str) -> dict[str, float]:
    """What encode_figures wrote."""
    return {name: float(value) for name, value in json.loads(text).items()}


def _encode_figure(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)


@dataclass(frozen=True)
class UserRow:
    """A person or program that calls."""

    id: str
    name: str
    created_at: float


@dataclass(frozen=True)
class TokenRow:
    """What a token is checked against; the token itself is nowhere."""

    id: str
    user_id: str
    user_name: str
    hash: str
    scopes: frozenset[str]
    created_at: float
    expires_at: float | None
    revoked_at: float | None


@dataclass(frozen=True)
class UploadRow:
    """A file on its way in; `received` bytes of it are here."""

    id: str
    owner_id: str
    size_bytes: int
    sha256: str
    received: int
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class DatasetRow:
    """One version of a data set."""

    id: str
    owner_id: str
    owner_name: str
    slug: str
    version: int
    display_name: str
    state: str
    sha256: str
    options_sha256: str
    size_bytes: int
    row_count: int
    columns_json: str
    table_sha256: str
    encoding: str
    format: str
    created_at: float

    @property
    def name(self) -> str:
        """`datasets/kim.penguins/versions/2`."""
        return f"datasets/{self.owner_name}.{self.slug}/versions/{self.version}"


@dataclass(frozen=True)
class JobRow:
    """A job as it stands."""

    id: str
    owner_id: str
    owner_name: str
    dataset_id: str
    dataset_name: str
    kind: str
    display_name: str
    model_slug: str
    webhooks: str
    task_json: str
    resolved_json: str
    parameter_count: int
    memory_bytes: int
    state: str
    failure_reason: str | None
    failure_message: str | None
    attempt: int
    losses: int
    not_before: float
    lease_until: float
    worker: str
    epoch: int
    epochs: int
    best_epoch: int
    metrics_json: str
    checkpoint_id: str | None
    older_checkpoint_id: str | None
    last_seq: int
    request_id: str | None
    request_hash: str | None
    parent_id: str | None
    model_name: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    origin_json: str = ""
    output_name: str = ""
    rejected_name: str = ""

    @property
    def ended(self) -> bool:
        """Whether its life is over."""
        return self.state in ENDED_STATES

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the last epoch, at the end those of the model."""
        return decode_figures(self.metrics_json)


@dataclass(frozen=True)
class EventRow:
    """Something that happened to a job; `kind` says what `body_json` is.

    `state`: StateChange, `finding`: Finding, `log`: LogLine, `epoch`: `{"epoch": n}`, whose figures are metric rows.
    """

    job_id: str
    seq: int
    time: float
    attempt: int
    kind: str
    body_json: str


@dataclass(frozen=True)
class SeriesRow:
    """One metric over epochs: steps ascending, a value for each."""

    name: str
    split: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class ModelRow:
    """One version of a model."""

    id: str
    owner_id: str
    owner_name: str
    slug: str
    version: int
    job_id: str
    dataset_name: str
    display_name: str
    artifact_id: str
    weights_sha256: str
    spec_json: str
    inputs_json: str
    outputs_json: str
    preprocessing_json: str
    metrics_json: str
    findings_json: str
    parameter_count: int
    size_bytes: int
    best_epoch: int
    engine: str
    created_at: float
    confusion_json: str = "[]"
    # Of its job.
    origin_json: str = ""

    @property
    def name(self) -> str:
        """`models/kim.churn/versions/3`."""
        return f"models/{self.owner_name}.{self.slug}/versions/{self.version}"

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures."""
        return decode_figures(self.metrics_json)


@dataclass(frozen=True)
class AliasRow:
    """A name that points to one version of a model."""

    owner_name: str
    slug: str
    alias: str
    version: int
    etag: str
    updated_at: float


@dataclass(frozen=True)
class ModelRows:
    """Which rows of its data set a model saw: a bit for each row, the least significant of a byte first."""

    row_count: int
    train_rows: bytes
    val_rows: bytes


@dataclass(frozen=True)
class QueueRow:
    """A job that holds a slot or waits for one, as everybody may see it."""

    id: str
    owner_id: str
    owner_name: str
    state: str
    dataset_name: str
    display_name: str
    worker: str
    epoch: int
    epochs: int
    # Seconds until it may be claimed; 0 or less = it may be.
    back_off_s: float
    created_at: float
    started_at: float | None


@dataclass(frozen=True)
class WorkerRow:
    """A worker that is alive."""

    name: str
    devices: tuple[str, ...]
    slots: int

    @property
    def host(self) -> str:
        """The machine that it runs on."""
        return self.name.rpartition(":")[0]
