"""Predictions beside what people would use instead, in interleaved rounds: processor time a call, latency, rows.

The server is traind's own `up`, with its token, its checks and its stored scaling, and an MLP 30-64-32-1 that it has
just trained; beside it a bare grpc.aio and a bare Starlette server, each with a forward in torch and nothing else
(bench/serving). PEERS=1 makes an environment with KServe 0.21 and measures it in the same rounds. Load comes from a
process of its own. `pinned`: servers on the first core, load on the second; `free`: no affinity. Processor time is that
of the server's process, user and system; a ratio is the median of the rounds' ratios.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import torch

import traind
from bench.serving.network import HIDDEN, INPUTS, load

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROUNDS = 9
MISSED = 1.05  # more than 5 % beyond = exit 1
READY_S = 120.0
PEERS = os.environ.get("PEERS") == "1"
KSERVE = ROOT / ".venv-clients" / "kserve" / "bin" / "python"
# What one round asks: name, rows a call, calls in flight, calls.
WORK = {"many": (1, 64, 3000), "alone": (1, 1, 600), "rows": (256, 8, 600)}


class Served:
    """A server under load."""

    def __init__(self, name: str, door: str, address: str, pid: int, model: str = "plain", token: str = "") -> None:
        self.name, self.door, self.address, self.model, self.token = name, door, address, model, token
        self.process = psutil.Process(pid)

    def cpu_s(self) -> float:
        return sum(self.process.cpu_times()[:2])


class Load:
    """The process that asks."""

    def __init__(self, core: int | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.serving.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if core is not None:
            psutil.Process(self._process.pid).cpu_affinity([core])

    def ask(self, server: Served, work: str) -> dict[str, Any]:
        """Figures of one round, with the processor's microseconds a call."""
        rows, in_flight, calls = WORK[work]
        asked = {"door": server.door, "address": server.address, "token": server.token, "model": server.model}
        self._say(json.dumps(asked | {"rows": rows, "in_flight": in_flight, "calls": calls, "seed": rows}))
        assert self._hear() == "begin"
        before = server.cpu_s()
        self._say("go")
        told: dict[str, Any] = json.loads(self._hear())
        return told | {"cpu": (server.cpu_s() - before) / calls * 1e6, "rows": rows * calls / told["seconds"]}

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the load ended"
        return line.strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def table() -> bytes:
    """2,000 rows of 30 numbers, each column with a mean and a spread of its own."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(2000, INPUTS)) * draw.uniform(0.5, 2, INPUTS) + draw.normal(size=INPUTS)
    y = np.tanh(x @ draw.normal(size=INPUTS) / 5)
    lines = [",".join([*(f"x{place:02}" for place in range(INPUTS)), "y"])]
    lines += [",".join(f"{value:.6g}" for value in (*row, target)) for row, target in zip(x, y, strict=True)]
    return "\n".join(lines).encode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def traind_up(folder: pathlib.Path, *, fixed: bool = False) -> Iterator[tuple[list[Served], traind.Model]]:
    """`up` with a trained model: its two doors, and the model. `fixed`: with the same ports when it starts again."""
    data = folder / "data"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
    env |= {"TRAIND_DATA_DIR": str(data), "XDG_CONFIG_HOME": str(folder), "OMP_NUM_THREADS": "1", "TRAIND_SLOTS": "1"}
    for variable in ("TRAIND_HTTP_PORT", "TRAIND_GRPC_PORT", "TRAIND_PREDICT_PORT"):
        env[variable] = str(free_port()) if fixed else "0"
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "service", "up"], cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        address = data / "run" / "address.json"
        deadline = time.monotonic() + READY_S
        while not address.exists():
            assert process.poll() is None, (folder / "up.log").read_text()
            assert time.monotonic() < deadline, "the server was not ready in time"
            time.sleep(0.05)
        told = json.loads(address.read_text())
        token = (data / "run" / "token").read_text().strip()
        with traind.Client(told["grpc"], token=token) as client:
            client.datasets.create(table(), name="rows")
            mlp = {"mlp": {"hidden": list(HIDDEN), "activation": "RELU"}}
            train = {"target": ["y"], "network": mlp, "learn": {"gradient": {"epochs": 3}}, "seed": 1}
            model = client.jobs.create(dataset="rows", model="plain", train=train).wait(60).model
            name = f"{client.server_info().user}.plain"
            yield (
                [
                    Served("traind", "grpc", told["predict"].removeprefix("grpc://"), told["pid"], name, token),
                    Served("traind", "rest", told["http"].removeprefix("http://"), told["pid"], name, token),
                ],
                model,
            )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@contextlib.contextmanager
def bare(door: str, weights: pathlib.Path) -> Iterator[Served]:
    """A server of bench/serving."""
    argv = [sys.executable, "-m", f"bench.serving.bare_{door}", str(weights)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout
            yield Served(
                f"bare {'grpc.aio' if door == 'grpc' else 'Starlette'}",
                door,
                process.stdout.readline().strip(),
                process.pid,
            )
        finally:
            process.kill()


@contextlib.contextmanager
def kserve(weights: pathlib.Path) -> Iterator[list[Served]]:
    """KServe in an environment of its own."""
    subprocess.run(["make", "--no-print-directory", ".venv-clients/kserve-torch"], cwd=ROOT, check=True)
    ports = [free_port() for _ in range(2)]
    argv = [str(KSERVE), str(ROOT / "bench" / "serving" / "kserve_model.py"), str(weights), *map(str, ports)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + READY_S
            for port in ports:
                while True:
                    assert process.poll() is None, "KServe ended"
                    assert time.monotonic() < deadline, "KServe was not ready in time"
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                        break
                    time.sleep(0.1)
            time.sleep(1)
            doors = zip(("rest", "grpc"), ports, strict=True)
            yield [Served("KServe 0.21", door, f"127.0.0.1:{port}", process.pid) for door, port in doors]
        finally:
            process.terminate()


def keep_weights(model: traind.Model, path: pathlib.Path) -> None:
    """What traind learned, for the others."""
    weights = {name: np.array(values, np.float32) for name, values in model.weights().items()}
    layers = sorted({name.rpartition(".")[0] for name in weights})
    kept = {
        f"{place}.{kind}": weights[f"{name}.{kind}"] for place, name in enumerate(layers) for kind in ("weight", "bias")
    }
    np.savez(path, **kept)
    with torch.inference_mode():
        assert load(str(path))(torch.zeros(1, INPUTS)).shape == (1, 1)


def measure(servers: list[Served], pinned: bool) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Figures by (server, door, work), a list of rounds, taken in turn."""
    every = [process for server in servers for process in (server.process, *server.process.children(recursive=True))]
    cores = sorted(os.sched_getaffinity(0))
    for process in every:
        process.cpu_affinity(cores[:1] if pinned else cores)
    asking = Load(cores[1] if pinned else None)
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    try:
        for number in range(ROUNDS + 1):
            for work in WORK:
                for server in servers if number % 2 else servers[::-1]:
                    figures = asking.ask(server, work)
                    if number:  # the first warms up
                        found.setdefault((server.name, server.door, work), []).append(figures)
    finally:
        asking.close()
    return found


