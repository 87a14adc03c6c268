"""How a data set's file holds its table, and its profile."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # All that came before was CSV.
    op.add_column("dataset", sa.Column("format", sa.Text(), server_default="CSV", nullable=False))
    op.create_table(
        "dataset_profile",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_profile_dataset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_dataset_profile")),
    )
