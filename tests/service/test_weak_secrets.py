"""Passwords in the addresses of servers: which are refused, and that they are never shown."""

import re

import pytest

from service.settings import SettingError, Settings
from service.weak_secrets import LEAST_CHARACTERS, WELL_KNOWN, is_loopback, why_weak

GOOD = "3f0c9a7d51b24e86"


def read(folder, **environ):
    return Settings.from_env({"TRAIND_DATA_DIR": str(folder), **environ})


@pytest.mark.parametrize(
    "url",
    [
        f"redis://traind:{GOOD}@queue:6379/0",
        f"rediss://:{GOOD}@10.0.0.7:6379",
        f"postgresql://traind:{GOOD}@db.lab.example/traind",
        "postgresql://traind:p%40ss%2Fword%3A12@db/traind",
        f"postgresql:///traind?host=db&password={GOOD}",
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/0",
        "redis://localhost",
        "redis+socket:///run/b.sock",
        "postgresql://root@127.0.0.1:5432/traind",
        "postgresql:///traind?host=/run/postgresql",
        "postgresql:///traind",
        "postgresql://traind@db/traind?passfile=/etc/traind/pgpass",
        "postgresql://traind@db/traind?sslcert=/etc/traind/client.pem",
        "sqlite:////var/lib/traind/traind.db",
    ],
)
def test_secrets_that_are_taken(url):
    assert why_weak(url, {}) is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://queue:6379/0", "no password"),
        ("redis://:@queue:6379/0", "no password"),
        ("redis://10.0.0.7", "no password"),
        ("rediss://traind@queue", "no password"),
        ("postgresql://traind@db/traind", "no password"),
        ("postgresql+psycopg://db/traind", "no password"),
        ("postgresql:///traind?host=db", "no password"),
        ("redis://:changeme@queue", "8 characters"),
        ("redis://:abcdefghijk@queue", "11 characters"),
        ("postgresql://traind:mysecretpassword@db/traind", "tries first"),
        ("postgresql://traind:MySecretPassword@db/traind", "tries first"),
        ("postgresql://administrators:administrators@db/traind", "tries first"),
        ("redis://:aaaaaaaaaaaaaaaa@queue", "tries first"),
    ],
)
@pytest.mark.parametrize("variable", ["TRAIND_BROKER_URL", "TRAIND_DATABASE_URL"])
def test_secrets_that_are_refused_by_name_with_the_cure(url, says, variable, tmp_path):
    with pytest.raises(SettingError, match=f"^{variable} has .*{says}.*openssl rand") as caught:
        read(tmp_path, **{variable: url})
    secret = re.search(r":([^:@/]+)@", url)
    assert secret is None or secret[1] not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_postgresql_may_take_its_password_from_elsewhere(tmp_path):
    url = "postgresql://traind@db/traind"
    assert read(tmp_path, TRAIND_DATABASE_URL=url, PGPASSWORD=GOOD).database_url == url
    assert read(tmp_path, TRAIND_DATABASE_URL=url, PGPASSFILE="/etc/traind/pgpass").database_url == url
    with pytest.raises(SettingError, match="8 characters"):
        read(tmp_path, TRAIND_DATABASE_URL=url, PGPASSWORD="postgres")
    with pytest.raises(SettingError, match="no password"):
        read(tmp_path, TRAIND_BROKER_URL="redis://queue", PGPASSWORD=GOOD)


def test_the_list_holds_only_what_the_length_would_let_through():
    assert all(len(word) >= LEAST_CHARACTERS for word in WELL_KNOWN)
    assert all(word == word.lower() for word in WELL_KNOWN)


def test_a_url_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingError, match="TRAIND_BROKER_URL is no URL"):
        read(tmp_path, TRAIND_BROKER_URL="redis://[::1/0")


def test_settings_never_show_passwords(tmp_path):
    settings = read(
        tmp_path,
        TRAIND_BROKER_URL=f"redis://:{GOOD}@queue/0",
        TRAIND_DATABASE_URL=f"postgresql://traind:{GOOD}@db/traind",
    )
    assert GOOD not in repr(settings)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("lab.example", False),
        ("localhost.example", False),
    ],
)
def test_which_addresses_are_open(host, alone, tmp_path):
    assert is_loopback(host) is alone
    assert read(tmp_path, TRAIND_HOST=host).open_address is not alone
