"""A worker with a GPU, as an administrator runs it: jobs learn there, and learn what they learn on a CPU."""

import subprocess
import sys

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from traind.v1 import jobs_pb2

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def gpu():
    """Skips where there is none; asked in a process of its own, for whoever asked cannot fork a trainer."""
    program = "import torch; print(torch.version.cuda or '', torch.cuda.device_count())"
    cuda, _, count = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.rpartition(" ")
    if not cuda:
        pytest.skip("this torch is a CPU build: make the environment again with TORCH_PIP naming a CUDA index")
    if not int(count):
        pytest.skip(f"torch knows CUDA {cuda} and sees no device: look at nvidia-smi")


def losses(stack, job):
    """The training losses of a job that was run to its end."""
    wire = stack.wire()
    wire.upload("waves", wires.table())
    ended = wire.wait(wire.submit(job).name, 300)
    assert ended.state == jobs_pb2.Job.SUCCEEDED, ended
    told = "".join(event.log.message for event in wire.watch(ended.name) if event.HasField("log"))
    history = wire.history(ended.name)
    prediction = wire.predict(ended.model_version, {f"x{column}": [0.5] for column in range(wires.WIDTH)})
    return told, [value for _, value in history["train_loss"]], prediction.predictions[0].numbers


def test_a_worker_with_a_gpu_learns_what_one_without_learns(gpu):
    with stacks.split(TRAIND_DEVICES="cuda", TRAIND_SLOTS="1") as there:
        told, on_gpu, answer_of_gpu = losses(there, wires.train(20))
    with stacks.split(TRAIND_DEVICES="cpu", TRAIND_SLOTS="1") as here:
        _, on_cpu, answer_of_cpu = losses(here, wires.train(20))
    assert "cuda" in told
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3)
    assert answer_of_gpu == pytest.approx(answer_of_cpu, rel=1e-2)


def test_a_cancelled_job_leaves_the_gpu_to_the_next(gpu):
    with stacks.split(TRAIND_DEVICES="cuda", TRAIND_SLOTS="1") as stack:
        wire = stack.wire()
        wire.upload("waves", wires.table())
        endless = wire.submit(wires.endless())
        wire.wait_epoch(endless.name, seconds=300)
        wire.cancel(endless.name)
        assert wire.wait(endless.name, 30).state == jobs_pb2.Job.CANCELLED
        assert wire.wait(wire.submit(wires.quick()).name, 300).state == jobs_pb2.Job.SUCCEEDED
