"""ServerService."""

from typing_extensions import override

from service import serverinfo
from service.calling.calls import Calls
from traind.v1 import server_pb2, server_pb2_grpc


class ServerServicer(server_pb2_grpc.ServerServiceServicer):
    """What this server is, over both doors."""

    def __init__(self, calls: Calls, addresses: serverinfo.Addresses) -> None:
        self._calls = calls
        self._addresses = addresses

    @override
    async def GetServerInfo(self, request: server_pb2.GetServerInfoRequest, context: object) -> server_pb2.ServerInfo:
        return await self._calls.run(self._addresses.get_server_info, request)
