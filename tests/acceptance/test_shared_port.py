"""Several processes answer predictions on one port: clients are shared out, and none is lost when a process ends."""

import collections
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import psutil
import pytest

import traind
from service.rpc.oip import open_inference_pb2 as oip
from tests import servers
from tests.acceptance import stack as stacks
from tests.waiting import wait_until

CLIENTS = 64
DOORS = ("predictions", "rest")
TRIES = 20
INFER = "/inference.GRPCInferenceService/ModelInfer"
ROWS = "a,b,y\n" + "".join(f"{n % 7},{n % 5},{n % 7 + 2 * (n % 5)}\n" for n in range(40))
ASKED = np.array([[3.0, 4.0], [1.0, 0.5]])
# What a version answers: the bias tells which it is.
ANSWERS = {number: (ASKED @ [1.0, 2.0] + 1000 * number).tolist() for number in (1, 2, 3)}


def given(number):
    """A job of a model whose weights are these, so that its answers tell the version."""
    weights = {"weight": {"shape": [1, 2], "values": [1.0, 2.0]}, "bias": {"shape": [1], "values": [1000.0 * number]}}
    return {
        "target": ["y"],
        "network": {"linear": {}},
        "preprocess": {"scale": "NONE"},
        "split": {"none": {}},
        "dtype": "FLOAT64",
        "learn": {"given": {"weights": weights}},
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stack(request):
    """The server, and two more processes on its port of predictions."""
    port = free_port()
    shared = {"TRAIND_PREDICT_PORT": str(port), "TRAIND_PREDICT_SHARED": "on", "TRAIND_SLOTS": "1"}
    try:
        broker = servers.redis_url() if request.param == "postgresql" else None
        with servers.fresh_database(request.param) as url, stacks.split(url, broker, **shared) as stack:
            stack.port, stack.http = port, {}
            for name in ("one", "other"):
                begin(stack, name)
            with traind.Client(stack.address["grpc"], token=stack.token) as client:
                client.datasets.create(ROWS.encode(), name="rows")
                client.jobs.create(dataset="rows", model="line", train=given(1)).wait(60)
                client.models.set_alias("line", "champion", 1)
                yield stack
    except servers.NoServer as error:
        servers.missing(error)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def begin(stack, name):
    stack.http[name] = free_port()
    stack.env["TRAIND_PREDICT_HTTP_PORT"] = str(stack.http[name])
    stack.start(name, "service", "predict")
    wait_until(lambda: f"figures at 127.0.0.1:{stack.http[name]}" in stack.output(name), f"{name} answers", 60)


def request_of(reference):
    message = oip.ModelInferRequest(model_name="kim.line", model_version=reference)
    message.inputs.add(name="input", datatype="FP64", shape=list(ASKED.shape))
    message.raw_input_contents.append(ASKED.tobytes())
    return message.SerializeToString()


class Client(threading.Thread):
    """One of many: asks again and again over a connection of its own; sends again what was UNAVAILABLE."""

    def __init__(self, stack, until):
        super().__init__(daemon=True)
        self.answers = collections.Counter()
        self.retried = 0
        self.wrong = []
        self._until = until
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{stack.port}", [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        )
        self._metadata = [("authorization", f"Bearer {stack.token}")]

    def run(self):
        with self._channel:
            infer = self._channel.unary_unary(INFER, response_deserializer=oip.ModelInferResponse.FromString)
            data = request_of("champion")
            while not self._until.is_set() and not self.wrong:
                try:
                    self._ask(infer, data)
                except Exception as error:
                    self.wrong.append(error)

    def _ask(self, infer, data):
        for tried in range(TRIES):
            try:
                answer = infer(data, metadata=self._metadata, timeout=30)
                break
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or tried == TRIES - 1:
                    raise
                self.retried += 1
                time.sleep(0.05 * (tried + 1))
        values = np.frombuffer(answer.raw_output_contents[0]).tolist()
        if values != ANSWERS[int(answer.model_version)]:
            self.wrong.append((answer.model_version, values))
        self.answers[int(answer.model_version)] += 1


class Crowd:
    """All of them, until the end of the block; nothing may have gone wrong for any."""

    def __init__(self, stack):
        self._until = threading.Event()
        self.clients = [Client(stack, self._until) for _ in range(CLIENTS)]

    @property
    def answered(self):
        return sum(sum(one.answers.values()) for one in self.clients)

    def wait_more(self, each=5):
        """Until every client has been answered so many times more."""
        before = [sum(one.answers.values()) for one in self.clients]
        wait_until(
            lambda: all(
                one.wrong or sum(one.answers.values()) >= was + each
                for one, was in zip(self.clients, before, strict=True)
            ),
            "every client is answered",
            90,
        )

    def __enter__(self):
        for one in self.clients:
            one.start()
        return self

    def __exit__(self, kind, *_):
        self._until.set()
        for one in self.clients:
            one.join(60)
        if kind is None:
            assert [wrong for one in self.clients for wrong in one.wrong] == []


def connections(stack):
    """How many clients are at each process: the server, and those beside it."""
    pids = {"api": stack.address["pid"], **{name: stack.roots[name].pid for name in ("one", "other")}}
    return {
        name: sum(
            found.status == psutil.CONN_ESTABLISHED and found.laddr.port == stack.port
            for found in psutil.Process(pid).net_connections("tcp")
        )
        for name, pid in pids.items()
    }


@pytest.mark.timeout(300)
def test_clients_are_shared_out_and_a_process_that_ends_loses_none(stack):
    with Crowd(stack) as crowd:
        crowd.wait_more()
        shared = connections(stack)
        print(f"64 clients: {shared}")
        assert sum(shared.values()) >= CLIENTS
        # By chance a third each; fewer than 8 of 64 is less likely than one in 10,000.
        assert min(shared.values()) >= 8
        took = stack.stop("one", signal.SIGTERM)
        assert took < 10
        crowd.wait_more()
        retried = sum(one.retried for one in crowd.clients)
        begin(stack, "one")
        crowd.wait_more()
    print(f"{crowd.answered} answers, {retried} calls sent again when a process ended")


@pytest.mark.timeout(300)
def test_an_alias_is_switched_under_64_clients(stack):
    """By a call to the server; the processes beside it follow within a second."""
    with traind.Client(stack.address["grpc"], token=stack.token) as client, Crowd(stack) as crowd:
        for number in (2, 3):
            client.jobs.create(dataset="rows", model="line", train=given(number)).wait(60)
            crowd.wait_more()
            client.models.set_alias("line", "champion", number)
            time.sleep(1.5)  # what a process believes it believes for a second, and a call may wait as long under load
            before = [dict(one.answers) for one in crowd.clients]
            crowd.wait_more()
            for one, was in zip(crowd.clients, before, strict=True):
                late = {v: n - was.get(v, 0) for v, n in one.answers.items() if v < number and n > was.get(v, 0)}
                assert sum(late.values()) <= 1, late  # the one that was under way
        client.models.set_alias("line", "champion", 1)
    assert {1, 2, 3} <= set().union(*(one.answers for one in crowd.clients))


@pytest.mark.timeout(300)
def test_a_deleted_version_and_a_revoked_token_are_refused_within_a_second(stack):
    with traind.Client(stack.address["grpc"], token=stack.token) as client:
        model = client.jobs.create(dataset="rows", model="line", train=given(1)).wait(60).model
        token = stack.run("user", "token", "kim", "--scopes", "predict").stdout.strip()
        asking = [Asker(stack, str(model.version), token) for _ in range(12)]
        try:
            assert all(one.code() == "OK" for one in asking)
            model.delete()
            within_a_second(asking, "NOT_FOUND")
            for one in asking:
                one.reference = "1"
            assert all(one.code() == "OK" for one in asking)
            stack.run("user", "revoke", token.split("_")[1])
            within_a_second(asking, "UNAUTHENTICATED")
        finally:
            for one in asking:
                one.channel.close()


def over_http(stack, name, path, token=None, body=None):
    """What one of the processes answers at its own port."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    asked = urllib.request.Request(f"http://127.0.0.1:{stack.http[name]}{path}", body, headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read().decode()


def refusal(stack, name, path, token=None):
    """The status of a refusal."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        over_http(stack, name, path, token)
    with refused.value as error:
        return error.code


def test_each_process_tells_its_figures_and_answers_http(stack):
    token = stack.run("user", "token", "kim", "--scopes", "metrics").stdout.strip()
    tensor = {"name": "input", "datatype": "FP64", "shape": [2, 2], "data": ASKED.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    ok = 'traind_calls_total{door="%s",method="inference.GRPCInferenceService.ModelInfer",code="OK"} '
    with Crowd(stack) as crowd:
        crowd.wait_more()
    for name in ("one", "other"):
        answer = json.loads(over_http(stack, name, "/v2/models/kim.line/versions/champion/infer", stack.token, body))
        assert answer["outputs"][0]["data"] == ANSWERS[1]
        assert json.loads(over_http(stack, name, "/readyz")) == {"status": "ok"}
        page = over_http(stack, name, "/metrics", token).splitlines()
        found = {door: [int(line.split()[-1]) for line in page if line.startswith(ok % door)] for door in DOORS}
        assert found["predictions"][0] > 0
        assert found["rest"] == [1]
        assert refusal(stack, name, "/v1/models", stack.token) == 404
        assert refusal(stack, name, "/metrics") == 401
        assert not any(line.startswith("traind_jobs") for line in page), "what SQL knows is the server's to tell"


class Asker:
    """A connection of its own, at whichever process it came to."""

    def __init__(self, stack, reference, token):
        self.reference = reference
        self.channel = grpc.insecure_channel(f"127.0.0.1:{stack.port}", [("grpc.use_local_subchannel_pool", 1)])
        self._metadata = [("authorization", f"Bearer {token}")]

    def code(self):
        try:
            self.channel.unary_unary(INFER)(request_of(self.reference), metadata=self._metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


def within_a_second(asking, code):
    """Every process refuses from then on."""
    time.sleep(1.0)
    assert {one.code() for one in asking} == {code}
    time.sleep(0.2)
    assert {one.code() for one in asking} == {code}
