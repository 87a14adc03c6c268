# Written by proto/unasync_client.py from aio/client.py; change that one, then run make proto.
"""The client: where the server is, and the nouns it keeps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from traind import methods
from traind.config import load_config, parse_url, shown_token
from traind.datasets import Datasets
from traind.jobs import Jobs
from traind.models import Models
from traind.v1 import server_pb2

if TYPE_CHECKING:
    from traind.datasets import Dataset
    from traind.jobs import Job
    from traind.models import Model
    from traind.transport import Transport


class Client:
    """A server's data sets, jobs and models.

    Address and token: the arguments, else TRAIND_URL and TRAIND_TOKEN or TRAIND_TOKEN_FILE, else the profile
    (`profile`, TRAIND_PROFILE, or `default`) in ~/.config/traind/config.toml. Nothing is read and nothing connected
    before the first call. `timeout` is a call's whole time over all tries, `connect_timeout` how long an unreachable
    server is tried, in seconds; `max_retries` how often a call that is safe to repeat is sent again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        profile: str | None = None,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        max_retries: int = 2,
    ) -> None:
        if url:
            parse_url(url, "the url")
        self._url = url
        self._token = token
        self._profile = profile
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_retries = max_retries
        self._made: Transport | None = None
        self.models = Models(self._transport)
        self.datasets = Datasets(self._transport)
        self.jobs = Jobs(self._transport, self.models)

    def predict(self, model: str | Model, data: Any, *, hidden: bool = False, full: bool = False) -> Any:
        """See Models.predict."""
        return self.models.predict(model, data, hidden=hidden, full=full)

    def predict_job(self, model: str | Model, dataset: str | Dataset, **options: Any) -> Job:
        """See Jobs.predict."""
        return self.jobs.predict(model, dataset, **options)

    def server_info(self) -> server_pb2.ServerInfo:
        """Versions, limits and addresses of the server, and whom it takes the token for."""
        return self._transport().call(methods.GET_SERVER_INFO, server_pb2.GetServerInfoRequest())

    def with_options(
        self, *, timeout: float | None = None, connect_timeout: float | None = None, max_retries: int | None = None
    ) -> Self:
        """A client of the same server with other patience; it has a connection of its own."""
        return type(self)(
            self._url,
            token=self._token,
            profile=self._profile,
            timeout=self._timeout if timeout is None else timeout,
            connect_timeout=self._connect_timeout if connect_timeout is None else connect_timeout,
            max_retries=self._max_retries if max_retries is None else max_retries,
        )

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._made is not None:
            self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        config = self._made.config if self._made is not None else None
        url = config.address.url if config else self._url or "(not connected yet)"
        return f"Client({url!r}, token={shown_token(config.token if config else self._token)!r})"

    def _transport(self) -> Transport:
        if self._made is None:
            from traind.transport import Transport  # grpc is loaded with the first call

            config = load_config(self._url, self._token, self._profile, os.environ)
            self._made = Transport(
                config,
                timeout=self._timeout,
                connect_timeout=self._connect_timeout,
                max_retries=self._max_retries,
            )
        return self._made
