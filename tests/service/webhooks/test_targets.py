"""The administrator's file of receivers: what cannot be used refuses the start, naming target and cure."""

import pytest

from service.settings import SettingError
from service.webhooks.targets import MOST_TARGETS, load_targets

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def write(tmp_path):
    def written(text, mode=0o600):
        path = tmp_path / "webhooks.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return written


def table(name="lab", url="https://lab.example/hook?x=1", secret=SECRET):
    return f'[{name}]\nurl = "{url}"\nsecret = "{secret}"\n'


def test_targets_by_name(write, tmp_path):
    (tmp_path / "key").write_text(SECRET + "\n")
    path = write(table() + f'[other]\nurl = "http://127.0.0.1:9000"\nsecret_file = "{tmp_path / "key"}"\n')
    targets = load_targets(path)
    assert list(targets) == ["lab", "other"]
    assert targets["lab"].url == "https://lab.example/hook?x=1"
    assert targets["lab"].key == targets["other"].key
    assert len(targets["lab"].key) == 24
    assert "MfKQ" not in repr(targets), "the key shows"
    assert load_targets(None) == {}


WRONG = {
    "no TOML": ("[lab", "is no TOML"),
    "a name with capitals": (table("Lab"), "a-z, 0-9"),
    "no table": ('lab = "https://x"', "must hold url"),
    "another key": (table() + "proxy = 1\n", "must hold url"),
    "no url": (f'[lab]\nsecret = "{SECRET}"\n', "url must be"),
    "another scheme": (table(url="file:///etc/passwd"), "url must be"),
    "no host": (table(url="http:///x"), "url must be"),
    "a host of other letters": (table(url="https://연구실.example/hook"), "a host of other letters as xn--"),
    "a host that looks like others": (table(url="https://℀.example/hook"), "url must be ASCII"),
    "a path of other letters": (table(url="https://lab.example/끝"), "its path as %XX"),
    "brackets without an address": (table(url="http://[::1/x"), "url must be http"),
    "a line end": (table(url="http://x/\\r\\nhost: y"), "url must be"),
    "a user": (table(url="http://u:p@x/"), "no user"),
    "a port beyond": (table(url="http://x:70000/"), "port from 1 to 65535"),
    "no secret": ('[lab]\nurl = "http://x"\n', "must begin with whsec_"),
    "a plain secret": (table(secret="changemechangemechangeme"), "must begin with whsec_"),
    "a short secret": (table(secret="whsec_c2hvcnQ="), "24 to 64 random bytes"),
    "a secret of one letter": (table(secret="whsec_" + "AAAA" * 8), "random bytes"),
    "no base64": (table(secret="whsec_!!!"), "no base64"),
    "two secrets": (table() + 'secret_file = "/x"\n', "leave one out"),
    "a secret file that is not there": ('[lab]\nurl = "http://x"\nsecret_file = "/nowhere"\n', "cannot be read"),
    "too many": ("".join(table(f"t{n}") for n in range(MOST_TARGETS + 1)), f"{MOST_TARGETS} is the most"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used(write, case):
    text, says = WRONG[case]
    with pytest.raises(SettingError, match=r"^TRAIND_WEBHOOKS: ") as error:
        load_targets(write(text))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_a_file_that_others_may_read(write):
    with pytest.raises(SettingError, match="chmod 600"):
        load_targets(write(table(), 0o644))


def test_no_file(tmp_path):
    with pytest.raises(SettingError, match="cannot be read"):
        load_targets(tmp_path / "nowhere.toml")
