"""The findings of a job, found without a look at its epochs."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    found = sa.text("kind = 'finding'")
    op.create_index("ix_event_finding", "event", ["job_id", "seq"], sqlite_where=found, postgresql_where=found)
