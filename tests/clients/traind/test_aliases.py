"""Aliases, deletions and what they refuse, by both clients and by the commands."""

import json
import subprocess
import sys

import pytest

import traind
from tests.clients.traind.conftest import FLATS, INPUTS
from traind.names import model_of

pytestmark = pytest.mark.timeout(300)
ROWS = {name: FLATS[name][:3] for name in INPUTS}


@pytest.fixture
def made(client, price_model, tmp_path, request):
    """A model of its own, of two versions."""
    path = client.models.export(price_model, tmp_path / "m.st")
    name = f"own-{abs(hash(request.node.name)) % 10**9}"
    return [client.models.import_(path, name=name) for _ in range(2)]


@pytest.mark.parametrize(
    "name",
    ["models/kim.churn", "models/kim.churn/versions/3", "models/kim.churn@a", "models/kim.churn/aliases/a"],
)
def test_the_model_of_a_name(name):
    assert model_of(name) == "models/kim.churn"
    assert model_of("churn:3") == "churn"


def test_an_alias_by_the_client(client, made):
    first, second = made
    alias = first.set_alias("champion")
    assert (alias.name, alias.version, alias.model) == ("champion", first.version, first.name)
    slug = model_of(first.name).removeprefix("models/")
    assert client.models.get(f"{slug}@champion").name == first.name
    assert client.predict(f"{slug}@champion", ROWS) == client.predict(first, ROWS)
    moved = client.models.set_alias(slug, "champion", second.version, etag=alias.etag)
    with pytest.raises(traind.Conflict) as refused:
        client.models.set_alias(slug, "champion", first.version, etag=alias.etag)
    assert refused.value.reason == "ALIAS_MOVED"
    assert refused.value.metadata["standing_etag"] == moved.etag
    assert [one.model for one in client.models.aliases(first)] == [second.name]
    assert client.models.alias(first, "champion").etag == moved.etag
    assert client.models.get(second.name).aliases == ["champion"]
    assert repr(moved) == f"<Alias champion of {second.name}>"
    with pytest.raises(traind.Conflict) as refused:
        second.delete()
    assert refused.value.reason == "MODEL_IN_USE"
    first.delete_alias("champion")
    second.delete()
    first.delete()
    with pytest.raises(traind.NotFound):
        client.models.get(slug)


def test_by_the_commands(server, client, made):
    first, _ = made
    slug = model_of(first.name).partition(".")[2]

    def run(*words, code=0):
        argv = [sys.executable, "-m", "traind", *words]
        done = subprocess.run(argv, env=server.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    assert run("models", "alias", f"{slug}:1", "champion").stdout.endswith(f"{slug}/aliases/champion\n")
    assert run("models", "alias", slug, "newest").stderr.strip().endswith(f"{slug}:2")
    shown = run("models", "aliases", slug).stdout
    assert "champion" in shown
    assert "ETAG" in shown
    [champion, newest] = json.loads(run("models", "aliases", slug, "-o", "json").stdout)
    assert (champion["version"], newest["version"]) == ("1", "2")
    assert "champion" in run("models", "show", f"{slug}@champion").stdout
    refused = run("models", "alias", f"{slug}:1", "newest", "--etag", champion["etag"], code=1)
    assert "to version 2" in refused.stderr
    assert "set it to another version" in run("models", "rm", f"{slug}:2", code=1).stderr
    run("models", "unalias", slug, "newest")
    assert "removed" in run("models", "rm", f"{slug}:2").stderr
    run("models", "show", f"{slug}:2", code=5)
