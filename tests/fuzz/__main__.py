"""The fuzz at length: `make soak`, or `python -m tests.fuzz --examples 200 --seconds 60 --keep build/fuzz`.

Calls every REST route of a server of its own, then lets atheris drive each reader; tells its counts and what it found,
and exits with 1 if anything was. Corpus and crashing inputs stay in the folder of --keep.
"""

import argparse
import importlib.util
import pathlib
import re
import subprocess
import sys
import time
import traceback

from tests.fuzz import readers, routes
from tests.fuzz.prey import prey

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What a server may grow by in some thousand calls; measured: 2 MB in 7,200, and no more in the next.
GROWTH_BYTES = 24 << 20
# How long a reader's process may take beside its fuzzing: imports, the first reading of a kept corpus.
START_S = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="calls of each route")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the calls; told, to be given again")
    parser.add_argument("--keep", type=pathlib.Path, default=ROOT / "build" / "fuzz", help="a folder")
    asked = parser.parse_args()
    found = fuzz_routes(asked.examples, asked.seed)
    if importlib.util.find_spec("atheris") is None:
        print("the readers were not fuzzed: the extra `soak` is not installed, which is for Linux on x86-64 only")
        return 1
    for name in readers.READERS:
        found += fuzz_reader(name, asked.seconds, asked.keep / name)
    print(f"\nsoak: {found} found" if found else "\nsoak: nothing found")
    return min(found, 1)


def fuzz_routes(examples: int, seed: int) -> int:
    """Call every route; answers how many of them broke a promise, and counts a server that grew or fell as one more."""
    print(f"REST routes, {examples} calls of each, --seed {seed}", flush=True)
    with prey() as server:
        operations = routes.operations(server)
        # Caches fill first.
        few = max(examples // 10, 1)
        broken = sum(not _one_route(server, one, few, seed, tell=False) for one in operations)
        before = server.memory()
        broken += sum(not _one_route(server, one, examples, seed + 1, tell=True) for one in operations)
        growth, fallen = server.memory() - before, routes.unreachable(server)
    print(f"server: {growth / 1e6:+.1f} MB of its own memory, at most {GROWTH_BYTES / 1e6:.0f} allowed {fallen}")
    return broken + (growth > GROWTH_BYTES) + bool(fallen)


def _one_route(server, operation, examples: int, seed: int, *, tell: bool) -> bool:
    """Whether a route kept what is promised."""
    try:
        told = routes.fuzz(server, operation, examples, seed)
    except (Exception, BaseExceptionGroup):  # schemathesis raises groups that are no Exception
        print(f"FOUND at {operation.label}, by --seed {seed}:", flush=True)
        traceback.print_exc(limit=-1, file=sys.stdout)
        return False
    if tell:
        print(told, flush=True)
    return True


def fuzz_reader(name: str, seconds: int, folder: pathlib.Path) -> int:
    """Let atheris drive a reader in a process of its own; answers 1 where it broke, or nothing was run."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as out:
        code = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds), str(folder)],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            check=False,
            timeout=seconds + START_S,
        ).returncode
    said = log.read_text(errors="replace")
    runs = int((re.findall(r"^Done (\d+) runs", said, re.MULTILINE) or ["0"])[-1])
    reached = (re.findall(r"cov: (\d+)", said) or ["0"])[-1]
    print(f"reader {name:<8} {runs:>8} inputs in {seconds} s, {reached} places of the code reached", flush=True)
    if code or not runs:
        print(f"FOUND, exit code {code}; inputs and log in {folder}:\n{said[-2000:]}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
