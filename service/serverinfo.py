"""What this server is: versions, limits, addresses."""

import contextlib
import shutil
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from service.app import App
from service.callers import Caller
from service.calling.methods import MOST_MESSAGE_BYTES
from service.store import workers as worker_store
from traind.v1 import server_pb2
from traind.version import __version__

MIN_CLIENT_VERSION = "0.1.0"
# What came after 0.1.0; a client that meets older servers too looks here before it counts on it.
FEATURES = ("batch_prediction", "dataset_files", "memory_estimate", "model_files", "open_inference", "queue")


@dataclass
class Addresses:
    """The ports that are really bound; set once both are, before the first call is let in."""

    http_port: int = 0
    grpc_port: int = 0
    predict_port: int = 0

    def get_server_info(
        self, app: App, caller: Caller, _request: server_pb2.GetServerInfoRequest
    ) -> server_pb2.ServerInfo:
        """The verb."""
        settings = app.settings
        with app.database.read() as connection:
            workers = worker_store.alive(connection)
        time = Timestamp()
        time.GetCurrentTime()
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
            predict_port=self.predict_port,
            features=FEATURES,
            workers=len(workers),
            slots=sum(worker.slots for worker in workers),
            time=time,
            free_bytes=_free_bytes(app),
        )


def _free_bytes(app: App) -> int:
    """Free bytes on the disk of the data folder; 0 where it cannot be asked."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(app.settings.data_dir).free
    return 0
