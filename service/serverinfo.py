"""What this server is: versions, limits, addresses."""

from dataclasses import dataclass

from service.app import App, Caller
from service.calling.methods import MOST_MESSAGE_BYTES
from traind.v1 import server_pb2
from traind.version import __version__

MIN_CLIENT_VERSION = "0.1.0"


@dataclass
class Addresses:
    """The ports that are really bound; set once both are, before the first call is let in."""

    http_port: int = 0
    grpc_port: int = 0

    def get_server_info(
        self, app: App, caller: Caller, _request: server_pb2.GetServerInfoRequest
    ) -> server_pb2.ServerInfo:
        """The verb."""
        settings = app.settings
        return server_pb2.ServerInfo(
            version=__version__,
            min_client_version=MIN_CLIENT_VERSION,
            user=caller.user_name,
            scopes=sorted(caller.scopes),
            devices=settings.devices,
            database=app.database.kind,
            broker="redis" if settings.broker_url else "none",
            max_message_bytes=MOST_MESSAGE_BYTES,
            max_upload_bytes=settings.max_upload_bytes,
            max_parameters=settings.max_parameters,
            http_port=self.http_port,
            grpc_port=self.grpc_port,
        )
