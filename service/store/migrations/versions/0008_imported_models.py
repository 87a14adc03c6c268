"""Where a job was done whose model was imported."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("origin_json", sa.Text(), nullable=False, server_default=""))
