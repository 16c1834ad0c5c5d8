"""What a user was notified about, newest first.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3notifications
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import Json
from homeserver.runtime.database import Database, Transaction
from homeserver.services.push.unread_counts import MAIN, ReadPosition
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.push_actions import Notification, PushActionStore
from homeserver.storage.receipts import ReceiptStore


class ClientEvent(Protocol):
    """An event; `encoded` is its JSON as clients get it."""

    @property
    def ts(self) -> int: ...

    @property
    def encoded(self) -> bytes: ...


class NotifiedEvents(Protocol):
    """What notifications ask of rooms."""

    async def client_events(self, room_id: RoomId, nids: Sequence[int]) -> Mapping[int, ClientEvent]:
        """{nid: event} of events of one room; unknown ones are left out."""


class OutsideInvites(Protocol):
    """`OutsideRooms`."""

    async def invite(self, room_id: RoomId, user_id: UserId) -> ClientEvent | None:
        """The event that invites the user to a room this server is not in."""


class Notified(NamedTuple):
    """One entry of the list."""

    room_id: RoomId
    event: ClientEvent
    actions: Sequence[Json]
    is_read: bool


class NotifiedPage(NamedTuple):
    entries: Sequence[Notified]
    next_token: str | None


class _Found(NamedTuple):
    notification: Notification
    room_id: RoomId
    is_read: bool


class Notifications:
    """`page` is a view of the same rows that unread counts come from."""

    def __init__(
        self,
        database: Database,
        stores: tuple[PushActionStore, ReceiptStore, Identifiers],
        events: NotifiedEvents,
        outside: OutsideInvites,
    ) -> None:
        self._database = database
        self._actions, self._receipts, self._identifiers = stores
        self._events = events
        self._outside = outside

    async def page(
        self, user_id: UserId, before: str | None, *, limit: int, only_highlights: bool
    ) -> NotifiedPage:
        """At most `limit` entries; `before` is the `next_token` of the page above. Raises InvalidParam."""
        found = await self._database.read(
            self._find, user_id, _parse_token(before), only_highlights=only_highlights, limit=limit
        )
        by_room: dict[RoomId, list[int]] = {}
        for one in found:
            by_room.setdefault(one.room_id, []).append(one.notification.event_nid)
        events: dict[int, ClientEvent] = {}
        for room_id, nids in by_room.items():
            events.update(await self._events.client_events(room_id, nids))
            missing = [nid for nid in nids if nid not in events]
            if missing and (invite := await self._outside.invite(room_id, user_id)) is not None:
                events[max(missing)] = invite
        entries = [
            Notified(one.room_id, event, _actions(one.notification), one.is_read)
            for one in found
            if (event := events.get(one.notification.event_nid)) is not None
        ]
        return NotifiedPage(entries, str(found[-1].notification.event_nid) if len(found) == limit else None)

    def _find(
        self, txn: Transaction, user_id: UserId, before: int, *, only_highlights: bool, limit: int
    ) -> list[_Found]:
        user_nid = self._identifiers.user_nid(txn, user_id)
        found = self._actions.notifications_before(
            txn, user_nid, before, only_highlights=only_highlights, limit=limit
        )
        room_nids = list({one.room_nid for one in found})
        room_ids = self._actions.room_ids(txn, room_nids)
        read = {nid: self._read_position(txn, user_nid, nid) for nid in room_nids}
        return [
            _Found(
                one,
                room_ids[one.room_nid],
                read[one.room_nid].has_read(one.thread_root or MAIN, one.event_nid),
            )
            for one in found
        ]

    def _read_position(self, txn: Transaction, user_nid: int, room_nid: int) -> ReadPosition:
        read = self._receipts.read_up_to(txn, user_nid, [room_nid]).get(room_nid, {})
        whole = read.pop(None, 0)
        return ReadPosition(whole, {thread: nid for thread, nid in read.items() if thread is not None})


def _parse_token(token: str | None) -> int:
    if token is None:
        return 2**63 - 1
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidParam(f"{token[:100]!r} is not a token of this list")
    return int(token)


def _actions(notification: Notification) -> Sequence[Json]:
    return ["notify", {"set_tweak": "highlight"}] if notification.highlight else ["notify"]
