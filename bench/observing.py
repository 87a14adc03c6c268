"""What it costs to count calls: of one count, beside prometheus-client; of a whole call, beside one that no one counts.

One count is a call's code and its seconds, by door and method. A whole call is a GetServerInfo over gRPC through a real
server in this process: in interleaved pairs of rounds, with counts, request id and metadata as they are, and with an
observation that does nothing. Figures are CPU seconds of this process. The client is in both, which makes the ratio
smaller; so the difference is told too.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import grpc

from service import accounts
from service.app import App
from service.calling import observer
from service.data.objects import ObjectFolder
from service.observing.counts import CallCounts
from service.policy import SCOPES
from service.programs.api import serve
from service.serverinfo import Addresses
from service.settings import Settings
from service.store.database import Database
from traind.v1 import server_pb2, server_pb2_grpc

COUNTS, ROUNDS, CALLS = 100_000, 15, 300
STATED_COUNT_US = 2.0
STATED_RATIO = 1.05
MISSED = 1.05  # more than 5 % above = exit 1
METHOD = "traind.v1.ServerService.GetServerInfo"


class Unseen:
    """An observation that does nothing."""

    request_id = "0"

    def begin(self, *_: object) -> "Unseen":
        return self

    def named(self, *_: object) -> None:
        pass

    let_in = answered = end = named


def microseconds(count: Callable[[], object]) -> float:
    """CPU of one, the least of five rounds."""
    took = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(COUNTS):
            count()
        took.append((time.process_time() - began) / COUNTS * 1e6)
    return min(took)


def of_prometheus() -> tuple[float, float] | None:
    """Microseconds of a count by prometheus-client, and its import's milliseconds; None where it is not installed."""
    try:
        from prometheus_client import Counter, Histogram
    except ImportError:
        return None
    counter = Counter("calls", "Calls.", ["door", "method", "code"])
    seconds = Histogram("seconds", "Seconds.", ["method"])

    def count() -> None:
        counter.labels("grpc", METHOD, "OK").inc()
        seconds.labels(METHOD).observe(0.003)

    program = "import time; t = time.process_time(); import prometheus_client; print(time.process_time() - t)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return microseconds(count), 1e3 * float(told.stdout)


def of_calls() -> tuple[float, float]:
    """CPU microseconds of a call that nobody counts and of one as it is; medians."""
    with tempfile.TemporaryDirectory(prefix="traind-bench-") as folder:
        settings = Settings.from_env({"TRAIND_DATA_DIR": folder, "TRAIND_HTTP_PORT": "0", "TRAIND_GRPC_PORT": "0"})
        for made in (settings.objects_dir, settings.tmp_dir, settings.run_dir):
            made.mkdir(parents=True)
        database = Database(settings.database_url)
        database.migrate()
        accounts.create_user(database, "kim")
        token = accounts.create_token(database, "kim", SCOPES)
        app = App(settings, database, ObjectFolder(settings.objects_dir, settings.tmp_dir))
        ports: list[int] = []
        loop, ready = asyncio.new_event_loop(), threading.Event()
        stop = asyncio.Event()

        def on_ready(addresses: Addresses) -> None:
            ports.append(addresses.grpc_port)
            ready.set()

        server = threading.Thread(target=loop.run_until_complete, args=(serve(app, on_ready=on_ready, stop=stop),))
        server.start()
        ready.wait(60)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
                return _pairs(server_pb2_grpc.ServerServiceStub(channel), token)
        finally:
            loop.call_soon_threadsafe(stop.set)
            server.join()
            database.dispose()


def _pairs(stub: server_pb2_grpc.ServerServiceStub, token: str) -> tuple[float, float]:
    request, metadata = server_pb2.GetServerInfoRequest(), [("authorization", f"Bearer {token}")]
    seen = observer.Observer.begin

    def round_of(begin: Callable[..., object]) -> float:
        observer.Observer.begin = begin  # type: ignore[method-assign,assignment]
        began = time.process_time()
        for _ in range(CALLS):
            stub.GetServerInfo(request, metadata=metadata)
        return (time.process_time() - began) / CALLS * 1e6

    ways = (Unseen().begin, seen)
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for way in (0, 1) if number % 2 else (1, 0):
            figure = round_of(ways[way])
            if number:  # the first warms up
                took[way].append(figure)
    return statistics.median(took[0]), statistics.median(took[1])


def main() -> int:
    counts = CallCounts()
    counts.declare("grpc", [METHOD])
    line = counts.line("grpc", METHOD)
    bound = microseconds(lambda: line.add("OK", 0.003))
    looked_up = microseconds(lambda: counts.count("grpc", METHOD, "OK", 0.003))
    theirs = of_prometheus()
    unseen, counted = of_calls()
    print(
        "| CPU us of one count | ours, with its line | ours, by names | prometheus-client | its import, ms | stated |"
    )
    print("|---|---|---|---|---|---|")
    told = f"{theirs[0]:.2f} | {theirs[1]:.0f}" if theirs else "not installed | "
    print(f"| code and seconds | {bound:.2f} | {looked_up:.2f} | {told} | under {STATED_COUNT_US:g} |")
    print(f"\n| CPU us of a call, {ROUNDS} pairs of {CALLS} | nobody looks | as it is | more | ratio | stated |")
    print("|---|---|---|---|---|---|")
    ratio, more = counted / unseen, counted - unseen
    figures = f"{unseen:.0f} | {counted:.0f} | {more:.0f} | {ratio:.3f}"
    print(f"| GetServerInfo over gRPC | {figures} | under {STATED_RATIO:g} |")
    return 0 if looked_up < STATED_COUNT_US * MISSED and ratio < STATED_RATIO * MISSED else 1


if __name__ == "__main__":
    sys.exit(main())
