"""A server with a certificate of its own signer: who signed in once need not say again whom to trust."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from tests import servers
from tests.certificates import Authority
from tests.service.doors.running import Doors


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def doors(authority, tmp_path_factory):
    certificate, key = authority.issue("server")
    with servers.fresh_database("sqlite") as url:
        made = Doors(url, tmp_path_factory.mktemp("data"), tls_cert=certificate, tls_key=key)
        made.app.database.migrate()
        with made:
            yield made


def test_the_authority_is_kept_with_the_token(doors, authority, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
    env |= {"XDG_CONFIG_HOME": str(tmp_path)}

    def run(*args, code=0, stdin="", **more):
        done = subprocess.run(
            [sys.executable, "-m", "traind", *args],
            env=env | more,
            cwd=authority.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    url, token = f"grpcs://127.0.0.1:{doors.grpc_port}", doors.token("kim")
    refused = run("login", "--url", url, "--token-stdin", stdin=token, code=6)
    assert "TRAIND_TLS_CA" in refused.stderr
    assert not (tmp_path / "traind").exists()
    # A relative path holds from any folder afterwards.
    run("login", "--url", url, "--token-stdin", stdin=token, TRAIND_TLS_CA=authority.path.name)
    kept = tomllib.loads((tmp_path / "traind" / "config.toml").read_text())["profiles"]["default"]
    assert kept == {
        "url": url,
        "http": f"https://127.0.0.1:{doors.http_port}",
        "token": token,
        "tls_ca": str(authority.path),
    }
    assert json.loads(run("whoami", "-o", "json").stdout)["user"] == "kim"
    told = json.loads(run("doctor", "--no-train", "-o", "json").stdout)
    assert {check["name"]: check["level"] for check in told["checks"]}["rest"] == "ok"
    # A new token for the same server, and for another one nothing of this one stays.
    run("login", "--token-stdin", stdin=doors.token("kim"))
    run("login", "--url", "grpcs://127.0.0.1:1", "--token-stdin", stdin=token, code=6)
    assert tomllib.loads((tmp_path / "traind" / "config.toml").read_text())["profiles"]["default"]["tls_ca"]
