"""The servers that these tests talk to."""

from tests.service.doors.learned import world
from tests.service.doors.process import api
from tests.service.doors.running import door, doors

__all__ = ["api", "door", "doors", "world"]
