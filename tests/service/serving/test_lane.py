"""The shorter way of a connection answers what the whole way answers, and leaves it what is not its own."""

import gc
import itertools
import json
import random
import re
import socket
import threading
import time
import uuid

import numpy as np
import pytest

from service import accounts, believing, tokens
from service.rest import connection, exchange
from service.rest.inference import lane
from service.rest.inference.door import InferenceDoor
from service.rest.inference.lane import Lanes, understand
from service.serving.lookup import MustWait
from tests.service.doors.running import running
from tests.service.serving import wires
from tests.service.serving.conftest import columns_of
from tests.waiting import wait_until

# Of this answer alone.
OWN = re.compile(rb"(x-request-id: |date: |\"id\":\")[^\r\"]*")
SPOILED = 60


@pytest.fixture
def lanes(server, monkeypatch):
    """The responses that the shorter way made, in order; None where it left a request alone."""
    monkeypatch.setattr(believing, "BELIEVED_S", 600.0)
    # A slow machine must not let go what comes in pieces.
    monkeypatch.setattr(connection, "HELD_S", 30.0)
    made, answer = [], Lanes.answer

    def seen(*arguments):
        made.append(None)
        made[-1] = answer(*arguments)
        return made[-1]

    monkeypatch.setattr(Lanes, "answer", seen)
    return made


class Line:
    """A connection of raw bytes."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.http_port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, data):
        self.socket.sendall(data)
        return self.answer()

    def answer(self):
        """One response, whole; what the server said before it hung up where it did."""
        while b"\r\n\r\n" not in self._read and self._more():
            pass
        head, _, _ = self._read.partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: (\d+)", head)
        whole = len(head) + 4 + int(found[1]) if found else len(self._read)
        while len(self._read) < whole and self._more():
            pass
        answer, self._read = self._read[:whole], self._read[whole:]
        return answer

    def _more(self):
        some = self.socket.recv(1 << 16)
        self._read += some
        return some


def request(server, model="plain", *, body=None, size=None, headers=(), path="", token=None, version="HTTP/1.1"):
    """A whole request in bytes; without a body one with binary tensors."""
    if body is None:
        body, size = wires.binary_of(columns_of(model), parameters={"binary_data_output": True})
    lines = [f"POST {path or f'/v2/models/kim.{model}/infer'} {version}", "host: x"]
    lines += [f"authorization: Bearer {token or server.token('kim')}", f"content-length: {len(body)}", *headers]
    if size is not None:
        lines.append(f"Inference-Header-Content-Length: {size}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def matrix(rows=1, datatype="FP32", outputs=None, request_id="7"):
    """The JSON and the raw bytes of the one tensor of all columns."""
    raw = np.random.default_rng(rows).normal(size=(rows, 3)).astype({"FP32": "<f4", "FP64": "<f8"}[datatype]).tobytes()
    tensor = {"name": "input", "datatype": datatype, "shape": [rows, 3], "parameters": {"binary_data_size": len(raw)}}
    told = {"inputs": [tensor]} | ({"id": request_id} if request_id else {})
    told |= {"outputs": outputs} if outputs else {"parameters": {"binary_data_output": True}}
    head = json.dumps(told).encode()
    return {"body": head + raw, "size": len(head)}


def in_json(server, model="plain"):
    told = {"inputs": wires.json_of(columns_of(model)), "id": "7"}
    return request(server, model, body=json.dumps(told).encode())


SHORT = {
    "columns": request,
    "a matrix": lambda server: request(server, **matrix()),
    "rows": lambda server: request(server, **matrix(40)),
    "float64": lambda server: request(server, "double", **matrix(3, "FP64")),
    "no id": lambda server: request(server, **matrix(request_id="")),
    "classes": lambda server: request(server, "classes", body=json.dumps(wires_of("classes")).encode()),
    "outputs in JSON": lambda server: request(server, **matrix(outputs=[{"name": "prediction"}])),
    "outputs in binary": lambda server: request(
        server, **matrix(outputs=[{"name": "prediction", "parameters": {"binary_data": True}}])
    ),
    "JSON": in_json,
    "a version": lambda server: request(server, path="/v2/models/kim.plain/versions/1/infer"),
    "an encoded name": lambda server: request(server, path="/v2/models/kim%2Eplain/infer/"),
    "headers of others": lambda server: request(server, headers=["Accept: */*", "Connection: keep-alive", "cookie: a"]),
}
LONG = {
    "no number": lambda server: request(server, body=json.dumps({"inputs": [one_text()]}).encode()),
    "no such model": lambda server: request(server, path="/v2/models/kim.nothing/infer"),
    "no JSON": lambda server: request(server, body=b"{"),
    "no body": lambda server: request(server, body=b""),
    "no token": lambda server: request(server, token="none"),
    "no scope": lambda server: request(server, token=server.token("kim", ["read"])),
    "not by NumPy": lambda server: in_json(server, "mixed"),
    "an id of its own": lambda server: request(server, headers=["x-request-id: mine"]),
    "two tokens": lambda server: request(server, headers=["authorization: Bearer x"]),
    "a token in the URL": lambda server: request(server, path="/v2/models/kim.plain/infer?token=x"),
    "another path": lambda server: request(server, path="/v2/models/kim.plain/ready"),
    "gzip": lambda server: request(server, headers=["content-encoding: gzip"]),
    "an old version": lambda server: request(server, headers=["connection: keep-alive"], version="HTTP/1.0"),
    "the last one": lambda server: request(server, headers=["connection: close"]),
    "a wrong size": lambda server: request(server, **matrix() | {"size": 100_000}),
}


def wires_of(model):
    return {"inputs": wires.json_of(columns_of(model)), "id": "7"}


def one_text():
    return {"name": "a", "datatype": "BYTES", "shape": [1], "data": ["x"]}


def own_left_out(response):
    return OWN.sub(rb"\1", response)


def sorted_head(response):
    head, _, body = own_left_out(response).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, sorted(lines), body


def by_the_whole_way(server, data):
    """The response to the first request of a connection."""
    with Line(server) as line:
        return line.ask(data)


@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_both_ways_say_the_same(server, lanes, name):
    data = {**SHORT, **LONG}[name](server)
    by_the_whole_way(server, data)
    expected = by_the_whole_way(server, data)
    assert lanes == []
    with Line(server) as line:
        for _ in range(4):
            found = line.ask(data)
            assert sorted_head(found) == sorted_head(expected)
            if b"connection: close" in found:
                break
    assert len([made for made in lanes if made]) == (3 if name in SHORT else 0)


def test_an_answer_names_its_type_once(server):
    for data in (request(server), in_json(server)):
        head = by_the_whole_way(server, data).partition(b"\r\n\r\n")[0]
        assert head.count(b"content-type: ") == 1


def test_a_request_id_is_made_for_each(server, lanes):
    with Line(server) as line:
        ids = [re.search(rb"x-request-id: (\S+)", line.ask(request(server)))[1] for _ in range(5)]
    assert len(set(ids)) == 5


def spoiled(rng, data):
    """A few bytes otherwise, in the body only where the length must stand."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", ["columns", "a matrix", "JSON", "outputs in binary"])
