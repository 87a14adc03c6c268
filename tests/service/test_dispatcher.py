"""The dispatcher's thread outlives whatever meets it."""

import errno

import pytest

from service.dispatcher import Dispatcher
from service.settings import Settings
from tests.service.store.rows import make_queue
from tests.waiting import wait_until


class FailingOnce:
    """Tickets whose first sending meets what nobody expected."""

    def __init__(self):
        self.tries = 0
        self.sent = 0

    def waiting(self, _device):
        return 0

    def send(self, _device, count):
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.EIO, "Input/output error")
        self.sent += count

    def close(self):
        pass


@pytest.fixture
def dispatcher(tmp_path, database):
    """One that sweeps once, at its start."""
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_SWEEP_S": "600"})
    tickets = FailingOnce()
    swept = []
    made = Dispatcher(settings, database, tickets, [lambda: swept.append(True)])
    made.start()
    wait_until(lambda: swept, "it has swept")
    yield made, tickets
    made.stop()


def test_tickets_that_could_not_be_sent_end_no_later_ones(database, dispatcher):
    made, tickets = dispatcher
    made.job_queued()
    wait_until(lambda: tickets.tries == 1, "it was tried")
    made.job_queued()
    wait_until(lambda: tickets.sent == 1, "the next one is sent")


def test_a_sweep_that_cannot_send_goes_on(tmp_path, database):
    make_queue(database)
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_SWEEP_S": "0.02"})
    tickets = FailingOnce()
    made = Dispatcher(settings, database, tickets)
    made.start()
    wait_until(lambda: tickets.sent, "a later sweep sends")
    made.stop()
