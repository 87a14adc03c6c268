"""Runs the migrations on a connection whose transaction, and whose lock, are the caller's."""

import pathlib

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from service.settings import SettingError


def upgrade(connection: Connection) -> None:
    """Bring the tables to the newest version. Raises SettingError if they are of a newer one than this traind knows."""
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise SettingError(
            "TRAIND_DATABASE_URL: the database was migrated by a newer traind "
            f"({error}); install that version, or restore the backup made before"
        ) from error


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings, without an ini file: so nothing of it touches the process's logging."""
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
