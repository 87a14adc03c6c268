"""A client process that submits jobs and now and then is cut off right after sending, then sends again.

stdin: a JSON object {"grpc", "http", "token", "plan": [[request id, seed, cut], …]} with cut one of "", "grpc", "http".
stdout: a JSON object {"names": {request id: [job names answered]}, "errors": [texts]}.
"""

import json
import random
import socket
import struct
import sys
import time
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format

from tests.acceptance import wire as wires
from traind.v1 import jobs_pb2


def job_of(seed):
    job = wires.train(1, seed=seed, model="many")
    job.display_name = "one of many"
    return job


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


def main():
    told = json.load(sys.stdin)
    names, errors = {}, []
    wire = wires.Wire(told["grpc"], told["token"])
    for request_id, seed, cut in told["plan"]:
        job = job_of(seed)
        try:
            if cut:
                {"grpc": cut_grpc, "http": cut_http}[cut](told, request_id, job)
            names.setdefault(request_id, []).append(wire.submit(job, request_id).name)
        except (grpc.RpcError, grpc.FutureTimeoutError, OSError) as error:
            errors.append(f"{type(error).__name__}: {error}")
    wire.close()
    json.dump({"names": names, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
