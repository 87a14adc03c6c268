"""One thread on gRPC's completion queue that serves unary calls: no pool, no hand-over, no event loop between.

It uses what grpcio's own servers are built on (grpc._cython.cygrpc), which is no public interface: selftest.py tries it
at every start, and where it does not behave threads.py stands in. A call that must wait is carried out by a pool of
threads and answered from there.

A call is asked for its message; then its answer goes, and its end is seen with that. Where the answer takes time, the
end is watched for before, which tells when the client is gone. It is over when all of this has come back.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc import _common  # codes as the core has them
from grpc._cython import cygrpc

from service.calling.observer import Observer
from service.errors import TraindError
from service.rpc.oip.methods import PredictionMethods
from service.rpc.predicting import answering, sockets
from service.rpc.predicting.answering import MOST_CALLS, MOST_WAITING, Asked, Status
from service.serving.lookup import MustWait

log = logging.getLogger(__name__)

# Calls that the core may hand over before it is asked again: with fewer the thread wakes up for each by itself.
ASKED_FOR = 64
THREADS = 4
# How often it is looked whether calls still run while the server stops, seconds.
PAUSE_S = 0.005
_NO_FLAGS = 0
_CODES: dict[grpc.StatusCode, Any] = _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE
_OK = _CODES[grpc.StatusCode.OK]


class CompletionLoop:
    """A server of the prediction methods; started once, stopped once."""

    def __init__(self, methods: PredictionMethods, observer: Observer, options: Sequence[tuple[str, int]]) -> None:
        self._methods, self._observer = methods, observer
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)  # noqa: FBT003 - no xDS; it has no names
        self._server.register_completion_queue(self._queue)
        self._pool = ThreadPoolExecutor(THREADS, "prediction")
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._guard = threading.Lock()
        self._waiting = 0
        self._active = 0
        self._stopping = False
        self._port = 0
        # No call is left, and after that nothing that is to be waited for.
        self._ended, self._over = threading.Event(), threading.Event()
        # The core's server must not be destroyed while another thread is inside one of its calls.
        self._ending = threading.Lock()

    def bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Take a port and say which it is; 0 where it cannot be had."""
        own: Any = getattr(credentials, "_credentials", None)  # as grpc's own server does
        added = (
            self._server.add_http2_port(address.encode(), own) if own else self._server.add_http2_port(address.encode())
        )
        self._port = int(added)
        return self._port

    def start(self) -> None:
        """Let calls in."""
        self._server.start()
        for _ in range(ASKED_FOR):
            self._ask()
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Take no new connections, give running calls their time, hang up, end. Waits for all that.

        A call that is not answered by then is UNAVAILABLE to its client, who may send it again elsewhere.
        """
        self._stopping = True
        sockets.refuse(self._port)
        until = time.monotonic() + grace_s
        while self._active and time.monotonic() < until:
            time.sleep(PAUSE_S)
        sockets.hang_up(self._port)
        with self._ending:
            self._server.shutdown(self._queue, self._shut_down)
        if not self._ended.wait(grace_s):
            with self._ending:
                if not self._ended.is_set():
                    self._server.cancel_all_calls()
        self._over.wait(grace_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def active(self) -> int:
        """Calls under way."""
        return self._active

    def _ask(self) -> None:
        self._server.request_call(self._queue, self._queue, self._arrived)

    def _run(self) -> None:
        while True:
            event = self._queue.poll()
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                self._over.set()
                return
            try:
                event.tag(event)
            except Exception:
                # A defect in one call must not end all others.
                log.exception("a call of the prediction door was lost")
            # A call that is over must not be held while the next one is waited for.
            del event

    def _arrived(self, event: Any) -> None:
        if not event.success:  # the server stops
            return
        if not self._stopping:
            self._ask()
        self._active += 1
        path = event.call_details.method.decode("latin-1")
        call = _Call(self, event, Asked(self._methods, self._observer, path, event.invocation_metadata))
        if self._active > MOST_CALLS:
            call.refuse(answering.crowded("calls are carried out", MOST_CALLS))
        else:
            call.begin()

    def _shut_down(self, _event: Any) -> None:
        with self._ending:
            self._ended.set()
            self._server.destroy()
            self._queue.shutdown()

    def carry_out(self, call: "_Call", data: bytes) -> None:
        """Answer a call at once, or let a thread do it."""
        try:
            call.end(call.asked.answer(data, may_wait=False))
        except MustWait:
            with self._guard:
                crowded = self._waiting >= MOST_WAITING
                self._waiting += not crowded
            if crowded:
                call.end(call.asked.refuse(answering.crowded("calls wait for a thread", MOST_WAITING)))
            else:
                call.watch()
                self._pool.submit(self._patiently, call, data)

    def _patiently(self, call: "_Call", data: bytes) -> None:
        with self._guard:
            self._waiting -= 1
        if call.gone:
            call.end(call.asked.refuse(answering.late()))
            return
        call.end(call.asked.answer(data, may_wait=True))

    def ended(self) -> None:
        """A call is over."""
        self._active -= 1


class _Call:
    """One call on its way."""

    __slots__ = ("_call", "_deadline", "_due", "_loop", "_watched", "asked", "cancelled")

    def __init__(self, loop: CompletionLoop, event: Any, asked: Asked) -> None:
        self._loop = loop
        self._call = event.call
        self._deadline: float = event.call_details.deadline
        self.asked = asked
        self.cancelled = False
        # Whether its end is watched for, before its answer goes.
        self._watched = False
        # What has not come back: its answer having gone, and its end where that is watched for.
        self._due = 1

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer."""
        return self.cancelled or time.time() > self._deadline

    def begin(self) -> None:
        """Ask for the message."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._received)

    def watch(self) -> None:
        """Be told when the client goes away, in the loop's thread and before any other has the call."""
        self._watched = True
        self._due += 1
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._closed)

    def refuse(self, error: TraindError) -> None:
        """End it without its message."""
        self.end(self.asked.refuse(error))

    def end(self, answered: bytes | Status) -> None:
        """Send the answer, or why there is none. Any thread may."""
        # Operations hold memory of the core while they are under way: each call has its own.
        operations: list[Any] = [cygrpc.SendInitialMetadataOperation((), _NO_FLAGS)]
        if isinstance(answered, Status):
            trailers, code, details = answered.trailers, _CODES[answered.code], answered.details.encode()
        else:
            trailers, code, details = self.asked.trailers, _OK, b""
            operations.append(cygrpc.SendMessageOperation(answered, _NO_FLAGS))
        operations.append(cygrpc.SendStatusFromServerOperation(trailers, code, details, _NO_FLAGS))
        if not self._watched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        self._call.start_server_batch(operations, self._sent)

    def _received(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None or self.gone:  # the client went away, or sent nothing
            self.end(self.asked.refuse(answering.late()))
            return
        self._loop.carry_out(self, data)

    def _closed(self, event: Any) -> None:
        self.cancelled = bool(event.batch_operations[0].cancelled())
        self._done()

    def _sent(self, _event: Any) -> None:
        self._done()

    def _done(self) -> None:
        self._due -= 1
        if not self._due:
            self._loop.ended()
