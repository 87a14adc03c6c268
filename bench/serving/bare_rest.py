"""What one writes in an afternoon: Starlette on uvicorn, the protocol's binary tensors by orjson, a forward in torch.

No token, no checks, no scaling. python -m bench.serving.bare_rest WEIGHTS.npz; prints its address.
"""

import socket
import sys

import numpy as np
import orjson
import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.serving.network import OUTPUT, load

HEADER = "inference-header-content-length"


def main(weights: str) -> None:
    network = load(weights)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def predict(raw: bytes, shape: list[int]) -> bytes:
        return network(torch.from_numpy(np.frombuffer(raw, np.float32).reshape(shape).copy())).numpy().tobytes()

    async def infer(request: Request) -> Response:
        body = await request.body()
        size = int(request.headers[HEADER])
        asked = orjson.loads(body[:size])
        shape = asked["inputs"][0]["shape"]
        raw = predict(body[size:], shape)
        told = {
            "name": OUTPUT,
            "datatype": "FP32",
            "shape": [shape[0], 1],
            "parameters": {"binary_data_size": len(raw)},
        }
        head = orjson.dumps({"model_name": request.path_params["model"], "id": asked.get("id", ""), "outputs": [told]})
        return Response(head + raw, media_type="application/octet-stream", headers={HEADER: str(len(head))})

    app = Starlette(routes=[Route("/v2/models/{model}/infer", infer, methods=["POST"])])
    # asyncio sets TCP_NODELAY only where the protocol is told; without it an answer in two parts takes 44 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
