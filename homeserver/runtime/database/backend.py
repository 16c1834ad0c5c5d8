"""What the writer and the readers ask of SQLite or PostgreSQL."""

from enum import Enum, auto
from typing import NamedTuple, Protocol

from homeserver.protocol.errors import MatrixError
from homeserver.runtime.database.transaction import Cursor
from homeserver.runtime.migrations import DialectName


class Remedy(Enum):
    """What to do about an error that is not simply a mistake of the work's own."""

    REPLACE = auto()
    """The work's own fault after all: tell it in our words."""
    ISOLATE = auto()
    """What the work touched is damaged: tell it in our words, and do not trust the connection any more."""
    RETRY = auto()
    """Roll back and try again on the same connection."""
    RECONNECT = auto()
    """Try again on a new connection."""
    GIVE_UP = auto()
    """Trying again does not help now: answer at once; a later work, on a new connection, may fare better."""


class Trouble(NamedTuple):
    """An error explained: what to do, and what to tell the caller if that does not help."""

    remedy: Remedy
    answer: MatrixError


class Connection(Protocol):
    """One connection, used by one thread at a time."""

    @property
    def cursor(self) -> Cursor:
        """The one cursor of this connection."""

    def begin(self, *, is_tiny: bool = False) -> None:
        """Open a transaction: for writing, or with a stable view for reading.

        For a tiny read the view may be only as stable as each statement, if that saves a round trip.
        """

    def commit(self) -> None:
        """Make it durable (a reader: let go of the view)."""

    def roll_back(self) -> None:
        """Undo, and be ready for the next `begin`. Never raises."""

    def check(self) -> None:
        """Raise if the transaction is no longer good: a work has swallowed an error that ended it."""

    def save(self) -> None:
        """Open a savepoint."""

    def release(self) -> None:
        """Keep what happened since `save`."""

    def roll_back_to_save(self) -> None:
        """Undo what happened since `save` and forget it."""

    def close(self) -> None:
        """Let go of it. Never raises."""


class Backend(Protocol):
    """One kind of database at one place."""

    @property
    def dialect(self) -> DialectName:
        """Which SQL it speaks."""

    @property
    def prefers_direct_reads(self) -> bool:
        """Is a tiny read on the caller's thread cheaper than a trip to another thread?"""

    def claim(self) -> None:
        """Before anything else: make sure that no other server uses it. Raises CannotStart."""

    def disclaim(self) -> None:
        """After the last connection is closed."""

    def connect(self, *, writing: bool) -> Connection:
        """A new connection. Raises the driver's errors, which `diagnose` understands."""

    def diagnose(self, error: BaseException) -> Trouble | None:
        """What kind of error is it? None: it belongs to the work and is raised as it is."""
