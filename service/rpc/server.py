"""The gRPC server: its limits, its services, its start and stop."""

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from service.calling.calls import Calls
from service.calling.methods import MOST_MESSAGE_BYTES, Method
from service.machine.tls import Tls
from service.rpc.guard import Guard
from service.rpc.handlers import Handlers
from service.rpc.oip.handlers import InferenceHandlers
from service.rpc.options import options
from service.settings import SettingError, Settings

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
MOST_CALLS = 4000
# Only the identity: a compressed request is answered with UNIMPLEMENTED before it is unpacked.
OPTIONS = (*options(MOST_MESSAGE_BYTES), ("grpc.compression_enabled_algorithms_bitset", 1))
# Calls that run when the server stops get this long to end, seconds.
GRACE_S = 5.0


class RpcServer:
    """The gRPC door of one process."""

    def __init__(
        self, calls: Calls, methods: Mapping[str, Method], settings: Settings, inference: InferenceHandlers
    ) -> None:
        self._server = grpc.aio.server(interceptors=[Guard(calls)], options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
        self._server.add_generic_rpc_handlers([Handlers(methods.values()), inference])
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._services = sorted({*(name.rpartition(".")[0] for name in methods), inference.service_name})
        if settings.reflection:
            names = [*self._services, _HEALTH, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)

    def bind(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Take the port, with TLS where there is a certificate, and say which it is. Raises SettingError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
            return self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise port_taken("TRAIND_GRPC_PORT", host, port) from None

    async def start(self) -> None:
        """Let calls in."""
        await self._server.start()
        for name in ["", *self._services]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def retire(self) -> None:
        """Tell balancers to send nothing more."""
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        """Refuse new calls, give running ones their grace, end."""
        await self._server.stop(GRACE_S)


def port_taken(variable: str, host: str, port: int) -> SettingError:
    """A port that cannot be had, told by the variable that names it."""
    return SettingError(
        f"{variable} is {port}: it cannot be had on {host}, for another process has it or TRAIND_HOST is no address of "
        "this machine; stop that process, set another port, or 0 for any free one"
    )
