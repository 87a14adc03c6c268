"""Ingest of a CSV file beside duckdb, polars and pyarrow alone, each in a process of its own.

400,000 rows of 30 columns of numbers with 6 digits, one thread each. What each includes:
- traind: the whole way of an upload: the limited child's start, the look at every byte (UTF-8, rows of one width,
  limits), types of every value of every row, an Arrow file, and the profile of every column.
- traind, table only: the same without the profile.
- polars: scan_csv -> sink_ipc, streaming; types guessed from the first 100 rows.
- pyarrow: open_csv -> an Arrow file, streaming; types guessed from the first block.
- duckdb: read_csv -> Parquet (it writes no Arrow file); types guessed from a sample.
The others accept short rows or fail without a line, and describe nothing. Figures are CPU seconds of the process that
reads; pairs are interleaved. The stated ratio is of the table only, beside pyarrow, whose
parser is ours; polars' parser alone is faster than pyarrow's.
"""

import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

ROWS, COLUMNS, PAIRS = 400_000, 30, 7
RATIO = 0.8  # of pyarrow's rate; missed by more than 5 % = exit 1
REPO = pathlib.Path(__file__).resolve().parent.parent

TABLE_ONLY = """
import pathlib, sys
import pyarrow
from service.data.arrow_file import write_table
from service.data.reading.formats import Options
from service.data.reading.opening import open_source
source, _ = open_source(pathlib.Path(sys.argv[1]), Options(), {}, pathlib.Path(sys.argv[2]))
columns, rows = write_table(source, {}, pathlib.Path(sys.argv[2]) / "table.arrow")
print(rows)
"""
WHOLE = """
import pathlib, sys
from service.data.ingest import ingest_table
print(ingest_table(pathlib.Path(sys.argv[1]), tmp=pathlib.Path(sys.argv[2])).row_count)
"""
POLARS = """
import sys
import polars
polars.scan_csv(sys.argv[1]).sink_ipc(sys.argv[2] + "/polars.arrow", compression="uncompressed")
print(polars.scan_ipc(sys.argv[2] + "/polars.arrow").select(polars.len()).collect().item())
"""
PYARROW = """
import sys
import pyarrow, pyarrow.csv
rows = 0
with pyarrow.csv.open_csv(sys.argv[1], read_options=pyarrow.csv.ReadOptions(block_size=4 << 20)) as reader:
    with pyarrow.ipc.new_file(sys.argv[2] + "/pyarrow.arrow", reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
print(rows)
"""
DUCKDB = """
import sys
import duckdb
made = sys.argv[2] + "/duckdb.parquet"
connection = duckdb.connect(config={"threads": 1})
connection.sql(f"COPY (FROM read_csv('{sys.argv[1]}')) TO '{made}' (FORMAT parquet)")
print(connection.sql(f"SELECT count(*) FROM '{made}'").fetchall()[0][0])
"""
WAYS = {
    "traind, with the profile": WHOLE,
    "traind, table only": TABLE_ONLY,
    "polars": POLARS,
    "pyarrow": PYARROW,
    "duckdb": DUCKDB,
}


def make_file(path: pathlib.Path) -> None:
    draw = np.random.default_rng(7)
    with path.open("wb") as file:
        for first in range(0, ROWS, 100_000):
            columns = {f"c{i}": draw.standard_normal(100_000).round(6) for i in range(COLUMNS)}
            pcsv.write_csv(pa.table(columns), file, pcsv.WriteOptions(include_header=first == 0))


def timed(script: str, path: pathlib.Path, folder: str) -> tuple[float, float]:
    """CPU and wall seconds of a process and its children."""
    environment = {
        "PYTHONPATH": f"{REPO}:{REPO / 'clients'}",
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "HOME": folder,
    }
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-c", script, str(path), folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begin
    # duckdb draws its progress before it.
    assert int(done.stdout.split()[-1]) == ROWS, done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> int:
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    walls: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as top:
        path = pathlib.Path(top) / "table.csv"
        make_file(path)
        size = path.stat().st_size
        for pair in range(PAIRS + 1):
            for name in sorted(WAYS, reverse=bool(pair % 2)):
                with tempfile.TemporaryDirectory(dir=top) as folder:
                    cpu, wall = timed(WAYS[name], path, folder)
                if pair:  # the first one warms up
                    spent[name].append(cpu)
                    walls[name].append(wall)
    print(f"| {size / 1e6:.0f} MB, {ROWS:,} x {COLUMNS}, median of {PAIRS} | CPU s | MB/CPU-s | wall s |")
    print("|---|---|---|---|")
    for name in WAYS:
        middle = statistics.median(spent[name])
        print(f"| {name} | {middle:.2f} | {size / 1e6 / middle:.0f} | {statistics.median(walls[name]):.2f} |")
    ratios = {name: ratio_to(spent, name) for name in ("pyarrow", "polars", "duckdb")}
    listed = ", ".join(f"{ratio:.2f} of {name}'s" for name, ratio in ratios.items())
    print(f"traind reads a table at {listed} rate; stated: at least {RATIO} of pyarrow's")
    return 0 if ratios["pyarrow"] >= RATIO * 0.95 else 1


def ratio_to(spent: dict[str, list[float]], name: str) -> float:
    pairs = zip(spent["traind, table only"], spent[name], strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


if __name__ == "__main__":
    sys.exit(main())
