"""The arithmetic of unread counts, for one user in one room. Pure.

An event is unread while it lies beyond both the user's read position of the whole room and that of its
thread; the main timeline is a thread of its own, "main".
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeserver.protocol.ids import EventId, UserId

MAIN = "main"


class UnreadCounts(NamedTuple):
    """Events that notify and that highlight: in the whole room, and of these by thread root."""

    notification: int
    highlight: int
    by_thread: Mapping[EventId, tuple[int, int]]

    @property
    def main(self) -> tuple[int, int]:
        """The same for the main timeline alone."""
        if not self.by_thread:
            return self.notification, self.highlight
        threads = self.by_thread.values()
        return self.notification - sum(n for n, _ in threads), self.highlight - sum(h for _, h in threads)


NONE = UnreadCounts(0, 0, {})


class Action(NamedTuple):
    """What an event does: to everybody (0 nothing, 1 notify, 2 highlight too), and to some by name.

    `sender` matters only if it is the user: they have read what they wrote.
    """

    nid: int
    sender: UserId | None
    thread_root: EventId | None
    notify: int
    personal: Mapping[UserId, tuple[bool, bool]] | None


class ReadPosition:
    """Up to which event nid the user has read the room, and single threads beyond that."""

    __slots__ = ("threads", "whole")

    def __init__(self, whole: int, threads: Mapping[str, int]) -> None:
        self.whole = whole
        self.threads = {thread: nid for thread, nid in threads.items() if nid > whole} or None

    def move(self, thread: str | None, nid: int) -> bool:
        """Move forward; False when that has been read already."""
        if nid <= self.whole:
            return False
        if thread is None:
            self.whole = nid
            return True
        threads = self.threads
        if threads is None:
            threads = self.threads = {}
        if nid <= threads.get(thread, 0):
            return False
        threads[thread] = nid
        return True

    def has_read(self, thread: str, nid: int) -> bool:
        if nid <= self.whole:
            return True
        threads = self.threads
        return threads is not None and nid <= threads.get(thread, 0)


class Standing:
    """The counts, true of all events up to nid `upto`."""

    __slots__ = ("_highlight", "_notification", "_threads", "counts", "read", "upto")

    def __init__(self, upto: int, read: ReadPosition) -> None:
        self.upto = upto
        self.read = read
        self.counts = NONE
        self._notification = self._highlight = 0
        self._threads: dict[EventId, tuple[int, int]] | None = None

    def add(self, user_id: UserId, actions: Iterable[Action]) -> None:
        """Count events, oldest first, that come after all counted so far."""
        for action in actions:
            if action.sender == user_id:
                self._read_own(action)
                continue
            personal = action.personal
            mine = personal.get(user_id) if personal is not None else None
            notify, highlight = mine if mine is not None else (action.notify > 0, action.notify > 1)
            if notify and not self.read.has_read(action.thread_root or MAIN, action.nid):
                self._count(action.thread_root, highlight)
        self._sum_up()

    def begin(self, totals: Iterable[tuple[EventId | None, int, int]]) -> None:
        """Start from (thread root, events that notify, that highlight): none read, none the user's own."""
        for thread_root, notification, highlight in totals:
            self._notification += notification
            self._highlight += highlight
            if thread_root is not None:
                self._threads = {**(self._threads or {}), thread_root: (notification, highlight)}
        self._sum_up()

    def recount(self, user_id: UserId, thread: str | None, later: Iterable[Action]) -> None:
        """The user has read the room (None) or a thread up to somewhere; `later` came after that."""
        self._clear(thread)
        if thread is not None:
            root = None if thread == MAIN else thread
            later = [action for action in later if action.thread_root == root]
        self.add(user_id, later)

    def _read_own(self, action: Action) -> None:
        thread = action.thread_root or MAIN
        if not self._threads and thread == MAIN:
            self.read.move(None, action.nid)  # nothing else is unread, so this says the same in less memory
            self._clear(None)
        elif self.read.move(thread, action.nid):
            self._clear(thread)

    def _count(self, thread_root: EventId | None, highlight: bool) -> None:
        self._notification += 1
        self._highlight += highlight
        if thread_root is not None:
            if self._threads is None:
                self._threads = {}
            n, h = self._threads.get(thread_root, (0, 0))
            self._threads[thread_root] = (n + 1, h + highlight)

    def _clear(self, thread: str | None) -> None:
        threads = self._threads or {}
        if thread is None:
            threads.clear()
            self._notification = self._highlight = 0
        elif thread == MAIN:
            self._notification = sum(n for n, _ in threads.values())
            self._highlight = sum(h for _, h in threads.values())
        else:
            n, h = threads.pop(EventId(thread), (0, 0))
            self._notification -= n
            self._highlight -= h

    def _sum_up(self) -> None:
        threads = self._threads
        if self._notification:
            self.counts = UnreadCounts(self._notification, self._highlight, dict(threads) if threads else {})
        else:
            self.counts = NONE
