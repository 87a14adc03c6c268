"""Which installations `backup` and `restore` are for."""

from pathlib import Path

from service.settings import SettingError, Settings
from service.store.database import Database


def embedded_database(settings: Settings, command: str) -> Path:
    """The database file of an installation whose data all lie on this machine. Raises SettingError for another."""
    path = Database(settings.database_url).path
    if path is None:
        raise SettingError(
            f"TRAIND_DATABASE_URL is PostgreSQL, and `{command}` is for SQLite with files in the data folder: use "
            "pg_dump or pg_restore, and copy the objects or the bucket (docs/operations.md, Backup)"
        )
    if settings.object_store:
        raise SettingError(
            f"TRAIND_OBJECT_STORE is set, and `{command}` is for files in the data folder: copy the bucket, and the "
            "database by sqlite3 (docs/operations.md, Backup)"
        )
    return path
