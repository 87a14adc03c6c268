"""Which rows a model was trained with, and its confusion matrices."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_version", sa.Column("confusion_json", sa.Text(), nullable=False, server_default="[]"))
    op.create_table(
        "model_rows",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("train_rows", sa.LargeBinary(), nullable=False),
        sa.Column("val_rows", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=op.f("fk_model_rows_version_id")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_model_rows")),
    )
