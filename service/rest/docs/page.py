"""The page as bytes: made once, at the first request, with the address that a caller sees put in for each."""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence

from service.rest.docs import limits
from service.rest.docs.commands import Address
from service.rest.docs.contents import Contents
from service.rest.docs.fields import Fields
from service.rest.docs.markup import Prose, escape
from service.rest.docs.navigation import navigation
from service.rest.docs.operations import Operations
from service.rest.docs.start import start
from service.rest.docs.templates import fill, read
from service.rest.docs.types import Types
from service.rest.errors import Headers
from service.rest.routes import Route
from service.serverinfo import Addresses
from service.settings import Settings
from traind.contract_comments import read_comments
from traind.version import __version__

# Stand in the made page where the address belongs. No comment can hold them, for a control character is in them.
_HTTP, _GRPC, _TARGET = "\x01http\x01", "\x01grpc\x01", "\x01target\x01"
# A host as a browser sends it; anything else could not be an address and must not be written into a page.
_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - told apart, not listened on


class Page:
    """/docs of one server."""

    def __init__(self, routes: Sequence[Route], settings: Settings, addresses: Addresses) -> None:
        self._routes = routes
        self._settings = settings
        self._addresses = addresses

    def render(self, host: str | None) -> bytes:
        """The page for a caller who named the server so in the Host header."""
        address = self.address(host)
        page = self._made
        for mark, text in ((_HTTP, address.http), (_GRPC, address.grpc), (_TARGET, address.grpc_target)):
            page = page.replace(mark.encode(), text.encode())
        return page

    def address(self, host: str | None) -> Address:
        """Where the doors are, seen from a caller: the host that they reached REST by, and the ports."""
        known, tls = self._settings.host, self._settings.tls_cert is not None
        found = _HOST.fullmatch(host or "")
        if found:
            name, port = found[1], found[2] or ""
        else:
            name = "127.0.0.1" if known in _EVERYWHERE else f"[{known}]" if ":" in known else known
            port = f":{self._addresses.http_port}"
        target = f"{name}:{self._addresses.grpc_port}"
        return Address(f"http{'s' * tls}://{name}{port}", f"grpc{'s' * tls}://{target}", target, tls)

    @property
    def headers(self) -> Headers:
        """What keeps the page from loading or sending anything but to its own server."""
        return [
            (b"content-security-policy", self._policy),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),
        ]

    @functools.cached_property
    def _policy(self) -> bytes:
        return (
            f"default-src 'none'; style-src {_hash_of(read('page.css'))}; script-src {_hash_of(read('page.js'))}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ).encode()

    @functools.cached_property
    def _made(self) -> bytes:
        comments = read_comments()
        contents = Contents(self._routes)
        prose = Prose(contents.anchors())
        fields = Fields(comments, prose)
        address = Address(_HTTP, _GRPC, _TARGET, self._settings.tls_cert is not None)
        sections = (
            start(address),
            Operations(contents, comments, prose, fields, address).section(),
            limits.reasons(comments, prose),
            limits.limits(self._settings),
            Types(contents, comments, prose, fields).section(),
        )
        return fill(
            "page.html",
            style=read("page.css"),
            script=read("page.js"),
            version=escape(__version__),
            navigation=navigation(contents),
            sections="\n".join(sections),
        ).encode()


def etag_of(page: bytes) -> str:
    """What changes whenever a byte of the page does."""
    return f'"{hashlib.sha256(page).hexdigest()[:32]}"'


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
