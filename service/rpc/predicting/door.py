"""The door of predictions: the completion loop where it behaves, gRPC's sync server elsewhere."""

import logging
from collections.abc import Callable

import grpc

from service.calling.calls import Calls
from service.machine.tls import Tls
from service.rpc.oip.methods import PredictionMethods
from service.rpc.options import options
from service.rpc.predicting import selftest
from service.rpc.predicting.loop import CompletionLoop
from service.rpc.predicting.threads import ThreadedServer
from service.rpc.server import port_taken

log = logging.getLogger(__name__)

MOST_MESSAGE_BYTES = 64 << 20
# What stands in an answer beside its values.
ROOM_BYTES = 1 << 20
GRACE_S = 3.0


class PredictionDoor:
    """Predictions of one process."""

    def __init__(self, calls: Calls, ready: Callable[[], bool]) -> None:
        asked = options(MOST_MESSAGE_BYTES, shared=calls.app.settings.predict_shared)
        methods = PredictionMethods(calls.app, MOST_MESSAGE_BYTES - ROOM_BYTES, ready)
        self._server: CompletionLoop | ThreadedServer
        if selftest.behaves():
            self._server = CompletionLoop(methods, calls.observer, asked)
        else:
            log.warning("predictions are served by gRPC's own sync server, which is slower")
            self._server = ThreadedServer(methods, calls.observer, asked)
        self._started = False
        # The methods that it serves.
        self.names = methods.names

    def bind(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Take the port, with TLS where there is a certificate, and say which it is. Raises SettingError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = None if tls is None else grpc.ssl_server_credentials([(tls.key, tls.certificate)])
        bound = self._server.bind(address, credentials)
        if not bound:
            raise port_taken("TRAIND_PREDICT_PORT", host, port)
        return bound

    def start(self) -> None:
        """Let calls in."""
        self._started = True
        self._server.start()

    def stop(self) -> None:
        """Refuse new calls, give running ones their grace, end."""
        if self._started:
            self._server.stop(GRACE_S)
