"""Both doors over TLS: whoever trusts the signer gets in, others are told what to do, plain text is not answered."""

import socket
import ssl

import grpc
import httpx
import pytest

import traind
from service.rest.connection import MOST_HEAD_BYTES
from tests import servers
from tests.certificates import Authority
from tests.service.doors.running import Doors
from traind.errors import ConfigError, ConnectionFailed


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def doors(authority, tmp_path_factory):
    certificate, key = authority.issue("server")
    folder = tmp_path_factory.mktemp("data")
    with servers.fresh_database("sqlite") as url:
        made = Doors(url, folder, tls_cert=certificate, tls_key=key)
        made.app.database.migrate()
        with made:
            yield made


@pytest.fixture
def https(authority, doors):
    context = ssl.create_default_context(cafile=str(authority.path))
    with httpx.Client(base_url=f"https://localhost:{doors.http_port}", verify=context, trust_env=False) as client:
        yield client


def client(doors, monkeypatch, ca, host="localhost", tmp_path=None):
    monkeypatch.setenv("TRAIND_TLS_CA", str(ca) if ca else "")
    if tmp_path:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    url = f"grpcs://{host}:{doors.grpc_port}"
    return traind.Client(url, token=doors.token("kim"), connect_timeout=3, max_retries=0)


def test_rest_speaks_https(doors, https):
    answer = https.get("/v1/serverInfo", headers={"authorization": f"Bearer {doors.token('kim')}"})
    assert (answer.status_code, answer.json()["user"]) == (200, "kim")
    assert https.get("/readyz").status_code == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("door", ["http_port", "grpc_port"])
def test_neither_door_speaks_old_tls(doors, authority, door):
    old = ssl.create_default_context(cafile=str(authority.path))
    # Else the client itself would refuse.
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("localhost", getattr(doors, door))) as line,
        pytest.raises(ssl.SSLError, match=r"ALERT_PROTOCOL_VERSION|UNEXPECTED_EOF"),
    ):
        old.wrap_socket(line, server_hostname="localhost")


def test_a_large_body_goes_up_over_https(doors, https):
    data = b"a,b\n" + b"1.25,2.5\n" * 300_000
    headers = {"authorization": f"Bearer {doors.token('kim')}", "content-type": "text/csv"}
    answer = https.post("/v1/datasets:upload?dataset_id=big", content=data, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["rowCount"]) == (200, "300000")


def test_a_head_that_is_too_large_is_refused_over_https_too(https):
    answer = https.get("/readyz", headers={"x-much": "a" * (MOST_HEAD_BYTES + 1)})
    assert answer.status_code == 431
    assert answer.json()["error"]["details"][0]["reason"] == "HEADERS_TOO_LARGE"


def test_plain_http_gets_no_answer_on_the_tls_port(doors):
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"http://localhost:{doors.http_port}/readyz")


def test_the_client_calls_over_grpcs(doors, monkeypatch, authority):
    with client(doors, monkeypatch, authority.path) as made:
        assert made.server_info().user == "kim"


def test_a_profile_names_the_authority_too(doors, monkeypatch, authority, tmp_path):
    folder = tmp_path / "traind"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'[profiles.default]\nurl = "grpcs://localhost:{doors.grpc_port}"\ntls_ca = "{authority.path}"\n'
        f'token = "{doors.token("kim")}"\n'
    )
    (folder / "config.toml").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("TRAIND_URL", "TRAIND_TOKEN", "TRAIND_TOKEN_FILE", "TRAIND_PROFILE", "TRAIND_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    with traind.Client() as made:
        assert made.server_info().user == "kim"


def test_a_certificate_that_is_not_trusted_is_told_with_its_cure(doors, monkeypatch):
    with client(doors, monkeypatch, None) as made, pytest.raises(ConnectionFailed, match="not trusted") as caught:
        made.server_info()
    assert "TRAIND_TLS_CA" in str(caught.value.fix)


def test_a_certificate_of_another_name_is_not_taken(authority, monkeypatch, tmp_path):
    certificate, key = authority.issue("elsewhere", hosts=["lab.example"])
    with servers.fresh_database("sqlite") as url:
        made = Doors(url, tmp_path, tls_cert=certificate, tls_key=key)
        made.app.database.migrate()
        with (
            made,
            client(made, monkeypatch, authority.path, host="127.0.0.1") as other,
            pytest.raises(ConnectionFailed, match="another name"),
        ):
            other.server_info()


def test_grpc_without_tls_gets_no_answer_on_the_tls_port(doors, monkeypatch):
    made = traind.Client(f"grpc://127.0.0.1:{doors.grpc_port}", token="trd_x_y", connect_timeout=2, max_retries=0)
    with made, pytest.raises(ConnectionFailed):
        made.server_info()


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("hello", "no certificate")])
def test_an_authority_that_is_none_is_refused_before_any_call(doors, monkeypatch, tmp_path, content, says):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with client(doors, monkeypatch, path) as made, pytest.raises(ConfigError, match=f"TRAIND_TLS_CA names .*{says}"):
        made.server_info()


def test_any_grpc_library_gets_in_with_the_same_authority(doors, authority):
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
    with grpc.secure_channel(f"localhost:{doors.grpc_port}", credentials) as channel:
        grpc.channel_ready_future(channel).result(10)
