"""Client processes that do operations at random and write down what they were told, and when.

stdin: {"grpc", "token", "clients", "operations", "seed"}. stdout: a list of notes, each
  {"client", "what", "begin", "end", "asked": {…}, "told": {…}}
with times of the machine's monotonic clock, which all processes share. `told` is {"error": code}, or by operation
  submit, get, cancel, pause, resume   {"job": {"name", "state", "attempt", "epoch"}}
  list                                 {"jobs": [the same, …]}
  watch                                {"events": [{"seq", "kind", "attempt", "epoch", "state", "rewound"}, …]}
A call that finds no server is made again until it is answered: its note spans all tries.
"""

import json
import multiprocessing
import random
import sys
import time
import uuid

import grpc

from tests.acceptance import wire as wires
from traind.v1 import jobs_pb2

WEIGHTS = {"submit": 25, "again": 6, "otherwise": 3, "get": 20, "list": 8, "watch": 10, "cancel": 10, "pause": 8}
WEIGHTS |= {"resume": 10}
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
PATIENCE_S, TRY_S, WATCH_S, PAUSE_S = 60.0, 15.0, 2.0, 0.05
# So that a list has several pages, and not hundreds.
LEAST_PAGE, PAGES = 7, 10


class Client:
    """One process."""

    def __init__(self, told, number):
        self.number, self.dice = number, random.Random(f"{told['seed']} {number}")
        self.wire = wires.Wire(told["grpc"], told["token"])
        self.notes, self.submitted, self.known = [], [], []

    def run(self, operations):
        names, weights = zip(*WEIGHTS.items(), strict=True)
        for _ in range(operations):
            what = self.dice.choices(names, weights)[0]
            if not self.known:
                what = "submit"
            getattr(self, what)()
        self.wire.close()
        return self.notes

    def note(self, what, asked, call):
        """Make a call, and write down what it came to."""
        begin = time.monotonic()
        try:
            told = call()
        except grpc.RpcError as error:
            told = {"error": error.code().name}
        end = time.monotonic()
        self.notes.append(
            {"client": self.number, "what": what, "begin": begin, "end": end, "asked": asked, "told": told}
        )
        return told

    def unary(self, method, request):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return method(request, metadata=self.wire.metadata, timeout=TRY_S)
            except grpc.RpcError as error:
                if error.code() not in PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_S)

    def any_job(self):
        # Mostly the newest, where most happens.
        return self.dice.choice(self.known[-8:] if self.dice.random() < 0.8 else self.known)

    def submit(self):
        epochs = self.dice.choice([3, 3, 30, 200, 800])
        key, seed = str(uuid.UUID(int=self.dice.getrandbits(128), version=4)), self.dice.randrange(1000)
        self.submitted.append((key, epochs, seed))
        self._submit(key, epochs, seed)

    def again(self):
        self._submit(*self.dice.choice(self.submitted)) if self.submitted else self.submit()

    def otherwise(self):
        if self.submitted:
            key, epochs, seed = self.dice.choice(self.submitted)
            self._submit(key, epochs, seed + 1000)

    def _submit(self, key, epochs, seed):
        request = jobs_pb2.CreateJobRequest(job=wires.train(epochs, seed=seed), request_id=key)
        asked = {"key": key, "body": [epochs, seed]}
        told = self.note("submit", asked, lambda: {"job": seen(self.unary(self.wire.jobs.CreateJob, request))})
        self.learn([told["job"]] if "job" in told else [])

    def get(self):
        self._ask("get", self.wire.jobs.GetJob, jobs_pb2.GetJobRequest)

    def cancel(self):
        self._ask("cancel", self.wire.jobs.CancelJob, jobs_pb2.CancelJobRequest)

    def pause(self):
        self._ask("pause", self.wire.jobs.PauseJob, jobs_pb2.PauseJobRequest)

    def resume(self):
        self._ask("resume", self.wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest)

    def _ask(self, what, method, kind):
        name = self.any_job()
        self.note(what, {"name": name}, lambda: {"job": seen(self.unary(method, kind(name=name)))})

    def list(self):
        def call():
            found, token, size = [], "", max(LEAST_PAGE, len(self.known) // PAGES)
            while True:
                request = jobs_pb2.ListJobsRequest(page_size=size, page_token=token)
                page = self.unary(self.wire.jobs.ListJobs, request)
                found += [seen(job) for job in page.jobs]
                token = page.next_page_token
                if not token:
                    return {"jobs": found}

        self.learn(self.note("list", {}, call).get("jobs", []))

    def learn(self, jobs):
        """Of jobs that others have submitted too."""
        self.known += [job["name"] for job in jobs if job["name"] not in self.known]

    def watch(self):
        """To the end or for a while, and with breaks of its own beside those of the server."""
        name = self.any_job()
        self.note("watch", {"name": name}, lambda: {"events": self._watch(name)})

    def _watch(self, name):
        events, until = [], time.monotonic() + WATCH_S
        while time.monotonic() < until:
            request = jobs_pb2.WatchJobRequest(name=name, from_seq=len(events) + 1)
            stream = self.wire.jobs.WatchJob(request, metadata=self.wire.metadata, timeout=WATCH_S)
            breaks_at = len(events) + self.dice.randint(1, 40)
            try:
                for event in stream:
                    events.append(seen_event(event))
                    if len(events) == breaks_at:
                        break
                else:
                    return events
            except grpc.RpcError as error:
                if error.code() not in PASSING:
                    raise
                time.sleep(PAUSE_S)
            finally:
                stream.cancel()
        return events


def seen(job):
    state = jobs_pb2.Job.State.Name(job.state)
    return {"name": job.name, "state": state, "attempt": job.attempt, "epoch": job.epoch}


def seen_event(event):
    kind = event.WhichOneof("kind")
    told = {"seq": event.seq, "kind": kind, "attempt": event.attempt}
    if kind == "state":
        told["state"] = jobs_pb2.Job.State.Name(event.state.state)
    elif kind == "epoch":
        told["epoch"] = event.epoch.epoch
    elif kind == "resumed":
        told |= {"epoch": event.resumed.epoch, "rewound": event.resumed.rewound}
    return told


def run_client(told, number):
    return Client(told, number).run(told["operations"])


def main():
    told = json.load(sys.stdin)
    # Forked before gRPC has begun anything: starting 30 interpreters would take longer than the test.
    with multiprocessing.get_context("fork").Pool(told["clients"]) as pool:
        notes = pool.starmap(run_client, [(told, number) for number in range(told["clients"])], chunksize=1)
    json.dump([note for each in notes for note in each], sys.stdout)


if __name__ == "__main__":
    main()
