"""The log of a process on stderr: one line a record, whatever texts from outside stand in it.

Names, columns and messages of others come into the log, and one that holds the end of a line could otherwise write a
record of its own. So control characters are escaped and long texts cut, and the lines of a traceback are indented: only
a record of ours begins at the left edge.
"""

import logging
import numbers
import traceback
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

MOST_CHARACTERS = 256  # of a text that is put into a message
MOST_MESSAGE_CHARACTERS = 2048  # of a whole message, and of a line of a traceback
MOST_TRACE_LINES = 200
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_INDENT = "    "


def configure(log_format: str = _FORMAT) -> None:
    """Log from INFO on to stderr, every record through Record; once, as the first thing a process does."""
    logging.setLogRecordFactory(Record)
    logging.basicConfig(level=logging.INFO, format=log_format)
    # It tells of each of its plugins.
    logging.getLogger("alembic").setLevel(logging.WARNING)


class Record(logging.LogRecord):
    """A record whose texts cannot end its line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `%s` prints objects too: exceptions tell what the caller sent.
        if isinstance(self.args, Mapping):
            self.args = {name: _argument(value) for name, value in self.args.items()}
        elif self.args:
            self.args = tuple(_argument(value) for value in self.args)
        if self.exc_info and self.exc_info[1] is not None:
            # Formatters take this text where it is there, and write their own where it is not.
            self.exc_text = _trace(self.exc_info[1])

    @override
    def getMessage(self) -> str:
        """The message on one line."""
        return one_line(super().getMessage(), MOST_MESSAGE_CHARACTERS)


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Text without control characters, which are written as escapes, cut where it is longer than `most`."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _argument(value: object) -> object:
    """Numbers and flags as they are, for `%d` wants them so; everything else as a text of one line."""
    return value if value is None or isinstance(value, numbers.Number) else one_line(str(value))


def _trace(error: BaseException) -> str:
    """A traceback of indented lines; of messages of several lines each is one."""
    lines = [line for part in traceback.format_exception(error) for line in part.splitlines()]
    if len(lines) > MOST_TRACE_LINES:
        half = MOST_TRACE_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines are left out …", *lines[-half:]]
    return "\n".join(_INDENT + one_line(line, MOST_MESSAGE_CHARACTERS) for line in lines)
