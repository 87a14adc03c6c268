"""Environments of stock clients, made by `make test`; their packages could not stand beside the server's own."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-clients"


def python(name):
    """The interpreter of an environment; without it a test is skipped at a desk and fails in CI."""
    return _there(FOLDER / name / "bin" / "python")


def node_service():
    """The folder of the Node.js example with its packages and the code generated from the contract."""
    return _there(FOLDER / "node" / "generated").parent


def _there(path):
    if not path.exists():
        text = f"{path.relative_to(ROOT)} is not there: run make .venv-clients/ready"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return path


def run(*argv, seconds=120, **more):
    """A program to its end; what it wrote to stdout."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds, **more)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout
