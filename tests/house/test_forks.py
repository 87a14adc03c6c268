"""Tests fork, and have gRPC calls under way at the same time: no child may die of that before its exec, or hang."""

import asyncio
import gc
import os
import signal
import subprocess
import threading
import time
from concurrent import futures

import grpc
import pytest

from tests.waiting import gone

FORKS = 150


@pytest.fixture
def calls_under_way():
    """Threads that call a server of this process all the time."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    over = threading.Event()

    def call():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = channel.unary_unary("/nobody/Nothing")
            while not over.is_set():
                with pytest.raises(grpc.RpcError):
                    method(b"", timeout=5)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()
    server.stop(0).wait()


def test_every_child_comes_to_its_exec(calls_under_way):
    ends = [
        # With something to do before its exec a child is forked, where else the parent waits for the exec.
        subprocess.run(["true"], preexec_fn=lambda: None, check=False, timeout=20).returncode
        for _ in range(FORKS)
    ]
    assert set(ends) == {0}


@pytest.fixture
def a_channel_that_is_garbage():
    """One of grpc.aio that nobody closed, in a cycle: only the collector finds it."""

    async def leave():
        channel = grpc.aio.insecure_channel("unix:/nobody")
        circle = [channel]
        circle.append(circle)

    gc.disable()
    asyncio.run(leave())
    yield
    gc.enable()


def test_no_child_collects_what_its_parent_left(a_channel_that_is_garbage):
    child = os.fork()
    if child == 0:
        gc.collect()
        os._exit(0)
    until = time.monotonic() + 20
    while not gone(child) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0
