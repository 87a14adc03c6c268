"""Users who work as people do, beside faults: submit, look, cancel, predict; for the soak."""

import contextlib
import random
import threading
import time

import grpc

from service import accounts
from tests.acceptance import wire as wires
from tests.faults.lab import steady
from tests.faults.record import ENDED, Client, tiny

# Nobody waits longer for an answer, faults and all.
PATIENCE_S = 300.0
COLUMNS = {f"x{column}": [0.25] for column in range(wires.WIDTH)}


class Crowd:
    """So many users, each with a token, a data set and a thread; errors of any of them are kept."""

    def __init__(self, lab, count, seed):
        self.errors = []
        self.acts = dict.fromkeys(("submitted", "cancelled", "predicted"), 0)
        self._lab = lab
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._threads = [
            threading.Thread(target=self._live, args=(self._moved_in(place), random.Random(seed + place)), daemon=True)
            for place in range(count)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        deadline = time.monotonic() + PATIENCE_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        self.errors += ["a user still waits" for thread in self._threads if thread.is_alive()]

    def _moved_in(self, place):
        name = f"user-{place}"
        database = self._lab.stack.database()
        accounts.create_user(database, name)
        token = accounts.create_token(database, name, ["read", "submit", "predict"])
        database.dispose()
        client = Client(self._lab.stack, self._lab.record, name, token)
        client.wire.upload("waves", wires.table())
        return client

    def _live(self, client, rng):
        model = ""
        while not self._stop.is_set():
            try:
                model = self._act(client, rng, model) or model
            except (grpc.RpcError, AssertionError) as error:
                self.errors.append(f"{client.user}: {error!r}"[:500])
            self._stop.wait(rng.uniform(0.1, 1.0))

    def _act(self, client, rng, model):
        job = client.submit(steady() if rng.random() < 0.1 else tiny())
        self._count("submitted")
        if rng.random() < 0.1:
            # One that has ended meanwhile cannot be cancelled any more.
            with contextlib.suppress(grpc.RpcError):
                client.cancel(job.name)
                self._count("cancelled")
        if model and rng.random() < 0.5:
            client.wire.predict(model, COLUMNS)
            self._count("predicted")
        return client.wait(job.name, lambda job: job.state in ENDED, seconds=PATIENCE_S).model_version

    def _count(self, what):
        with self._guard:
            self.acts[what] += 1
