"""The fault proxy does what it says: a line to an echo server through it."""

import contextlib
import socket
import socketserver
import threading
import time

import pytest

from tests.faults.proxy import Proxy
from tests.waiting import wait_until


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def proxy():
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Proxy(f"127.0.0.1:{server.server_address[1]}") as made:
            yield made
        server.shutdown()


@contextlib.contextmanager
def line(proxy, seconds=0.3):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as connection:
        connection.settimeout(seconds)
        yield connection


def echo(connection, data=b"a"):
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = connection.recv(65536)
        assert piece, "the line ended"
        got += piece
    return got


def test_it_carries(proxy):
    with line(proxy, 5) as connection:
        data = bytes(range(256)) * 4000
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(65536)
        sender.join()
    assert got == data
    assert proxy.accepted == 1
    # It counts after it has written, in a thread of its own.
    wait_until(lambda: proxy.carried == 2 * len(data), "all is counted")
    wait_until(lambda: proxy.open_lines == 0, "the line is closed on both sides")


@pytest.mark.alone
def test_it_delays(proxy):
    with line(proxy, 5) as connection:
        echo(connection)
        proxy.inflict(delay_s=0.2)
        began = time.monotonic()
        echo(connection)
        assert 0.4 <= time.monotonic() - began < 0.8, "there and back"
        proxy.heal()
        began = time.monotonic()
        echo(connection)
        assert time.monotonic() - began < 0.2


@pytest.mark.alone
def test_it_is_narrow(proxy):
    with line(proxy, 5) as connection:
        proxy.inflict(bytes_per_s=1000)
        began = time.monotonic()
        assert echo(connection, b"x" * 500) == b"x" * 500
        assert 0.5 <= time.monotonic() - began < 2, "each way takes half a second, beside each other"


def test_it_cuts_after_some_bytes(proxy):
    proxy.inflict(cut_after=150)
    with line(proxy) as connection:
        connection.sendall(b"x" * 100)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                got += piece
        assert len(got) == 50, "100 went there, 50 came back"


def test_it_is_half_open(proxy):
    with line(proxy) as before:
        echo(before)
        proxy.inflict(half_open=True)
        with line(proxy) as connection:
            connection.sendall(b"hello")
            for one in (connection, before):
                one.sendall(b"hello")
                with pytest.raises(TimeoutError):
                    one.recv(1)


def test_it_is_a_black_hole_and_comes_back(proxy):
    with line(proxy) as connection:
        echo(connection)
        proxy.inflict(black_hole=True)
        connection.sendall(b"held")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert proxy.open_lines == 1, "nobody is told"
        proxy.heal()
        connection.settimeout(2)
        assert connection.recv(4) == b"held"


def test_it_resets(proxy):
    with line(proxy) as connection:
        echo(connection)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with line(proxy) as connection:
        assert echo(connection) == b"a", "a new line is not touched"


def test_a_server_that_resets_resets_the_client():
    """As one that was killed with something unread."""
    door = socket.create_server(("127.0.0.1", 0))
    with door, Proxy(f"127.0.0.1:{door.getsockname()[1]}") as proxy, line(proxy, 5) as connection:
        server, _ = door.accept()
        connection.sendall(b"unread")
        wait_until(lambda: proxy.carried == 6, "it is there")
        server.close()
        with pytest.raises(ConnectionResetError):
            assert connection.recv(1), "an end without a reset"


def test_it_cuts_what_is_open(proxy):
    with line(proxy) as connection:
        echo(connection)
        proxy.cut()
        assert connection.recv(1) == b""


def test_a_server_that_is_not_there_ends_the_line():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        # The proxy may know it before the connection is told to be there.
        with (
            Proxy(f"127.0.0.1:{nobody.getsockname()[1]}") as proxy,
            pytest.raises(ConnectionResetError),
            line(proxy) as connection,
        ):
            connection.recv(1)


def test_a_unix_socket_as_target(tmp_path):
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Proxy(str(tmp_path / "s")) as proxy, line(proxy) as connection:
            assert echo(connection, b"over there") == b"over there"
        server.shutdown()
