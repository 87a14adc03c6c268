"""Asks a model in traind with Triton's client, which knows nothing of traind.

    pip install tritonclient geventhttpclient aiohttp packaging grpcio protobuf
    python triton_client.py kim.species 127.0.0.1:8082 127.0.0.1:8080 token

The addresses are the port of predictions and the HTTP port, the last word is a file with a token of scope `predict`.
"""

import pathlib
import sys
import types

import numpy as np
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http

PENGUINS = {
    "island": np.array(["Biscoe", "Torgersen"], dtype=object),
    "bill_length_mm": np.array([46.1, 39.1]),
    "bill_depth_mm": np.array([13.2, 18.7]),
    "flipper_length_mm": np.array([211, 181]),
    "body_mass_g": np.array([4500, 3750]),
    "sex": np.array(["female", "male"], dtype=object),
}
DATATYPES = {"O": "BYTES", "f": "FP64", "i": "INT64"}


def ask(library: types.ModuleType, address: str, model: str, headers: dict[str, str]) -> list[tuple[str, float]]:
    """The species of both penguins, each with its probability."""
    inputs = []
    for name, values in PENGUINS.items():
        tensor = library.InferInput(name, list(values.shape), DATATYPES[values.dtype.kind])
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    wanted = [library.InferRequestedOutput(name) for name in ("label", "probabilities")]
    with library.InferenceServerClient(address) as client:
        answer = client.infer(model, inputs, outputs=wanted, headers=headers)
    species = [name.decode() for name in answer.as_numpy("label").reshape(-1)]
    return [(name, float(shares.max())) for name, shares in zip(species, answer.as_numpy("probabilities"), strict=True)]


def main() -> None:
    """Ask over both doors."""
    model, grpc_address, http_address, token_file = sys.argv[1:]
    headers = {"authorization": f"Bearer {pathlib.Path(token_file).read_text().strip()}"}
    for door, library, address in (("gRPC", by_grpc, grpc_address), ("HTTP", by_http, http_address)):
        for species, probability in ask(library, address, model, headers):
            print(f"{door}  {species}  {probability:.2f}")


if __name__ == "__main__":
    main()
