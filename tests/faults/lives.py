"""Lives of jobs, in any order of verbs and faults; after each step the store must say what the book says."""

import dataclasses
import itertools
import json
import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service import forks, jobs, ledger
from service.dispatcher import Dispatcher
from tests.faults import invariants, stored
from tests.faults.book import LEASE_S, LIVE, Book
from tests.faults.shaky import Broker
from tests.faults.world import (
    BEGIN,
    NOBODY,
    World,
    expected,
    figures,
    figures_of,
    finding_of,
    job_of,
    model_of,
    names_of,
    outcome,
    simple,
)
from traind.v1 import jobs_pb2

MOST_JOBS = 6
# Bytes of a chunk in these tests: what is longer is staged, in chunks.
CHUNK = 128
SIZES = {"small": 104, "large": 360}
# With which a checkpoint begins, for a fork asks at which epoch it stands.
HEAD = json.dumps({"__metadata__": {"checkpoint": '{"format": 4, "epoch": 1}'}}).encode()


# The newest first: others are mostly of attempts that are over.
CLAIMS = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 5])
JOBS = st.integers(0, MOST_JOBS - 1)
BYTES = st.sampled_from([None, "small", "large"])
EPOCHS = st.tuples(st.sampled_from([0, 0, 0, -1, -2, 1]), st.integers(1, 3))


