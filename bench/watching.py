"""One server for many: streams that wait cost nothing, control calls stay quick beside predictions, a storm loses none.

idle     the processor time of a server to which 500 streams of one paused job are open, beside the same server without
control  GetJob every 8 ms, alone and while 64 predictions are in flight at the port of predictions
storm    2,000 watchers of four users' jobs (one user may hold 1,000), by traind's own client; the server is killed, all
         come back at once, the jobs go on to their ends; every watcher must have each event once

The server is `up`; load and clients are processes of their own.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

import psutil

import traind
from bench.predicting import MISSED, ROOT, Load, Served, table, traind_up

STREAMS, IDLE_S, IDLE_PART = 500, 20.0, 0.01
EVERY_S, CALLS, CONTROL_P99_MS = 0.008, 1000, 15.0
WATCHERS, USERS = 2000, ("first", "second", "third", "fourth")
STORM_S = 240.0


class Watched(NamedTuple):
    """A job that many watch, and whose token they watch it by."""

    token: str
    job: str


def endless(client: traind.Client) -> traind.Job:
    """A job that is paused long before its last epoch."""
    gradient = {"epochs": 12, "batchSize": 1, "path": "GENERAL"}
    train = {"target": ["y"], "network": {"mlp": {"hidden": [64]}}, "learn": {"gradient": gradient}, "seed": 2}
    job = client.jobs.create(dataset="rows", model="watched", train=train)
    while job.refresh().epoch < 2:
        time.sleep(0.05)
    job.pause()
    while job.refresh().state != "PAUSED":
        time.sleep(0.05)
    return job


async def watch(url: str, watched: list[Watched], count: int) -> None:
    """Open streams, say so, and tell of each watcher what it saw: all events once, or not."""
    seen: list[list[int]] = [[] for _ in range(count)]
    clients = [traind.AsyncClient(url, token=one.token) for one in watched]

    async def one(number: int) -> None:
        place = number % len(watched)
        with contextlib.suppress(traind.WaitTimeout):
            async for event in clients[place].jobs.watch(watched[place].job, timeout=STORM_S):
                seen[number].append(event.seq)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(one(number))
        while not all(seen):  # noqa: ASYNC110 - a poll costs less than an event for each of 2,000
            await asyncio.sleep(0.05)
        print("open", flush=True)
    for client in clients:
        await client.close()
    events = lost = 0
    for place in range(len(watched)):
        of_job = seen[place :: len(watched)]
        # By the numbers, so that what all of them saw twice, or none of them saw, counts as lost too.
        whole = list(range(1, max(one[-1] for one in of_job) + 1))
        events += len(whole) * len(of_job)
        lost += sum(one != whole for one in of_job)
    print(json.dumps({"events": events, "lost": lost}), flush=True)


def watchers(url: str, watched: list[Watched], count: int) -> "subprocess.Popen[str]":
    """A process with so many watchers, when all of them have heard something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.watching", url, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"WATCHED": json.dumps(watched)},  # tokens are for nobody who lists processes
    )
    assert process.stdout
    assert process.stdout.readline().strip() == "open"
    return process


def idle(served: Served, url: str, watched: Watched) -> float:
    """The part of a core that open streams cost."""

    def part() -> float:
        before = served.cpu_s()
        time.sleep(IDLE_S)
        return (served.cpu_s() - before) / IDLE_S

    without = part()
    process = watchers(url, [watched], STREAMS)
    time.sleep(2)
    with_streams = part()
    process.kill()
    process.wait()
    print(f"| processor in {IDLE_S:g} s | alone | {STREAMS} idle streams | more | stated |")
    print("|---|---|---|---|---|")
    figures = f"{without:.2%} | {with_streams:.2%} | {with_streams - without:.2%}"
    print(f"| part of a core | {figures} | under {IDLE_PART:.0%} |")
    return with_streams - without


def control(served: Served, job: traind.Job) -> float:
    """p99 of control calls beside predictions, milliseconds."""

    def round_of() -> list[float]:
        took = []
        for _ in range(CALLS):
            began = time.perf_counter()
            job.refresh()
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(EVERY_S)
        return took

    job.refresh()
    alone = statistics.quantiles(round_of(), n=100)
    load, stop = Load(None), threading.Event()

    def press() -> None:
        while not stop.is_set():
            load.ask(served, "many")

    pressing = threading.Thread(target=press)
    pressing.start()
    time.sleep(1)
    beside = statistics.quantiles(round_of(), n=100)
    stop.set()
    pressing.join()
    load.close()
    print("\n| GetJob, ms | p50 | p99 | stated |")
    print("|---|---|---|---|")
    print(f"| alone | {alone[49]:.1f} | {alone[98]:.1f} | |")
    print(f"| 64 predictions in flight | {beside[49]:.1f} | {beside[98]:.1f} | p99 under {CONTROL_P99_MS:g} |")
    return beside[98]


def storm(served: Served, url: str, data: pathlib.Path, jobs: list[traind.Job], watched: list[Watched]) -> int:
    """How many watchers lost an event or saw one twice."""
    process = watchers(url, watched, WATCHERS)
    assert process.stdout
    began = time.monotonic()
    os.kill(served.process.pid, signal.SIGKILL)
    while json.loads((data / "run" / "address.json").read_text())["pid"] == served.process.pid:
        time.sleep(0.05)
    back = time.monotonic() - began
    served.process = psutil.Process(json.loads((data / "run" / "address.json").read_text())["pid"])
    for job in jobs:
        job.resume()
    told = json.loads(process.stdout.readline())
    process.wait()
    print(f"\n| {WATCHERS} watchers, the server killed | it is back, s | all at the end, s | events in all | lost |")
    print("|---|---|---|---|---|")
    print(f"| each event once | {back:.1f} | {time.monotonic() - began:.1f} | {told['events']} | {told['lost']} |")
    return int(told["lost"])


def token_of(data: pathlib.Path, name: str) -> str:
    """A new user's token."""
    argv = [sys.executable, "-m", "service", "user", "add", name]
    made = subprocess.run(
        argv, cwd=ROOT, env=os.environ | {"TRAIND_DATA_DIR": str(data)}, capture_output=True, text=True, check=True
    )
    found = re.search(r"trd_\S+", made.stdout)
    assert found, made.stdout
    return found[0]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="traind-bench-") as name:
        folder = pathlib.Path(name)
        # A server that is started again must be where it was.
        with traind_up(folder, fixed=True) as ([grpc, _], _model):
            data = folder / "data"
            url = json.loads((data / "run" / "address.json").read_text())["grpc"]
            with contextlib.ExitStack() as exits:
                jobs, watched = [], []
                for user in USERS:
                    token = token_of(data, user)
                    client = exits.enter_context(traind.Client(url, token=token))
                    client.datasets.create(table(), name="rows")
                    jobs.append(endless(client))
                    watched.append(Watched(token, jobs[-1].name))
                more = idle(grpc, url, watched[0])
                p99 = control(grpc, jobs[0])
                lost = storm(grpc, url, data, jobs, watched)
    return 0 if more < IDLE_PART * MISSED and p99 < CONTROL_P99_MS * MISSED and not lost else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(watch(sys.argv[1], [Watched(*one) for one in json.loads(os.environ["WATCHED"])], int(sys.argv[2])))
    else:
        sys.exit(main())
