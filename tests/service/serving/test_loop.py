"""What any server of unary calls must do, by the completion loop and by the sync server that stands in for it."""

import gc
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from service.calling.observer import Observer
from service.data.table import Table
from service.errors import TooLarge
from service.model_names import Named
from service.modelling.predictor import Predicted
from service.observing.counts import CallCounts
from service.rpc.oip.methods import PredictionMethods
from service.rpc.options import options
from service.rpc.predicting import loop as loops
from service.rpc.predicting import selftest
from service.rpc.predicting.door import MOST_MESSAGE_BYTES
from service.rpc.predicting.loop import CompletionLoop
from service.rpc.predicting.threads import ThreadedServer
from service.serving.batching import QUICK_WORK, Question
from service.serving.lookup import MustWait
from service.settings import LogSettings
from tests.waiting import wait_until

OPTIONS = options(MOST_MESSAGE_BYTES)

LOOPS = [CompletionLoop, ThreadedServer]


class Verbs(PredictionMethods):
    """Methods of a test: the last part of a path says what happens."""

    def __init__(self):
        self.by_path = {}
        self.begun, self.ended = 0, 0
        self.guard = threading.Lock()
        self.gate = threading.Event()
        # How questions are made; light ones unless a test says otherwise.
        self.kind = light

    def answer(self, path, authorization, data, *, may_wait):
        match path.rpartition("/")[2]:
            case "Echo":
                return data
            case "Slow":
                if not may_wait:
                    raise MustWait
                with self.guard:
                    self.begun += 1
                self.gate.wait(20)
                with self.guard:
                    self.ended += 1
                return data
            case "Waits":
                if not may_wait:
                    raise MustWait
                return data
            case "Refused":
                raise TooLarge("inputs: too many", metadata={"limit": "3"})
            case "Defect":
                raise ZeroDivisionError("a secret of the server")
            case "Token":
                return (authorization or "none").encode()
            case "Asks":
                return data if may_wait else self.kind(data)
        return PredictionMethods.answer(self, path, authorization, data, may_wait=may_wait)


