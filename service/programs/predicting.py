"""A process that answers predictions and nothing else: as many as there are cores to give, on one port."""

import logging
import signal
import threading

from service.app import App
from service.calling.calls import Calls
from service.data.opening import open_objects
from service.machine.memory import settle
from service.machine.tls import load_tls
from service.observing.tracing import open_tracing
from service.programs.starting import open_database
from service.rpc.predicting.door import PredictionDoor
from service.settings import Settings

log = logging.getLogger("traind.predict")


def run_predictions(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises SettingError naming the variable of what cannot be used."""
    database = open_database(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tracing = open_tracing(settings, "predict")
    calls = Calls(App(settings, database, open_objects(settings), tracing=tracing))
    door = PredictionDoor(calls, lambda: not stop.is_set())
    try:
        port = door.bind(settings.host, settings.predict_port, load_tls(settings))
        door.start()
        settle()
        log.info("predictions at %s:%d", settings.host, port)
        stop.wait()
    finally:
        door.stop()
        calls.close()
        database.dispose()
        if tracing is not None:
            tracing.close()
    return 0
