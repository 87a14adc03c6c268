"""From a submission to the first epoch that a caller can see, on a warm server: alone, and in a burst of 30.

Starts `up` with SQLite, the embedded broker and 2 slots. A job is 3 epochs of a small network on 150 rows. Alone: each
job is sent when the one before has ended; GetHistory is asked every 2 ms until it shows an epoch. Burst: 30 jobs are
sent one behind the other; the figure is the time from the first submission until the last job's first epoch is seen.
"""

import contextlib
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import grpc

from traind.v1 import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc, learning_pb2, networks_pb2, specs_pb2

ROOT = pathlib.Path(__file__).resolve().parents[1]
ALONE, BURST, BURSTS, EPOCHS, ROWS, INPUTS, SLOTS = 20, 30, 3, 3, 150, 8, 2
ALONE_P95_S = 0.15
BURST_S = 2.0
MISSED = 1.05  # more than 5 % above = exit 1
READY_S = 120.0
ENDED = {jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.FAILED, jobs_pb2.Job.CANCELLED}


class Server:
    """A running `up`, by its stubs."""

    def __init__(self, url: str, token: str, pid: int) -> None:
        self.pid = pid
        self._channel = grpc.insecure_channel(url.removeprefix("grpc://"), options=[("grpc.enable_http_proxy", 0)])
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._jobs = jobs_pb2_grpc.JobServiceStub(self._channel)
        self._datasets = datasets_pb2_grpc.DatasetServiceStub(self._channel)

    def upload_parts(self, parts: Iterator[datasets_pb2.UploadDatasetRequest]) -> datasets_pb2.Dataset:
        return self._datasets.UploadDataset(parts, metadata=self._metadata, timeout=600)

    def submit(self, job: jobs_pb2.Job) -> str:
        request = jobs_pb2.CreateJobRequest(job=job)
        return str(self._jobs.CreateJob(request, metadata=self._metadata, timeout=30).name)

    def figure(self, name: str, figure: str) -> float:
        job = self._jobs.GetJob(jobs_pb2.GetJobRequest(name=name), metadata=self._metadata, timeout=30)
        return next(metric.value for metric in job.metrics if metric.name == figure)

    def shows_an_epoch(self, name: str) -> bool:
        request = jobs_pb2.GetHistoryRequest(name=name)
        history = self._jobs.GetHistory(request, metadata=self._metadata, timeout=30)
        return any(series.steps for series in history.series)

    def wait_first_epoch(self, name: str) -> None:
        stream = self._jobs.WatchJob(jobs_pb2.WatchJobRequest(name=name), metadata=self._metadata, timeout=120)
        next(event for event in stream if event.WhichOneof("kind") == "epoch")
        stream.cancel()

    def wait_end(self, name: str) -> None:
        events = list(self._jobs.WatchJob(jobs_pb2.WatchJobRequest(name=name), metadata=self._metadata, timeout=600))
        assert events[-1].state.state == jobs_pb2.Job.SUCCEEDED, events[-1]


def table() -> bytes:
    lines = [",".join([*(f"x{column}" for column in range(INPUTS)), "y"])]
    for row in range(ROWS):
        x = [round(math.sin(1.7 * row + 2.3 * column), 6) for column in range(INPUTS)]
        lines.append(",".join(str(value) for value in [*x, round(sum(x) + math.cos(row), 6)]))
    return "\n".join(lines).encode()


def small_job() -> jobs_pb2.Job:
    gradient = learning_pb2.Gradient(epochs=EPOCHS, batch_size=32)
    network = networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=[16]))
    spec = specs_pb2.TrainSpec(target=["y"], network=network, learn=learning_pb2.Learn(gradient=gradient))
    return jobs_pb2.Job(dataset="waves", train=spec)


@contextlib.contextmanager
def running(slots: int = SLOTS) -> Iterator[Server]:
    """`up` in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="traind-bench-") as folder:
        data = pathlib.Path(folder) / "data"
        env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
        env |= {"TRAIND_DATA_DIR": str(data), "TRAIND_HTTP_PORT": "0", "TRAIND_GRPC_PORT": "0"}
        env |= {"TRAIND_SLOTS": str(slots), "XDG_CONFIG_HOME": folder}
        with (pathlib.Path(folder) / "up.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service", "up"], cwd=ROOT, env=env, stdout=log, stderr=log
            )
        try:
            address = data / "run" / "address.json"
            deadline = time.monotonic() + READY_S
            while not address.exists():
                assert process.poll() is None, (pathlib.Path(folder) / "up.log").read_text()
                assert time.monotonic() < deadline, "the server was not ready in time"
                time.sleep(0.05)
            token = (data / "run" / "token").read_text().strip()
            yield Server(json.loads(address.read_text())["grpc"], token, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def alone(server: Server) -> list[float]:
    """Seconds from a submission to its first epoch, ascending."""
    took = []
    for _ in range(ALONE):
        begin = time.perf_counter()
        name = server.submit(small_job())
        while not server.shows_an_epoch(name):
            time.sleep(0.002)
        took.append(time.perf_counter() - begin)
        server.wait_end(name)
    return sorted(took)


def burst(server: Server) -> tuple[float, float]:
    """Seconds from the first of 30 submissions to the last one's first epoch, and to the end of all."""
    begin = time.perf_counter()
    names = [server.submit(small_job()) for _ in range(BURST)]
    # Jobs begin in the order they came, so the last ones tell; waiting for them asks nothing of the server.
    for name in names[-SLOTS:]:
        server.wait_first_epoch(name)
        assert server.shows_an_epoch(name)
    seen = time.perf_counter() - begin
    late = [name for name in names if not server.shows_an_epoch(name)]
    assert not late, f"{len(late)} jobs began after the last ones"
    for name in names:
        server.wait_end(name)
    return seen, time.perf_counter() - begin


def main() -> int:
    with running() as server:
        server.upload_parts(iter([datasets_pb2.UploadDatasetRequest(dataset_id="waves", data=table())]))
        for name in [server.submit(small_job()) for _ in range(2 * SLOTS)]:
            server.wait_end(name)
        took = alone(server)
        bursts = sorted(burst(server) for _ in range(BURSTS))
    p50, p95 = took[ALONE // 2], took[math.ceil(0.95 * ALONE) - 1]
    seen, ended = bursts[BURSTS // 2]
    print("| submission to first epoch seen | s | stated |")
    print("|---|---|---|")
    print(f"| alone, p50 of {ALONE} | {p50:.3f} | |")
    print(f"| alone, p95 of {ALONE} | {p95:.3f} | at most {ALONE_P95_S} |")
    print(f"| the last of a burst of {BURST}, median of {BURSTS} | {seen:.2f} | under {BURST_S} |")
    print(f"| the end of all of them | {ended:.2f} | |")
    return 0 if p95 <= ALONE_P95_S * MISSED and seen < BURST_S * MISSED else 1


if __name__ == "__main__":
    sys.exit(main())
