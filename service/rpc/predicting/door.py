"""The door of predictions: the completion loop where it behaves, gRPC's sync server elsewhere."""

import logging
from collections.abc import Callable

import grpc

from service.calling.calls import Calls
from service.machine.tls import Tls
from service.rpc.oip.methods import PredictionMethods
from service.rpc.predicting import selftest
from service.rpc.predicting.loop import CompletionLoop
from service.rpc.predicting.threads import ThreadedServer
from service.rpc.server import port_taken

log = logging.getLogger(__name__)

MOST_MESSAGE_BYTES = 64 << 20
# What stands in an answer beside its values.
ROOM_BYTES = 1 << 20
GRACE_S = 3.0

OPTIONS: tuple[tuple[str, int], ...] = (
    # A second server on the same port must fail, not take half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class PredictionDoor:
    """Predictions of one process."""

    def __init__(self, calls: Calls, ready: Callable[[], bool]) -> None:
        methods = PredictionMethods(calls.app, MOST_MESSAGE_BYTES - ROOM_BYTES, ready)
        self._server: CompletionLoop | ThreadedServer
        if selftest.behaves():
            self._server = CompletionLoop(methods, calls.observer, OPTIONS)
        else:
            log.warning("predictions are served by gRPC's own sync server, which is slower")
            self._server = ThreadedServer(methods, calls.observer, OPTIONS)
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
