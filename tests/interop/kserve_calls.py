"""Run in an environment of its own: everything that KServe's client can ask, by gRPC and REST.

Reads JSON from stdin (addresses, token, models with their inputs) and writes what was answered to stdout, as JSON by
door and question. Knows nothing of traind.
"""

import asyncio
import json
import logging
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

DTYPES = {"FP16": "f2", "FP32": "f4", "FP64": "f8", "INT64": "i8", "BOOL": "?", "BYTES": object}


def request(model, inputs, outputs=None, binary=True, in_binary_answer=None):
    tensors = []
    for name, (datatype, values) in inputs.items():
        array = np.array(values, dtype=DTYPES[datatype])
        tensor = InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    wanted = None if outputs is None else [RequestedOutput(name) for name in outputs]
    parameters = {} if in_binary_answer is None else {"binary_data_output": in_binary_answer}
    return InferRequest(model, tensors, request_id="질문-1", request_outputs=wanted, parameters=parameters)


def told(answer):
    outputs = {}
    for output in answer.outputs:
        array = output.as_numpy()
        values = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1).tolist()]
        outputs[output.name] = {"datatype": output.datatype, "shape": list(array.shape), "values": values}
    return {"id": answer.id, "model": answer.model_name, "outputs": outputs}


async def refused(call):
    """(code, text) of a call that must not be answered."""
    try:
        await call
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return None


async def by_grpc(address, asked):
    """Every question's answer."""
    headers = [("authorization", f"Bearer {asked['token']}")]
    model, inputs, _ = asked["cases"]["numbers"]
    async with InferenceGRPCClient(address) as client:
        found = {
            "live": await client.is_server_live(),
            "ready": [await client.is_server_ready(), await client.is_model_ready(model, headers=headers)],
            "errors": {
                "model": await refused(client.infer(request(f"{model}-nobody", inputs), headers=headers)),
                "token": await refused(client.infer(request(model, inputs))),
            },
        }
        for case, (name, given, outputs) in asked["cases"].items():
            half = any(datatype == "FP16" for datatype, _ in given.values())
            ways = {"raw": request(name, given), "some": request(name, given, outputs[-1:])}
            ways |= {} if half else {"contents": request(name, given, binary=False)}
            found[case] = {way: told(await client.infer(one, headers=headers)) for way, one in ways.items()}
    return found


async def by_rest(address, asked):
    """Every question's answer."""
    headers = {"authorization": f"Bearer {asked['token']}"}
    model, inputs, _ = asked["cases"]["numbers"]
    url = f"http://{address}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(one, name, headers=headers):
            return await client.infer(url, one, model_name=name, headers=dict(headers))  # it writes into them

        found = {
            "live": await client.is_server_live(url),
            "ready": [
                await client.is_server_ready(url),
                await client.is_model_ready(url, model, headers=headers),
            ],
            "errors": {
                "model": await refused(infer(request(f"{model}-nobody", inputs), f"{model}-nobody")),
                "token": await refused(infer(request(model, inputs), model, {})),
            },
        }
        for case, (name, given, outputs) in asked["cases"].items():
            half = any(datatype == "FP16" for datatype, _ in given.values())
            ways = {"raw": request(name, given, in_binary_answer=True), "some": request(name, given, outputs[-1:])}
            ways |= {} if half else {"json": request(name, given, binary=False, in_binary_answer=False)}
            found[case] = {way: told(await infer(one, name)) for way, one in ways.items()}
    return found


async def main():
    """Ask at every door."""
    logging.disable()
    asked = json.load(sys.stdin)
    answers = {
        "grpc at the port of predictions": await by_grpc(asked["predict"], asked),
        "grpc at the main port": await by_grpc(asked["grpc"], asked),
        "rest": await by_rest(asked["http"], asked),
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
