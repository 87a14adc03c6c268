"""What one writes in an afternoon: grpc.aio, ModelInfer by protobuf, a forward in torch.

No token, no checks, no scaling. python -m bench.serving.bare_grpc WEIGHTS.npz; prints its address.
"""

import asyncio
import sys

import grpc
import numpy as np
import torch

from bench.serving.network import OUTPUT, load
from service.rpc.oip import open_inference_pb2 as oip


async def main(weights: str) -> None:
    network = load(weights)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def predict(raw: bytes, shape: list[int]) -> bytes:
        x = torch.from_numpy(np.frombuffer(raw, np.float32).reshape(shape).copy())
        return network(x).numpy().tobytes()

    async def infer(request: oip.ModelInferRequest, _: object) -> oip.ModelInferResponse:
        shape = list(request.inputs[0].shape)
        answer = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
        answer.outputs.add(name=OUTPUT, datatype="FP32", shape=[shape[0], 1])
        answer.raw_output_contents.append(predict(request.raw_input_contents[0], shape))
        return answer

    handler = grpc.unary_unary_rpc_method_handler(
        infer, oip.ModelInferRequest.FromString, oip.ModelInferResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    torch.set_num_threads(1)
    asyncio.run(main(sys.argv[1]))
