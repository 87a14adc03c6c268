"""`health`: what health checks ask; quick, quiet, and 1 where a role cannot do its work."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable

from service.errors import TraindError
from service.machine.address import read_address
from service.programs.doctor import Unwell, look_at_broker
from service.settings import Settings
from service.store import users
from service.store.database import Database

ANSWER_S = 5.0


def look(settings: Settings, role: str, say: Callable[[str], None]) -> int:
    """Say how a role is, in one line: 0 if it can work."""
    try:
        told = _api(settings) if role == "api" else _worker(settings)
    except (Unwell, TraindError) as error:
        say(f"BAD  {role}: {error}")
        return 1
    say(f"ok   {role}: {told}")
    return 0


def _api(settings: Settings) -> str:
    address = read_address(settings)
    if address is None:
        raise Unwell("no server of this data folder has opened its doors; its log tells why")
    # On this machine, by an address that its certificate need not hold.
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with opener.open(f"{address.http}/readyz", timeout=ANSWER_S):
            return f"{address.http} is ready"
    except urllib.error.HTTPError as error:
        raise Unwell(
            f"{address.http}/readyz answers {error.code}; the server is stopping or its database is away"
        ) from error
    except OSError as error:
        raise Unwell(f"{address.http} does not answer ({error}); start the server again") from error


def _worker(settings: Settings) -> str:
    """A worker is kept alive by its own guardian; what it cannot mend is a database or a broker that is away."""
    database = Database(settings.database_url)
    with database.read() as connection:
        users.any_token_lives(connection)
    database.dispose()
    return f"database answers; broker: {look_at_broker(settings)}"