def test_spoiled_bodies_come_to_the_same_by_both_ways(server, lanes, name):
    rng = random.Random(name)
    whole = SHORT[name](server)
    head, end, body = whole.partition(b"\r\n\r\n")
    for _ in range(SPOILED):
        data = head + end + spoiled(rng, body)
        expected = by_the_whole_way(server, data)
        with Line(server) as line:
            line.ask(whole)
            assert sorted_head(line.ask(data)) == sorted_head(expected), data
    assert len(lanes) == SPOILED


@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_requests_that_come_in_pieces(server, lanes, pieces):
    data = request(server, **matrix(5))
    expected = sorted_head(by_the_whole_way(server, data))
    size = len(data.partition(b"\r\n\r\n")[0]) + 4
    cuts = [0, size, *sorted(random.Random(pieces).sample(range(size + 1, len(data)), pieces - 2)), len(data)]
    with Line(server) as line:
        for _ in range(4):
            for begin, end in itertools.pairwise(cuts):
                line.socket.sendall(data[begin:end])
                time.sleep(0.01)
            assert sorted_head(line.answer()) == expected
    assert len(lanes) == 3


def test_several_requests_at_once_are_answered_in_turn(server, lanes):
    asked = [request(server, **matrix(rows, request_id=str(rows))) for rows in (1, 1, 2, 1, 3)]
    with Line(server) as line:
        line.ask(asked[0])
        line.socket.sendall(b"".join(asked[1:]))
        found = [line.answer() for _ in asked[1:]]
        assert b'"id":"1"' in line.ask(asked[0])
    assert [re.search(rb'"id":"(\d)"', answer)[1] for answer in found] == [b"1", b"2", b"1", b"3"]


@pytest.mark.parametrize("dribbles", [False, True])
def test_the_rest_of_a_body_is_waited_for_the_whole_way(server, lanes, monkeypatch, dribbles):
    """Where it does not come soon, however many pieces come meanwhile."""
    monkeypatch.setattr(connection, "HELD_S", 0.3)
    data = request(server)
    with Line(server) as line:
        line.ask(data)
        ours = protocol_of(line)
        line.socket.sendall(data[:-400])
        sent = len(data) - 400
        wait_until(lambda: ours._lane.held, "it is held")
        while ours._lane.held:
            if dribbles:
                line.socket.sendall(data[sent : sent + 1])
                sent += 1
            time.sleep(0.02)
        assert 0.02 * (sent - len(data) + 400) < 3
        assert sorted_head(line.ask(data[sent:])) == sorted_head(by_the_whole_way(server, data))
        monkeypatch.setattr(exchange, "PART_DEADLINE_S", 0.4)
        line.socket.sendall(data[:-1])
        assert b"504 Gateway Timeout" in line.answer()
    assert lanes == []