class Life(RuleBasedStateMachine):
    """One example; `world` is given by the test."""

    world: World

    def __init__(self):
        super().__init__()
        self.database, self.broker = self.world.database, Broker()
        self.world.clear()
        self.book = Book(BEGIN)
        self.database.set_clock(BEGIN)
        self.dispatcher = Dispatcher(self.world.settings, self.database, self.broker)
        self.app = dataclasses.replace(self.world.app, job_queued=self.dispatcher.job_queued)
        # What workers hold, or believe to hold; dead ones are taken out.
        self.claims = []
        self.fault = None
        self.count = 0

    # How verbs are compared.

    def do(self, call, effect):
        """The product's verb under the fault that is armed, against the book's; answers what the product answered.

        NOBODY if the process that called is gone.
        """
        how = self.fault and self.fault[1]
        got = self.under_fault(lambda: outcome(call))
        if got == NOBODY:
            self.world.outcomes["died"] += 1
            return NOBODY
        if got == ("refused", "DatabaseUnavailable"):
            self.world.outcomes[f"unanswered, {how}"] += 1
            assert expected(effect)[0] == "answered", "what was committed would have been refused"
            if how == "dies":
                return NOBODY
            got = outcome(call)
        wanted = expected(effect)
        assert simple(got) == wanted, f"answered {simple(got)}, must be {wanted}"
        self.world.outcomes[got[1] if got[0] == "refused" else "answered"] += 1
        return got

    def under_fault(self, call):
        """With the fault that is armed, which waits for another call if this one gave it no occasion."""
        kind, how = self.fault or (None, None)
        self.database.die_at = how if kind == "die" else None
        self.database.unanswered = kind == "unanswered"
        self.database.fired = False
        got = call()
        self.database.calm()
        if self.database.fired:
            self.fault = None
        return got

    def by_worker(self, which, call, effect):
        """The same for a verb of whoever holds a claim: `call(database, claim)`, `effect(job_id, attempt)`."""
        claim = self.claims[-1 - which % len(self.claims)]
        got = self.do(lambda: call(self.database, claim), lambda: effect(claim.job.id, claim.attempt))
        if got == NOBODY:
            self.claims.remove(claim)
        return claim

    def page_of(self, which):
        claim = self.claims[-1 - which % len(self.claims)]
        return self.book.pages[claim.job.id]

    def content(self, size):
        """Bytes that no other call has."""
        self.count += 1
        head = len(HEAD).to_bytes(8, "little") + HEAD
        return None if size is None else head + f"{self.count:08}".encode() * ((SIZES[size] - len(head)) // 8)

    def epochs(self, which, from_next, count):
        """Epochs that begin so far from the one after those stored; every call computes other figures."""
        page = self.page_of(which)
        self.count += 1
        first = max(page.epoch + 1 + from_next, 1)
        return [(epoch, figures_of(epoch, self.count)) for epoch in range(first, first + count)]

    @initialize(count=st.integers(1, 3), claimed=st.integers(0, 3))
    def begin(self, count, claimed):
        """Some lives begin in the middle of things."""
        for _ in range(count):
            self.submit_one("kim", None, 1)
        for _ in range(min(count, claimed)):
            self.claim_one()

    # Owners.

    @precondition(lambda self: len(self.book.pages) < MOST_JOBS)
    @rule(owner=st.sampled_from(["kim", "kim", "lee"]), key=st.sampled_from([None, "a", "b"]), seed=st.integers(1, 2))
    def submit(self, owner, key, seed):
        self.submit_one(owner, key, seed)

    def submit_one(self, owner, key, seed):
        request = jobs_pb2.CreateJobRequest(job=job_of(seed), request_id=key or "")
        self.take(owner, jobs.create_job, request, seed, lambda made: self.book.submit(made, owner, "m", seed, key))

    @precondition(lambda self: 0 < len(self.book.pages) < MOST_JOBS)
    @rule(verb=st.sampled_from(["retry", "fork"]), which=JOBS, key=st.sampled_from([None, "a", "c"]))
    def go_on_anew(self, verb, which, key):
        """A new job out of one there is, which may go on from its checkpoint."""
        parent = list(self.book.pages.values())[which % len(self.book.pages)]
        name, body, book = f"jobs/{parent.id}", (verb, parent.id), getattr(self.book, verb)
        if verb == "retry":
            request = jobs_pb2.RetryJobRequest(name=name, request_id=key or "")
        else:
            request = jobs_pb2.ForkJobRequest(name=name, request_id=key or "", learn={"gradient": {"epochs": 1000}})
        product = getattr(forks, f"{verb}_job")
        self.take(parent.owner, product, request, body, lambda made: book(made, parent, body, key))

    def take(self, owner, product, request, body, effect):
        """A call that makes a job, unless the same one came before."""
        key = request.request_id or None

        def once():
            before = self.book.asked_before(owner, key, body)
            if before is not None:
                return before.id
            made = {row[0] for row in self.database.rows("SELECT id FROM job")} - self.book.pages.keys()
            assert len(made) <= 1, "one call made several jobs"
            return effect(made.pop() if made else None).id

        caller = self.world.callers[owner]
        self.do(lambda: product(self.app, caller, request).name.removeprefix("jobs/"), once)

    @rule(which=JOBS, claimed=st.booleans(), other=st.integers(0, 9))
    def cancel(self, which, claimed, other):
        self.ask("cancel", which, claimed, other)

    @rule(which=JOBS, claimed=st.booleans(), other=st.integers(0, 9))
    def pause(self, which, claimed, other):
        self.ask("pause", which, claimed, other)

    @rule(which=JOBS, claimed=st.booleans(), other=st.integers(0, 9))
    def resume(self, which, claimed, other):
        self.ask("resume", which, claimed, other)

    def ask(self, verb, which, claimed, other):
        """By the owner, and one time in ten by somebody else."""
        pages = list(self.book.pages.values())
        page = self.page_of(0) if claimed and self.claims else pages[which % len(pages)]
        owner = page.owner if other else {"kim": "lee", "lee": "kim"}[page.owner]
        product, caller = getattr(ledger, verb), self.world.callers[owner]

        def call():
            row = product(self.database, caller.user_id, page.id)
            return row and row.state

        self.do(call, lambda: getattr(self.book, verb)(owner, page.id))

    # Workers.

    @rule(worker=st.integers(0, 2))
    def claim(self, worker):
        self.claim_one(worker)

    def claim_one(self, worker=9):
        kind, claim = self.do(
            lambda: ledger.claim(self.database, f"w{worker}", LEASE_S),
            lambda: (page := self.book.claim(f"w{worker}")) and (page.id, page.attempt),
        )
        if kind == "answered" and claim is not None:
            self.claims.append(claim)
        return claim

    @precondition(lambda self: self.broker.queue)
    @rule(which=st.integers(0, 9))
    def take_a_ticket(self, which):
        self.broker.queue.pop(which % len(self.broker.queue))
        self.claim_one()

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, verb=st.sampled_from(["beat", "look"]))
    def ask_how_it_stands(self, which, verb):
        def call(database, claim):
            beat = ledger.beat(database, claim, LEASE_S) if verb == "beat" else ledger.look(database, claim)
            return beat.state, beat.fenced

        self.by_worker(which, call, getattr(self.book, verb))

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, span=EPOCHS, size=BYTES, best=st.integers(0, 5))
    def publish(self, which, span, size, best):
        self.publish_some(which, span, size, best)

    def publish_some(self, which, span, size, best):
        epochs, checkpoint = self.epochs(which, *span), self.content(size)
        self.by_worker(
            which,
            lambda database, claim: ledger.publish_epochs(database, claim, figures(epochs), checkpoint, best),
            lambda job, attempt: self.book.publish(job, attempt, epochs, checkpoint, best),
        )

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, size=st.sampled_from(["small", "large"]))
    def keep_checkpoint(self, which, size):
        checkpoint = self.content(size)
        self.by_worker(
            which,
            lambda database, claim: ledger.keep_checkpoint(database, claim, checkpoint),
            lambda job, attempt: self.book.keep_checkpoint(job, attempt, checkpoint),
        )

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, back=st.integers(-1, 3))
    def rewind(self, which, back):
        epoch = max(self.page_of(which).epoch - back, 0)
        self.by_worker(
            which,
            lambda database, claim: ledger.rewind(database, claim, epoch, epoch, "it came out otherwise"),
            lambda job, attempt: self.book.rewind(job, attempt, epoch, epoch),
        )

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, kind=st.sampled_from(["log", "finding", "resumed"]), what=st.integers(1, 2))
    def tell(self, which, kind, what):
        def call(database, claim):
            if kind == "log":
                ledger.add_log(database, claim, f"line {what}")
            elif kind == "finding":
                ledger.add_finding(database, claim, finding_of(what))
            else:
                ledger.going_on(database, claim, what, 3, bitwise_equal=True, reason="")

        def effect(job, attempt):
            if kind == "log":
                self.book.add_log(job, attempt, f"line {what}")
            elif kind == "finding":
                self.book.add_finding(job, attempt, f"finding {what}")
            else:
                self.book.going_on(job, attempt, what, 3)

        self.by_worker(which, call, effect)

    @precondition(lambda self: self.claims)
    @rule(
        which=CLAIMS,
        size=st.sampled_from(["small", "large"]),
        best=st.integers(0, 5),
        found=st.lists(st.integers(1, 3), max_size=2),
    )
    def succeed(self, which, size, best, found):
        self.succeed_one(which, size, best, found)

    def succeed_one(self, which, size, best, found):
        weights, told = self.content(size), {"val_loss": self.count / 8}

        def call(database, claim):
            model, findings = model_of(weights, claim.job.model_slug), [finding_of(one) for one in found]
            return ledger.succeed(database, claim, model, metrics=told, best_epoch=best, findings=findings)

        self.by_worker(
            which,
            call,
            lambda job, attempt: self.book.succeed(job, attempt, weights, told, best, names_of(found)),
        )

    @precondition(lambda self: self.claims)
    @rule(
        which=CLAIMS,
        reason=st.sampled_from(["DIVERGED", "INTERNAL"]),
        span=st.tuples(st.sampled_from([0, -1]), st.integers(0, 2)),
        found=st.lists(st.integers(1, 3), max_size=2),
    )
    def fail(self, which, reason, span, found):
        self.fail_one(which, reason, span, found)

    def fail_one(self, which, reason, span, found):
        epochs = self.epochs(which, *span)
        self.by_worker(
            which,
            lambda database, claim: ledger.fail(
                database,
                claim,
                reason,
                "the loss is no number any more",
                epochs=figures(epochs),
                findings=[finding_of(one) for one in found],
            ),
            lambda job, attempt: self.book.fail(job, attempt, reason, epochs, names_of(found)),
        )

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS, verb=st.sampled_from(["settle_stopped", "settle_stopped", "lost"]))
    def leave(self, which, verb):
        self.leave_as(which, verb)

    def leave_as(self, which, verb):
        def call(database, claim):
            if verb == "lost":
                return ledger.lost(database, claim, "exit 9")
            return ledger.settle_stopped(database, claim)

        self.by_worker(which, call, getattr(self.book, verb))

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS)
    def a_worker_dies(self, which):
        self.claims.pop(-1 - which % len(self.claims))

    @precondition(lambda self: self.claims)
    @rule(which=CLAIMS)
    def another_worker_takes_over(self, which):
        """After a lease, by the one who held it or not: he may not know."""
        job_id = self.page_of(which).id
        self.time_goes_by(16.5)
        self.sweep()
        self.time_goes_by(6.0)
        for _ in range(MOST_JOBS):
            if self.claim_one() is None or self.claims[-1].job.id == job_id:
                break

    # What else happens.

    @rule(at=st.sampled_from([0, 1, 2, 2, 3, 4, 6]))
    def a_process_will_die(self, at):
        """Before that writing statement of the next call that has so many."""
        self.fault = "die", at

    @rule(then=st.sampled_from(["again", "dies"]))
    def an_answer_will_be_lost(self, then):
        """The next commit that moves a job goes unanswered; then the caller calls again, or is gone too."""
        self.fault = "unanswered", then

    @precondition(lambda self: any(self.page_of(i).state in {"PAUSING", "CANCELLING"} for i in range(len(self.claims))))
    @rule(verb=st.sampled_from(["succeed", "fail", "settle_stopped", "lost", "publish", "sweep"]))
    def a_worker_answers_to_what_is_asked(self, verb):
        asked = [i for i in range(len(self.claims)) if self.page_of(i).state in {"PAUSING", "CANCELLING"}]
        if verb == "succeed":
            self.succeed_one(asked[0], "small", 1, [])
        elif verb == "fail":
            self.fail_one(asked[0], "DIVERGED", (0, 1), [1])
        elif verb == "publish":
            self.publish_some(asked[0], (0, 1), "small", 1)
        elif verb == "sweep":
            self.time_goes_by(16.5)
            self.sweep()
        else:
            self.leave_as(asked[0], verb)

    @rule(seconds=st.sampled_from([0.4, 1.7, 6.0, 16.5, 16.5, 47.0, 4000.0]))
    def time_goes_by(self, seconds):
        self.book.now += seconds
        while any(abs(moment - self.book.now) < 0.01 for moment in self.book.moments()):
            self.book.now += 0.05
        self.database.set_clock(self.book.now)

    @rule()
    def sweep(self):
        """By the dispatcher, whom no failure of the database ends."""
        abandoned = stored.abandoned(self.database, self.book.now)
        self.under_fault(lambda: outcome(self.dispatcher._sweep))
        calm = not self.database.fired
        states = dict(self.database.rows("SELECT id, state FROM job"))
        for page in self.book.expired():
            # Each of them whole or not at all; all of them unless something failed.
            if calm or states[page.id] != page.state:
                self.book.lose(page)
        if calm:
            # What this sweep itself has dropped, the next one collects.
            left = abandoned & stored.abandoned(self.database, self.book.now)
            assert not left, "what nobody will publish is not collected"
            if self.book.runnable() and not self.broker.away:
                assert self.broker.queue, "jobs wait, and no ticket was sent"

    @rule()
    def the_dispatcher_wakes(self):
        with self.dispatcher._guard:
            count, self.dispatcher._new = self.dispatcher._new, 0
        self.dispatcher._send(count)

    @rule(what=st.sampled_from(["loses", "doubles", "goes", "comes"]))
    def the_broker(self, what):
        if what == "loses":
            self.broker.queue.clear()
        elif what == "doubles":
            self.broker.queue += list(reversed(self.broker.queue))[:4]
        else:
            self.broker.away = what == "goes"

    @invariant()
    def the_store_says_what_the_book_says(self):
        stored.compare(self.database, self.book)

    def teardown(self):
        """Left alone, with its broker back, everything comes to an end, by tickets alone."""
        if sys.exc_info()[0] is not None:
            # The life has failed already, and what follows would hide by what.
            return
        self.fault, self.broker.away = None, False
        self.claims.clear()
        for _ in range(12):
            for page in self.book.pages.values():
                if page.state == "PAUSED":
                    self.do(*self._resumed(page))
            self.time_goes_by(47.0)
            self.sweep()
            while self.broker.queue:
                self.broker.queue.pop()
                self._work()
            if not any(page.state in LIVE | {"QUEUED", "PAUSED"} for page in self.book.pages.values()):
                break
        else:
            raise AssertionError(f"stuck: {[page.state for page in self.book.pages.values()]}")
        stored.compare(self.database, self.book)
        assert invariants.of_rows(self.database, [f"jobs/{job_id}" for job_id in self.book.pages]) == []
        for page in self.book.pages.values():
            self.world.moves.update(itertools.pairwise(page.told("state")))

    def _resumed(self, page):
        def call():
            return ledger.resume(self.database, self.world.callers[page.owner].user_id, page.id).state

        return call, lambda: self.book.resume(page.owner, page.id)

    def _work(self):
        """As a worker does whom a ticket has woken: until no job is left."""
        while self.claim_one() is not None:
            self.publish_some(0, (0, 2), "small", 1)
            self.succeed_one(0, "small", 1, [])
