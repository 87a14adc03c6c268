"""The import rule holds, and would be red if a forbidden import were added."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# contract id -> file that gets a line, and the line
FORBIDDEN = {
    "packages": ("service/errors.py", "import worker.tasks"),
    "service": ("service/store/jobs.py", "import service.jobs"),
    "contract-only": ("service/jobs.py", "import traind.client"),
    "worker-and-doors": ("worker/run.py", "import service.jobs"),
    "thin-client": ("clients/traind/client.py", "import numpy"),
    "sqlalchemy": ("service/jobs.py", "import sqlalchemy"),
    "torch": ("service/datasets.py", "import torch"),
    "no-torch-beside-celery": ("worker/supervisor.py", "import worker.run"),
    "grpc": ("service/rest/routes.py", "import grpc"),
    "celery": ("service/jobs.py", "import celery"),
    "opentelemetry": ("service/jobs.py", "import opentelemetry"),
}


def lint(root: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{root}:{root / 'clients'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("house")
    for folder in ("service", "worker", "clients"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


def test_rule_holds(copy: pathlib.Path):
    outcome = lint(copy)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_forbidden_import_is_found(copy: pathlib.Path, contract: str):
    name, line = FORBIDDEN[contract]
    path = copy / name
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    try:
        outcome = lint(copy)
    finally:
        path.write_text(before, encoding="utf-8")
    assert outcome.returncode == 1, outcome.stdout
    assert f"{line.removeprefix('import ')}" in outcome.stdout
    assert "BROKEN" in outcome.stdout
