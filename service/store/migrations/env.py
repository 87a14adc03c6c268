"""Alembic's entry: runs inside the transaction that service/store/migrations/upgrade.py was given."""

from alembic import context

from service.points import point
from service.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a table by copying it.
    render_as_batch=True,
    transactional_ddl=False,
    on_version_apply=lambda **_: point("C19"),
)
with context.begin_transaction():
    context.run_migrations()
