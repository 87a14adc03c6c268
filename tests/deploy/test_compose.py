"""The compose file and the image: of the specification's form, without a secret, closed but for the server."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest

from service.settings import Settings
from tests.deploy import compose
from tests.deploy.processes import ROOT

GIVEN = {"TRAIND_DATABASE_PASSWORD": "d" * 10 + "ab12cd", "TRAIND_BROKER_PASSWORD": "b" * 10 + "ab12cd"}
OURS = {"api", "worker-cpu", "worker-gpu"}
EXAMPLE = (ROOT / "deploy" / "env.example").read_text()
# What the containers fix: a folder of the image, the broker's list of rights, addresses inside, the role's device.
FIXED = {
    "TRAIND_DATA_DIR",
    "TRAIND_DATABASE_URL",
    "TRAIND_BROKER_URL",
    "TRAIND_BROKER_PREFIX",
    "TRAIND_HOST",
    "TRAIND_HTTP_PORT",
    "TRAIND_GRPC_PORT",
    "TRAIND_PREDICT_PORT",
    "TRAIND_PREDICT_SHARED",
    "TRAIND_PREDICT_HTTP_PORT",
    "TRAIND_DEVICES",
}
# What a worker has nothing to do with.
OF_THE_DOORS = {
    "TRAIND_INSECURE",
    "TRAIND_TLS_CERT",
    "TRAIND_TLS_KEY",
    "TRAIND_WEBHOOKS",
    "TRAIND_MAX_QUEUED_JOBS",
    "TRAIND_MAX_UPLOAD_BYTES",
    "TRAIND_DOCS",
    "TRAIND_REFLECTION",
    "TRAIND_METRICS",
    "TRAIND_MODEL_CACHE_BYTES",
}


def settings_there_are():
    """Every variable that the settings are read from."""
    return set(re.findall(r'"(TRAIND_[A-Z_]+)"', (ROOT / "service" / "settings.py").read_text()))


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
    example = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line[:1] not in "# ")
    assert example == dict.fromkeys(GIVEN, "")
    with pytest.raises(compose.Missing):
        compose.load(example)
    assert not (ROOT / ".env").exists() or "/.env" in (ROOT / ".gitignore").read_text()


def test_only_the_server_is_published_and_by_default_to_this_machine(services):
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    assert services["api"]["ports"] == ["127.0.0.1:8080:8080", "127.0.0.1:8081:8081", "127.0.0.1:8082:8082"]
    opened = compose.load(GIVEN | {"TRAIND_PUBLISH": "0.0.0.0"})["services"]
    assert opened["api"]["ports"] == ["0.0.0.0:8080:8080", "0.0.0.0:8081:8081", "0.0.0.0:8082:8082"]


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


@pytest.mark.parametrize("name", sorted(OURS))
def test_whoever_runs_it_can_set_everything_that_the_containers_do_not_fix(name):
    wanted = settings_there_are() - FIXED - (OF_THE_DOORS if name != "api" else set())
    if name == "worker-gpu":
        wanted -= {"TRAIND_SLOTS"}
    given = {variable: f"value of {variable}" for variable in wanted}
    environment = compose.load(GIVEN | given)["services"][name]["environment"]
    assert {variable: environment.get(variable) for variable in wanted} == given


@pytest.mark.parametrize("name", ["api", "worker-cpu"])
def test_what_is_not_set_is_as_the_code_has_it_but_for_slots(services, name):
    given = services[name]["environment"]
    plain = {variable: given[variable] for variable in FIXED & set(given)} | {"TRAIND_SLOTS": "2"}
    bare = Settings.from_env({"TRAIND_DATA_DIR": "/data"} | plain)
    assert Settings.from_env({"TRAIND_DATA_DIR": "/data"} | given) == bare


def test_server_and_worker_reckon_with_as_many_slots(services):
    assert services["api"]["environment"]["TRAIND_SLOTS"] == services["worker-cpu"]["environment"]["TRAIND_SLOTS"]
    more = compose.load(GIVEN | {"TRAIND_SLOTS": "7"})["services"]
    assert more["api"]["environment"]["TRAIND_SLOTS"] == more["worker-cpu"]["environment"]["TRAIND_SLOTS"] == "7"


def test_the_example_names_every_setting_with_a_value_that_is_taken():
    lines = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    # The units of systemd name the folder themselves.
    assert settings_there_are() - {"TRAIND_DATA_DIR"} <= set(lines)
    taken = {name: value.replace("PASSWORD", "5fe0c1b2a3d49687") for name, value in lines.items()}
    settings = Settings.from_env({"TRAIND_DATA_DIR": "/data"} | taken)
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    same = (
        "max_parameters",
        "max_queued_jobs",
        "max_upload_bytes",
        "object_cache_bytes",
        "lease_s",
        "beat_s",
        "sweep_s",
    )
    for name in (*same, "housekeeping_s", "keep_checkpoints_s", "keep_orphans_s", "http_port", "grpc_port"):
        assert getattr(settings, name) == defaults[name], name


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
