"""Faults at moments that a seed draws, and work that is under way all the time; shared by the tests and the soak."""

import contextlib
import threading
import time

import psutil

from tests.faults.lab import steady
from tests.faults.record import ENDED, Client, tiny

# Whom a SIGKILL may hit; the servers are the lab's own.
VICTIMS = ("api", "guardian", "celery", "supervisor", "zygote", "trainer", "broker", "database")
# From one kill to the next something must have gone on.
STUCK_S = 90.0


class Killer:
    """Kills, one after the other, whom the seed says; waits after each until the work has gone on."""

    def __init__(self, lab, rng, say=print):
        self._lab, self._rng, self._say = lab, rng, say
        self.kills = dict.fromkeys(VICTIMS, 0)

    def kill(self):
        """One kill, after a moment that is drawn too."""
        victim, wait_s, place = self._rng.choice(VICTIMS), self._rng.uniform(0.05, 0.6), self._rng.random()
        time.sleep(wait_s)
        before = progress(self._lab)
        while not self._hit(victim, place):
            time.sleep(0.02)
        self.kills[victim] += 1
        self._say(f"kill {sum(self.kills.values())}: {victim}", flush=True)
        self._wait_for_more(before, victim)

    def _hit(self, victim, place):
        lab = self._lab
        if victim in {"broker", "database"}:
            (lab.broker if victim == "broker" else lab.postgres).away(0.0).join()
            return True
        # Whoever was killed before may be gone just now, its successor not being there.
        with contextlib.suppress(psutil.NoSuchProcess):
            if found := sorted(self._found(victim), key=lambda process: process.pid):
                found[int(place * len(found))].kill()
                return True
        return False

    def _found(self, victim):
        stack = self._lab.stack
        match victim:
            case "api":
                return [psutil.Process(stack.roots["api"].pid)]
            case "guardian":
                return [psutil.Process(stack.roots[part].pid) for part in ("worker", "other")]
            case "celery":
                return self._lab.consumers()
            case "supervisor":
                return stack.supervisors()
            case "zygote":
                trainers = {process.pid for process in stack.trainers()}
                return [process for process in stack.processes("worker.trainer") if process.pid not in trainers]
            case _:
                return stack.trainers()

    def _wait_for_more(self, before, victim):
        deadline = time.monotonic() + STUCK_S
        while (now := progress(self._lab)) is None or before is None or now <= before:
            before = now if before is None else before
            assert time.monotonic() < deadline, f"nothing went on for {STUCK_S:g} s after the kill of {victim}"
            time.sleep(0.05)


def progress(lab):
    """How much was done by all jobs so far; None while the database does not say."""
    with contextlib.suppress(Exception), lab.postgres.session(lab.database_url) as session:
        return session.execute(
            "SELECT COALESCE(SUM(epoch), 0) + COUNT(*) FILTER (WHERE ended_at IS NOT NULL) FROM job"
        ).fetchone()[0]
    return None


class Flight:
    """So many jobs under way all the time, each submitted by a client that does not give up."""

    def __init__(self, lab, rng, count):
        self.names = []
        self._lab = lab
        self._plan = [rng.random() < 0.5 for _ in range(997)]
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._errors = []
        self._threads = [threading.Thread(target=self._fly, args=(place,), daemon=True) for place in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * STUCK_S)
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in self._threads), "a client still waits"

    def _fly(self, place):
        client = Client(self._lab.stack, self._lab.record)
        try:
            for number in range(place, 1_000_000, 8):
                if self._stop.is_set():
                    return
                long = self._plan[number % len(self._plan)]
                job = client.submit(steady() if long else tiny())
                with self._guard:
                    self.names.append(job.name)
                client.wait(job.name, lambda job: job.state in ENDED, seconds=4 * STUCK_S)
        except Exception as error:
            self._errors.append(error)
        finally:
            client.wire.close()


def outcomes(lab, names):
    """How these jobs stand, whoever's they are: {"SUCCEEDED": 40, "WORKER_LOST": 1}."""
    ids = [name.removeprefix("jobs/") for name in names]
    query = "SELECT COALESCE(failure_reason, state), COUNT(*) FROM job WHERE id = ANY(%s) GROUP BY 1 ORDER BY 1"
    with lab.postgres.session(lab.database_url) as session:
        return dict(session.execute(query, (ids,)).fetchall())


class Storm:
    """One fault after the other, each for some seconds, drawn by a seed: of lines, servers, clocks and processes."""

    def __init__(self, lab, rng, say=print):
        self._lab, self._rng, self._say = lab, rng, say
        self.faults = {}

    def strike(self, lasts_s):
        """One fault, and its end."""
        name = self._rng.choice(sorted(STRIKES))
        self.faults[name] = self.faults.get(name, 0) + 1
        self._say(f"fault {sum(self.faults.values())}: {name}", flush=True)
        with STRIKES[name](self._lab, self._rng):
            time.sleep(lasts_s)


@contextlib.contextmanager
def _line(lab, rng):
    proxy = rng.choice([lab.api_db, lab.worker_db, lab.worker_broker])
    proxy.inflict(
        **rng.choice([{"delay_s": 0.2}, {"bytes_per_s": 2000}, {"cut_after": 3000}, {"half_open": True}])
        if rng.random() < 0.7
        else {"black_hole": True}
    )
    yield
    proxy.heal()


@contextlib.contextmanager
def _broker(lab, rng):
    match rng.choice(["kill", "flush", "freeze", "fill"]):
        case "kill":
            lab.broker.away(1.0).join()
        case "flush":
            lab.broker.flush()
        case "freeze":
            lab.broker.freeze()
        case _:
            lab.broker.fill()
    yield
    lab.broker.thaw()
    lab.broker.empty()


@contextlib.contextmanager
def _database(lab, rng):
    match rng.choice(["crash", "kill a backend", "end backends", "freeze"]):
        case "crash":
            lab.postgres.away(2.0).join()
        case "kill a backend":
            lab.postgres.kill_a_backend()
        case "end backends":
            lab.postgres.terminate_backends()
        case _:
            lab.postgres.freeze()
    yield
    lab.postgres.thaw()


@contextlib.contextmanager
def _clock(lab, rng):
    clock = lab.clocks[rng.choice(sorted(lab.clocks))]
    clock.set(rng.choice([3600.0, -3600.0, 90_000.0]))
    yield
    clock.set(0.0)


@contextlib.contextmanager
def _frozen(lab, rng):
    with lab.held(rng.choice(["api", "worker", "other"])) as part:
        part.freeze()
        yield


@contextlib.contextmanager
def _kill(lab, rng):
    Killer(lab, rng, lambda *_, **__: None).kill()
    yield


STRIKES = {
    "a line": _line,
    "the broker": _broker,
    "the database": _database,
    "a clock": _clock,
    "a frozen part": _frozen,
    "a kill": _kill,
}
