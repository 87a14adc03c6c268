"""Client processes that submit jobs, and now and then are cut off right after sending and send again.

stdin: a JSON object {"grpc", "http", "token", "plans": [[[request id, seed, cut], …], …]}: a plan for each process,
with cut one of "", "grpc", "http". stdout: for each process {"names": {request id: [job names]}, "errors": [texts]}.
"""

import json
import multiprocessing
import random
import socket
import struct
import sys
import time
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format

from tests.acceptance import wire as wires
from traind.v1 import jobs_pb2, specs_pb2


def job_of(seed):
    """A job of a few milliseconds; another seed makes it another job."""
    spec = specs_pb2.TrainSpec(target=["y"], network={"linear": {}}, learn={"exact": {}}, seed=seed)
    return jobs_pb2.Job(dataset="waves", model="many", display_name="one of many", train=spec)


def cut_grpc(told, request_id, job):
    """Sends, and drops the connection before the answer can be read."""
    wire = wires.Wire(told["grpc"], told["token"])
    grpc.channel_ready_future(wire.channel).result(timeout=30)
    request = jobs_pb2.CreateJobRequest(job=job, request_id=request_id)
    wire.jobs.CreateJob.future(request, metadata=wire.metadata, timeout=30)
    time.sleep(random.uniform(0, 0.02))
    wire.close()


def cut_http(told, request_id, job):
    """Sends a whole request and resets the connection at once."""
    where = urlsplit(told["http"])
    body = json_format.MessageToJson(job).encode()
    head = (
        f"POST /v1/jobs?request_id={request_id} HTTP/1.1\r\nhost: {where.netloc}\r\n"
        f"authorization: Bearer {told['token']}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(head.encode() + body)
        time.sleep(random.uniform(0, 0.02))


def run_client(told, plan):
    names, errors = {}, []
    wire = wires.Wire(told["grpc"], told["token"])
    for request_id, seed, cut in plan:
        job = job_of(seed)
        try:
            if cut:
                {"grpc": cut_grpc, "http": cut_http}[cut](told, request_id, job)
            names.setdefault(request_id, []).append(wire.submit(job, request_id).name)
        except (grpc.RpcError, grpc.FutureTimeoutError, OSError) as error:
            errors.append(f"{type(error).__name__}: {error}")
    wire.close()
    return {"names": names, "errors": errors}


def main():
    told = json.load(sys.stdin)
    plans = told.pop("plans")
    # Forked before gRPC has begun anything: importing it 30 times would take longer than the test.
    with multiprocessing.get_context("fork").Pool(len(plans)) as pool:
        json.dump(pool.starmap(run_client, [(told, plan) for plan in plans], chunksize=1), sys.stdout)


if __name__ == "__main__":
    main()
