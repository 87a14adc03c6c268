"""What a server that others can reach must have: somebody who may call it, and TLS or a word that it goes without."""

from service.settings import SettingError, Settings
from service.store import users
from service.store.database import Database


def refuse_open_without_token(settings: Settings, database: Database) -> None:
    """Raise SettingError where the address is open and no token in the database opens anything.

    Nobody could use such a server; whoever starts one believes that it needs no token, or has another database in mind.
    """
    if not settings.open_address:
        return
    with database.read() as connection:
        if users.any_token_lives(connection):
            return
    raise SettingError(
        f"TRAIND_HOST is {settings.host}, which others can reach, and no user has a token: make the first one with "
        "`python -m service user add NAME`, or set TRAIND_HOST=127.0.0.1"
    )


def warning_without_tls(settings: Settings) -> str | None:
    """A line for whoever started the server; None where there is nothing to warn of, or it is not wanted."""
    if not settings.open_address or settings.tls_cert or settings.insecure:
        return None
    return (
        f"TRAIND_HOST is {settings.host}, and tokens and data cross the network in the clear: set TRAIND_TLS_CERT and "
        "TRAIND_TLS_KEY, or put a proxy with TLS before it and say TRAIND_INSECURE=on"
    )
