"""A traind server of the tests' own, and tables that models can know exactly."""

import functools
import json
import os
from dataclasses import dataclass

import pytest

import traind
from tests.acceptance import stack as stacks
from tests.clients.traind.awaited import Loop, make_client
from tests.clients.traind.scripted import scripted_server


@dataclass
class Server:
    stack: stacks.Stack
    # Kept when the server dies and comes back: it takes the same port again.
    url: str

    @property
    def token(self):
        return self.stack.token

    @property
    def env(self):
        """What a person at this machine has: address and token, and no profile of another server."""
        return os.environ | {
            "TRAIND_URL": self.url,
            "TRAIND_TOKEN_FILE": str(self.stack.data / "run" / "token"),
            "XDG_CONFIG_HOME": str(self.stack.folder / "nowhere"),
            "COLUMNS": "100",
        }

    def client(self, **options):
        return traind.Client(self.url, token=self.token, **options)


@pytest.fixture(scope="package")
def server():
    with stacks.up() as stack:
        yield Server(stack, stack.address["grpc"])


@pytest.fixture(params=["sync", "async"])
def make(request):
    """Makes clients of either kind; both are used in the same words."""
    loop = Loop() if request.param == "async" else None
    yield functools.partial(make_client, request.param, loop)
    if loop:
        loop.stop()


@pytest.fixture
def client(server, make):
    with make(server.url, token=server.token) as client:
        yield client


FLATS = {
    "area": [float(30 + 7 * i % 41) for i in range(60)],
    "rooms": [1 + i % 5 for i in range(60)],
    "lift": [i % 3 == 0 for i in range(60)],
    "kind": [("flat", "house", "옥탑")[i % 7 % 3] for i in range(60)],
}
LEVEL = {"flat": 0.0, "house": 20.0, "옥탑": -5.0}
FLATS["price"] = [
    2.0 * area + 3.0 * rooms + (4.0 if lift else 0.0) + LEVEL[kind]
    for area, rooms, lift, kind in zip(*FLATS.values(), strict=True)
]
FLATS["dear"] = ["dear" if price > 110 else "cheap" for price in FLATS["price"]]
INPUTS = ["area", "rooms", "lift", "kind"]

# Runs until it is ended.
ENDLESS = {
    "inputs": INPUTS,
    "target": "price",
    "network": {"mlp": {"hidden": [32]}},
    "learn": {"gradient": {"epochs": 1_000_000, "batch_size": 1}},
}


@pytest.fixture(scope="package")
def flats(server):
    with server.client() as client:
        return client.datasets.create(FLATS, name="flats")


@pytest.fixture(scope="package")
def price_model(server, flats):
    """Knows the price exactly."""
    train = {
        "inputs": INPUTS,
        "target": "price",
        "network": {"linear": {}},
        "split": {"none": {}},
        "learn": {"exact": {}},
    }
    with server.client() as client:
        return client.jobs.create(dataset=flats, model="price", train=train).wait(60).model.name


@pytest.fixture(scope="package")
def class_model(server, flats):
    train = {
        "inputs": INPUTS,
        "target": "dear",
        "network": {"mlp": {"hidden": [8, 4], "activation": "TANH"}},
        "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.02}}, "epochs": 60}},
        "seed": 3,
    }
    with server.client() as client:
        return client.jobs.create(dataset=flats, model="dear", train=train).wait(60).model.name


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Answers by method, from a server that the commands find; `spec.json` in the folder where they run."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("TRAIND_TOKEN", "TRAIND_TOKEN_FILE", "TRAIND_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "spec.json").write_text(
        json.dumps({"dataset": "d", "train": {"target": "t", "network": {"linear": {}}}})
    )
    with scripted_server() as (script, url):
        monkeypatch.setenv("TRAIND_URL", url)
        yield script
