"""Rooms that this server is not in, as its users see them: invited, knocking, or turned away.

All that is known is the membership event and the stripped state that came with it.
https://spec.matrix.org/latest/client-server-api/#stripped-state
"""

from dataclasses import dataclass

import orjson

from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.facts import EncodedEvent
from homeserver.services.rooms.stripped_state import stripped
from homeserver.storage.room_stores import RoomStores


@dataclass(frozen=True, slots=True)
class OutsideView:
    """`event`: the membership event as clients get it, without its room; None when it ended without one."""

    state: list[JsonObject]
    event: JsonObject | None

    @property
    def membership(self) -> str | None:
        """What it made of the user."""
        content = None if self.event is None else self.event["content"]
        membership = content.get("membership") if isinstance(content, dict) else None
        return membership if isinstance(membership, str) else None

    @property
    def sender(self) -> str | None:
        """Who made it so."""
        sender = None if self.event is None else self.event["sender"]
        return sender if isinstance(sender, str) else None


class OutsideRooms:
    """Reads them, and writes their parts of a sync."""

    def __init__(self, database: Database, stores: RoomStores, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    async def find(self, room_id: RoomId, user_id: UserId) -> OutsideView | None:
        """What the user was shown; None when this server is in the room, or was: then that tells."""
        return await self._database.read(self._read, room_id, user_id)

    async def invite(self, room_id: RoomId, user_id: UserId) -> EncodedEvent | None:
        """The event that invites the user, as clients get it."""
        view = await self.find(room_id, user_id)
        if view is None or view.event is None or view.membership != "invite":
            return None
        ts = view.event["origin_server_ts"]
        return EncodedEvent(
            ts if isinstance(ts, int) else 0, orjson.dumps({"room_id": room_id, **view.event})
        )

    def stripped(self, view: OutsideView, name: bytes) -> bytes:
        """The part of `rooms.invite` or `rooms.knock`."""
        return b'{"' + name + b'":{"events":' + orjson.dumps(view.state) + b"}}"

    def left(self, view: OutsideView, upto: int) -> bytes:
        """The part of `rooms.leave`."""
        events = [] if view.event is None else [view.event]
        timeline = {"events": events, "limited": False, "prev_batch": f"s{upto}"}
        return orjson.dumps({"state": {"events": []}, "timeline": timeline})

    def _read(self, txn: Transaction, room_id: RoomId, user_id: UserId) -> OutsideView | None:
        found = self._stores.received_rooms.outside(txn, room_id, user_id)
        if found is None:
            return None
        state: list[JsonObject] = orjson.loads(found.stripped)
        for row in self._stores.events.by_nids(txn, [found.event_nid]):
            pdu: JsonObject = orjson.loads(row.raw)
            own = stripped(pdu)
            others = [entry for entry in state if _key(entry) != _key(pdu)]
            ts = pdu["origin_server_ts"]
            age = self._clock.now_ms() - ts if isinstance(ts, int) else 0
            event: JsonObject = {
                **(own or {}),
                "event_id": row.event_id,
                "origin_server_ts": ts,
                "unsigned": {"age": max(0, age)},
            }
            return OutsideView([*others, *([own] if own else [])], event)
        return OutsideView(state, None)


def _key(event: JsonObject) -> tuple[object, object]:
    return event.get("type"), event.get("state_key")
