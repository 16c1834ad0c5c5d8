"""Where log lines go: the standard library's logging, with Twisted's own log led into it."""

import logging
import logging.handlers
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import orjson
from twisted.logger import STDLibLogObserver, globalLogBeginner

from homeserver.runtime.log_context import AddLogContext

TEXT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(context)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S"

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

QUIET = {"twisted": "warning"}
"""Loggers that say too much at `info`; a level the operator gives them wins."""


class _Formatter(logging.Formatter):
    def formatException(self, ei: Failure) -> str:  # noqa: N802 - the library's spelling
        """A failure may quote what cannot be written."""
        return _HALF_PAIR.sub("\ufffd", super().formatException(ei))


class TextFormatter(_Formatter):
    """One line for people: time in UTC, level, request or task, logger, message."""

    converter: Callable[[float | None], time.struct_time] = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(TEXT, TIME)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's spelling
        """What others said, and is quoted in a message, must not look like a line of its own."""
        return _UNPRINTABLE.sub(_escaped, super().formatMessage(record))


class JsonFormatter(_Formatter):
    """One JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "context": getattr(record, "context", "-"),
            "message": _HALF_PAIR.sub("\ufffd", record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def open_log(file: Path | None, *, level: str, levels: Mapping[str, str], as_json: bool) -> logging.Handler:
    """Send everything at `level` and above to the file, or to standard error; `levels` per logger name.

    The file is opened anew when something (logrotate) moved it away. Raises OSError when it cannot be opened.
    """
    output: logging.Handler = logging.StreamHandler()
    if file is not None:
        output = logging.handlers.WatchedFileHandler(file, encoding="utf-8")
    output.setFormatter(JsonFormatter() if as_json else TextFormatter())
    output.addFilter(AddLogContext())
    root = logging.getLogger()
    root.addHandler(output)
    root.setLevel(level.upper())
    for name, own_level in {**QUIET, **levels}.items():
        logging.getLogger(name).setLevel(own_level.upper())
    return output


def lead_in_twisted() -> None:
    """From here on Twisted logs through the logger `twisted`."""
    globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)  # type: ignore[list-item] # zope
