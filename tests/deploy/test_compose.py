"""The compose file and the image: of the specification's form, without a secret, closed but for the server."""

import json
import pathlib
import subprocess
import sys

import pytest

from service.settings import Settings
from tests.deploy import compose
from tests.deploy.processes import ROOT

GIVEN = {"TRAIND_DATABASE_PASSWORD": "d" * 10 + "ab12cd", "TRAIND_BROKER_PASSWORD": "b" * 10 + "ab12cd"}
OURS = {"api", "worker-cpu", "worker-gpu"}


@pytest.fixture(scope="module")
def services():
    return compose.load(GIVEN)["services"]


def test_it_is_of_the_form_that_the_compose_specification_gives():
    checker = pathlib.Path(sys.executable).with_name("check-jsonschema")
    argv = [sys.executable, checker] if checker.exists() else [sys.executable, "-m", "check_jsonschema"]
    checked = subprocess.run(
        [*argv, "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("missing", sorted(GIVEN))
@pytest.mark.parametrize("value", [None, ""])
def test_without_a_password_it_refuses_to_start(missing, value):
    rest = {name: given for name, given in GIVEN.items() if name != missing}
    with pytest.raises(compose.Missing, match=f"{missing}: set it .*openssl rand"):
        compose.load(rest if value is None else rest | {missing: value})


def test_no_password_stands_in_any_file(services):
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy" / "env.example").read_text().splitlines()
        if line[:1] not in "# "
    )
    assert example == dict.fromkeys(GIVEN, "")
    with pytest.raises(compose.Missing):
        compose.load(example)
    assert not (ROOT / ".env").exists() or "/.env" in (ROOT / ".gitignore").read_text()


def test_only_the_server_is_published_and_by_default_to_this_machine(services):
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    assert services["api"]["ports"] == ["127.0.0.1:8080:8080", "127.0.0.1:8081:8081"]
    opened = compose.load(GIVEN | {"TRAIND_PUBLISH": "0.0.0.0"})["services"]
    assert opened["api"]["ports"] == ["0.0.0.0:8080:8080", "0.0.0.0:8081:8081"]


def test_database_and_broker_are_on_a_network_of_their_own(services):
    assert compose.load(GIVEN)["networks"]["inside"] == {"internal": True}
    assert services["postgres"]["networks"] == services["redis"]["networks"] == ["inside"]


def test_every_service_is_looked_after(services):
    assert set(services) == OURS | {"postgres", "redis"}
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped"
    for name in OURS:
        assert services[name]["depends_on"] == {
            other: {"condition": "service_healthy"} for other in ("postgres", "redis")
        }
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in services["worker-cpu"]


def test_every_service_keeps_its_data_in_a_volume_that_there_is(services):
    known = set(compose.load(GIVEN)["volumes"])
    for name, service in services.items():
        named = [volume.split(":")[0] for volume in service["volumes"]]
        assert all(volume in known or volume.startswith("./deploy/") for volume in named), name
    assert "data" in {volume.split(":")[0] for volume in services["worker-gpu"]["volumes"]}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_settings_of_every_role_are_ones_that_traind_takes(services, name):
    settings = Settings.from_env({"TRAIND_DATA_DIR": "/data"} | services[name]["environment"])
    assert settings.database_url.endswith("@postgres:5432/traind")
    assert settings.broker_url.endswith("@redis:6379/0")
    assert settings.devices == (("cuda",) if name == "worker-gpu" else ("cpu",))
    assert settings.open_address is (name == "api")


def test_the_image_runs_as_a_user_of_its_own_and_takes_the_role_from_the_command():
    lines = [line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1].isupper()]
    last = dict(lines)
    assert last["USER"] == "traind"
    assert json.loads(last["ENTRYPOINT"]) == ["python", "-m", "service"]
    for word, rest in lines:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines(), source
