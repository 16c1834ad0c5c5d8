"""Who is at work: the request or task named on every log line.

A context variable, so it follows a coroutine through its awaits; threads carry it by hand.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NOBODY = "-"

_current: ContextVar[str] = ContextVar("log_context", default=NOBODY)

current = _current.get
"""The name of the request or task at work here, "-" if none."""

enter = _current.set
"""Name the work of this context from here on: for the first line of a request or task."""


@contextmanager
def named(name: str) -> Iterator[None]:
    """Name the work inside the block."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


class AddLogContext(logging.Filter):
    """Gives each log record the attribute `context`; put it on the handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.context = _current.get()
        return True
