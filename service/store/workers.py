"""The workers that are alive, as they say themselves; what they hold stands in the rows of jobs."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from service.store.clock import clock
from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.insertion import insert_or_ignore
from service.store.records import WorkerRow
from service.store.tables import worker

# A worker that died is forgotten when it has been silent for so long.
FORGOTTEN_S = 3600.0

_RENEW = Fixed(
    update(worker)
    .where(worker.c.name == given("worker_name"))
    .values(slots=given("its_slots"), devices=given("its_devices"), alive_until=clock() + given("alive_s"))
)
_ALIVE = Fixed(
    select(worker.c.name, worker.c.devices, worker.c.slots)
    .where(worker.c.alive_until > clock())
    .order_by(worker.c.name)
)
_LEAVE = Fixed(delete(worker).where(worker.c.name == given("worker_name")))
_GONE = worker.c.alive_until < clock() - FORGOTTEN_S


def announce(connection: Connection, name: str, devices: Sequence[str], slots: int, alive_s: float) -> None:
    """Note that a worker is alive and will say so again within `alive_s`."""
    values = {"name": name, "devices": ",".join(devices), "slots": slots, "alive_until": 0.0}
    insert_or_ignore(connection, worker, values, ("name",))
    _RENEW(connection, worker_name=name, its_slots=slots, its_devices=values["devices"], alive_s=alive_s)


def leave(connection: Connection, name: str) -> None:
    """Note that a worker ends."""
    _LEAVE(connection, worker_name=name)


def gone(connection: Connection) -> list[str]:
    """Names of those that were silent for so long that they can be forgotten."""
    return list(connection.execute(select(worker.c.name).where(_GONE).order_by(worker.c.name)).scalars())


def forget(connection: Connection, name: str) -> bool:
    """Forget a worker that is gone; False if it is not."""
    return connection.execute(delete(worker).where(worker.c.name == name, _GONE)).rowcount == 1


def alive(connection: Connection) -> list[WorkerRow]:
    """The workers that are alive, by name."""
    return [WorkerRow(row.name, tuple(row.devices.split(",")), row.slots) for row in _ALIVE(connection)]
