"""One thread on gRPC's completion queue that serves unary calls: no pool, no hand-over, no event loop between.

It uses what grpcio's own servers are built on (grpc._cython.cygrpc), which is no public interface: selftest.py tries it
at every start, and where it does not behave threads.py stands in. A call that must wait is carried out by a pool of
threads and answered from there.

A call is asked for its message; then its answer goes, and its end is seen with that. Where the answer takes time, the
end is watched for before, which tells when the client is gone. It is over when all of this has come back.

Questions to a model that has to be asked in the general way are held until nothing else is in the queue, or so many
events have been looked at meanwhile, and answered together: a lone call is not kept waiting. Heavy ones are answered by
the pool, together with what came while it was busy.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc
from grpc import _common  # codes as the core has them
from grpc._cython import cygrpc

from service.calling.methods import DEFAULT_DEADLINE_S, LONGEST_DEADLINE_S
from service.calling.observer import Observer
from service.errors import TraindError
from service.rpc.oip.methods import PredictionMethods
from service.rpc.predicting import answering, sockets
from service.rpc.predicting.answering import MOST_CALLS, MOST_WAITING, Asked, Status
from service.serving import batching
from service.serving.batching import MOST_TOGETHER, Question
from service.serving.lookup import MustWait

log = logging.getLogger(__name__)

# Calls that the core may hand over before it is asked again: with fewer the thread wakes up for each by itself.
ASKED_FOR = 64
THREADS = 4
# How often it is looked whether calls still run while the server stops, seconds.
PAUSE_S = 0.005
# A time long past: what is in the queue now, or nothing.
_NOW = 0.0
_NEVER_S = 1e9
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
        # Questions that are answered once the queue is empty; and by version those that wait for the pool.
        self._light: list[_Held] = []
        self._heavy: dict[str, list[_Held]] = {}
        # Events since the first of those was held.
        self._passed = 0
        self._active = 0
        self._stopping = False
        self._port = 0
        # The core's server is shut down; and no call is left, nor anything that is to be waited for.
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
            event = self._queue.poll(_NOW if self._light else None)
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                self._over.set()
                return
            try:
                if event.completion_type != cygrpc.CompletionType.queue_timeout:
                    event.tag(event)
                    self._passed += 1 if self._light else 0
                    if self._passed < MOST_TOGETHER:
                        continue
                self._answer_light()
            except Exception:
                # A defect in one call must not end all others.
                log.exception("a call of the prediction door was lost")
            finally:
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
        self._end_queue()

    def _end_queue(self) -> None:
        """Once no call is left: whatever is sent afterwards would find no queue."""
        if not self._active:
            self._queue.shutdown()

    def carry_out(self, call: "_Call", data: bytes) -> None:
        """Answer a call at once, with others like it, or let a thread do it."""
        try:
            answered = call.asked.answer(data, may_wait=False)
        except MustWait:
            if self._may_wait(call):
                self._pool.submit(self._patiently, call, data)
            return
        if not isinstance(answered, Question):
            call.end(answered)
        elif not answered.heavy:
            self._light.append((call, answered))
        elif self._may_wait(call):
            self._hold([(call, answered)])

    def _may_wait(self, call: "_Call") -> bool:
        """Whether there is room for a call that waits for a thread; it is refused where there is none."""
        with self._guard:
            crowded = self._waiting >= MOST_WAITING
            self._waiting += not crowded
        if crowded:
            call.end(call.asked.refuse(answering.crowded("calls wait for a thread", MOST_WAITING)))
        else:
            call.watch()
        return not crowded

    def _hold(self, held: "list[_Held]") -> None:
        """Keep heavy questions to one version until a thread has time; one is sent for, unless it was before."""
        version = held[0][1].named.id
        with self._guard:
            sent_for = version in self._heavy
            self._heavy.setdefault(version, []).extend(held)
        if not sent_for:
            self._pool.submit(self._answer_heavy, version)

    def _answer_heavy(self, version: str) -> None:
        with self._guard:
            part, left = batching.first_part(self._heavy.pop(version))
            self._waiting -= len(part)
        try:
            if left:
                self._hold(left)
        finally:
            self._answer(part)

    def _answer_light(self) -> None:
        held, self._light, self._passed = self._light, [], 0
        for part in batching.parts(held):
            self._answer(part)

    def _answer(self, held: "list[_Held]") -> None:
        """Answer questions to one version, and end their calls."""
        asked = [(call, question) for call, question in held if not call.gone]
        answers = batching.answer([question for _, question in asked]) if asked else []
        told: dict[_Call, bytes | Exception] = {call: answering.late() for call, _ in held}
        told |= {call: answer for (call, _), answer in zip(asked, answers, strict=True)}
        for call, answer in told.items():
            try:
                call.end(call.asked.told(answer))
            except Exception:
                # The others must have theirs.
                log.exception("a call of the prediction door was lost")

    def _patiently(self, call: "_Call", data: bytes) -> None:
        with self._guard:
            self._waiting -= 1
        if call.gone:
            call.end(call.asked.refuse(answering.late()))
            return
        answered = call.asked.answer(data, may_wait=True)
        assert not isinstance(answered, Question)
        call.end(answered)

    def ended(self) -> None:
        """A call is over."""
        self._active -= 1
        if self._ended.is_set():
            self._end_queue()


_Held: TypeAlias = "tuple[_Call, Question[bytes]]"


class _Call:
    """One call on its way."""

    __slots__ = ("_call", "_deadline", "_due", "_loop", "_watched", "asked", "cancelled")

    def __init__(self, loop: CompletionLoop, event: Any, asked: Asked) -> None:
        self._loop = loop
        self._call = event.call
        now = time.time()
        left: float = event.call_details.deadline - now
        # When nobody is thought to wait any more. Where the client names no deadline, the core's is ages away.
        self._deadline = now + (DEFAULT_DEADLINE_S if left > _NEVER_S else min(left, LONGEST_DEADLINE_S))
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
