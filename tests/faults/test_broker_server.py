"""The brokers that tests break do what is said of them."""

import threading

import pytest
import redis

from tests.faults.own_servers import Broker


@pytest.fixture
def broker():
    with Broker() as made:
        yield made


def test_a_full_one_takes_nothing_and_answers(broker):
    with broker.client() as client:
        client.set("a", "b")
        broker.fill()
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("a", "c")
        assert client.get("a") == b"b"
        broker.empty()
        client.set("a", "c")


def test_a_frozen_one_answers_when_it_goes_on(broker):
    with broker.client() as client:
        answered = threading.Event()
        with broker.frozen():
            asker = threading.Thread(target=lambda: (client.get("a"), answered.set()))
            asker.start()
            assert not answered.wait(0.3)
        asker.join(5)
        assert answered.is_set()


def test_a_flushed_or_killed_one_has_forgotten_everything(broker):
    with broker.client() as client:
        client.set("a", "b")
        broker.flush()
        assert client.get("a") is None
        client.set("a", "b")
    broker.away(0.0).join()
    with broker.client() as client:
        assert client.get("a") is None
