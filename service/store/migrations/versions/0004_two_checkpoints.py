"""Two checkpoints of a job, and the event that tells of going on from one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = "ck_event_kind"
KINDS = "kind IN ('state', 'epoch', 'finding', 'log', 'resumed')"


def upgrade() -> None:
    op.add_column("job", sa.Column("older_checkpoint_id", sa.Text(), nullable=True))
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f(NAME), "event", type_="check")
        op.create_check_constraint(op.f(NAME), "event", KINDS)
        return
    # SQLite changes a check by copying the table.
    op.create_table(
        "event_copy",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body_json", sa.Text(), nullable=False),
        sa.CheckConstraint(KINDS, name=op.f(NAME)),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_event_job_id")),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_event")),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO event_copy SELECT job_id, seq, time, attempt, kind, body_json FROM event")
    op.drop_table("event")
    op.rename_table("event_copy", "event")
