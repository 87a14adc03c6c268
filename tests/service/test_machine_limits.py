"""How many cores and how much memory a process has: as the kernel says, and as its control groups bound it."""

import os
import signal

import pytest

from service import cgroups, machine_cores, machine_memory
from service.machine_cores import usable_cores
from service.settings import MOST_SLOTS, Settings
from tests.control_groups import bound, control_group, enter
from tests.forked import in_fork

MIB, GIB = 1 << 20, 1 << 30
V2 = "0::/lab/worker\n"
V1 = "4:memory:/lab/worker\n3:cpu,cpuacct:/lab/worker\n0::/\n"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Lays out folders that look like control groups: the text of /proc/self/cgroup, then {path: text}."""

    def lay(own, files):
        (tmp_path / "own").write_text(own)
        monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
        monkeypatch.setattr(cgroups, "ROOT", tmp_path / "groups")
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    monkeypatch.setattr(machine_cores, "_allowed", lambda: 64)
    return lay


def quota(folder, micros, period=100_000):
    return {f"{folder}/cpu.cfs_quota_us": str(micros), f"{folder}/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (V2, {}, 64),
        (V2, {"lab/worker/cpu.max": "max 100000"}, 64),
        (V2, {"lab/worker/cpu.max": "150000 100000"}, 2),
        (V2, {"lab/worker/cpu.max": "10000 100000"}, 1),
        (V2, {"lab/worker/cpu.max": "800000 100000", "lab/cpu.max": "400000 100000"}, 4),
        (V2, {"lab/worker/cpu.max": "9900000 100000"}, 64),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        (V1, quota("cpu/lab/worker", -1), 64),
        (V1, quota("cpu/lab/worker", 250_000), 3),
        (V1, quota("cpu/lab/worker", -1) | quota("cpu/lab", 50_000, 50_000), 1),
        # A container that sees its host's paths.
        (V1, quota("cpu", 200_000), 2),
    ],
)
def test_cores_by_the_quota_of_the_groups(groups, own, files, cores):
    groups(own, files)
    assert usable_cores() == cores


def test_slots_and_what_a_job_may_take_follow_the_cores_of_the_group(groups):
    groups(V2, {"lab/worker/cpu.max": "400000 100000", "lab/worker/memory.max": str(17 * GIB)})
    settings = Settings.from_env({})
    assert (settings.slots, settings.max_job_bytes) == (4, 4 * GIB)
    groups(V2, {"lab/worker/memory.max": str(2 * GIB)})
    assert Settings.from_env({}).max_job_bytes == machine_memory.LEAST_SHARE, "64 slots share a GiB"
    assert Settings.from_env({"TRAIND_SLOTS": "1"}).max_job_bytes == GIB + 512 * MIB


def test_a_machine_of_more_cores_than_slots_may_be_starts(groups, monkeypatch):
    groups(V2, {})
    monkeypatch.setattr(machine_cores, "_allowed", lambda: 384)
    assert Settings.from_env({}).slots == MOST_SLOTS


def test_cores_that_the_process_may_not_run_on_do_not_count():
    one = min(os.sched_getaffinity(0))

    def act():
        os.sched_setaffinity(0, {one})
        return usable_cores()

    assert in_fork(act) == 1


def test_the_quota_of_a_real_group():
    with control_group("cpu") as group:
        bound(group, "cpu", "50000 100000", "50000")

        def act():
            enter(group)
            return usable_cores()

        assert in_fork(act) == 1


@pytest.mark.parametrize(
    ("own", "files", "total"),
    [
        (V2, {"lab/worker/memory.max": "max", "lab/memory.max": str(768 * MIB)}, 768 * MIB),
        (V1, {"memory/lab/worker/memory.limit_in_bytes": str(768 * MIB)}, 768 * MIB),
        (V1, {"memory/memory.limit_in_bytes": str(768 * MIB)}, 768 * MIB),
    ],
)
def test_memory_by_the_bound_of_the_groups(groups, own, files, total):
    groups(own, files)
    assert machine_memory.total_bytes() == total
    assert machine_memory.share_bytes(1) == total - total // 4
    assert machine_memory.share_bytes(64) == machine_memory.LEAST_SHARE


@pytest.mark.parametrize(
    ("own", "files", "kills"),
    [
        (
            V2,
            {
                "lab/worker/memory.events.local": "oom 3\noom_kill 2\noom_group_kill 0",
                "lab/memory.events": "oom_kill 9",
            },
            2,
        ),
        (V2, {"lab/worker/memory.events": "oom_kill 4"}, 4),
        (V1, {"memory/lab/worker/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5"}, 5),
    ],
)
def test_kills_of_the_own_group_are_counted_and_no_others(groups, tmp_path, monkeypatch, own, files, kills):
    (tmp_path / "vmstat").write_text("oom_kill 70\n")
    monkeypatch.setattr(machine_memory, "_WHOLE_MACHINE", tmp_path / "vmstat")
    groups(own, files)
    assert machine_memory.oom_kills() == kills
    groups("", {})
    assert machine_memory.oom_kills() == 70


def test_a_real_kill_counts_in_its_group_and_in_no_other():
    with control_group("memory") as group:
        bound(group, "memory", str(32 * MIB), str(32 * MIB))

        def killed():
            """Another process of the group takes too much; whether that was counted."""
            enter(group)
            before = machine_memory.oom_kills()
            code = in_fork(lambda: len(bytearray(b"1") * (256 * MIB)) and 1)
            return 7 if (code, machine_memory.oom_kills() - before) == (-signal.SIGKILL, 1) else 1

        before = machine_memory.oom_kills()
        assert in_fork(killed) == 7
        assert machine_memory.oom_kills() == before, "this process is of another group"
