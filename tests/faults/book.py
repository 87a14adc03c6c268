"""What must stand in the store after each verb: the life of jobs, told once more in plain Python.

It shares no line with the product. Verbs are methods that answer what the product must answer, or raise Refused with
the name of the error that the product must raise; the book is then as it was.
"""

import math
from dataclasses import dataclass, field

LIVE = {"RUNNING", "PAUSING", "CANCELLING"}
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
LEASE_S = 15.0
LOSSES_CAP = 3
# By how often the job was lost in a row.
BACK_OFF_S = {1: 1.0, 2: 2.0}
# Checkpoints that a job has: while it lives, and after its end.
KEPT, KEPT_AFTER_END = 2, 1


class Refused(Exception):
    """The verb is refused with the error of that name, and changes nothing."""

    def __init__(self, error):
        super().__init__(error)
        self.error = error


@dataclass
class Page:
    """One job."""

    id: str
    owner: str
    slug: str
    created: float
    body: str
    request_id: str | None
    state: str = "QUEUED"
    attempt: int = 0
    losses: int = 0
    not_before: float = 0.0
    lease: float = 0.0
    worker: str = ""
    epoch: int = 0
    best: int = 0
    started: float | None = None
    ended: float | None = None
    failure: str | None = None
    model: str = ""
    figures: dict = field(default_factory=dict)
    # {(series, split): {epoch: value}}
    points: dict = field(default_factory=dict)
    # The newest first.
    kept: list = field(default_factory=list)
    # (attempt, kind, what it tells)
    events: list = field(default_factory=list)

    def tell(self, kind, what):
        self.events.append((self.attempt, kind, what))

    def told(self, kind, attempt=None):
        """What was told of a kind, by all attempts or one."""
        return [what for by, of, what in self.events if of == kind and attempt in {None, by}]

    def held_by(self, attempt):
        return self.state in LIVE and self.attempt == attempt

    def settled_before(self, attempt, states):
        """A worker's verb comes a second time, or too late."""
        if self.attempt != attempt or self.state not in states:
            raise Refused("Fenced")

    def move(self, state, now):
        """To another state, and what goes with it."""
        self.state = state
        if state not in LIVE:
            self.lease, self.worker = 0.0, ""
        if state in ENDED:
            self.ended = now
            del self.kept[KEPT_AFTER_END:]

    def keep(self, checkpoint):
        self.kept = [checkpoint, *self.kept][:KEPT]
        self.losses = 0

    def store(self, epochs):
        """Figures of epochs, an event for each."""
        for epoch, figures in epochs:
            for series, value in figures.items():
                self.points.setdefault(series, {})[epoch] = value
            self.tell("epoch", epoch)
        self.epoch, figures = epochs[-1]
        self.figures = {name: value for (name, _), value in figures.items()}

    def find(self, findings):
        """Findings that were not told before."""
        for finding in dict.fromkeys(findings):
            if finding not in self.told("finding"):
                self.tell("finding", finding)


