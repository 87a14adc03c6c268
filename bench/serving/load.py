"""Load, in a process of its own: reads rounds from stdin, a JSON line each, and answers each with its figures.

A round is {door: grpc | rest, address, token, model, rows, in_flight, calls, seed}; the answer {seconds, p50, p99}, the
last two in microseconds of a call. Every answer must be as long as the first one, and that must hold a number for each
row, else the process ends. python -m bench.serving.load
"""

import json
import queue
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from bench.serving.network import INPUTS
from service.rpc.oip import open_inference_pb2 as oip

HEADER = "Inference-Header-Content-Length"


def rows_of(asked: dict[str, Any]) -> np.ndarray:
    """[rows, 30] float32."""
    return np.random.default_rng(asked["seed"]).normal(size=(asked["rows"], INPUTS)).astype(np.float32)


def by_grpc(asked: dict[str, Any]) -> tuple[list[Callable[[], bytes]], Callable[[], None]]:
    """A call for each of those in flight, which may come from threads of their own, and what ends them."""
    request = oip.ModelInferRequest(model_name=asked["model"], id="1")
    request.inputs.add(name="input", datatype="FP32", shape=[asked["rows"], INPUTS])
    request.raw_input_contents.append(rows_of(asked).tobytes())
    data = request.SerializeToString()
    metadata = [("authorization", f"Bearer {asked['token']}")] if asked["token"] else []
    channels = [
        grpc.insecure_channel(asked["address"], [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(min(8, asked["in_flight"]))
    ]

    def caller(channel: grpc.Channel) -> Callable[[], bytes]:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        return lambda: call(data, metadata=metadata, timeout=60)

    calls = [caller(channels[number % len(channels)]) for number in range(asked["in_flight"])]
    return calls, lambda: [channel.close() for channel in channels] and None


def by_rest(asked: dict[str, Any]) -> tuple[list[Callable[[], bytes]], Callable[[], None]]:
    """The same over HTTP/1.1 with binary tensors, a connection each."""
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
    host, port = asked["address"].split(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(asked["in_flight"])]

    def caller(connection: socket.socket) -> Callable[[], bytes]:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return lambda: _exchange(connection, data)

    return [caller(one) for one in sockets], lambda: [one.close() for one in sockets] and None


def _exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    told = b""
    while b"\r\n\r\n" not in told:
        told += _some(connection)
    head, body = told.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    while len(body) < length:
        body += _some(connection)
    assert head.split()[1] == b"200", body
    return body[int(fields[HEADER.lower().encode()]) :]


def _some(connection: socket.socket) -> bytes:
    some = connection.recv(1 << 16)
    assert some, "the server closed the connection"
    return some


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """One round."""
    callers, close = (by_grpc if asked["door"] == "grpc" else by_rest)(asked)
    first = callers[0]()
    length = len(first)
    raw = oip.ModelInferResponse.FromString(first).raw_output_contents[0] if asked["door"] == "grpc" else first
    numbers = np.frombuffer(raw, np.float32 if len(raw) == 4 * asked["rows"] else np.float64)
    assert len(numbers) == asked["rows"]
    assert np.isfinite(numbers).all()
    for call in callers[1:]:
        assert len(call()) == length
    left: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(asked["calls"]):
        left.put(None)
    took: list[float] = []
    wrong: list[object] = []

    def work(call: Callable[[], bytes]) -> None:
        try:
            while True:
                left.get_nowait()
                began = time.perf_counter()
                answer = call()
                took.append(time.perf_counter() - began)
                if len(answer) != length:
                    wrong.append(answer)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - told to whoever asked for the round
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in callers]
    print("begin", flush=True)
    sys.stdin.readline()  # whoever asks looks at the clock of the server's processor first
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    close()
    assert not wrong, wrong[0]
    cuts = statistics.quantiles(took, n=100)
    return {"seconds": seconds, "p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), flush=True)
