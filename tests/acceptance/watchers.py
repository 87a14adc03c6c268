"""Client processes that run the command `traind`: each has three commands under way at once.

stdin: {"plans": [[[spec file, how], …], …], "folder": where their output goes}, a list of commands for each client;
`how` is "run", "watch" (submitted by one command, watched by the next) or "anew" (as "run", by an interpreter that is
started for it). The environment says which server. stdout: for each client a list of [exit code, stdout, stderr].
"""

import importlib
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys

# By its name here, for a module of the same name takes its place once that is loaded.
from traind.cli import run_command

LOADED = ("grpc", "traind.transport", "traind.cli.run", "traind.cli.job", "traind.cli.watching")


def run_client(folder: str, number: int, commands: list) -> list:
    """Begin all commands of a client, then wait for each."""
    begun = [begin(pathlib.Path(folder) / f"{number}-{place}", *one) for place, one in enumerate(commands)]
    return [
        [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), *(read(path, kind) for kind in ("out", "err"))]
        for pid, path in begun
    ]


def begin(path: pathlib.Path, spec: str, how: str) -> tuple[int, pathlib.Path]:
    """The number of the command's process, and where its output goes."""
    if how == "anew":
        with path.with_suffix(".out").open("wb") as out, path.with_suffix(".err").open("wb") as err:
            return subprocess.Popen([sys.executable, "-m", "traind", "run", spec], stdout=out, stderr=err).pid, path
    pid = os.fork()
    if pid:
        return pid, path
    # From here on it is a process of the command alone.
    try:
        os._exit(in_fork(path, spec, how))
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(99)


def in_fork(path: pathlib.Path, spec: str, how: str) -> int:
    for stream, kind in ((sys.stdout, "out"), (sys.stderr, "err")):
        os.dup2(os.open(path.with_suffix(f".{kind}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    code = run_command(["run", spec] + ["--detach"] * (how == "watch"))
    if how == "watch" and code == 0:
        sys.stdout.flush()
        code = run_command(["job", "watch", read(path, "out").strip().removeprefix("jobs/")])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def read(path: pathlib.Path, kind: str) -> str:
    return path.with_suffix(f".{kind}").read_text(encoding="utf-8")


def main() -> None:
    told = json.load(sys.stdin)
    for name in LOADED:
        importlib.import_module(name)
    # Forked before gRPC has begun anything: starting 90 interpreters would take longer than the test.
    with multiprocessing.get_context("fork").Pool(len(told["plans"])) as pool:
        plans = [(told["folder"], number, plan) for number, plan in enumerate(told["plans"])]
        json.dump(pool.starmap(run_client, plans, chunksize=1), sys.stdout)


if __name__ == "__main__":
    main()
