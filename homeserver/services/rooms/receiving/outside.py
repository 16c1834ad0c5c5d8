"""Memberships of our users in rooms this server is not in: invites, knocks, and how they end.

Such a room has a row without state, so nobody takes it for one that we know. What the user is shown of it
is what the other server told.
https://spec.matrix.org/latest/server-server-api/#inviting-to-a-room
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field

from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.errors import BadState
from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.database import Transaction
from homeserver.services.push.evaluation import PushOutcome
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.stored_events import OUTLIER, Aside, StoredEvents
from homeserver.services.rooms.room import Membership
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.streams import Change
from homeserver.storage.rooms import Member

MOST_STRIPPED_BYTES = 256 * 1024
MOST_STRIPPED = 200


@dataclass(frozen=True, slots=True)
class _RoomOutside:
    """A room of which push rules learn nothing but its ID."""

    room_id: RoomId
    joined: AbstractSet[UserId] = frozenset()
    joined_local: AbstractSet[UserId] = frozenset()
    events: Mapping[StateKey, Event] = field(default_factory=dict)

    def event(self, _key: StateKey) -> None:
        """Nothing is known of its state."""


class Outside:
    """Keeps them, and tells the users."""

    def __init__(self, ground: RoomGround, rooms: Rooms, user_rooms: UserRooms, stored: StoredEvents) -> None:
        self._ground = ground
        self._database = ground.database
        self._stores = ground.stores
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._stored = stored

    async def accept(
        self, room_id: RoomId, version: RoomVersion, event: Event, stripped: Sequence[JsonObject]
    ) -> None:
        """Raises BadState when it is no membership, or this server is in the room."""
        with suppress(RoomNotFound):
            if (await self._rooms.load(room_id)).joined_local:
                raise BadState(f"This server is in {room_id}")
        if event.type != MEMBER or event.state_key is None or event.membership is None:
            raise BadState("This is not a membership")
        packed = _packed(stripped[:MOST_STRIPPED])
        user_id = UserId(event.state_key)
        await self._change((room_id, version.version), user_id, event.membership, event, packed)

    async def leave(self, room_id: RoomId, user_id: UserId) -> None:
        """Without an event: no other server could be told."""
        await self._change((room_id, "1"), user_id, "leave", None, b"[]")

    async def _change(
        self, room_key: tuple[RoomId, str], user_id: UserId, membership: str, event: Event | None,
        stripped: bytes,
    ) -> None:  # fmt: skip
        room_id = room_key[0]
        await self._stored.ready()
        position = self._ground.streams.draw()
        member = Member(user_id, membership, position, position, True)
        aside = None if event is None else Aside(event, self._stored.past_nids(1)[0], OUTLIER, None)
        outcome = None
        if event is not None and membership == "invite":
            outcome = self._ground.push.evaluate(_RoomOutside(room_id), event)
        change = None
        try:
            if not await self._database.write(self._write, room_key, member, aside, stripped, outcome):
                return
            room = self._rooms.find(room_id)
            if room is not None:
                room.set_member(user_id, Membership(membership, position), local=True)
            self._user_rooms.put(room_id, member)
            change = Change("event", (room_id,), (user_id,))
        finally:
            self._ground.streams.complete(position, change)

    def _write(
        self, txn: Transaction, room: tuple[RoomId, str], member: Member, aside: Aside | None,
        stripped: bytes, outcome: PushOutcome | None,
    ) -> bool:  # fmt: skip
        """False: the invite was told before, and its user may have answered it since."""
        stores = self._stores
        room_nid = stores.received_rooms.create_or_get(txn, *room)
        if stores.rooms.is_here(txn, room_nid):  # somebody has come in meanwhile
            raise BadState(f"This server is in {room[0]}")
        event_nid = 0
        if aside is not None:
            event_id = aside.event.event_id
            known = stores.received_events.known(txn, [event_id]).get(event_id)
            if known is not None and known.room_nid != room_nid:
                raise BadState(f"{event_id} is the ID of an event in another room")
            if known is not None and member.membership == "invite":
                return False
            event_nid = aside.nid if known is None else known.nid
            if known is None:
                self._stored.keep_aside(txn, room_nid, [aside])
        stores.push_actions.withdraw(txn, room_nid, member.user_id)
        if outcome is not None:
            stores.push_actions.add(txn, room_nid, member.event_nid, None, outcome)
        stores.rooms.put_member(txn, room_nid, member)
        stores.received_rooms.put_outside(
            txn, room_nid, member.user_id, event_nid=event_nid, stripped=stripped
        )
        return True


def _packed(stripped: Sequence[JsonObject]) -> bytes:
    """As it is kept and shown; nothing of it where it is too large, or would break who reads it."""
    try:
        packed = canonical_json.encode_readable(list(stripped))
    except NotCanonical:
        return b"[]"
    return packed if len(packed) <= MOST_STRIPPED_BYTES else b"[]"
