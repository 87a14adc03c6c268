"""The API process: both doors in one asyncio loop, over one table of methods, and the door of predictions beside it."""

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf.descriptor import ServiceDescriptor

from service.app import App
from service.calling.calls import Calls
from service.calling.methods import Method, bind
from service.calling.rules import compile_rules
from service.machine.tls import load_tls
from service.rest import exchange
from service.rest.door import RestDoor
from service.rest.server import RestServer, listen, until
from service.rpc import guard
from service.rpc.oip.handlers import InferenceHandlers
from service.rpc.predicting import answering
from service.rpc.predicting.door import PredictionDoor
from service.rpc.server import RpcServer, port_taken
from service.rpc.servicers.datasets import DatasetServicer
from service.rpc.servicers.jobs import JobServicer
from service.rpc.servicers.models import ModelServicer
from service.rpc.servicers.predictions import PredictionServicer
from service.rpc.servicers.server import ServerServicer
from service.rpc.servicers.uploads import UploadServicer
from service.serverinfo import Addresses
from service.watching import Watching
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, server_pb2, uploads_pb2

Services = Sequence[tuple[ServiceDescriptor, object]]


async def serve(app: App, *, on_ready: Callable[[Addresses], None], stop: asyncio.Event, more: Services = ()) -> None:
    """Serve until `stop` is set; then end within 10 s, answering what runs.

    `on_ready` is called once all ports are bound and calls are let in. `more` are services of
    other packages and their servicers. Raises SettingError naming the variable of a port that cannot be had, or of a
    certificate that cannot be used.
    """
    tls = load_tls(app.settings)
    calls = Calls(app)
    watching = Watching(calls)
    addresses = Addresses()
    methods = bind([*services_of(calls, watching, addresses), *more])
    compile_rules(method.descriptor.input_type for method in methods.values())
    settings = app.settings
    try:
        listener = listen(settings.host, settings.http_port)
    except OSError:
        raise port_taken("TRAIND_HTTP_PORT", settings.host, settings.http_port) from None
    door = RestDoor(calls, methods, addresses)
    inference = InferenceHandlers(calls, lambda: not door.retired)
    predicting = PredictionDoor(calls, lambda: not door.retired)
    for name in (exchange.DOOR, guard.DOOR):
        app.counts.declare(name, [*methods, *inference.names])
    app.counts.declare(answering.DOOR, predicting.names)
    rest, rpc = RestServer(door, tls), RpcServer(calls, methods, settings, inference)
    try:
        addresses.grpc_port = rpc.bind(settings.host, settings.grpc_port, tls)
        addresses.predict_port = predicting.bind(settings.host, settings.predict_port, tls)
        addresses.http_port = listener.getsockname()[1]
        await rpc.start()
        predicting.start()
        serving = asyncio.create_task(rest.run_on(listener))
        try:
            on_ready(addresses)
            await until(stop, serving)
        finally:
            await rpc.retire()
            door.retired = True
            watching.stop()
            rest.should_exit = True
            await asyncio.gather(serving, rpc.stop(), asyncio.to_thread(predicting.stop))
    finally:
        listener.close()
        calls.close()


def services_of(calls: Calls, watching: Watching, addresses: Addresses) -> list[tuple[ServiceDescriptor, object]]:
    """The services of the contract and the servicers that carry them out."""
    return [
        (uploads_pb2.DESCRIPTOR.services_by_name["UploadService"], UploadServicer(calls)),
        (datasets_pb2.DESCRIPTOR.services_by_name["DatasetService"], DatasetServicer(calls)),
        (jobs_pb2.DESCRIPTOR.services_by_name["JobService"], JobServicer(calls, watching)),
        (models_pb2.DESCRIPTOR.services_by_name["ModelService"], ModelServicer(calls)),
        (predictions_pb2.DESCRIPTOR.services_by_name["PredictionService"], PredictionServicer(calls)),
        (server_pb2.DESCRIPTOR.services_by_name["ServerService"], ServerServicer(calls, addresses)),
    ]


def methods_of(app: App) -> dict[str, Method]:
    """The whole table without a server, for whoever wants to look at it."""
    calls = Calls(app)
    return bind(services_of(calls, Watching(calls), Addresses()))
