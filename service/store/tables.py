"""Every table of traind. The migrations make them; a test holds that both say the same.

Times are seconds since 1970 by the database's clock; ids are UUIDs as text; JSON is kept as text; states, kinds and
reasons are the names of the contract's enums.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Constraints need names, for SQLite can only change a table by copying it, and a copy finds them by name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A worker holds the job.
LIVE_STATES = ("RUNNING", "PAUSING", "CANCELLING")
# The job's life is over.
ENDED_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")
STATES = ("QUEUED", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", *ENDED_STATES)
KINDS = ("train", "evaluate", "predict")
EVENT_KINDS = ("state", "epoch", "finding", "log", "resumed")
FAILURE_REASONS = (
    "DIVERGED",
    "INVALID_DATA",
    "OUT_OF_MEMORY",
    "TIME_LIMIT",
    "WORKER_LOST",
    "STORAGE_FULL",
    "CORRUPT",
    "INTERNAL",
)
# This often a worker may be lost under a job without an epoch being stored between.
LOSSES_CAP = 3


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


user_ = Table(
    "user_",
    metadata,
    Column("id", Text, primary_key=True),
    # The slug that begins the user's data sets and models.
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
)

token = Table(
    "token",
    metadata,
    # The 8 characters that stand in the token itself.
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("user_.id"), nullable=False, index=True),
    Column("hash", Text, nullable=False),
    # Separated by commas.
    Column("scopes", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    # NULL = never.
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner_id", Text, ForeignKey("user_.id"), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    # As announced; empty if it was not.
    Column("sha256", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    CheckConstraint("received >= 0 AND received <= size_bytes", name="received"),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner_id", Text, ForeignKey("user_.id"), nullable=False),
    Column("slug", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Of the file as it came, of how it was asked to be read, and of the table made of it.
    Column("sha256", Text, nullable=False, index=True),
    Column("options_sha256", Text, nullable=False),
    Column("table_sha256", Text, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    # Empty where the format is not CSV.
    Column("encoding", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("columns_json", Text, nullable=False),
    # The name of a Dataset.Format.
    Column("format", Text, nullable=False, server_default="CSV"),
    UniqueConstraint("owner_id", "slug", "version"),
    UniqueConstraint("owner_id", "slug", "sha256", "options_sha256"),
    _one_of("state", ("INGESTING", "READY", "FAILED")),
)
Index("ix_dataset_page", dataset.c.owner_id, dataset.c.created_at.desc(), dataset.c.id.desc())

# Beside the data set and not in it, for pages of data sets do not need it.
dataset_profile = Table(
    "dataset_profile",
    metadata,
    Column("dataset_id", Text, ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True),
    # A Profile of the contract in its binary form.
    Column("profile", LargeBinary, nullable=False),
)

# What changes with every epoch stands before the long texts, so that SQLite reads it without their overflow pages.
job = Table(
    "job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner_id", Text, ForeignKey("user_.id"), nullable=False),
    Column("state", Text, nullable=False),
    # +1 at each claim: the fencing token of everything that a worker writes.
    Column("attempt", Integer, nullable=False),
    # Workers lost in a row; 0 again when an epoch or a checkpoint is stored.
    Column("losses", Integer, nullable=False),
    # A queued job is not claimed before.
    Column("not_before", Double, nullable=False),
    # 0 while no worker holds the job. Never NULL: a NULL would compare as unknown, and no lost job would be found.
    Column("lease_until", Double, nullable=False),
    Column("worker", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("best_epoch", Integer, nullable=False),
    # Where an attempt of this job goes on, and after its end where another job may; at first its parent's, if it goes
    # on from there. Without a foreign key: the row is moved first in the transaction, then the artifact is made.
    Column("checkpoint_id", Text),
    # The one before, for the case that the newest is damaged.
    Column("older_checkpoint_id", Text),
    Column("last_seq", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("metrics_json", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Without a foreign key: a job stays when its data set is deleted.
    Column("dataset_id", Text, nullable=False, index=True),
    Column("dataset_name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("model_slug", Text, nullable=False),
    # `models/kim.churn/versions/3`; empty until it is made.
    Column("model_name", Text, nullable=False),
    Column("parameter_count", BigInteger, nullable=False),
    # What its process is expected to take; 0 in those that had ended before it was estimated.
    Column("memory_bytes", BigInteger, nullable=False, server_default="0"),
    Column("request_id", Text),
    Column("request_hash", Text),
    Column("parent_id", Text, ForeignKey("job.id")),
    Column("failure_reason", Text),
    Column("failure_message", Text),
    # Names of those who hear of its end, with commas between.
    Column("webhooks", Text, nullable=False, server_default=""),
    Column("task_json", Text, nullable=False),
    Column("resolved_json", Text, nullable=False),
    # Where it was done, if its model was imported: the contract's Origin; else empty.
    Column("origin_json", Text, nullable=False, server_default=""),
    # `datasets/kim.new-predictions/versions/1`: the predictions that came out, and the rows without; empty until then.
    Column("output_name", Text, nullable=False, server_default=""),
    Column("rejected_name", Text, nullable=False, server_default=""),
    UniqueConstraint("owner_id", "request_id"),
    _one_of("state", STATES),
    _one_of("kind", KINDS),
    _one_of("failure_reason", FAILURE_REASONS),
    CheckConstraint(f"losses >= 0 AND losses <= {LOSSES_CAP}", name="losses"),
    CheckConstraint("(state = 'FAILED') = (failure_reason IS NOT NULL)", name="failure"),
    CheckConstraint("(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (ended_at IS NOT NULL)", name="ended"),
)
Index("ix_job_page", job.c.owner_id, job.c.created_at.desc(), job.c.id.desc())
# The queue, in the order in which it is served; also finds what workers hold, and counts by owner without a look at the
# rows. No column of it changes with an epoch.
Index("ix_job_queue", job.c.state, job.c.created_at, job.c.id, job.c.owner_id)

webhook = Table(
    "webhook",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("target", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    # When it is due; while it is being sent, when it would be again.
    Column("next_at", Double, nullable=False),
    # What came of the last try, in a few words.
    Column("last_answer", Text, nullable=False),
    _one_of("state", ("waiting", "delivered", "given_up")),
)
Index("ix_webhook_due", webhook.c.state, webhook.c.target, webhook.c.next_at)

worker = Table(
    "worker",
    metadata,
    # Host and process: `lab1:4711`.
    Column("name", Text, primary_key=True),
    # Kinds of device it trains on, with commas between.
    Column("devices", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    # A worker that has not said that it lives until then is gone.
    Column("alive_until", Double, nullable=False),
)

# Beside the job and not in it: only few jobs have one, and they are counted together. Without a foreign key, so that
# the count outlives a job that is deleted.
refused_write = Table(
    "refused_write",
    metadata,
    Column("job_id", Text, primary_key=True),
    # Who wrote to the job after it had lost it.
    Column("worker", Text, primary_key=True),
    Column("refused", Integer, nullable=False),
    Column("last_at", Double, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body_json", Text, nullable=False),
    _one_of("kind", EVENT_KINDS),
    sqlite_with_rowid=False,
)
# A few among thousands of epochs, asked for with every look at a job.
_FINDING = event.c.kind == text("'finding'")
Index("ix_event_finding", event.c.job_id, event.c.seq, sqlite_where=_FINDING, postgresql_where=_FINDING)

series = Table(
    "series",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    # 1, 2, 3, ... within the job.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("fold", Integer, nullable=False),
    UniqueConstraint("job_id", "name", "split", "fold"),
    sqlite_with_rowid=False,
)

# Without foreign keys, which would be checked for every point: points are written in the transaction that has just
# moved the job's row and made the series.
metric = Table(
    "metric",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    # NULL = NaN (SQLite has no other way); infinities are stored as they are.
    Column("value", Double),
    sqlite_with_rowid=False,
)

artifact = Table(
    "artifact",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    # `staged` while nobody holds it yet, then `ready`.
    Column("state", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    _one_of("state", ("staged", "ready")),
    sqlite_with_rowid=False,
)
# Of what is staged only: a checkpoint that is stored with every epoch does not touch it.
_STAGED = artifact.c.state == text("'staged'")
Index("ix_artifact_staged", artifact.c.created_at, sqlite_where=_STAGED, postgresql_where=_STAGED)

# With a rowid: long values make a table without one slow.
artifact_chunk = Table(
    "artifact_chunk",
    metadata,
    Column("artifact_id", Text, ForeignKey("artifact.id", ondelete="CASCADE"), primary_key=True),
    # 0, 1, 2, ...
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

artifact_ref = Table(
    "artifact_ref",
    metadata,
    Column("artifact_id", Text, ForeignKey("artifact.id", ondelete="CASCADE"), primary_key=True),
    # `job:{id}` or `model:{id}`.
    Column("holder", Text, primary_key=True, index=True),
    sqlite_with_rowid=False,
)

model = Table(
    "model",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner_id", Text, ForeignKey("user_.id"), nullable=False),
    Column("slug", Text, nullable=False),
    # The newest version's number: counted here, so that no number is given twice.
    Column("last_version", Integer, nullable=False),
    UniqueConstraint("owner_id", "slug"),
)

model_version = Table(
    "model_version",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model_id", Text, ForeignKey("model.id"), nullable=False),
    Column("owner_id", Text, ForeignKey("user_.id"), nullable=False),
    Column("version", Integer, nullable=False),
    # One result for a job.
    Column("job_id", Text, ForeignKey("job.id"), nullable=False, unique=True),
    Column("dataset_name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("artifact_id", Text, ForeignKey("artifact.id"), nullable=False, index=True),
    Column("weights_sha256", Text, nullable=False),
    Column("parameter_count", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("best_epoch", Integer, nullable=False),
    Column("engine", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("metrics_json", Text, nullable=False),
    Column("findings_json", Text, nullable=False),
    Column("inputs_json", Text, nullable=False),
    Column("outputs_json", Text, nullable=False),
    Column("spec_json", Text, nullable=False),
    Column("preprocessing_json", Text, nullable=False),
    # Of models that were made before there were any: none.
    Column("confusion_json", Text, nullable=False, server_default="[]"),
    UniqueConstraint("model_id", "version"),
)
Index(
    "ix_model_version_page",
    model_version.c.owner_id,
    model_version.c.created_at.desc(),
    model_version.c.id.desc(),
)

# A name for one version of a model; to switch it is one UPDATE, so that every reader finds one version.
model_alias = Table(
    "model_alias",
    metadata,
    Column("model_id", Text, ForeignKey("model.id"), primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version_id", Text, ForeignKey("model_version.id"), nullable=False, index=True),
    # Another one after each switch.
    Column("etag", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)

# Which rows of its data set a version was trained with and which were held out: a bit for each row, the least
# significant of a byte first. In a table of its own, so that lists of models do not read it.
model_rows = Table(
    "model_rows",
    metadata,
    Column("version_id", Text, ForeignKey("model_version.id"), primary_key=True),
    Column("row_count", BigInteger, nullable=False),
    Column("train_rows", LargeBinary, nullable=False),
    Column("val_rows", LargeBinary, nullable=False),
)

# Rows of its data set and what the version answered for them when it was trained; versions that were made before there
# were any have none.
model_golden = Table(
    "model_golden",
    metadata,
    Column("version_id", Text, ForeignKey("model_version.id"), primary_key=True),
    # GoldenRows of the contract in its binary form.
    Column("golden", LargeBinary, nullable=False),
)
