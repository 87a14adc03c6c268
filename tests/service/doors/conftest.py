"""The servers that these tests talk to."""

from tests.service.doors.running import door, doors

__all__ = ["door", "doors"]
