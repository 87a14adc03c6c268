"""The queue as people see it: who holds the slots, what of another's job is told, and why one's own waits."""

import time

import pytest

from service import ledger, queue
from service.callers import Caller
from service.errors import InvalidField
from service.store import workers
from tests.service.apps import make_app, make_caller
from tests.service.store.rows import double_jobs, make_dataset, make_job
from traind.v1 import jobs_pb2

RUNNING, QUEUED = jobs_pb2.Job.RUNNING, jobs_pb2.Job.QUEUED


class Lab:
    """An app, two people, and the jobs that they queue."""

    def __init__(self, database, folder):
        self.database = database
        self.app = make_app(database, folder)
        self.kim, self.lee = make_caller(self.app, "kim"), make_caller(self.app, "lee")
        self._dataset = make_dataset(database, self._row(self.kim))

    def queue(self, *callers):
        return [
            make_job(self.database, self._row(caller), self._dataset, display_name=f"펭귄 of {caller.user_name}")
            for caller in callers
        ]

    def worker(self, name, slots=1, devices=("cpu",)):
        with self.database.write() as connection:
            workers.announce(connection, name, devices, slots, 60)

    def seen_by(self, caller, **fields):
        return queue.list_queue(self.app, caller, jobs_pb2.ListQueueRequest(**fields))

    def why(self, caller):
        return [entry.why_waiting for entry in self.seen_by(caller).entries]

    @staticmethod
    def _row(caller):
        class Row:
            id = caller.user_id

        return Row


@pytest.fixture
def lab(database, tmp_path):
    return Lab(database, tmp_path)


def test_an_empty_queue_tells_what_could_run(lab):
    assert lab.seen_by(lab.kim) == jobs_pb2.ListQueueResponse()
    lab.worker("lab1:1", 4)
    lab.worker("lab2:1", 2, ("cuda",))
    assert lab.seen_by(lab.kim) == jobs_pb2.ListQueueResponse(slots=6, workers=2)


def test_everybody_sees_who_holds_a_slot_and_only_the_owner_what_it_is(lab):
    lab.worker("lab1:1")
    mine, theirs = lab.queue(lab.kim, lab.lee)
    claim = ledger.claim(lab.database, "lab1:77", 60)
    ledger.publish_epochs(lab.database, claim, [ledger.EpochFigures(1, {})], b"checkpoint", 1)
    seen = lab.seen_by(lab.lee)
    assert (seen.slots, seen.busy_slots, seen.workers, seen.queued, seen.next_page_token) == (1, 1, 1, 1, "")
    holds, waits = seen.entries
    assert (holds.state, holds.position, holds.owner) == (RUNNING, 0, "kim")
    assert (holds.epoch, holds.epochs, holds.worker, holds.device) == (1, 10, "lab1:77", "cpu")
    assert holds.start_time.ToDatetime() >= holds.create_time.ToDatetime()
    assert (holds.job, holds.display_name, holds.dataset, holds.why_waiting) == ("", "", "", "")
    assert (waits.state, waits.position, waits.owner, waits.job) == (QUEUED, 1, "lee", f"jobs/{theirs.id}")
    assert (waits.display_name, waits.dataset) == ("펭귄 of lee", "datasets/kim.penguins/versions/1")
    assert not waits.HasField("start_time")
    assert (waits.worker, waits.device) == ("", "")
    assert [entry.job for entry in lab.seen_by(lab.kim).entries] == [f"jobs/{mine.id}", ""]
    boss = Caller("nobody", "boss", "token", frozenset({"read", "admin"}))
    assert [entry.job for entry in lab.seen_by(boss).entries] == [f"jobs/{mine.id}", f"jobs/{theirs.id}"]


def test_no_other_s_words_come_out_anywhere(lab):
    lab.queue(lab.kim)
    told = lab.seen_by(lab.lee).SerializeToString()
    assert "펭귄".encode() not in told
    assert b"penguins" not in told


