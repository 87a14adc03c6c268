"""Memory that is freed goes back to the system, where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

from service.machine import memory

# Frees large blocks between which smaller ones stay; tells how many MiB are kept of the large ones.
PROGRAM = """
import ctypes, re, sys
from service.machine.memory import give_back_early
assert sys.argv[1] != "early" or give_back_early()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def held():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
def take(size):
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    return block
before = held()
libc.free(take(30 << 20))
blocks = []
for _ in range(40):
    blocks += [take(4 << 20), take(100 << 10)]
for block in blocks[::2]:
    libc.free(block)
print(held() - before - 4)
"""


def kept(how):
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these borders")
def test_large_blocks_go_back_at_once():
    assert kept("late") > 100, "glibc gives back by itself what this test says it keeps"
    assert kept("early") < 10


class Musl:
    """A C library without mallopt."""


@pytest.mark.parametrize("library", [Musl, OSError, TypeError])
def test_another_c_library_changes_nothing(monkeypatch, library):
    def load(_name):
        if issubclass(library, Exception):
            raise library
        return library()

    monkeypatch.setattr(memory.ctypes, "CDLL", load)
    assert memory.give_back_early() is False
