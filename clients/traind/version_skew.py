"""Whether client and server are so far apart in their versions that calls may go wrong."""

from __future__ import annotations

import re

# Minor versions that client and server may be apart: a server is upgraded first, its clients one release later.
MINORS_APART = 1
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?![\d])")


def skew_warning(client_version: str, server_version: str, min_client_version: str = "") -> str | None:
    """One sentence for a person, with what to do; None where the two go together.

    They do not where the major version differs, where the minor differs by two or more, or where the client is older
    than the oldest one that the server works with. A version that cannot be read is no reason to warn.
    """
    client, server, least = map(_parts, (client_version, server_version, min_client_version))
    if client is None:
        return None
    if least is not None and client < least:
        cure = f"upgrade the client to {server_version or min_client_version}"
        return (
            f"this client is traind {client_version}, and the server works with {min_client_version} or newer; {cure}"
        )
    if server is None or (client[0] == server[0] and abs(client[1] - server[1]) <= MINORS_APART):
        return None
    older = "upgrade the client" if client < server else "have the server upgraded, or use an older client"
    return f"this client is traind {client_version}, the server {server_version}: calls may go wrong; {older}"


def _parts(version: str) -> tuple[int, int, int] | None:
    """`0.4.2.dev1` as (0, 4, 2)."""
    found = _VERSION.match(version.strip())
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
