"""Run in an environment of its own: everything that Triton's client can ask, by gRPC and HTTP, at once and awaited.

Reads JSON from stdin (addresses, token, models with their inputs) and writes what was answered to stdout, as JSON by
door and question. Knows nothing of traind.
"""

import asyncio
import inspect
import json
import sys

import numpy as np
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http.aio as http_aio
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

DTYPES = {"FP16": "f2", "FP32": "f4", "FP64": "f8", "INT64": "i8", "BOOL": "?", "BYTES": object}


async def done(answer):
    """What a client answered, awaited where it must be."""
    return await answer if inspect.isawaitable(answer) else answer


def tensors(library, inputs, **more):
    made = []
    for name, (datatype, values) in inputs.items():
        array = np.array(values, dtype=DTYPES[datatype])
        tensor = library.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, **more)
        made.append(tensor)
    return made


def told(answer, name):
    array = answer.as_numpy(name)
    if array is None:
        return None
    values = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1).tolist()]
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": values}


def plain(message):
    """A gRPC message as JSON has it."""
    return message if isinstance(message, (dict, list)) else json.loads(str(message))


class Door:
    """One client of the library at one address."""

    def __init__(self, library, address, asked):
        self.library = library
        self.asked = asked
        self.over_http = library in (http, http_aio)
        self.refuses_packed = address == asked["grpc"]
        self.client = library.InferenceServerClient(address)

    @property
    def known(self):
        """Headers anew for each call: the library writes into them."""
        return {"headers": {"authorization": f"Bearer {self.asked['token']}"}}

    async def answers(self):
        """Every question's answer."""
        found = {}
        for name in ("live", "ready", "server", "metadata", "index", "errors"):
            found[name] = await getattr(self, name)()
        for case, (model, inputs, outputs) in self.asked["cases"].items():
            found[case] = {way: await self.infer(model, inputs, outputs, way) for way in self.ways(inputs)}
        await done(self.client.close())
        return found

    async def live(self):
        return await done(self.client.is_server_live())

    async def ready(self):
        model = self.asked["cases"]["numbers"][0]
        return [
            await done(self.client.is_server_ready()),
            await done(self.client.is_model_ready(model, **self.known)),
            await done(self.client.is_model_ready(model, "1", **self.known)),
        ]

    async def as_json(self, call, *words):
        more = {} if self.over_http else {"as_json": True}
        return await done(call(*words, **self.known, **more))

    async def server(self):
        return await self.as_json(self.client.get_server_metadata)

    async def metadata(self):
        return {
            case: await self.as_json(self.client.get_model_metadata, model)
            for case, (model, _, _) in self.asked["cases"].items()
        }

    async def index(self):
        return await self.as_json(self.client.get_model_repository_index)

    async def errors(self):
        """What is refused: model, version, column, output and token that there are not."""
        model, inputs, _ = self.asked["cases"]["numbers"]
        made = tensors(self.library, inputs)
        nobody = [self.library.InferRequestedOutput("nobody")]
        calls = {
            "model": lambda: self.client.infer(f"{model}-nobody", made, **self.known),
            "version": lambda: self.client.infer(model, made, model_version="99", **self.known),
            "input": lambda: self.client.infer(model, tensors(self.library, {"nobody": ["FP32", [1.0]]}), **self.known),
            "output": lambda: self.client.infer(model, made, outputs=nobody, **self.known),
            "token": lambda: self.client.infer(model, made),
            "metadata": lambda: self.client.get_model_metadata(f"{model}-nobody", **self.known),
            "packed": lambda: self.client.infer(model, made, compression_algorithm="gzip", **self.known),
        }
        if not self.refuses_packed:
            del calls["packed"]
        found = {}
        for name, call in calls.items():
            try:
                await done(call())
            except InferenceServerException as error:
                found[name] = [error.status(), error.message()]
        return found

    def ways(self, inputs):
        if self.refuses_packed:
            return ["all", "some"]
        if not self.over_http:
            return ["all", "some", "gzip", "deflate"]
        json_too = [] if any(datatype == "FP16" for datatype, _ in inputs.values()) else ["json"]
        return ["all", "some", "gzip", "deflate", *json_too]

    async def infer(self, model, inputs, outputs, way):
        """`some`: one output, asked for by name, with an id; `json`: nothing in binary; else how the body is packed."""
        more = self.known
        how = {}
        wanted = outputs
        if way == "some":
            wanted = outputs[-1:]
            more |= {"outputs": [self.library.InferRequestedOutput(wanted[0])], "request_id": "질문-1"}
        if way == "json":
            how = {"binary_data": False}
            more["outputs"] = [self.library.InferRequestedOutput(name, binary_data=False) for name in outputs]
        if way in ("gzip", "deflate"):
            packed = ("request_compression_algorithm", "response_compression_algorithm")
            more |= dict.fromkeys(packed if self.over_http else ["compression_algorithm"], way)
        answer = await done(self.client.infer(model, tensors(self.library, inputs, **how), **more))
        response = plain(answer.get_response()) if self.over_http else answer.get_response(as_json=True)
        return {
            "id": response.get("id"),
            "outputs": {one["name"]: told(answer, one["name"]) for one in response["outputs"]},
        }


async def main():
    """Ask at every door."""
    asked = json.load(sys.stdin)
    doors = {
        "grpc at the port of predictions": (grpc, asked["predict"]),
        "grpc at the main port": (grpc, asked["grpc"]),
        "grpc.aio at the port of predictions": (grpc_aio, asked["predict"]),
        "grpc.aio at the main port": (grpc_aio, asked["grpc"]),
        "http": (http, asked["http"]),
        "http.aio": (http_aio, asked["http"]),
    }
    json.dump({name: await Door(*where, asked).answers() for name, where in doors.items()}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
