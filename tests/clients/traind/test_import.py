"""Importing the client costs next to nothing and drags nothing in."""

import subprocess
import sys

import pytest

import traind

PROBE = """
import sys, time
before = time.process_time()
import traind
spent = time.process_time() - before
print(spent)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
print(len(sys.modules))
"""


def run(*args: str) -> str:
    done = subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.mark.alone
def test_import_is_lazy_and_quick():
    spent, modules, count = min((run("-c", PROBE).splitlines() for _ in range(5)), key=lambda lines: float(lines[0]))
    assert not {"grpc", "numpy", "asyncio", "click", "google", "torch", "service"} & set(modules.split())
    assert int(count) <= 90
    assert float(spent) <= 0.030


def test_making_a_client_loads_no_grpc_and_reads_nothing():
    probe = (
        "import os, sys, traind; os.environ['XDG_CONFIG_HOME'] = '/proc/self/mem/nowhere';"
        "os.environ['TRAIND_TOKEN_FILE'] = '/nowhere'; traind.Client();"
        "print('grpc' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run("-c", probe).split() == ["False", "False"]


def test_help_loads_no_command():
    probe = (
        "import sys; from traind.cli import run_command; code = run_command(['--help']);"
        "print(code, [m for m in sys.modules if m.startswith('traind.') or m in ('grpc', 'numpy')])"
    )
    last = run("-c", probe).splitlines()[-1]
    assert last.startswith("0 ")
    loaded = last.partition(" ")[2]
    assert "grpc" not in loaded
    assert "traind.cli.run" not in loaded
    assert "traind.client" not in loaded


def test_every_exported_name_is_there():
    for name in traind.__all__:
        assert getattr(traind, name) is not None
    assert set(dir(traind)) == set(traind.__all__)


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(traind, "Clinet")
