"""Which workers are alive, what a job will take of memory, and a queue that can be counted by owner in its index."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("alive_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.add_column("job", sa.Column("memory_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    # Jobs that wait keep the limit of memory that they were taken with; worker/limits.py allows four times of this.
    op.execute("UPDATE job SET memory_bytes = 24 * parameter_count WHERE ended_at IS NULL")
    op.drop_index("ix_job_queue", "job")
    op.create_index("ix_job_queue", "job", ["state", "created_at", "id", "owner_id"])
