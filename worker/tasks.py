"""The tasks of the Celery app: one, of five lines."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from service import tickets

if TYPE_CHECKING:
    from celery import Celery


def add_tasks(app: "Celery", drain: Callable[[], object]) -> None:
    """Register what tickets start."""

    @app.task(name=tickets.WAKE, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
    def wake() -> None:
        """Run jobs until none is left. The ticket says nothing: a lost or doubled one changes nothing."""
        drain()
