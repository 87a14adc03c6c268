"""The client's profile: written for its owner only, and never over that of another server."""

import stat
import tomllib

from service.machine.profile import profile_path, write_profile

HERE = {"grpc_url": "grpc://127.0.0.1:8081", "http_url": "http://127.0.0.1:8080"}


def test_the_first_profile_is_private(tmp_path):
    path = tmp_path / "traind" / "config.toml"
    said = write_profile(path, **HERE, token="trd_one")
    assert said == f"kept as the default profile in {path}"
    default = {"url": HERE["grpc_url"], "http": HERE["http_url"], "token": "trd_one"}
    assert tomllib.loads(path.read_text()) == {"profiles": {"default": default}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_profile_of_the_same_server_is_replaced_and_others_stay(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[profiles.lab]\nurl = "grpc://lab:8081"\n')
    assert write_profile(path, **HERE, token="trd_one").startswith("kept")
    assert write_profile(path, **HERE, token="trd_two").startswith("replaced")
    profiles = tomllib.loads(path.read_text())["profiles"]
    assert profiles["default"]["token"] == "trd_two"
    assert profiles["lab"] == {"url": "grpc://lab:8081"}
    assert path.read_text().startswith("# mine\n")


def test_the_profile_of_another_server_stays_and_it_is_said(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[profiles.default]\nurl = "grpc://lab:8081"\ntoken = "trd_lab"\n')
    before = path.read_text()
    assert "is of grpc://lab:8081 and stays" in write_profile(path, **HERE, token="trd_one")
    assert path.read_text() == before


def test_a_file_that_is_no_toml_stays(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("what is this")
    assert "stays as it is" in write_profile(path, **HERE, token="trd_one")
    assert path.read_text() == "what is this"


def test_the_path_follows_the_desktop_standard(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert profile_path() == tmp_path / "traind" / "config.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profile_path() == tmp_path / ".config" / "traind" / "config.toml"
