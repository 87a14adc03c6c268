"""The bounds of a job's process: what they are, and that the system holds to them in a real fork."""

import contextlib
import dataclasses
import pathlib
import resource
import signal
import time

import pytest

from service.modelling.memory import BASE
from service.settings import Settings
from tests.forked import in_fork
from tests.service.store.rows import make_dataset, make_job, make_user
from worker import limits

GIB = 1 << 30


@pytest.fixture
def settings(tmp_path):
    made = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_MAX_JOB_BYTES": str(4 * GIB)})
    made.tmp_dir.mkdir(parents=True)
    return made


@pytest.fixture
def kim(database):
    return make_user(database)


@pytest.fixture
def dataset(database, kim):
    return make_dataset(database, kim)


def test_what_is_allowed_grows_with_the_estimate_up_to_the_worker_s_own_bound(database, settings, kim, dataset):
    small = make_job(database, kim, dataset, memory_bytes=BASE)
    large = make_job(database, kim, dataset, memory_bytes=3 * GIB)
    assert limits.allowed_bytes(settings, small) == limits.SLACK + 2 * BASE
    assert limits.allowed_bytes(settings, large) == limits.SLACK + 4 * GIB
    file = dataclasses.replace(dataset, size_bytes=GIB)
    assert limits.mapped_bytes(file) - limits.mapped_bytes(None) == 16 * GIB


def test_a_job_that_takes_too_much_gets_an_error_and_room_to_tell_it(database, settings, kim, dataset):
    job = make_job(database, kim, dataset, memory_bytes=BASE)

    def take():
        limits.limit_process(settings, job, dataset)
        bytearray(64 << 20)
        try:
            bytearray(limits.SLACK + 4 * BASE)
        except MemoryError:
            kept = []
            try:
                while True:
                    kept.append(bytearray(16 << 20))
            except MemoryError:
                limits.make_room()
                bytearray(16 << 20)
                return 7
        return 1

    assert in_fork(take) == 7


def test_small_bounds_are_set(database, settings, kim, dataset):
    job = make_job(database, kim, dataset, memory_bytes=BASE)

    def look():
        limits.limit_process(settings, job, dataset)
        same = resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 256)
        same &= resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        same &= resource.getrlimit(resource.RLIMIT_FSIZE)[0] >= limits.LEAST_FILE
        same &= resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY
        same &= pathlib.Path("/proc/self/oom_score_adj").read_text().strip() == "500"
        same &= "NoNewPrivs:\t1" in pathlib.Path("/proc/self/status").read_text()
        return 7 if same else 1

    assert in_fork(look) == 7


def burn(seconds):
    """Use the processor; on a busy machine the kernel, which counts for its limit by ticks, may see less of it."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.parametrize(("seconds", "code"), [(0.5, -signal.SIGXCPU), (-3, -signal.SIGXCPU), (None, 7)])
def test_a_loop_is_ended_by_the_system_long_after_its_time(monkeypatch, seconds, code):
    monkeypatch.setattr(limits, "CPU_SLACK_S", 0)

    def act():
        with limits.processor_bound(seconds):
            burn(4)
        return 7

    assert in_fork(act) == code


def test_the_processor_is_bound_within_the_loop_alone(monkeypatch):
    monkeypatch.setattr(limits, "CPU_SLACK_S", 1)

    def act():
        burn(3)
        with limits.processor_bound(0.3):
            burn(0.5)
        with contextlib.suppress(KeyError), limits.processor_bound(0.3):
            raise KeyError
        burn(3)
        return 7 if resource.getrlimit(resource.RLIMIT_CPU) == before else 1

    before = resource.getrlimit(resource.RLIMIT_CPU)
    assert in_fork(act) == 7


def test_a_lower_bound_of_the_processor_that_there_was_holds():
    def act():
        with limits.processor_bound(1000):
            return 7 if resource.getrlimit(resource.RLIMIT_CPU) == (500, 600) else 1

    def bounded():
        resource.setrlimit(resource.RLIMIT_CPU, (500, 600))
        return act()

    assert in_fork(bounded) == 7


def test_a_file_that_is_too_large_is_an_error(database, settings, kim, dataset, monkeypatch, tmp_path):
    job = make_job(database, kim, dataset, memory_bytes=BASE)
    monkeypatch.setattr(limits, "largest_file", lambda _: 1 << 20)

    def write():
        limits.limit_process(settings, job, dataset)
        try:
            (tmp_path / "large").write_bytes(bytes(2 << 20))
        except OSError:
            return 7
        return 1

    assert in_fork(write) == 7
