"""Asks a model in traind with KServe's client, which knows nothing of traind.

    pip install kserve
    python kserve_client.py kim.species 127.0.0.1:8082 http://127.0.0.1:8080 token

The addresses are the port of predictions and the HTTP port, the last word is a file with a token of scope `predict`.
"""

import asyncio
import pathlib
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

PENGUINS = {
    "island": ("BYTES", np.array(["Biscoe", "Torgersen"], dtype=object)),
    "bill_length_mm": ("FP64", np.array([46.1, 39.1])),
    "bill_depth_mm": ("FP64", np.array([13.2, 18.7])),
    "flipper_length_mm": ("INT64", np.array([211, 181])),
    "body_mass_g": ("INT64", np.array([4500, 3750])),
    "sex": ("BYTES", np.array(["female", "male"], dtype=object)),
}


def request(model: str) -> InferRequest:
    """The rows as the protocol's tensors."""
    inputs = []
    for name, (datatype, values) in PENGUINS.items():
        tensor = InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return InferRequest(model_name=model, infer_inputs=inputs)


async def main(model: str, grpc_address: str, http_address: str, token: str) -> None:
    """Ask over both doors."""
    bearer = f"Bearer {token}"
    by_grpc = InferenceGRPCClient(grpc_address)
    answer = await by_grpc.infer(request(model), headers=[("authorization", bearer)])
    show("gRPC", answer)
    await by_grpc.close()
    by_http = InferenceRESTClient(RESTConfig(protocol="v2"))
    show("HTTP", await by_http.infer(http_address, request(model), model_name=model, headers={"authorization": bearer}))
    await by_http.close()


def show(door: str, answer: InferResponse) -> None:
    """One line a penguin."""
    found = {output.name: output for output in answer.outputs}
    shares = found["probabilities"].as_numpy()
    for label, row in zip(found["label"].as_numpy().reshape(-1), shares, strict=True):
        species = label.decode() if isinstance(label, bytes) else label
        print(f"{door}  {species}  {row.max():.2f}")


if __name__ == "__main__":
    *where, token_file = sys.argv[1:]
    asyncio.run(main(*where, pathlib.Path(token_file).read_text().strip()))
