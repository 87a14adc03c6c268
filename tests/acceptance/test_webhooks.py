"""An `up` with a receiver: the end of each job reaches it signed, and a killed server loses nothing."""

import base64
import hashlib
import hmac
import json
import os
import signal

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.service.webhooks.receiver import Receiver
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

KEY = bytes(range(40))


@pytest.fixture
def lab():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def stack(lab, tmp_path):
    path = tmp_path / "webhooks.toml"
    path.touch(mode=0o600)
    path.write_text(f'[lab]\nurl = "{lab.url}"\nsecret = "whsec_{base64.b64encode(KEY).decode()}"\n')
    with stacks.up(TRAIND_SLOTS="1", TRAIND_WEBHOOKS=str(path)) as stack:
        yield stack


def genuine(headers, body):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return (
        headers["webhook-signature"]
        == "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    )


def test_the_end_of_each_job_reaches_the_receiver(stack, lab):
    wire = stack.wire()
    wire.upload("waves", wires.table())
    quick = wires.quick()
    quick.webhooks.append("lab")
    done = wire.wait(wire.submit(quick).name, 120)
    assert list(done.webhooks) == ["lab"]
    wait_until(lambda: lab.calls, "the receiver hears of it", 20)
    headers, body, _ = lab.calls[0]
    assert genuine(headers, body)
    data = json.loads(body)["data"]
    assert (data["job"], data["state"], data["modelVersion"]) == (done.name, "SUCCEEDED", done.model_version)

    # The server dies while a job learns; its worker ends the job meanwhile or later, and who comes after tells it.
    name = wire.submit(quick).name
    killed = stack.address["pid"]
    os.kill(killed, signal.SIGKILL)
    stack.wait_back(killed)
    wait_until(lambda: len({headers["webhook-id"] for headers, _, _ in lab.calls}) == 2, "both are told", 90)
    assert all(genuine(headers, body) for headers, body, _ in lab.calls)
    assert {message["data"]["job"] for message in lab.messages()} == {done.name, name}
    assert stack.wire().get(name).state == jobs_pb2.Job.SUCCEEDED
