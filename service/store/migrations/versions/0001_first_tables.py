"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _people()
    _data()
    _jobs()
    _history()
    _artifacts()
    _models()


def _people() -> None:
    op.create_table(
        "user_",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_")),
        sa.UniqueConstraint("name", name=op.f("uq_user__name")),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user_.id"], name=op.f("fk_token_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
    )
    op.create_index(op.f("ix_token_user_id"), "token", ["user_id"])


def _data() -> None:
    op.create_table(
        "upload",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.CheckConstraint("received >= 0 AND received <= size_bytes", name=op.f("ck_upload_received")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_.id"], name=op.f("fk_upload_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
    )
    op.create_index(op.f("ix_upload_expires_at"), "upload", ["expires_at"])
    op.create_table(
        "dataset",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("options_sha256", sa.Text(), nullable=False),
        sa.Column("table_sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("columns_json", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('INGESTING', 'READY', 'FAILED')", name=op.f("ck_dataset_state")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_.id"], name=op.f("fk_dataset_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint(
            "owner_id", "slug", "sha256", "options_sha256", name=op.f("uq_dataset_owner_id_slug_sha256_options_sha256")
        ),
        sa.UniqueConstraint("owner_id", "slug", "version", name=op.f("uq_dataset_owner_id_slug_version")),
    )
    op.create_index("ix_dataset_page", "dataset", ["owner_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index(op.f("ix_dataset_sha256"), "dataset", ["sha256"])
    op.create_index(op.f("ix_dataset_table_sha256"), "dataset", ["table_sha256"])


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("best_epoch", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("metrics_json", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("dataset_name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("model_slug", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("parameter_count", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("task_json", sa.Text(), nullable=False),
        sa.Column("resolved_json", sa.Text(), nullable=False),
        sa.CheckConstraint("(state = 'FAILED') = (failure_reason IS NOT NULL)", name=op.f("ck_job_failure")),
        sa.CheckConstraint(
            "(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (ended_at IS NOT NULL)", name=op.f("ck_job_ended")
        ),
        sa.CheckConstraint(
            "failure_reason IN ('DIVERGED', 'INVALID_DATA', 'OUT_OF_MEMORY', 'TIME_LIMIT', "
            "'WORKER_LOST', 'STORAGE_FULL', 'CORRUPT', 'INTERNAL')",
            name=op.f("ck_job_failure_reason"),
        ),
        sa.CheckConstraint("kind IN ('train', 'evaluate')", name=op.f("ck_job_kind")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'PAUSING', 'PAUSED', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_job_state"),
        ),
        sa.CheckConstraint("losses >= 0 AND losses <= 3", name=op.f("ck_job_losses")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_.id"], name=op.f("fk_job_owner_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["job.id"], name=op.f("fk_job_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("owner_id", "request_id", name=op.f("uq_job_owner_id_request_id")),
    )
    op.create_index(op.f("ix_job_dataset_id"), "job", ["dataset_id"])
    op.create_index("ix_job_page", "job", ["owner_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("ix_job_queue", "job", ["state", "created_at", "id"])


def _history() -> None:
    op.create_table(
        "event",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body_json", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('state', 'epoch', 'finding', 'log')", name=op.f("ck_event_kind")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_event_job_id")),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_event")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("fold", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_series_job_id")),
        sa.PrimaryKeyConstraint("job_id", "id", name=op.f("pk_series")),
        sa.UniqueConstraint("job_id", "name", "split", "fold", name=op.f("uq_series_job_id_name_split_fold")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "series_id", "step", name=op.f("pk_metric")),
        sqlite_with_rowid=False,
    )


def _artifacts() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('staged', 'ready')", name=op.f("ck_artifact_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sqlite_with_rowid=False,
    )
    staged = sa.text("state = 'staged'")
    op.create_index("ix_artifact_staged", "artifact", ["created_at"], sqlite_where=staged, postgresql_where=staged)
    op.create_table(
        "artifact_chunk",
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_artifact_chunk_artifact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("artifact_id", "number", name=op.f("pk_artifact_chunk")),
    )
    op.create_table(
        "artifact_ref",
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_artifact_ref_artifact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("artifact_id", "holder", name=op.f("pk_artifact_ref")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_artifact_ref_holder"), "artifact_ref", ["holder"])
    if op.get_context().dialect.name == "postgresql":
        # Weights do not compress; trying to makes writing them a third slower.
        op.execute("ALTER TABLE artifact_chunk ALTER COLUMN data SET STORAGE EXTERNAL")


def _models() -> None:
    op.create_table(
        "model",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["user_.id"], name=op.f("fk_model_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("owner_id", "slug", name=op.f("uq_model_owner_id_slug")),
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("dataset_name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("parameter_count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("best_epoch", sa.Integer(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("metrics_json", sa.Text(), nullable=False),
        sa.Column("findings_json", sa.Text(), nullable=False),
        sa.Column("inputs_json", sa.Text(), nullable=False),
        sa.Column("outputs_json", sa.Text(), nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("preprocessing_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name=op.f("fk_model_version_artifact_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_model_version_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_model_version_model_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_.id"], name=op.f("fk_model_version_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("job_id", name=op.f("uq_model_version_job_id")),
        sa.UniqueConstraint("model_id", "version", name=op.f("uq_model_version_model_id_version")),
    )
    op.create_index(op.f("ix_model_version_artifact_id"), "model_version", ["artifact_id"])
    op.create_index(
        "ix_model_version_page", "model_version", ["owner_id", sa.text("created_at DESC"), sa.text("id DESC")]
    )
