"""What waits for one destination, while something does: the near end of what the database holds.

A destination that has everything, or that is being left alone, has no queue: it costs no memory.
"""

from collections.abc import Hashable
from typing import NamedTuple

from homeserver.protocol.ids import ServerName
from homeserver.storage.destinations import DestinationRow, LoggedEdu

MOST_EVENTS = 1_000
MOST_EPHEMERAL = 200


class Receipts(NamedTuple):
    """An m.receipt EDU and the position up to which the destination has all receipts once it has this one."""

    content: bytes
    position: int


class Skim(NamedTuple):
    """Catching up with the newest event of each room only: those up to `upto`, next those before `before`."""

    upto: int
    before: int


class DestinationQueue:
    """Filled and emptied by the sender, which has at most one transaction of it under way."""

    __slots__ = (
        "ephemeral",
        "events",
        "has_logged_edus",
        "is_behind",
        "is_loading",
        "is_running",
        "lacks_receipts",
        "last_txn",
        "late_events",
        "nid",
        "receipts",
        "receipts_position",
        "row",
        "sent_nid",
        "server",
        "skim",
        "taken_nid",
    )

    def __init__(self, server: ServerName) -> None:
        self.server = server
        self.row: DestinationRow | None = None
        self.events: list[int] = []
        self.late_events: list[int] = []  # that came while the database was being asked
        self.sent_nid = 0
        self.taken_nid = 0  # the last event that went into `events`
        self.receipts_position = 0
        self.last_txn: str | None = None
        self.ephemeral: dict[Hashable, bytes] = {}
        self.receipts: list[Receipts] = []
        self.skim: Skim | None = None
        self.is_behind = False  # the database holds events that are not in `events`
        self.is_loading = False
        self.is_running = False
        self.lacks_receipts = False
        self.has_logged_edus = False

    def recall(self, row: DestinationRow) -> None:
        """Take in how far the destination has got."""
        self.row = row
        self.sent_nid = row.sent_nid
        self.taken_nid = max(self.taken_nid, row.sent_nid)
        self.receipts_position = row.receipts_position
        self.last_txn = row.last_txn

    @property
    def is_empty(self) -> bool:
        return not (
            self.events or self.is_behind or self.ephemeral or self.receipts or self.lacks_receipts
            or self.has_logged_edus
        )  # fmt: skip

    def add_event(self, nid: int) -> None:
        """One more event, newer than all before; too many stay in the database."""
        if self.is_loading:
            self.late_events.append(nid)
        elif not self.is_behind:
            if len(self.events) < MOST_EVENTS:
                self.events.append(nid)
                self.taken_nid = nid
            else:
                self.is_behind = True

    def add_ephemeral(self, key: Hashable, edu: bytes) -> None:
        """An EDU that is of no use later, in place of an older one with the same key."""
        self.ephemeral.pop(key, None)
        self.ephemeral[key] = edu
        if len(self.ephemeral) > MOST_EPHEMERAL:
            del self.ephemeral[next(iter(self.ephemeral))]

    def add_receipts(self, edu: Receipts) -> None:
        """Receipts; too many are read from the database when their turn comes."""
        if len(self.receipts) < MOST_EPHEMERAL and not self.lacks_receipts:
            self.receipts.append(edu)
        else:
            self.receipts.clear()
            self.lacks_receipts = True

    def begin_loading(self) -> None:
        """The database is about to be asked for the events after `taken_nid`."""
        self.is_loading = True
        self.late_events.clear()

    def loaded(self, nids: list[int], *, is_all: bool) -> None:
        """It answered with these. `is_all`: it has no more than these and those that came meanwhile."""
        self.is_loading = False
        self.is_behind = not is_all
        for nid in nids:
            self.events.append(nid)
            self.taken_nid = nid
        if is_all:
            for nid in self.late_events:
                if nid > self.taken_nid:
                    self.add_event(nid)
        self.late_events.clear()


class Load(NamedTuple):
    """What goes into one transaction, taken out of the queue."""

    events: list[int]
    skim: Skim | None
    logged_edus: list[LoggedEdu]
    receipts: list[Receipts]
    receipts_position: int
    ephemeral: dict[Hashable, bytes]

    @property
    def edus(self) -> list[bytes]:
        """All EDUs, those that must not be lost first."""
        return [
            *(edu.content for edu in self.logged_edus),
            *(edu.content for edu in self.receipts),
            *self.ephemeral.values(),
        ]