class Book:
    """All jobs, and the clock."""

    def __init__(self, now):
        self.now = now
        self.pages = {}
        # (owner, slug): the models' weights, oldest first.
        self.models = {}

    # The owner's verbs.

    def asked_before(self, owner, request_id, body):
        """The job that the same request made; None if it is the first."""
        for page in self.pages.values():
            if request_id is not None and (page.owner, page.request_id) == (owner, request_id):
                if page.body != body:
                    raise Refused("RequestIdReused")
                return page
        return None

    def submit(self, job_id, owner, slug, body, request_id):
        page = Page(job_id, owner, slug, self.now, body, request_id)
        page.tell("state", "QUEUED")
        self.pages[job_id] = page
        return page

    def retry(self, job_id, parent, body, request_id):
        """The same job again; from its checkpoint where the job itself was not at fault."""
        if parent.state not in {"FAILED", "CANCELLED"}:
            raise Refused("WrongState")
        page = self.submit(job_id, parent.owner, parent.slug, body, request_id)
        page.kept = [] if parent.failure == "DIVERGED" else parent.kept[:1]
        return page

    def fork(self, job_id, parent, body, request_id):
        """Another job that goes on from a job's checkpoint, whatever becomes of that one."""
        if not parent.kept:
            raise Refused("WrongState")
        page = self.submit(job_id, parent.owner, parent.slug, body, request_id)
        page.kept = parent.kept[:1]
        return page

    def ask(self, owner, job_id, moves, done_in):
        """An owner's move; answers the state, None for another's job."""
        page = self.pages[job_id]
        if page.owner != owner:
            return None
        if page.state in moves:
            page.move(moves[page.state], self.now)
            page.not_before = 0.0
            page.tell("state", page.state)
        elif page.state not in done_in:
            raise Refused("WrongState")
        return page.state

    def cancel(self, owner, job_id):
        moves = {"QUEUED": "CANCELLED", "PAUSED": "CANCELLED", "RUNNING": "CANCELLING", "PAUSING": "CANCELLING"}
        return self.ask(owner, job_id, moves, {"CANCELLING", "CANCELLED"})

    def pause(self, owner, job_id):
        return self.ask(owner, job_id, {"QUEUED": "PAUSED", "RUNNING": "PAUSING"}, {"PAUSING", "PAUSED"})

    def resume(self, owner, job_id):
        return self.ask(owner, job_id, {"PAUSED": "QUEUED"}, ())

    # The workers' verbs.

    def runnable(self):
        """In the order in which they are served."""
        waiting = [page for page in self.pages.values() if page.state == "QUEUED" and page.not_before <= self.now]
        return sorted(waiting, key=lambda page: (page.created, page.id))

    def claim(self, worker):
        """The page that was claimed; None if nothing waits."""
        if not self.runnable():
            return None
        page = self.runnable()[0]
        page.move("RUNNING", self.now)
        page.attempt += 1
        page.worker, page.lease = worker, self.now + LEASE_S
        page.started = self.now if page.started is None else page.started
        page.tell("state", "RUNNING")
        return page

    def look(self, job_id, attempt):
        """(state, fenced)"""
        page = self.pages[job_id]
        if page.attempt != attempt:
            return page.state, True
        own_end = page.state == "SUCCEEDED" or (page.state == "FAILED" and page.failure != "WORKER_LOST")
        return page.state, page.state not in LIVE and not own_end

    def beat(self, job_id, attempt):
        page = self.pages[job_id]
        if page.held_by(attempt):
            page.lease = self.now + LEASE_S
        return self.look(job_id, attempt)

    def publish(self, job_id, attempt, epochs, checkpoint, best):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        new = [(epoch, figures) for epoch, figures in epochs if epoch > page.epoch]
        if not new:
            return
        if new[0][0] != page.epoch + 1:
            raise Refused("ValueError")
        page.store(new)
        page.best, page.losses = best, 0
        if checkpoint is not None:
            page.keep(checkpoint)

    def keep_checkpoint(self, job_id, attempt, checkpoint):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        if page.kept[:1] != [checkpoint]:
            page.keep(checkpoint)

    def rewind(self, job_id, attempt, epoch, best):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        if page.epoch <= epoch:
            return
        page.points = {
            series: {step: value for step, value in points.items() if step <= epoch}
            for series, points in page.points.items()
        }
        page.epoch, page.best = epoch, best
        page.figures = {name: points[epoch] for (name, _), points in page.points.items() if epoch in points}
        page.tell("resumed", (epoch, 0, True))

    def going_on(self, job_id, attempt, epoch, batch):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        if (epoch, batch, False) not in page.told("resumed", attempt):
            page.tell("resumed", (epoch, batch, False))

    def add_log(self, job_id, attempt, line):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        if page.told("log", attempt)[-1:] != [line]:
            page.tell("log", line)

    def add_finding(self, job_id, attempt, finding):
        page = self.pages[job_id]
        page.settled_before(attempt, LIVE)
        page.find([finding])

    def succeed(self, job_id, attempt, weights, figures, best, findings):
        page = self.pages[job_id]
        if not page.held_by(attempt):
            page.settled_before(attempt, {"SUCCEEDED"})
            return page.model
        page.move("SUCCEEDED", self.now)
        page.best, page.figures = best, dict(figures)
        if weights is not None:
            versions = self.models.setdefault((page.owner, page.slug), [])
            versions.append((job_id, weights))
            page.model = f"models/{page.owner}.{page.slug}/versions/{len(versions)}"
        page.find(findings)
        page.tell("state", "SUCCEEDED")
        return page.model

    def fail(self, job_id, attempt, reason, epochs, findings):
        page = self.pages[job_id]
        if not page.held_by(attempt):
            page.settled_before(attempt, {"FAILED"})
            if page.failure != reason:
                raise Refused("Fenced")
            return
        if reason == "DIVERGED":
            # The newest stands at the brink.
            page.kept = page.kept[1:] or page.kept
        page.move("FAILED", self.now)
        page.failure = reason
        new = [(epoch, figures) for epoch, figures in epochs if epoch > page.epoch]
        if new:
            page.store(new)
        page.find(findings)
        page.tell("state", "FAILED")

    def settle_stopped(self, job_id, attempt):
        page = self.pages[job_id]
        if page.held_by(attempt):
            page.move({"CANCELLING": "CANCELLED", "PAUSING": "PAUSED", "RUNNING": "QUEUED"}[page.state], self.now)
            page.not_before = 0.0
            page.tell("state", page.state)
        page.settled_before(attempt, {"CANCELLED", "PAUSED", "QUEUED"})
        return page.state

    def lost(self, job_id, attempt):
        page = self.pages[job_id]
        if page.held_by(attempt):
            self.lose(page)
        if page.attempt != attempt:
            raise Refused("Fenced")
        return page.state

    def lose(self, page):
        """The worker of the job is gone."""
        after = {"CANCELLING": "CANCELLED", "PAUSING": "PAUSED"}.get(page.state)
        page.not_before = self.now + BACK_OFF_S.get(page.losses + 1, 0.0)
        if after is None:
            page.losses += 1
            after = "FAILED" if page.losses >= LOSSES_CAP else "QUEUED"
            page.failure = "WORKER_LOST" if after == "FAILED" else None
        page.move(after, self.now)
        page.tell("state", after)

    def expired(self):
        return [page for page in self.pages.values() if page.state in LIVE and page.lease < self.now]

    def moments(self):
        """Times at which something else becomes true: the clock is never set so near that rounding would decide."""
        pages = self.pages.values()
        return [moment for page in pages for moment in (page.lease, page.not_before) if moment]


def same(one, other):
    """Equal, where NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other
