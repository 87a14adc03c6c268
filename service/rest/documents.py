"""What the server tells of itself to people and programs without a token: /docs and /openapi.json, each made once.

They are made when they are first asked for, so that no start waits for them.
"""

import functools
from collections.abc import Sequence

from service.calling.calls import Calls
from service.rest import openapi
from service.rest.docs.page import Page, etag_of
from service.rest.exchange import Exchange
from service.rest.routes import Route
from service.serverinfo import Addresses


class Documents:
    """The documents of one server."""

    def __init__(self, calls: Calls, routes: Sequence[Route], addresses: Addresses) -> None:
        self._calls = calls
        self._routes = tuple(routes)
        self._page = Page(routes, calls.app.settings, addresses)

    async def lead(self, exchange: Exchange) -> None:
        """From the bare address, which people open first, to the page."""
        await exchange.start(302, b"text/plain; charset=utf-8", [(b"location", b"/docs"), (b"content-length", b"0")])
        await exchange.send(b"", more=False)

    async def page(self, exchange: Exchange) -> None:
        """The page; nothing but a 304 where the browser has it already."""
        page = await self._calls.on_thread(self._page.render, exchange.header("host"))
        etag = etag_of(page)
        headers = [*self._page.headers, (b"etag", etag.encode())]
        known = exchange.header("if-none-match") or ""
        if etag in known or known.strip() == "*":
            await exchange.start(304, b"text/html; charset=utf-8", headers)
            await exchange.send(b"", more=False)
            return
        await exchange.start(200, b"text/html; charset=utf-8", [*headers, (b"content-length", str(len(page)).encode())])
        await exchange.send(page, more=False)

    async def openapi(self, exchange: Exchange) -> None:
        """The contract for programs."""
        await exchange.answer(200, await self._calls.on_thread(lambda: self._openapi))

    @functools.cached_property
    def _openapi(self) -> bytes:
        return openapi.document(self._routes)