def test_an_idle_connection_is_closed_after_its_last_answer(server, lanes):
    data = request(server)
    with Line(server) as line:
        line.ask(data)
        ours = protocol_of(line)
        ours.timeout_keep_alive = 2.0
        # The timer that uvicorn set runs for half a minute; brought forward.
        line.ask(data)
        server._loop.call_soon_threadsafe(ours.timeout_keep_alive_handler)
        line.ask(data)
        assert len(lanes) == 2
        began = time.monotonic()
        assert line.socket.recv(1) == b""
        assert 0.5 < time.monotonic() - began < 10


def protocol_of(line):
    """The server's side of a connection; the server runs in a thread of this process."""
    port = line.socket.getsockname()[1]
    there = [one for one in gc.get_objects() if type(one) is connection.Protocol and one.client]
    (found,) = [one for one in there if one.client[1] == port and not one.transport.is_closing()]
    return found


def test_a_request_behind_one_that_waits_is_answered_after_it(server, lanes, monkeypatch):
    go_on, ask = threading.Event(), InferenceDoor.ask
    first, second = (request(server, **matrix(request_id=number)) for number in "12")

    def slow(*arguments, may_wait):
        if b'"1"' in arguments[4] and not may_wait:
            raise MustWait
        assert not may_wait or go_on.wait(20)
        return ask(*arguments, may_wait=may_wait)

    with Line(server) as line:
        line.ask(first)
        monkeypatch.setattr(InferenceDoor, "ask", slow)
        line.socket.sendall(first)
        wait_until(lambda: lanes == [None], "it goes the whole way")
        line.socket.sendall(second)
        line.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.socket.recv(1)
        line.socket.settimeout(20)
        go_on.set()
        found = [line.answer() for _ in range(2)]
    assert [re.search(rb'"id":"(\d)"', answer)[1] for answer in found] == [b"1", b"2"]
    assert lanes == [None]


def test_a_client_that_reads_nothing_is_waited_for(server, lanes):
    data = request(server)
    with Line(server) as line:
        line.ask(data)
        line.ask(data)
        ours = protocol_of(line)
        server._loop.call_soon_threadsafe(ours.pause_writing)
        line.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.ask(data)
        line.socket.settimeout(20)
        server._loop.call_soon_threadsafe(ours.resume_writing)
        assert b"200 OK" in line.answer()
        assert b"200 OK" in line.ask(data)
    assert len(lanes) == 2


def test_a_revoked_token_is_believed_no_longer_than_elsewhere(server):
    token = accounts.create_token(server.database, "kim", ["predict"])
    data = request(server, token=token)
    with Line(server) as line:
        assert all(b"200 OK" in line.ask(data) for _ in range(3))
        accounts.revoke_token(server.database, re.match(r"trd_([a-z2-7]{8})_", token)[1])
        wait_until(lambda: b"401 Unauthorized" in line.ask(data), "the token is refused", 3, every=0.05)
        assert b"200 OK" in line.ask(request(server))


def test_an_idle_token_is_asked_after_by_one_call(server, monkeypatch):
    asked, ask = [], tokens._ask
    monkeypatch.setattr(tokens, "_ask", lambda *arguments: asked.append(1) or ask(*arguments))
    monkeypatch.setattr(believing, "BELIEVED_S", 600.0)
    data = request(server)
    with Line(server) as line:
        line.ask(data)
        for _ in range(3):
            asked.clear()
            for said in server.app.tokens._believed._said.values():
                said.at -= 301  # more than half of it
            assert all(b"200 OK" in line.ask(data) for _ in range(5))
            assert len(asked) == 1


def test_a_connection_whose_requests_are_never_for_it_is_left_alone(server, lanes, monkeypatch):
    understood = []
    monkeypatch.setattr(lane, "understand", lambda head: understood.append(head) or understand(head))
    with Line(server) as line:
        for _ in range(20):
            line.ask(in_json(server, "mixed"))
        assert len(lanes) == lane.MOST_MISSES
        seen = len(understood)
        for _ in range(5):
            line.ask(request(server))
    assert (len(understood), len(lanes)) == (seen, lane.MOST_MISSES)


def test_calls_are_counted_as_those_of_the_whole_way(server, lanes):
    def count():
        codes, buckets, _, under_way = server.app.counts.line(
            "rest", "inference.GRPCInferenceService.ModelInfer"
        ).read()
        return codes["OK"], sum(buckets), under_way

    # The whole way counts a call after its answer has gone.
    wait_until(lambda: count()[2] == 0, "the calls of other tests are counted")
    before = count()
    with Line(server) as line:
        for _ in range(6):
            line.ask(request(server))
    wait_until(lambda: count()[2] == 0, "all are counted")
    after = count()
    assert len(lanes) == 5
    assert (after[0] - before[0], after[1] - before[1]) == (6, 6)


def test_a_server_that_stops_answers_what_was_held(tmp_path):
    with running("sqlite", tmp_path) as doors:
        data = request(doors, path="/v2/models/kim.no/infer", body=b"{}", headers=[f"x: {uuid.uuid4()}"])
        with Line(doors) as line:
            assert b"400 Bad Request" in line.ask(data)
            line.socket.sendall(data[:-1])
            time.sleep(0.2)
            doors.stop(wait=False)
            time.sleep(0.2)
            assert b"400 Bad Request" in line.ask(data[-1:])
