"""A call of the door of predictions from its bytes to its answer or its status, whatever server carries it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from service.calling import statuses
from service.calling.observer import REQUEST_ID, Observer
from service.calling.server_version import SERVER_VERSION
from service.errors import DeadlinePassed, RateLimited, TokenRejected, TraindError
from service.observing.counts import NO_METHOD
from service.observing.tracing import CARRIED
from service.rpc.oip.methods import PredictionMethods
from service.serving.batching import Question
from service.serving.lookup import MustWait

# The name of this door where calls are counted.
DOOR = "predictions"
# Calls of the door that are under way at once, and of those how many may wait for a thread.
MOST_CALLS, MOST_WAITING = 2000, 512
Metadata = Sequence[tuple[str, Any]]
Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ends that is refused: code, text, and what stands in its trailer."""

    code: grpc.StatusCode
    details: str
    trailers: Trailers


class Asked:
    """One call: who asks for what, seen by the observer from its first byte to its end."""

    __slots__ = ("_methods", "_seen", "_tokens", "path", "trailers")

    def __init__(self, methods: PredictionMethods, observer: Observer, path: str, metadata: Metadata) -> None:
        self._methods = methods
        self.path = path
        asked_id: str | None = None
        carrier: dict[str, str] = {}
        self._tokens: list[str] = []
        for key, value in metadata:
            if key == "authorization":
                self._tokens.append(str(value))
            elif key == REQUEST_ID:
                asked_id = value
            elif key in CARRIED:
                carrier[key] = str(value)
        self._seen = observer.begin(DOOR, asked_id, carrier, methods.by_path.get(path, NO_METHOD))
        self.trailers: Trailers = (SERVER_VERSION, (REQUEST_ID, self._seen.request_id))

    def answer(self, data: bytes, *, may_wait: bool) -> bytes | Status | Question[bytes]:
        """The answer's bytes, or how the call is refused; where it may not wait also a question, for `told`.

        Raises MustWait, and nothing else, where it may not wait.
        """
        self._seen.enter()
        try:
            answered = self._methods.answer(self.path, self._token(), data, may_wait=may_wait)
        except MustWait:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
            return self.refuse(error)
        if isinstance(answered, bytes):
            self._seen.end("OK")
        return answered

    def told(self, answer: bytes | Exception) -> bytes | Status:
        """What a question of this call was answered with, as the call's end."""
        if isinstance(answer, Exception):
            return self.refuse(answer)
        self._seen.enter()
        self._seen.end("OK")
        return answer

    def refuse(self, error: Exception) -> Status:
        """An error as the call's end."""
        self._seen.enter()
        known = statuses.translate(error, self.path)
        self._seen.end(known.code)
        status = rpc_status.to_status(statuses.from_error(known))
        return Status(status.code, status.details or "", (*(status.trailing_metadata or ()), *self.trailers))

    def _token(self) -> str | None:
        if len(self._tokens) > 1:
            raise TokenRejected("two authorization entries came with the call; send one")
        return self._tokens[0] if self._tokens else None


def crowded(what: str, limit: int) -> TraindError:
    """More calls than the door takes."""
    return RateLimited(f"{limit} {what} already; come again", retry_after_s=1, metadata={"limit": str(limit)})


def late() -> TraindError:
    """A call whose client does not wait any more."""
    return DeadlinePassed("the call's deadline passed before it was carried out")
