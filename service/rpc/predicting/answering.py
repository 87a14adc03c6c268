"""A call of the door of predictions from its bytes to its answer or its status, whatever server carries it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from service.calling import statuses
from service.calling.server_version import SERVER_VERSION
from service.errors import DeadlinePassed, RateLimited, TokenRejected
from service.rpc.oip.methods import PredictionMethods
from service.serving.lookup import MustWait

# Calls of the door that are under way at once, and of those how many may wait for a thread.
MOST_CALLS, MOST_WAITING = 2000, 512
Metadata = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ends that is refused: code, text, and what stands in its trailer."""

    code: grpc.StatusCode
    details: str
    trailers: tuple[tuple[str, str | bytes], ...]


def answer(methods: PredictionMethods, path: str, metadata: Metadata, data: bytes, *, may_wait: bool) -> bytes | Status:
    """The answer's bytes, or how the call is refused. Raises MustWait, and nothing else, where it may not wait."""
    try:
        return methods.answer(path, _authorization(metadata), data, may_wait=may_wait)
    except MustWait:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
        return refused(error, path)


def refused(error: Exception, path: str) -> Status:
    """An error as a call's end."""
    status = rpc_status.to_status(statuses.from_error(statuses.translate(error, path)))
    return Status(status.code, status.details or "", (*(status.trailing_metadata or ()), SERVER_VERSION))


def crowded(what: str, limit: int) -> Exception:
    """More calls than the door takes."""
    return RateLimited(f"{limit} {what} already; come again", retry_after_s=1, metadata={"limit": str(limit)})


def late() -> Exception:
    """A call whose client does not wait any more."""
    return DeadlinePassed("the call's deadline passed before it was carried out")


def _authorization(metadata: Metadata) -> str | None:
    sent = [value for key, value in metadata if key == "authorization"]
    if len(sent) > 1:
        raise TokenRejected("two authorization entries came with the call; send one")
    return str(sent[0]) if sent else None
