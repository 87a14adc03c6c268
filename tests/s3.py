"""An S3 server of our own: that of the package moto, which keeps everything in memory and takes any key."""

import contextlib
import http.client
import socket
import sys

from tests.servers import OwnServer

BUCKET = "lab"


class OwnS3(OwnServer):
    """A server with one empty bucket; what it holds is gone when it is killed."""

    def __init__(self):
        super().__init__()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def environ(self):
        """What an administrator sets for it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "traind-test",
            "AWS_SECRET_ACCESS_KEY": "traind-test",
            "AWS_REGION": "us-east-1",
        }

    def start(self):
        super().start()
        assert self._status("PUT", f"/{BUCKET}") == 200

    def answers(self):
        try:
            return self._status("GET", "/") == 200
        except OSError:
            return False

    def _status(self, verb, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(verb, path)
        with contextlib.closing(connection):
            return connection.getresponse().status

    def _command(self):
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
