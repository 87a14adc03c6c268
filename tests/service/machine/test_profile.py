"""The client's profile: written for its owner only, and never over that of another server."""

import stat
import subprocess
import sys
import tomllib

import pytest

from service.machine.profile import follow_server, profile_path, write_profile

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


def test_the_profile_whose_token_opens_the_server_follows_it_to_other_ports(tmp_path):
    path = tmp_path / "config.toml"
    ours = '# mine\n[profiles.default]\nurl = "grpc://127.0.0.1:9"\ntoken = "trd_ours"\ntls_ca = "/ca.pem"  # kept\n'
    path.write_text(ours)
    asked = []

    def opens(token):
        asked.append(token)
        return token == "trd_ours"

    said = follow_server(path, **HERE, opens=opens)
    assert said == f"the default profile in {path} was of grpc://127.0.0.1:9, and names {HERE['grpc_url']} now"
    default = {"url": HERE["grpc_url"], "http": HERE["http_url"], "token": "trd_ours", "tls_ca": "/ca.pem"}
    assert tomllib.loads(path.read_text()) == {"profiles": {"default": default}}
    assert "# mine" in path.read_text()
    assert "# kept" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert follow_server(path, **HERE, opens=opens) == "", "it is there already"
    assert asked == ["trd_ours"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[profiles.lab]\ntoken = 'trd_ours'\n",
        "[profiles.default]\nurl = 'grpc://127.0.0.1:1'\ntoken = 'x'\n",
        # The name in its certificate, for instance.
        "[profiles.default]\nurl = 'grpcs://lab.example.org:1'\ntoken = 'trd_ours'\n",
    ],
)
def test_another_profile_does_not_follow(tmp_path, text):
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text)
    assert follow_server(path, **HERE, opens=lambda token: token == "trd_ours") == ""
    assert (path.read_text() if path.exists() else None) == text


def test_a_profile_in_a_form_that_cannot_be_changed_stays(tmp_path):
    path = tmp_path / "config.toml"
    inline = f'profiles = {{default = {{url = "{HERE["grpc_url"]}"}}}}\n'
    path.write_text(inline)
    assert "stays as it is" in write_profile(path, **HERE, token="trd_one")
    assert path.read_text() == inline


def test_a_start_of_the_server_and_logins_at_once_lose_nothing(tmp_path):
    """A login sets keys of other profiles again and again while servers write the default one."""
    login = (
        "import sys; from traind.profile_files import write_profile\n"
        "for i in range(20): write_profile(f'{sys.argv[2]}-{i}', {'token': 'x'}, {'XDG_CONFIG_HOME': sys.argv[1]})"
    )
    start = (
        "import pathlib, sys; from service.machine.profile import write_profile\n"
        "path = pathlib.Path(sys.argv[1]) / 'traind' / 'config.toml'\n"
        f"for i in range(20): write_profile(path, **{HERE}, token=f'trd_{{i}}')"
    )
    argvs = [[sys.executable, "-c", program, str(tmp_path), str(n)] for n in range(2) for program in (login, start)]
    writers = [subprocess.Popen(argv) for argv in argvs]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    profiles = tomllib.loads((tmp_path / "traind" / "config.toml").read_text())["profiles"]
    assert set(profiles) == {"default"} | {f"{n}-{i}" for n in range(2) for i in range(20)}
    assert profiles["default"]["token"] == "trd_19"


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
