"""Which targets hear of a job's end, and what is still to be sent to them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("webhooks", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "webhook",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("last_answer", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'given_up')", name=op.f("ck_webhook_state")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_webhook_job_id")),
        sa.PrimaryKeyConstraint("job_id", "target", name=op.f("pk_webhook")),
    )
    op.create_index("ix_webhook_due", "webhook", ["state", "target", "next_at"])