class Model:
    """Answers zeros; `gate` holds it up. `rows` are those of each pass."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.rows = []

    def predict(self, table):
        self.rows.append(table.row_count)
        self.gate.wait(20)
        return Predicted(np.zeros(table.row_count), None, None, [])


MODEL = Model()


def light(data, parameters=1):
    """A question about one row, answered with what was sent."""
    return Question(Named("one", "kim", "house", 1, parameters), MODEL, Table({}, 1), lambda _: data)


def heavy(data):
    return light(data, parameters=QUICK_WORK + 1)


def observer():
    return Observer(CallCounts(), LogSettings())


@pytest.fixture(params=LOOPS)
def served(request):
    verbs = Verbs()
    server = request.param(verbs, observer(), OPTIONS)
    port = server.bind("127.0.0.1:0", None)
    assert port
    server.start()
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    ) as channel:
        yield server, verbs, channel, port
    verbs.gate.set()
    server.stop(5)


def code_of(call, *arguments, **more):
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **more)
    return raised.value.code()


def test_answers_small_and_large(served):
    _, _, channel, _ = served
    for size in (0, 1, 70_000, 5 << 20):
        assert channel.unary_unary("/x/Echo")(b"x" * size, timeout=20) == b"x" * size


def test_the_token_comes_with_the_call(served):
    _, _, channel, _ = served
    call = channel.unary_unary("/x/Token")
    assert call(b"", timeout=20, metadata=[("authorization", "Bearer t")]) == b"Bearer t"
    assert call(b"", timeout=20) == b"none"
    two = [("authorization", "a"), ("authorization", "b")]
    assert code_of(call, b"", timeout=20, metadata=two) is grpc.StatusCode.UNAUTHENTICATED


def test_errors_have_their_status_and_tell_no_secret(served):
    _, _, channel, _ = served
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/x/Refused")(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "inputs: too many"
    assert "grpc-status-details-bin" in dict(raised.value.trailing_metadata())
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/x/Defect")(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in raised.value.details()
    assert code_of(channel.unary_unary("/x/Nothing"), b"", timeout=20) is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_above_the_limit_is_refused(served):
    _, _, channel, _ = served
    call = channel.unary_unary("/x/Echo")
    assert code_of(call, b"x" * (65 << 20), timeout=60) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(b"well", timeout=20) == b"well"


def test_a_fast_call_passes_a_slow_one(served):
    _, verbs, channel, _ = served
    slow = [channel.unary_unary("/x/Slow").future(b"slow", timeout=20) for _ in range(3)]
    wait_until(lambda: verbs.begun == 3, "the slow ones have begun")
    assert channel.unary_unary("/x/Echo")(b"fast", timeout=5) == b"fast"
    verbs.gate.set()
    assert [one.result() for one in slow] == [b"slow"] * 3


def test_a_deadline_ends_the_wait_and_the_server_goes_on(served):
    _, verbs, channel, _ = served
    began = time.monotonic()
    assert code_of(channel.unary_unary("/x/Slow"), b"", timeout=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 3
    verbs.gate.set()
    assert channel.unary_unary("/x/Echo")(b"on", timeout=5) == b"on"


@pytest.mark.parametrize("served", [CompletionLoop], indirect=True)  # gRPC's own server begins such calls
def test_what_nobody_waits_for_any_more_is_not_begun(served):
    server, verbs, channel, _ = served
    threads = loops.THREADS
    busy = [channel.unary_unary("/x/Slow").future(b"", timeout=20) for _ in range(threads)]
    wait_until(lambda: verbs.begun == threads, "every thread is busy")
    late = [channel.unary_unary("/x/Slow").future(b"", timeout=20) for _ in range(10)]
    time.sleep(0.3)
    for one in late:
        one.cancel()
    time.sleep(0.3)
    verbs.gate.set()
    for one in busy:
        one.result()
    wait_until(lambda: not server.active, "no call is left")
    assert verbs.begun == threads


@pytest.mark.parametrize("served", [CompletionLoop], indirect=True)
def test_a_call_without_a_deadline_has_one(served, monkeypatch):
    """And one of a year has that of a patient client: what waits longer for a thread is not carried out."""
    monkeypatch.setattr(loops, "DEFAULT_DEADLINE_S", 0.5)
    monkeypatch.setattr(loops, "LONGEST_DEADLINE_S", 30.0)
    server, verbs, channel, _ = served
    busy = [channel.unary_unary("/x/Slow").future(b"", timeout=20) for _ in range(loops.THREADS)]
    wait_until(lambda: verbs.begun == loops.THREADS, "every thread is busy")
    waits = channel.unary_unary("/x/Waits")
    without, year = waits.future(b""), waits.future(b"", timeout=365 * 86400)
    wait_until(lambda: server._waiting == 2, "both wait for a thread")
    time.sleep(1.0)
    verbs.gate.set()
    assert without.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert year.result() == b""
    assert [one.code() for one in busy] == [grpc.StatusCode.OK] * loops.THREADS
    monkeypatch.setattr(loops, "LONGEST_DEADLINE_S", 0.0)
    assert code_of(waits, b"", timeout=365 * 86400) is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("served", [CompletionLoop], indirect=True)  # gRPC's own server bounds all calls together
def test_more_waiting_calls_than_the_door_takes(served, monkeypatch):
    _, verbs, channel, _ = served
    monkeypatch.setattr(loops, "MOST_WAITING", 5)
    calls = [channel.unary_unary("/x/Slow").future(b"", timeout=20) for _ in range(loops.THREADS + 8)]
    wait_until(lambda: sum(one.done() for one in calls) >= 3, "some are refused")
    refused = [one for one in calls if one.done()]
    assert {one.code() for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    verbs.gate.set()
    codes = [one.code() for one in calls]
    assert codes.count(grpc.StatusCode.OK) >= loops.THREADS


def test_three_thousand_calls_leave_nothing(served):
    server, _, _, port = served

    def some(_):
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            fast, waits, asks = (channel.unary_unary(f"/x/{name}") for name in ("Echo", "Waits", "Asks"))
            for n in range(190):
                sent = b"%d" % n
                assert (waits if n % 5 == 0 else asks if n % 5 == 1 else fast)(sent, timeout=30) == sent
            return 190

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(some, range(16))) == 3040
    if isinstance(server, CompletionLoop):
        wait_until(lambda: not server.active, "no call is left")
        gc.collect()
        assert sum(type(one) is loops._Call for one in gc.get_objects()) == 0


@pytest.mark.parametrize("served", [CompletionLoop], indirect=True)
def test_a_question_is_answered_while_the_queue_is_never_empty(served):
    """Others ask without a pause; whoever asks a model that is held must not wait until they are tired."""
    _, _, _, port = served
    over = threading.Event()

    def flood():
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            echo = channel.unary_unary("/x/Echo")
            while not over.is_set():
                for one in [echo.future(b"", timeout=30) for _ in range(50)]:
                    one.result()

    with ThreadPoolExecutor(4) as pool, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        flooding = [pool.submit(flood) for _ in range(4)]
        try:
            took = []
            for _ in range(20):
                began = time.monotonic()
                assert channel.unary_unary("/x/Asks")(b"kept", timeout=20) == b"kept"
                took.append(time.monotonic() - began)
        finally:
            over.set()
        for one in flooding:
            one.result()
    assert statistics.median(took) < 2


@pytest.mark.parametrize("served", [CompletionLoop], indirect=True)
@pytest.mark.parametrize("kind", [light, heavy])
def test_questions_that_queue_are_answered_together_and_one_that_breaks_alone(served, kind, monkeypatch):
    server, verbs, channel, _ = served
    verbs.kind = kind
    call = channel.unary_unary("/x/Asks")
    MODEL.rows.clear()
    MODEL.gate.clear()
    # A light one holds up the loop itself, heavy ones every thread of the pool.
    first = [call.future(b"first", timeout=20) for _ in range(1 if kind is light else loops.THREADS)]
    wait_until(lambda: len(MODEL.rows) == (1 if kind is light else loops.THREADS), "they are answered")
    rest = [call.future(b"%d" % n, timeout=20) for n in range(20)]
    gone = call.future(b"gone", timeout=20)
    if kind is heavy:
        wait_until(lambda: server._waiting == 21, "the others wait")
        gone.cancel()
    time.sleep(0.5)
    end, lost = loops._Call.end, []

    def breaks(one, answered):
        if answered == b"3":
            lost.append(one)
            raise ZeroDivisionError
        end(one, answered)

    monkeypatch.setattr(loops._Call, "end", breaks)
    MODEL.gate.set()
    assert [one.result() for one in first] == [b"first"] * len(first)
    assert [one.result() for n, one in enumerate(rest) if n != 3] == [b"%d" % n for n in range(20) if n != 3]
    assert len(lost) == 1
    assert max(MODEL.rows) > 1
    end(lost[0], b"")
    wait_until(lambda: not server.active, "no call is left")


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_stop_cancels_no_call():
    """Calls come without a pause over many connections: each is answered, or UNAVAILABLE, which clients send again."""
    server = CompletionLoop(Verbs(), observer(), OPTIONS)
    port = server.bind("127.0.0.1:0", None)
    server.start()
    ended, answered = [], []

    def ask():
        alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", alone) as channel:
            try:
                while True:
                    channel.unary_unary("/x/Echo")(b"", timeout=20)
                    answered.append(1)
            except grpc.RpcError as error:
                ended.append(error.code())

    with ThreadPoolExecutor(32) as pool:
        for _ in range(32):
            pool.submit(ask)
        wait_until(lambda: len(answered) > 1000, "all of them ask", 30)
        server.stop(5)
    assert ended == [grpc.StatusCode.UNAVAILABLE] * 32


@pytest.mark.parametrize("kind", LOOPS)
def test_a_stop_lets_running_calls_end_and_takes_no_more(kind):
    verbs = Verbs()
    server = kind(verbs, observer(), OPTIONS)
    port = server.bind("127.0.0.1:0", None)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        running = channel.unary_unary("/x/Slow").future(b"kept", timeout=20)
        wait_until(lambda: verbs.begun == 1, "it has begun")
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        wait_until(lambda: not accepts(port), "no connection is taken any more")
        if kind is ThreadedServer:
            assert code_of(channel.unary_unary("/x/Echo"), b"", timeout=5) is grpc.StatusCode.UNAVAILABLE
        else:  # what comes in by an old connection while it waits is answered too
            assert channel.unary_unary("/x/Echo")(b"too", timeout=5) == b"too"
        verbs.gate.set()
        assert running.result() == b"kept"
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("kind", LOOPS)
def test_a_port_that_another_server_has(kind):
    first = kind(Verbs(), observer(), OPTIONS)
    port = first.bind("127.0.0.1:0", None)
    first.start()
    try:
        assert kind(Verbs(), observer(), OPTIONS).bind(f"127.0.0.1:{port}", None) == 0
    finally:
        first.stop(5)


def test_the_loop_passes_its_test_and_a_broken_one_does_not(monkeypatch):
    assert selftest.behaves()
    monkeypatch.setattr(loops._Call, "end", lambda *_: None)
    monkeypatch.setattr(selftest, "PATIENCE_S", 1.0)
    assert not selftest.behaves()
