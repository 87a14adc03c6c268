"""What is fuzzed: a server in a process of its own that has a data set, jobs, a model and an upload.

No worker runs, so that a job that a guess happens to submit learns nothing, and nothing but the calls uses memory.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires

DATASET, SPARE, MODEL, ALIAS = "waves", "spare", "m", "champion"
FINISHED_EPOCHS = 3


@dataclass(frozen=True)
class Prey:
    """A server, and what is in it by the name of the path's variable."""

    base_url: str
    token: str
    pid: int
    stack: stacks.Stack
    known: dict[str, list[str]]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def document(self) -> dict:
        """The server's own OpenAPI document."""
        return httpx.get(f"{self.base_url}/openapi.json").json()

    def memory(self) -> int:
        """Bytes that the server has for itself; mapped files do not count."""
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


@contextlib.contextmanager
def prey() -> Iterator[Prey]:
    """A server over SQLite that ends with the block."""
    with stacks.split() as stack:
        wire = stack.wire()
        for name in (DATASET, SPARE):
            wire.upload(name, wires.table())
        finished = wire.wait(wire.submit(wires.quick()).name, 90)
        assert finished.epoch == FINISHED_EPOCHS
        stack.stop("worker")
        # For the moves that a queued job allows; watching it would never end.
        queued, doomed = wire.submit(wires.quick()), wire.submit(wires.quick())
        base_url = stack.address["http"]
        with httpx.Client(base_url=base_url, headers={"authorization": f"Bearer {stack.token}"}) as http:
            upload = http.post("/v1/uploads", json={}).json()["name"]
            alias = {"alias": ALIAS, "version": 1}
            assert http.post(f"/v1/models/{MODEL}:setAlias", json=alias).status_code == 200
        known = {
            "dataset": [DATASET],
            "version": ["1"],
            "model": [MODEL],
            "alias": [ALIAS],
            "job": [id_of(finished.name), id_of(queued.name)],
            "doomed": [id_of(doomed.name)],
            "upload": [id_of(upload)],
        }
        yield Prey(base_url, stack.token, stack.address["pid"], stack, known)


def id_of(name: str) -> str:
    """`jobs/ID` without what is before the ID."""
    return name.partition("/")[2]
