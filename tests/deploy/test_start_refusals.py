"""A server that must not start: exit code 2 and one line that names the setting and the cure."""

import contextlib
import subprocess
import sys

import pytest

from service import accounts
from service.store.database import Database
from tests.certificates import Authority
from tests.deploy.processes import ROOT, Program, environment


def start(folder, *words, **more):
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@contextlib.contextmanager
def kim(folder):
    """The database of a data folder with one user in it, and the user's token."""
    database = Database(f"sqlite:///{folder / 'traind.db'}")
    database.migrate()
    accounts.create_user(database, "kim")
    yield database, accounts.create_token(database, "kim", ["read"])
    database.dispose()


def assert_refused(done, *says):
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert lines[0].startswith("error: ")
    for word in says:
        assert word in lines[0]


def test_a_file_of_webhooks_that_others_may_read(tmp_path):
    path = tmp_path / "webhooks.toml"
    path.write_text("")
    path.chmod(0o644)
    assert_refused(start(tmp_path, "service", "api", TRAIND_WEBHOOKS=str(path)), "TRAIND_WEBHOOKS", "chmod 600")


OPEN = {"TRAIND_HOST": "0.0.0.0"}


def test_an_open_address_without_a_token(tmp_path):
    assert_refused(start(tmp_path, "service", "api", **OPEN), "TRAIND_HOST is 0.0.0.0", "service user add")


@pytest.mark.parametrize("program", ["api", "up"])
def test_an_open_address_whose_tokens_are_all_revoked(tmp_path, program):
    with kim(tmp_path) as (database, token):
        assert accounts.revoke_token(database, token[4:12])
    done = start(tmp_path, "service", program, **OPEN)
    assert done.returncode == 2
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: TRAIND_HOST is 0.0.0.0, which others can reach, and no")
    )


# Every way of saying nothing or too little is in tests/service/test_weak_secrets.py; here each program refuses one.
@pytest.mark.parametrize(
    ("program", "variable", "url"),
    [
        (("service", "api"), "TRAIND_BROKER_URL", "redis://queue.lab.example:6379/0"),
        (("service", "up"), "TRAIND_DATABASE_URL", "postgresql://traind:mysecretpassword@db.lab.example/traind"),
        (("service", "worker"), "TRAIND_DATABASE_URL", "postgresql://traind@db.lab.example/traind"),
        (("worker",), "TRAIND_BROKER_URL", "redis://:changeme@queue.lab.example:6379/0"),
    ],
)
def test_a_remote_server_behind_no_secret_or_one_that_everybody_knows(tmp_path, program, variable, url):
    done = start(tmp_path, *program, **{variable: url})
    assert_refused(done, variable, "password", "openssl rand")
    assert "changeme" not in done.stderr
    assert "mysecret" not in done.stderr


def test_a_certificate_that_cannot_be_used(tmp_path):
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("server")
    _, other = authority.issue("other")
    files = {"TRAIND_TLS_CERT": str(certificate), "TRAIND_TLS_KEY": str(other)}
    assert_refused(start(tmp_path / "data", "service", "api", **files), "TRAIND_TLS_KEY", "other.key")
    other.unlink()
    assert_refused(start(tmp_path / "data", "service", "api", **files), "TRAIND_TLS_KEY", "cannot be read")


def test_an_object_store_of_an_unknown_kind(tmp_path):
    assert_refused(start(tmp_path, "service", "api", TRAIND_OBJECT_STORE="gs://bucket"), "TRAIND_OBJECT_STORE", "s3://")


@pytest.mark.parametrize(("more", "warned"), [({}, True), ({"TRAIND_INSECURE": "1"}, False)])
def test_an_open_address_with_a_token_starts_and_warns_once_of_missing_tls(tmp_path, more, warned):
    with kim(tmp_path):
        pass
    with Program(tmp_path, "service", "api", **OPEN, **more) as program:
        program.wait_address()
        told = [line for line in program.output().splitlines() if "TRAIND_TLS_CERT" in line]
        assert len(told) == warned
