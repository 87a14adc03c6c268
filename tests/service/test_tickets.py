"""Tickets on a real broker of our own: what is sent waits, and a broker that hangs costs seconds, no more."""

import dataclasses
import os
import signal
import time

import pytest

from service import tickets
from service.machine import broker
from service.machine.keeper import Kept
from service.settings import Settings
from service.tickets import BrokerUnavailable, Tickets
from tests.waiting import wait_until


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path / "data")})
    embedded = broker.find_embedded(settings)
    child = Kept("broker", embedded.argv, log=tmp_path / "broker.log")
    child.start()
    wait_until(embedded.answers, "the broker answers")
    yield embedded, child, dataclasses.replace(settings, broker_url=embedded.url, broker_prefix="test:")
    child.kill()


@pytest.fixture
def sender(server):
    made = Tickets(server[2])
    yield made
    made.close()


def test_what_is_sent_waits_in_the_queue_of_its_device(sender):
    assert sender.waiting("cpu") == 0
    sender.send("cpu", 3)
    assert sender.waiting("cpu") == 3
    assert sender.waiting("cuda") == 0


def test_all_keys_begin_with_the_prefix_and_no_ticket_holds_anything(server, sender):
    import redis

    sender.send("cpu", 1)
    with redis.Redis(unix_socket_path=str(server[0].socket)) as client:
        keys = client.keys("*")
        assert keys
        assert all(key.startswith(b"test:") for key in keys)
        message = client.lrange("test:cpu", 0, -1)[0].decode()
    assert tickets.WAKE in message
    # The clock of whoever takes it may be another than the sender's.
    assert '"expires": null' in message


def test_a_killed_broker_is_told_soon_and_used_again_when_it_is_back(server, sender):
    embedded, child, _ = server
    sender.send("cpu", 1)
    child.kill()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        sender.send("cpu", 1)
    with pytest.raises(BrokerUnavailable):
        sender.waiting("cpu")
    assert time.monotonic() - began < 5
    child.start()
    wait_until(embedded.answers, "the broker answers")
    sender.send("cpu", 2)
    assert sender.waiting("cpu") == 2, "tickets are lost with the broker, which is what the sweep is for"


def test_a_frozen_broker_costs_seconds(server, sender):
    _, child, _ = server
    sender.send("cpu", 1)
    os.kill(child.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        sender.send("cpu", 1)
    assert time.monotonic() - began < 10
    os.kill(child.process.pid, signal.SIGCONT)
