"""What `pip install .` brings to a clean environment, what it costs there, and what type checkers see of it."""

import json
import pathlib
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MOST_DISTRIBUTIONS = 6
MOST_MB = 25
# Every environment has it from the start.
OWN = {"pip", "setuptools"}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with nothing but the client."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = folder / "constraints.txt"
    constraints.write_text((ROOT / "constraints.txt").read_text())
    # From a copy: a build in the checkout would leave its folders there.
    source = folder / "checkout"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["cp", "-r", ROOT / "clients", source], check=True, timeout=60)
    done = subprocess.run([*pip, "-c", constraints, source], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return python


def run(python, *args, **options):
    done = subprocess.run(
        [python, "-I", *args], check=False, capture_output=True, text=True, timeout=120, cwd="/", **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(400)
def test_few_distributions_and_megabytes(python):
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"))
    names = {one["name"].lower() for one in listed} - OWN
    assert "traind" in names
    assert len(names) <= MOST_DISTRIBUTIONS, names
    probe = """
        import importlib.metadata, sys
        total = 0
        for one in importlib.metadata.distributions():
            if one.metadata["Name"].lower() not in ("pip", "setuptools"):
                total += sum(f.locate().stat().st_size for f in one.files if f.suffix != ".pyc" and f.locate().exists())
        print(total)
    """
    assert int(run(python, "-c", textwrap.dedent(probe))) <= MOST_MB * 1e6


def test_up_says_that_the_server_is_not_installed_beside_its_code_too(python):
    done = subprocess.run(
        [python.parent / "traind", "up"], check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env={}
    )
    assert done.returncode == 1
    assert "the server is not installed here" in done.stderr
    assert "make up" in done.stderr
    assert "Traceback" not in done.stderr


def cpu_seconds(python, code):
    """The least of five runs, after one that compiles."""
    probe = f"import time; before = time.process_time(); {code}; print(time.process_time() - before)"
    return min(float(run(python, "-c", probe).split()[-1]) for _ in range(6))


@pytest.mark.alone
def test_import_is_cheap(python):
    assert cpu_seconds(python, "import traind") <= 0.030
    loaded = run(python, "-c", "import sys, traind; traind.Client(); print(*sys.modules)").split()
    assert not {"grpc", "numpy", "asyncio"} & set(loaded)


@pytest.mark.alone
def test_help_is_quick(python):
    """The whole process, from exec to exit, in CPU seconds."""
    probe = f"""
        import os, resource, subprocess
        subprocess.run([{str(python.parent / "traind")!r}, "--help"], check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(used.ru_utime + used.ru_stime)
    """
    assert min(float(run(python, "-c", textwrap.dedent(probe))) for _ in range(6)) <= 0.120


def test_types_are_those_a_user_sees(python):
    program = ROOT / "tests" / "clients" / "typed_use.py"
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null"]
    done = subprocess.run(
        [*mypy, "--python-executable", python, program],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout
    wrong = python.parent / "wrong.py"
    wrong.write_text(
        "import traind\n\nname: int = traind.Client().jobs.get('x').name\ntraind.Client().jobs.create(modle='m')\n"
    )
    done = subprocess.run(
        [*mypy, "--python-executable", python, wrong], check=False, capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert 'expression has type "str", variable has type "int"' in done.stdout
    assert 'Unexpected keyword argument "modle"' in done.stdout
