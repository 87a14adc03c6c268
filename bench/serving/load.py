"""Load, in a process of its own: reads rounds from stdin, a JSON line each, and answers each with its figures.

A round is {door: grpc | rest, address, token, model, rows, in_flight, calls, seed}; the answer {seconds, p50, p99}, the
last two in microseconds of a call. One thread sends bytes that were made beforehand, so that the server is what is
measured. Every answer must be as long as the first one, and that must hold a number for each row, else the process
ends. python -m bench.serving.load
"""

import json
import select
import statistics
import sys
import time
from typing import Any, Protocol

import numpy as np

from bench.serving import http1, http2
from bench.serving.network import INPUTS
from service.rpc.oip import open_inference_pb2 as oip

HEADER = "Inference-Header-Content-Length"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS = 8
ANSWER_S = 60.0


class Connection(Protocol):
    """See http1 and http2."""

    socket: Any

    def begin(self) -> None: ...
    def flush(self) -> None: ...
    def receive(self) -> list[tuple[float, bytes]]: ...
    def close(self) -> None: ...


def rows_of(asked: dict[str, Any]) -> np.ndarray:
    """[rows, 30] float32."""
    return np.random.default_rng(asked["seed"]).normal(size=(asked["rows"], INPUTS)).astype(np.float32)


def by_grpc(asked: dict[str, Any], host: str, port: int) -> list[Connection]:
    """Connections that share the calls in flight."""
    request = oip.ModelInferRequest(model_name=asked["model"], id="1")
    request.inputs.add(name="input", datatype="FP32", shape=[asked["rows"], INPUTS])
    request.raw_input_contents.append(rows_of(asked).tobytes())
    data = request.SerializeToString()
    count = min(CONNECTIONS, asked["in_flight"])
    return [http2.Connection(host, port, METHOD, data, asked["token"]) for _ in range(count)]


def by_rest(asked: dict[str, Any], host: str, port: int) -> list[Connection]:
    """The same with binary tensors, a connection for each call in flight."""
    raw = rows_of(asked).tobytes()
    shape = [asked["rows"], INPUTS]
    tensor = {"name": "input", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"id": "1", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    token = f"authorization: Bearer {asked['token']}\r\n" if asked["token"] else ""
    data = (
        f"POST /v2/models/{asked['model']}/infer HTTP/1.1\r\nhost: bench\r\n{token}{HEADER}: {len(head)}\r\n"
        f"content-type: application/octet-stream\r\ncontent-length: {len(head) + len(raw)}\r\n\r\n"
    ).encode()
    data += head + raw
    return [http1.Connection(host, port, data, HEADER.encode()) for _ in range(asked["in_flight"])]


class Round:
    """Calls over connections, so many of them in flight."""

    def __init__(self, connections: list[Connection], in_flight: int) -> None:
        self._connections, self._each = connections, in_flight // len(connections)
        assert self._each * len(connections) == in_flight, "connections must share what is in flight"
        self._by_fileno = {one.socket.fileno(): one for one in connections}
        self._ready = select.epoll()
        for number in self._by_fileno:
            self._ready.register(number, select.EPOLLIN)

    def run(self, calls: int) -> tuple[list[float], list[bytes]]:
        """Seconds of each call, and the answers."""
        left = calls
        took: list[float] = []
        answers: list[bytes] = []
        for connection in self._connections:
            for _ in range(min(self._each, left)):
                connection.begin()
                left -= 1
            connection.flush()
        while len(took) < calls:
            ready = self._ready.poll(ANSWER_S)
            assert ready, f"no answer within {ANSWER_S:g} s"
            for number, _ in ready:
                connection = self._by_fileno[number]
                over = connection.receive()
                now = time.perf_counter()
                for began, answer in over:
                    took.append(now - began)
                    answers.append(answer)
                    if left:
                        connection.begin()
                        left -= 1
                connection.flush()
        return took, answers

    def close(self) -> None:
        """Hang up."""
        self._ready.close()
        for connection in self._connections:
            connection.close()


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """One round."""
    host, port = asked["address"].split(":")
    round_of = Round((by_grpc if asked["door"] == "grpc" else by_rest)(asked, host, int(port)), asked["in_flight"])
    _, firsts = round_of.run(asked["in_flight"])
    first, answers = firsts[0], firsts[1:]
    raw = oip.ModelInferResponse.FromString(first).raw_output_contents[0] if asked["door"] == "grpc" else first
    numbers = np.frombuffer(raw, np.float32 if len(raw) == 4 * asked["rows"] else np.float64)
    assert len(numbers) == asked["rows"]
    assert np.isfinite(numbers).all()
    print("begin", flush=True)
    sys.stdin.readline()  # whoever asks looks at the clock of the server's processor first
    began = time.perf_counter()
    took, more = round_of.run(asked["calls"])
    seconds = time.perf_counter() - began
    round_of.close()
    assert {len(answer) for answer in (*answers, *more)} == {len(first)}
    cuts = statistics.quantiles(took, n=100)
    return {"seconds": seconds, "p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), flush=True)
