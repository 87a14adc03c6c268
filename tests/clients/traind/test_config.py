import os

import pytest

import traind
from traind.config import load_config, parse_url, shown_token
from traind.errors import ConfigError

TOKEN = "trd_ab12cd34_" + "x" * 43
OTHER = "trd_zz99zz99_" + "y" * 43


@pytest.fixture
def home(tmp_path):
    """An environment with a profile file of two profiles."""
    folder = tmp_path / "traind"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(
        f'[profiles.default]\nurl = "grpc://lab:9000"\ntoken = "{TOKEN}"\n'
        f'[profiles.far]\nurl = "grpcs://far.example.org"\ntoken = "{OTHER}"\n'
    )
    file.chmod(0o600)
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def token_file(tmp_path, mode=0o600, text=OTHER + "\n"):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_profile_is_last(home):
    config = load_config(None, None, None, home)
    assert config.address.url == "grpc://lab:9000"
    assert config.token == TOKEN
    assert "profile 'default'" in config.address_from


def test_environment_stands_over_the_profile(home, tmp_path):
    home |= {"TRAIND_URL": "grpc://env:1", "TRAIND_TOKEN_FILE": token_file(tmp_path)}
    config = load_config(None, None, None, home)
    assert (config.address.url, config.token, config.address_from) == ("grpc://env:1", OTHER, "TRAIND_URL")
    config = load_config(None, None, None, home | {"TRAIND_TOKEN": TOKEN})
    assert (config.token, config.token_from) == (TOKEN, "TRAIND_TOKEN")


def test_arguments_stand_over_everything(home):
    home |= {"TRAIND_URL": "grpc://env:1", "TRAIND_TOKEN": TOKEN}
    config = load_config("grpc://arg:2", OTHER, None, home)
    assert (config.address.url, config.token) == ("grpc://arg:2", OTHER)


def test_profile_by_name_and_by_variable(home):
    assert load_config(None, None, "far", home).address.url == "grpcs://far.example.org:443"
    assert load_config(None, None, None, home | {"TRAIND_PROFILE": "far"}).token == OTHER


def test_token_of_the_profile_goes_to_its_own_server_only(home):
    assert load_config("grpc://elsewhere:9000", None, None, home).token is None
    assert load_config(None, None, None, home | {"TRAIND_URL": "grpc://elsewhere"}).token is None
    assert load_config("grpc://lab:9000", None, None, home).token == TOKEN
    assert load_config("grpc://elsewhere", None, "default", home).token == TOKEN


def test_without_anything_the_local_server_is_meant(tmp_path):
    config = load_config(None, None, None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert (config.address.url, config.token) == ("grpc://127.0.0.1:8081", None)


def test_unknown_profile_names_the_known_ones(home):
    with pytest.raises(ConfigError, match=r"'lab'.*default, far"):
        load_config(None, None, "lab", home)


def test_a_variable_may_name_a_profile_that_is_yet_to_be_made_where_both_arguments_are_given(home):
    home |= {"TRAIND_PROFILE": "lab"}
    config = load_config("grpc://arg:2", OTHER, None, home)
    assert (config.address.url, config.token) == ("grpc://arg:2", OTHER)
    for url, token, profile in ((None, OTHER, None), ("grpc://arg:2", None, None), ("grpc://arg:2", OTHER, "lab")):
        with pytest.raises(ConfigError) as refused:
            load_config(url, token, profile, home)
        assert refused.value.fix == "make it with: traind login --profile lab"


@pytest.mark.parametrize("text", ["", "profiles = 3\n", "[other]\nx = 1\n", "[profiles]\ndefault = 3\n"])
def test_a_file_without_profiles_is_as_good_as_none(home, tmp_path, text):
    (tmp_path / "traind" / "config.toml").write_text(text)
    assert load_config(None, None, None, home).token is None


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_files_that_others_can_read_are_refused_with_the_cure(home, tmp_path, mode):
    file = token_file(tmp_path, mode)
    with pytest.raises(ConfigError) as refused:
        load_config(None, None, None, home | {"TRAIND_TOKEN_FILE": file})
    assert refused.value.fix == f"chmod 600 {file}"
    profile = tmp_path / "traind" / "config.toml"
    profile.chmod(mode)
    with pytest.raises(ConfigError) as refused:
        load_config(None, None, None, home)
    assert refused.value.fix == f"chmod 600 {profile}"


def test_broken_files_are_named(home, tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(None, None, None, home | {"TRAIND_TOKEN_FILE": str(tmp_path / "none")})
    (tmp_path / "traind" / "config.toml").write_text("[profiles")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        load_config(None, None, None, home)


def test_a_token_that_cannot_be_a_header_is_refused_unseen(tmp_path):
    with pytest.raises(ConfigError) as refused:
        load_config(None, "trd_secret\nsecret", None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("http://lab:8080", "grpc://lab:8081"),
        ("https://lab", "grpcs://lab:8081"),
        ("lab:8081", "grpc://lab:8081"),
        ("lab", "grpc://lab:8081"),
        ("grpc://lab:99999", "grpc://HOST:8081"),
        ("grpc://", "grpc://HOST:8081"),
        ("grpc://lab:1/v1", "grpc://lab:1"),
        ("grpc://me:trd_x@lab:1", "grpc://lab:1"),
    ],
)
def test_wrong_addresses_are_answered_with_the_right_one(url, right):
    with pytest.raises(ConfigError) as refused:
        traind.Client(url)
    assert right in refused.value.fix


@pytest.mark.parametrize(
    ("url", "target", "tls", "private"),
    [
        ("grpc://127.0.0.1:8081", "127.0.0.1:8081", False, True),
        ("grpc://[::1]:8081", "[::1]:8081", False, True),
        ("grpc://localhost", "localhost:8081", False, True),
        ("grpc://api", "api:8081", False, True),
        ("grpc://10.1.2.3", "10.1.2.3:8081", False, True),
        ("grpcs://traind.example.org", "traind.example.org:443", True, False),
        ("grpc://8.8.8.8:1", "8.8.8.8:1", False, False),
    ],
)
def test_addresses(url, target, tls, private):
    address = parse_url(url, "test")
    assert (address.target, address.tls, address.private) == (target, tls, private)


def test_tokens_never_show():
    assert shown_token(TOKEN) == "trd_ab12cd34_…"
    assert shown_token("something else") == "…"
    client = traind.Client("grpc://127.0.0.1:1", token=TOKEN, connect_timeout=0.2, max_retries=0)
    assert "xxx" not in repr(client)
    with pytest.raises(traind.ConnectionFailed) as failed:
        client.jobs.get("x")
    assert "trd_ab12cd34_…" in repr(client)
    assert "xxx" not in repr(client) + str(failed.value) + repr(client._made.config)