def ratio(
    found: dict[tuple[str, str, str], list[dict[str, Any]]],
    one: tuple[str, str],
    other: tuple[str, str],
    work: str,
    figure: str,
) -> float:
    pairs = zip(found[*one, work], found[*other, work], strict=True)
    return statistics.median(ours[figure] / theirs[figure] for ours, theirs in pairs)


def report(found: dict[tuple[str, str, str], list[dict[str, Any]]], how: str) -> None:
    print(f"\n{how}, medians of {ROUNDS} rounds\n")
    print("| server | door | CPU us a call, 64 in flight | p50 / p99 ms | alone p50 us | rows/s, 256 x 8 |")
    print("|---|---|---|---|---|---|")
    for name, door in dict.fromkeys((name, door) for name, door, _ in found):

        def middle(work: str, figure: str, key: tuple[str, str] = (name, door)) -> float:
            return statistics.median(one[figure] for one in found[*key, work])

        ms = f"{middle('many', 'p50') / 1e3:.1f} / {middle('many', 'p99') / 1e3:.1f}"
        rows = f"{middle('rows', 'rows'):,.0f}"
        print(f"| {name} | {door} | {middle('many', 'cpu'):.0f} | {ms} | {middle('alone', 'p50'):.0f} | {rows} |")


# (what, our door, whose, which work, which figure, stated, whether at least) of the lines that are stated.
STATED = [
    ("CPU a call", "grpc", "bare grpc.aio", "many", "cpu", 0.55, False),
    ("p50 alone", "grpc", "bare grpc.aio", "alone", "p50", 0.9, False),
    ("rows/s, 256 a call", "grpc", "bare grpc.aio", "rows", "rows", 1.5, True),
    ("CPU a call", "rest", "bare Starlette", "many", "cpu", 1.2, False),
]
STATED_PEERS = [
    ("CPU a call", "grpc", "KServe 0.21", "many", "cpu", 0.3, False),
    ("CPU a call", "rest", "KServe 0.21", "many", "cpu", 0.25, False),
    ("p50 alone", "grpc", "KServe 0.21", "alone", "p50", 0.6, False),
    ("rows/s, 256 a call", "grpc", "KServe 0.21", "rows", "rows", 2.0, True),
]


def main() -> int:
    missed = 0
    with contextlib.ExitStack() as exits:
        folder = pathlib.Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="traind-bench-")))
        ours, model = exits.enter_context(traind_up(folder))
        weights = folder / "weights.npz"
        keep_weights(model, weights)
        servers = [*ours, *(exits.enter_context(bare(door, weights)) for door in ("grpc", "rest"))]
        if PEERS:
            servers += exits.enter_context(kserve(weights))
        for how in ("pinned", "free"):
            found = measure(servers, pinned=how == "pinned")
            report(found, how)
            print(f"\n| {how} | door | beside | ratio | stated |")
            print("|---|---|---|---|---|")
            for what, door, whose, work, figure, stated, at_least in STATED + STATED_PEERS * PEERS:
                got = ratio(found, ("traind", door), (whose, door), work, figure)
                print(f"| {what} | {door} | {whose} | {got:.2f}x | {'at least' if at_least else 'at most'} {stated} |")
                missed += got * MISSED < stated if at_least else got > stated * MISSED
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
