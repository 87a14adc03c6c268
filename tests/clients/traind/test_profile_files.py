import os
import subprocess
import sys
import tomllib

import pytest

from traind.config import load_config
from traind.errors import ConfigError
from traind.profile_files import change_profile, write_profile
from traind.profile_text import toml_string

TOKEN = "trd_ab12cd34_" + "x" * 43
KEPT = f"""# mine
theme = "dark"

[profiles.default]  # the lab
url = "grpc://lab:9000" # by the window
token = "{TOKEN}"
colour = 3

[profiles.default.extra]
token = "not ours"

[profiles."far away"]
url = "grpcs://far.example.org"
"""


def read(home):
    return tomllib.loads((home / "traind" / "config.toml").read_text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        'a "quoted" \\ word',
        "한글 옥탑",
        "tab\tnew\nline\rbell\x07del\x7f",
        "😀 \u2028 \x85",
        "'''\"\"\"",
        "#[x]=",
    ],
)
def test_any_text_comes_back(text):
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}
    changed = change_profile(KEPT, text or "n", {"token": text}, "test")
    assert tomllib.loads(changed)["profiles"][text or "n"] == {"token": text}


def test_only_the_lines_of_the_changed_keys_change():
    changed = change_profile(KEPT, "default", {"url": "grpc://new:1", "token": None}, "test")
    assert changed == KEPT.replace('url = "grpc://lab:9000" # by the window', 'url = "grpc://new:1"').replace(
        f'token = "{TOKEN}"\n', ""
    )
    found = tomllib.loads(change_profile(KEPT, "far away", {"token": "t"}, "test"))
    assert found["profiles"]["far away"] == {"url": "grpcs://far.example.org", "token": "t"}
    assert found["theme"] == "dark"


def test_a_profile_is_added_to_a_file_without_a_last_line_end():
    changed = change_profile("[profiles.a]\nurl = 'grpc://a:1'", "b", {"url": "grpc://b:1"}, "test")
    assert tomllib.loads(changed) == {"profiles": {"a": {"url": "grpc://a:1"}, "b": {"url": "grpc://b:1"}}}


@pytest.mark.parametrize(
    "text",
    [
        'profiles = {default = {url = "grpc://a:1"}}\n',
        '[profiles]\ndefault.url = "grpc://a:1"\n',
        '[profiles.default]\nurl = """\n[profiles.x]\n"""\n',
    ],
)
def test_a_form_that_cannot_be_changed_is_refused_and_stays(tmp_path, text):
    file = tmp_path / "traind" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        write_profile("default", {"url": "grpc://b:1", "token": TOKEN}, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert "[profiles.default]" in refused.value.fix
    assert file.read_text() == text


def test_broken_and_readable_files_are_refused(tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    file = write_profile("a", {"url": "grpc://a:1"}, home)
    file.write_text("[profiles")
    with pytest.raises(ConfigError, match="cannot be read"):
        write_profile("a", {"url": "grpc://a:1"}, home)
    file.write_text("profiles = 3\n")
    with pytest.raises(ConfigError, match="other things than profiles"):
        write_profile("a", {"url": "grpc://a:1"}, home)
    file.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        write_profile("a", {"url": "grpc://a:1"}, home)
    assert refused.value.fix == f"chmod 600 {file}"


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX")
def test_file_and_folder_are_its_owners_alone(tmp_path):
    (tmp_path / "traind").mkdir(mode=0o755)
    old = os.umask(0)
    try:
        file = write_profile("default", {"url": "grpc://a:1", "token": TOKEN}, {"XDG_CONFIG_HOME": str(tmp_path)})
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in file.parent.iterdir()} == {"config.toml", "config.toml.lock"}
    assert load_config(None, None, None, {"XDG_CONFIG_HOME": str(tmp_path)}).token == TOKEN


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "traind").mkdir()
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "traind" / "config.toml").symlink_to(tmp_path / "dotfiles" / "traind.toml")
    write_profile("default", {"url": "grpc://a:1"}, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert (tmp_path / "traind" / "config.toml").is_symlink()
    assert read(tmp_path) == {"profiles": {"default": {"url": "grpc://a:1"}}}


def test_writers_at_once_lose_nothing(tmp_path):
    program = (
        "import sys; from traind.profile_files import write_profile\n"
        "for i in range(20): write_profile(f'{sys.argv[2]}-{i}', {'token': 'x'}, {'XDG_CONFIG_HOME': sys.argv[1]})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert set(read(tmp_path)["profiles"]) == {f"{n}-{i}" for n in range(4) for i in range(20)}
