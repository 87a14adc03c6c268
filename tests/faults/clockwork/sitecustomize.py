"""Python imports this at the start of each process of a lab: its wall clock is then wrong by what CLOCK_FILE says.

The file holds one double, the seconds to add, and is looked at with every question, so that a clock can jump while its
process runs. Monotonic clocks are left alone, as a jump of the wall clock leaves them, and so is `datetime.now`, whose
class C code must find as it is. Then the points of the fault tests are set up as in every stack.
"""

import os
import pathlib
import sys
import types


def install(path):
    import functools
    import mmap
    import struct
    import time

    # Its C code tells deadlines by the kernel's clock, which is right; its Python compares them with this one.
    from tests.faults.injection import After

    with pathlib.Path(path).open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    true_time, true_ns = time.time, time.time_ns
    true_local, true_utc = time.localtime, time.gmtime

    def ahead():
        return struct.unpack_from("d", offset)[0]

    time.time = lambda: true_time() + ahead()
    time.time_ns = lambda: true_ns() + round(ahead() * 1e9)

    def told(true, seconds=None):
        return true(time.time() if seconds is None else seconds)

    # No plain functions: a class that keeps one, as logging.Formatter does, would make a method of it.
    time.localtime = functools.partial(told, true_local)
    time.gmtime = functools.partial(told, true_utc)
    true = types.SimpleNamespace(time=true_time)
    sys.meta_path.insert(0, After({"grpc._cython.cygrpc": lambda module: setattr(module, "time", true)}))


def next_one():
    """The fault tests' own, which this one stands before on the path."""
    import importlib.util

    path = pathlib.Path(__file__).parents[1] / "injected" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("injected_sitecustomize", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("CLOCK_FILE"):
    install(os.environ["CLOCK_FILE"])
next_one()
