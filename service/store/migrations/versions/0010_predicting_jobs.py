"""Jobs that predict, and the data sets that come out of them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME = "ck_job_kind"
BEFORE = "kind IN ('train', 'evaluate')"
NOW = "kind IN ('train', 'evaluate', 'predict')"


def upgrade() -> None:
    for name in ("output_name", "rejected_name"):
        op.add_column("job", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f(NAME), "job", type_="check")
        op.create_check_constraint(op.f(NAME), "job", NOW)
        return
    _copy_with_new_check(op.get_bind())


def _copy_with_new_check(connection: sa.Connection) -> None:
    """SQLite changes a check by copying the table; foreign keys are not looked at meanwhile."""
    told = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = 'job' AND sql IS NOT NULL")
    made = [(row.type, row.sql) for row in connection.execute(told)]
    (table,) = [sql for kind, sql in made if kind == "table"]
    if BEFORE not in table:
        raise AssertionError("the table of jobs has another check of its kinds than version 0008 gave it")
    op.execute("CREATE TABLE job_copy AS SELECT * FROM job")
    op.drop_table("job")
    for sql in [table.replace(BEFORE, NOW), *(sql for kind, sql in made if kind == "index")]:
        connection.exec_driver_sql(sql)
    op.execute("INSERT INTO job SELECT * FROM job_copy")
    op.drop_table("job_copy")
