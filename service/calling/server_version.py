"""The header in which both doors tell the server's version with every answer, so that clients notice a skew."""

from traind.version import __version__

# Name and version: in HTTP's headers, in gRPC's trailing metadata, and of streams in the initial metadata too. Not in
# the initial metadata of other calls, for grpc.aio sends it apart from the answer, which makes a call 8 % dearer.
SERVER_VERSION = ("x-traind-server", __version__)
SERVER_VERSION_BYTES = (SERVER_VERSION[0].encode(), SERVER_VERSION[1].encode())
