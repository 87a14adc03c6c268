"""Two tests at a time, but for those that must be alone."""

import os
import re
import subprocess
import sys

import pytest

from tests.faults.lab import ROOT

FILES = {
    "test_first.py": "import pytest\n@pytest.mark.parametrize('n', range(4))\n",
    "test_other.py": "import pytest\n@pytest.mark.parametrize('n', range(4))\n",
    "test_quiet.py": "import pytest\n@pytest.mark.alone\n@pytest.mark.parametrize('n', range(4))\n",
    "test_third.py": "import pytest\n@pytest.mark.parametrize('n', range(4))\n",
}
BODY = """
def test_it(n):
    import os, pathlib, time
    began = time.monotonic()
    time.sleep(0.3)
    told = f"{pathlib.Path(__file__).stem} {began} {time.monotonic()}\\n"
    with open(os.environ["TOLD"], "a") as file:
        file.write(told)
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_nothing_runs_beside_one_that_is_alone(tmp_path, processes):
    ran = run(tmp_path, processes)
    assert len(ran) == 16
    beside = [(one[0], other[0]) for one in ran for other in ran if one is not other and overlap(one, other)]
    assert not [pair for pair in beside if "test_quiet" in pair]
    assert bool(beside) == (processes > 0), "the others run two at a time"


def run(folder, processes):
    """(file, begin, end) of each test of FILES, which are run as this project's own are."""
    (folder / "conftest.py").write_text("from tests.alone import begin as pytest_configure\n")
    for name, head in FILES.items():
        (folder / name).write_text(head + BODY)
    program = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(folder),
        str(folder),
    ]
    # No test of this run is one of the run that this test is in.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*program, "-n", str(processes), "--dist", "loadfile", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=outer | {"TOLD": str(folder / "told")},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = re.findall(r"(\w+) ([\d.]+) ([\d.]+)", (folder / "told").read_text())
    return [(name, float(began), float(ended)) for name, began, ended in lines]


def overlap(one, other):
    return one[1] < other[2] and other[1] < one[2]
