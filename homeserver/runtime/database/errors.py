"""What can go wrong with a database as a whole, told so that an operator can mend it."""

from typing import ClassVar

from homeserver.protocol.errors import BadJson, MatrixError


class DatabaseUnavailable(MatrixError):
    """The database did not answer in time, or cannot write now. Asking again later may work.

    When the connection was lost during a commit, nobody can know whether the commit took place:
    the message says so. Callers are safe to repeat because clients' transaction ids make a second
    attempt find the first.
    """

    status: ClassVar[int] = 503
    errcode: ClassVar[str] = "M_UNKNOWN"
    default: ClassVar[str] = "The database does not answer: try again in a moment"


class DatabaseCorrupt(MatrixError):
    """The database file or a page of it cannot be read. Trying again does not help."""

    status: ClassVar[int] = 500
    errcode: ClassVar[str] = "M_UNKNOWN"
    default: ClassVar[str] = "The database is damaged: the operator must restore it from a backup"


class UnstorableValue(BadJson):
    """A value no database keeps: NUL or a lone surrogate in a text, or an integer beyond 64 bits."""


class CannotStart(Exception):
    """The database cannot be used at all; the message says why and what to do. For the operator."""
