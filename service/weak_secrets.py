"""Passwords that stand in addresses: whether one that guards a server of the network can be guessed."""

import ipaddress
import urllib.parse
from collections.abc import Mapping

LEAST_CHARACTERS = 12
# What examples, images and installers ship with, longer ones among them; shorter ones fall to their length.
WELL_KNOWN = frozenset(
    {
        "administrator",
        "changemechangeme",
        "change-me-please",
        "changethispassword",
        "defaultpassword",
        "mysecretpassword",
        "password1234",
        "passwordpassword",
        "postgrespassword",
        "postgrespostgres",
        "redispassword",
        "secretpassword",
        "supersecretpassword",
        "traindpassword",
        "traindtraind",
        "yourpassword",
        "yourpasswordhere",
        "your-password-here",
        "123456789012",
        "1234567890123456",
    }
)
CURE = "make one with `openssl rand -hex 24`, set it on that server and write it into the URL"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nothing else can reach it there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def why_weak(url: str, environ: Mapping[str, str]) -> str | None:
    """What is wrong with the password in the URL of a Redis or PostgreSQL server; None if nothing is.

    A server on this machine alone, or on a socket, may go without. libpq takes PGPASSWORD, a password file or a
    client's certificate in place of a password in the URL. The text never holds the password.
    """
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    host = query.get("host") or parts.hostname or ""
    if not host or host.startswith("/") or parts.scheme.endswith("socket") or is_loopback(host):
        return None
    password = urllib.parse.unquote(parts.password or "") or query.get("password", "")
    if parts.scheme.startswith("postgres"):
        password = password or environ.get("PGPASSWORD", "")
        if not password and (query.keys() & {"passfile", "sslcert", "service"} or environ.get("PGPASSFILE")):
            return None
    return _fault(password, urllib.parse.unquote(parts.username or ""), host)


def _fault(password: str, user: str, host: str) -> str | None:
    where = f"for the server {host}, which others can reach: {CURE}"
    if not password:
        return f"has no password {where}"
    if len(password) < LEAST_CHARACTERS:
        return f"has a password of {len(password)} characters, {LEAST_CHARACTERS} is the least, {where}"
    if password.lower() in WELL_KNOWN or password.lower() == user.lower() or len(set(password)) < 4:
        return f"has a password that everybody tries first {where}"
    return None
