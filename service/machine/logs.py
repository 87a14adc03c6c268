"""The log of a process on stderr: one line a record, whatever texts from outside stand in it.

Names, columns and messages of others come into the log, and one that holds the end of a line could otherwise write a
record of its own. So control characters are escaped and long texts cut, and the lines of a traceback are indented: only
a record of ours begins at the left edge. With TRAIND_LOG_FORMAT=json a record is one JSON object, traceback and all.
"""

import contextlib
import contextvars
import json
import logging
import numbers
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any

from typing_extensions import override

from service.settings import LogSettings

MOST_CHARACTERS = 256  # of a text that is put into a message
MOST_MESSAGE_CHARACTERS = 2048  # of a whole message, and of a line of a traceback
MOST_TRACE_LINES = 200
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_INDENT = "    "


NOTHING: Mapping[str, object] = MappingProxyType({})
# What stands in every record of a call or of a job: the request's id and method, the job and its attempt.
ABOUT: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("about", default=NOTHING)


def configure(settings: LogSettings | None = None, log_format: str = _FORMAT) -> None:
    """Log to stderr, every record through Record; once, as the first thing a process does. Without settings: text."""
    logging.setLogRecordFactory(Record)
    handler = logging.StreamHandler()
    settings = settings or LogSettings()
    handler.setFormatter(JsonLines() if settings.json else logging.Formatter(log_format))
    logging.basicConfig(level=settings.level, handlers=[handler])
    # It tells of each of its plugins.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if settings.json:
        # What else Python would write to stderr must be a record too.
        logging.captureWarnings(capture=True)
        sys.excepthook = _ended_by
        threading.excepthook = _thread_ended_by


@contextlib.contextmanager
def about(**fields: object) -> Iterator[None]:
    """Let these fields stand in every record of the block."""
    before = ABOUT.set({**ABOUT.get(), **fields})
    try:
        yield
    finally:
        ABOUT.reset(before)


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, process, what it is about, and its own `fields`.

    `fields` are given by `log.info(..., extra={"fields": {...}})`; a traceback is one text, `exception`.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The line. Every text in it is one of one line, but for a traceback, whose lines are escaped."""
        seconds, fraction = divmod(record.created, 1)
        told: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(fraction * 1000):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        for name, value in (*ABOUT.get().items(), *getattr(record, "fields", {}).items()):
            told[name] = _argument(value)
        trace = record.exc_text or (_trace(record.exc_info[1]) if record.exc_info and record.exc_info[1] else None)
        if trace:
            told["exception"] = trace
        return json.dumps(told, ensure_ascii=False)


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


def _ended_by(_kind: type[BaseException], error: BaseException, _where: TracebackType | None) -> None:
    if not isinstance(error, KeyboardInterrupt):
        logging.getLogger("traind").critical("the process ends by an exception", exc_info=error)


def _thread_ended_by(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        logging.getLogger("traind").error("a thread ended by an exception", exc_info=ended.exc_value)
