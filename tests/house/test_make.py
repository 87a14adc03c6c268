"""Every target that the Makefile names can be made: its rules are there, and none stands twice."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_its_rules(target, tmp_path):
    """Where nothing has been made yet, so that every rule on the way is needed; nothing is run."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


def test_targets_are_those_that_are_promised():
    assert {"demo", "up", "test", "check", "bench", "proto"} <= set(TARGETS)
