"""A process that answers predictions and nothing else: as many as there are cores to give, on one port.

With a port of its own for HTTP it tells its figures there, and answers /v2 too.
"""

import asyncio
import dataclasses
import logging
import signal
import socket

from service.app import App
from service.calling.calls import Calls
from service.data.opening import open_objects
from service.machine.memory import settle
from service.machine.tls import load_tls
from service.observing.tracing import open_tracing
from service.programs.starting import open_database
from service.rest import exchange
from service.rest.door import RestDoor
from service.rest.server import RestServer, listen, until
from service.rpc.predicting import answering
from service.rpc.predicting.door import PredictionDoor
from service.rpc.server import port_taken
from service.serverinfo import Addresses
from service.settings import Settings

log = logging.getLogger("traind.predict")


def run_predictions(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises SettingError naming the variable of what cannot be used."""
    database = open_database(settings)
    tracing = open_tracing(settings, "predict")
    # The documents tell of the whole contract, which is the server's to answer.
    own = dataclasses.replace(settings, docs=False)
    try:
        asyncio.run(_serve(App(own, database, open_objects(settings), tracing=tracing)))
    finally:
        database.dispose()
        if tracing is not None:
            tracing.close()
    return 0


async def _serve(app: App) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = app.settings
    tls, calls = load_tls(settings), Calls(app)
    predicting = PredictionDoor(calls, lambda: not stop.is_set())
    door = RestDoor(calls, {}, Addresses())
    rest = RestServer(door, tls)
    for name in (answering.DOOR, exchange.DOOR):
        app.counts.declare(name, predicting.names)
    try:
        port = predicting.bind(settings.host, settings.predict_port, tls)
        listener = _listen(settings)
        predicting.start()
        serving = None if listener is None else asyncio.create_task(rest.run_on(listener))
        settle()
        log.info("predictions at %s:%d", settings.host, port)
        if listener is not None:
            log.info("figures at %s:%d", settings.host, listener.getsockname()[1])
        try:
            await (stop.wait() if serving is None else until(stop, serving))
        finally:
            door.retired = rest.should_exit = True
            await asyncio.gather(asyncio.to_thread(predicting.stop), *filter(None, [serving]))
    finally:
        calls.close()


def _listen(settings: Settings) -> socket.socket | None:
    """The port of this process for HTTP, where it has one."""
    if not settings.predict_http_port:
        return None
    try:
        return listen(settings.host, settings.predict_http_port)
    except OSError:
        raise port_taken("TRAIND_PREDICT_HTTP_PORT", settings.host, settings.predict_http_port) from None
