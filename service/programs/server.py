"""The server process: wires the parts, opens the doors, tells where they are, and ends cleanly."""

import asyncio
import signal

from service.app import App
from service.data.opening import open_objects
from service.dispatcher import Dispatcher
from service.housekeeping_thread import Housekeeper
from service.machine.address import remove_address, write_address
from service.machine.memory import settle
from service.observing.tracing import open_tracing
from service.programs.api import serve
from service.programs.starting import open_database
from service.serverinfo import Addresses
from service.settings import Settings
from service.tickets import Tickets
from service.webhooks.delivering import Deliverer
from service.webhooks.targets import load_targets

# A dispatcher that waits for a broker is not waited for longer.
DISPATCHER_STOP_S = 1.0


def run_server(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises SettingError naming the variable of what cannot be used."""
    database = open_database(settings)
    targets = load_targets(settings.webhooks)
    objects = open_objects(settings)
    tickets = Tickets(settings) if settings.broker_url else None
    dispatcher = Dispatcher(settings, database, tickets)
    housekeeper = Housekeeper(settings, database, objects)
    tracing = open_tracing(settings, "api")
    app = App(
        settings,
        database,
        objects,
        dispatcher.job_queued,
        targets,
        tracing=tracing,
        tellers=(dispatcher.families, housekeeper.families),
    )
    deliverer = Deliverer(database, targets)
    dispatcher.start()
    deliverer.start()
    housekeeper.start()
    try:
        asyncio.run(_serve(app))
    finally:
        remove_address(settings)
        deliverer.stop(DISPATCHER_STOP_S)
        dispatcher.stop(DISPATCHER_STOP_S)
        housekeeper.stop()
        database.dispose()
        if tracing is not None:
            tracing.close()
    return 0


async def _serve(app: App) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def tell(addresses: Addresses) -> None:
        settle()
        write_address(app.settings, addresses.http_port, addresses.grpc_port, addresses.predict_port)

    await serve(app, on_ready=tell, stop=stop)
