"""/metrics: the figures of the server, for whoever may read them."""

from service import weak_secrets
from service.calling.calls import Calls
from service.figures import Figures
from service.observing.exposition import CONTENT_TYPE
from service.rest.exchange import Exchange

PATH = "/metrics"
# Proxies name the caller in these: what comes by one comes from somewhere else.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class MetricsPage:
    """The page of one server."""

    def __init__(self, calls: Calls, *, of_sql: bool) -> None:
        """`of_sql`: see Figures."""
        self._calls = calls
        self._figures = Figures(calls.app, of_sql=of_sql)
        self._open = calls.app.settings.metrics == "loopback" and not calls.app.settings.open_address

    async def answer(self, exchange: Exchange) -> None:
        """The figures, to a token with the scope; to this machine without one too, where TRAIND_METRICS says so."""
        exchange.refuse_token_in_url()
        if not self._open or not _from_this_machine(exchange):
            await self._calls.admit_to(PATH, exchange.authorization)
        page = await self._figures.page()
        await exchange.start(200, CONTENT_TYPE, [(b"content-length", str(len(page)).encode())])
        await exchange.send(page, more=False)


def _from_this_machine(exchange: Exchange) -> bool:
    """Whether nothing tells of a proxy, nor of a web page under another name that a browser here believes is this one.

    A proxy on this machine that tells nothing cannot be seen: where there is one, TRAIND_METRICS stays `token`.
    """
    host = (exchange.header("host") or "").lower()
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return weak_secrets.is_loopback(name) and not any(exchange.header(name) for name in _OF_PROXIES)
