"""A table of 2,000,000 rows and 30 columns through a whole server: uploaded, described, trained with, and what memory
each process needs for it.

Starts `up` with SQLite, the embedded broker and one slot, streams the CSV file over gRPC, trains a plain stack on all
columns for 2 epochs, and looks every 20 ms at RssAnon of every process of the server (pages of mapped files do not
count). Stated: no process needs 700 MB.
"""

import contextlib
import math
import os
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Self

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pcsv

from bench.latency import Server, running
from traind.v1 import datasets_pb2, jobs_pb2, learning_pb2, networks_pb2, specs_pb2

ROWS, COLUMNS, EPOCHS = 2_000_000, 30, 2
ROWS_AT_ONCE = 100_000
LIMIT_MB = 700.0
LOOK_EVERY_S = 0.02
MIB = 1 << 20


class Watch:
    """The most that each process below `root` held at any look, by what it is."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            for process in [self._root, *self._root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error, OSError, StopIteration):
                    name, held = kind(process), anonymous_mb(process.pid)
                    self.most[name] = max(self.most.get(name, 0.0), held)


def kind(process: psutil.Process) -> str:
    """A process by its program: `ingest_child`, `worker.trainer`, ..."""
    words = process.cmdline()
    if "-m" in words:
        told = [word for word in words[words.index("-m") + 1 :][:2] if word[0].isalpha()]
        return " ".join(told).removeprefix("service.data.")
    return pathlib.Path(words[0]).name


def anonymous_mb(pid: int) -> float:
    """RssAnon, in units of 1e6 bytes."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def write_csv(path: pathlib.Path) -> None:
    """30 columns of numbers with 6 digits; the last follows from the first three."""
    draw, writer = np.random.default_rng(7), None
    for _ in range(0, ROWS, ROWS_AT_ONCE):
        x = draw.standard_normal((ROWS_AT_ONCE, COLUMNS)).round(6)
        x[:, -1] = (np.sin(x[:, 0]) + x[:, 1] * x[:, 2]).round(6)
        table = pa.table({f"x{column}": x[:, column] for column in range(COLUMNS)})
        writer = writer or pcsv.CSVWriter(str(path), table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def parts(path: pathlib.Path) -> Iterator[datasets_pb2.UploadDatasetRequest]:
    with path.open("rb") as file:
        first = {"dataset_id": "large"}
        while data := file.read(MIB):
            yield datasets_pb2.UploadDatasetRequest(data=data, **first)
            first = {}


def train(server: Server) -> float:
    """Seconds from the submission to the end; the loss must be a number."""
    begin = time.perf_counter()
    network = networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=[64, 32]))
    gradient = learning_pb2.Gradient(epochs=EPOCHS, batch_size=128)
    spec = specs_pb2.TrainSpec(target=[f"x{COLUMNS - 1}"], network=network, learn=learning_pb2.Learn(gradient=gradient))
    name = server.submit(jobs_pb2.Job(dataset="large", train=spec))
    server.wait_end(name)
    assert math.isfinite(server.figure(name, "val_loss"))
    return time.perf_counter() - begin


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="traind-bench-") as folder, running(slots=1) as server:
        path = pathlib.Path(folder) / "large.csv"
        write_csv(path)
        size = path.stat().st_size
        with Watch(server.pid) as watch:
            begin = time.perf_counter()
            made = server.upload_parts(parts(path))
            took = time.perf_counter() - begin
            assert made.row_count == ROWS
            learned = train(server)
    print(f"{size / 1e6:,.0f} MB of CSV, {ROWS:,} rows: read and described in {took:.1f} s, learned in {learned:.1f} s")
    print("| process | RssAnon at most, MB | stated |")
    print("|---|---|---|")
    for name, most in sorted(watch.most.items(), key=lambda item: -item[1]):
        print(f"| {name} | {most:.0f} | under {LIMIT_MB:.0f} |")
    return 0 if max(watch.most.values()) < LIMIT_MB else 1


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main())
