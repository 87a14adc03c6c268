"""The systemd units: ones that systemd takes, for the roles of the compose file, with none of root's rights."""

import configparser
import shutil
import subprocess

import pytest

from tests.deploy.processes import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def read(unit):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    return parser


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_it(unit, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    copy = tmp_path / unit.name
    # The program it starts, and its user, are those of an installed traind.
    text = (
        unit.read_text().replace("/opt/traind/.venv/bin/python", "/bin/sh").replace("file:/opt/traind", f"file:{ROOT}")
    )
    copy.write_text(text)
    checked = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert unit.name not in checked.stderr, checked.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_runs_its_role_as_a_user_without_rights(unit):
    service = read(unit)["Service"]
    role = unit.stem.removeprefix("traind-").removesuffix("@")
    assert service["ExecStart"] == f"/opt/traind/.venv/bin/python -m service {role}"
    assert service["User"] == "traind"
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    # Exit code 2 is a setting that cannot be used: starting again would not mend it.
    assert service["RestartPreventExitStatus"] == "2"


def test_there_is_one_for_each_role():
    assert [unit.stem for unit in UNITS] == ["traind-api", "traind-predict@", "traind-worker"]