def test_a_sentence_says_why_each_waits(lab):
    lab.queue(lab.kim, lab.kim, lab.lee, lab.lee, lab.kim)
    lab.worker("lab1:1", 2)
    claims = [ledger.claim(lab.database, "lab1:77", 60) for _ in range(2)]
    assert lab.why(lab.lee) == [
        "",
        "",
        "It is the next to be begun; 2 of 2 slots are busy",
        "1 job of yours is before it; 2 of 2 slots are busy",
        "2 jobs of others are before it; 2 of 2 slots are busy",
    ]
    assert lab.why(lab.kim)[3] == "1 job of lee is before it; 2 of 2 slots are busy"
    lab.queue(lab.lee)
    assert lab.why(lab.lee)[-1] == "2 jobs of yours and 1 of others are before it; 2 of 2 slots are busy"
    assert lab.why(lab.kim)[-1] == "2 jobs of lee and 1 of others are before it; 2 of 2 slots are busy"
    ledger.settle_stopped(lab.database, claims[1])
    assert lab.why(lab.kim)[1] == "It is the next to be begun; 1 of 2 slots is free"


def test_without_a_worker_it_says_how_one_is_started(lab):
    lab.queue(lab.kim)
    assert lab.why(lab.kim) == [
        "No worker is alive, start one with: python -m service worker; it is the next to be begun"
    ]


def test_a_lost_job_says_that_it_is_held_back(lab):
    lab.worker("lab1:1")
    lab.queue(lab.kim)
    ledger.lost(lab.database, ledger.claim(lab.database, "lab1:77", 60), "killed")
    (why,) = lab.why(lab.kim)
    assert why == (
        "It is the next to be begun; its worker was lost, so it is begun again in 1 s at the earliest; "
        "1 of 1 slot is free"
    )


def test_the_device_is_told_where_it_is_one(lab):
    lab.queue(lab.kim)
    ledger.claim(lab.database, "lab1:77", 60)
    assert lab.seen_by(lab.kim).entries[0].device == ""
    lab.worker("lab1:1", 1, ("cuda",))
    lab.worker("lab2:1", 1, ("cpu",))
    assert lab.seen_by(lab.kim).entries[0].device == "cuda"
    lab.worker("lab1:2", 1, ("cpu",))
    assert lab.seen_by(lab.kim).entries[0].device == ""


@pytest.mark.parametrize("size", [1, 2, 4])
def test_pages_count_on_where_the_page_before_ended(lab, size):
    lab.queue(*[lab.kim, lab.lee] * 4)
    claims = [ledger.claim(lab.database, "lab1:77", 60) for _ in range(2)]
    assert all(claims)
    whole = lab.seen_by(lab.kim)
    entries, token = [], ""
    while True:
        page = lab.seen_by(lab.kim, page_size=size, page_token=token)
        assert (page.queued, page.busy_slots) == (6, 2)
        entries += page.entries
        token = page.next_page_token
        if not token:
            break
    assert entries == list(whole.entries)
    assert [entry.position for entry in entries] == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("token", ["w.", "w.x", "x", "bm9uZQ", "w.W10"])
def test_a_token_of_no_answer_is_refused(lab, token):
    with pytest.raises(InvalidField, match=r"page_token.*begin again without it"):
        lab.seen_by(lab.kim, page_token=token)


@pytest.mark.alone
def test_a_call_among_thousands_is_quick(lab):
    lab.queue(*[lab.kim, lab.lee] * 5)
    double_jobs(lab.database, 9)
    token = lab.seen_by(lab.kim, page_size=1000).next_page_token
    took = []
    for _ in range(7):
        began = time.perf_counter()
        page = lab.seen_by(lab.kim, page_token=token)
        took.append(time.perf_counter() - began)
    assert [entry.position for entry in page.entries] == list(range(1001, 1051))
    assert page.entries[0].why_waiting.startswith("No worker is alive")
    assert page.queued == 5120
    print(lab.database.kind, f"{sorted(took)[3] * 1000:.1f} ms")
    assert sorted(took)[3] < 0.05
