"""What every process that opens a door begins with."""

import logging

from service.machine.folders import make_folders
from service.machine.memory import give_back_early
from service.programs.exposure import refuse_open_without_token, warning_without_tls
from service.settings import Settings
from service.store.database import Database

log = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """Folders, and a database of this version whose doors may be opened.

    Raises SettingError where an open address has no token yet, and warns of one without TLS.
    """
    give_back_early()
    make_folders(settings)
    database = Database(settings.database_url)
    database.migrate()
    refuse_open_without_token(settings, database)
    if warning := warning_without_tls(settings):
        log.warning("%s", warning)
    return database
