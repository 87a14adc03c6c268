"""The same network served by KServe, in an environment of its own: python kserve_model.py WEIGHTS.npz HTTP GRPC."""

import pathlib
import sys

import numpy as np
import torch
from kserve import InferOutput, InferResponse, Model, ModelServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from bench.serving.network import OUTPUT, load


class Plain(Model):
    """A forward in torch."""

    def __init__(self, name, weights):
        super().__init__(name)
        self.network = load(weights)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):  # noqa: ARG002 - its signature
        with torch.inference_mode():
            x = torch.from_numpy(np.array(payload.inputs[0].as_numpy(), np.float32))
            values = self.network(x).numpy()
        output = InferOutput(OUTPUT, list(values.shape), "FP32")
        output.set_data_from_numpy(values, binary_data=payload.use_binary_outputs)
        return InferResponse(payload.id, self.name, [output], use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    weights, http_port, grpc_port = sys.argv[1:]
    server = ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1, enable_docs_url=False)
    server.start([Plain("plain", weights)])
