"""The services of a person's own things, over rooms as simple as they come: members and events, no rules.

`House` is built on any database and a fake clock; `send` does to notifications what a room's writer does.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import orjson

from homeserver.protocol.errors import Forbidden
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.services.account_data import AccountData
from homeserver.services.filters import Filters
from homeserver.services.presence.presence import Presence
from homeserver.services.push.evaluation import PushEvaluation, PushOutcome
from homeserver.services.push.notifications import Notifications
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.rules import PushRules
from homeserver.services.push.unread import Unread
from homeserver.services.receipts import Receipts
from homeserver.services.streams import Change, Streams
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.storage import Stores
from homeserver.storage.events import ACCEPTED, NewEvent
from homeserver.storage.rooms import Member
from tests.support.clock import FakeClock
from tests.support.running import result

ALICE, BOB, CAROL = UserId("@alice:here"), UserId("@bob:here"), UserId("@carol:here")
HERE = ServerName("here")
VERSION = ROOM_VERSIONS["11"]


class Place(NamedTuple):
    nid: int
    thread_root: EventId | None


class Encoded(NamedTuple):
    ts: int
    encoded: bytes


class SimpleRoom:
    """A room as evaluation sees it."""

    def __init__(self, room_id: RoomId, nid: int) -> None:
        self.room_id = room_id
        self.nid = nid
        self.joined: set[UserId] = set()
        self.joined_local: set[UserId] = set()
        self.events: dict[StateKey, Event] = {}
        self.members: dict[StateKey, Event] = {}
        self.places: dict[EventId, Place] = {}
        self.encoded: dict[int, Encoded] = {}

    def event(self, key: StateKey) -> Event | None:
        return self.events.get(key) or self.members.get(key)


class SimpleRooms:
    """What the services ask of rooms."""

    def __init__(self) -> None:
        self.all: dict[RoomId, SimpleRoom] = {}

    async def joined_nid(self, room_id: RoomId, user_id: UserId) -> int:
        room = self.all.get(room_id)
        if room is None or user_id not in room.joined:
            raise Forbidden(f"{user_id} is not in {room_id}")
        return room.nid

    async def event_place(self, room_id: RoomId, event_id: EventId) -> Place | None:
        return self.all[room_id].places.get(event_id)

    def joined_now(self, user_id: UserId) -> list[RoomId]:
        return [room_id for room_id, room in self.all.items() if user_id in room.joined]

    async def joined(self, user_id: UserId) -> list[RoomId]:
        return self.joined_now(user_id)

    def local_members(self, room_id: RoomId) -> Collection[UserId]:
        room = self.all.get(room_id)
        return room.joined_local if room is not None else ()

    async def client_events(self, room_id: RoomId, nids: Sequence[int]) -> Mapping[int, Encoded]:
        return {nid: self.all[room_id].encoded[nid] for nid in nids}


class House:
    """Everything, as app.py builds it. `restart` gives another one on the same database."""

    def __init__(
        self,
        database: Database,
        time: FakeClock,
        *,
        rooms: SimpleRooms | None = None,
        unread_limits: Mapping[str, int] | None = None,
    ) -> None:
        self.database = database
        self.time = time
        self.stores = Stores()
        self.tasks = Tasks(time)
        self.rooms = rooms or SimpleRooms()
        self.changes: list[Change] = []
        room_stores = self.stores.rooms
        self.streams = Streams(database, self.stores.positions, self.tasks)
        self.streams.follow(lambda _, changes: self.changes.extend(changes))
        self.account_data = AccountData(database, self.stores.account_data, self.streams)
        self.filters = Filters(database, self.stores.filters)
        self.push_rules = PushRules(database, self.stores.push_rules, self.streams, self.account_data)
        self.evaluation = PushEvaluation(self.push_rules, self.account_data, HERE)
        counting = (room_stores.push_actions, room_stores.receipts, room_stores.identifiers)
        self.unread = Unread(database, counting, self.streams, **(unread_limits or {}))
        self.receipts = Receipts(
            database,
            (room_stores.receipts, room_stores.identifiers),
            streams=self.streams,
            clock=time,
            account_data=self.account_data,
            unread=self.unread,
            rooms=self.rooms,
        )
        self.typing_notifications = TypingNotifications(self.streams, time, self.rooms)
        self.presence = Presence(
            database,
            self.stores.presence,
            streams=self.streams,
            clock=time,
            tasks=self.tasks,
            rooms=self.rooms,
        )
        self.pushers = Pushers(database, self.stores.pushers, time)
        self.notifications = Notifications(database, counting, self.rooms, self.rooms)
        self._numbers = count(len(self.rooms.all) * 1000)
        result(self.streams.start())
        result(self.account_data.start())
        result(self.push_rules.start())
        result(self.presence.start())
        self.streams.announce(Change("nothing"))  # position 0 would stand for "everything"

    def restart(self) -> "House":
        """The same rooms and rows, in a new process."""
        return House(self.database, self.time, rooms=self.rooms)

    def create_room(self, *members: UserId) -> RoomId:
        room_id = RoomId(f"!room{next(self._numbers)}:here")
        nid = result(self.database.write(self.stores.rooms.rooms.create, room_id, VERSION.version))
        self.rooms.all[room_id] = SimpleRoom(room_id, nid)
        for member in members:
            self.join(room_id, member)
        return room_id

    def join(self, room_id: RoomId, user_id: UserId) -> EventId:
        event_id = self.send(
            room_id, user_id, {"membership": "join"}, type_="m.room.member", state_key=user_id
        )
        room = self.rooms.all[room_id]
        nid = room.places[event_id].nid
        here = user_id.endswith(":here")
        member = Member(user_id, "join", nid, nid, here)
        result(self.database.write(self.stores.rooms.rooms.put_member, room.nid, member))
        room.joined.add(user_id)
        if here:
            room.joined_local.add(user_id)
        self.unread.note_membership(room_id, user_id)
        self.presence.note_join(user_id, room_id)
        return event_id

    def leave(self, room_id: RoomId, user_id: UserId) -> None:
        room = self.rooms.all[room_id]
        room.joined.discard(user_id)
        room.joined_local.discard(user_id)
        nid = self.streams.announce(Change("event", rooms=(room_id,)))
        member = Member(user_id, "leave", nid, nid, is_local=True)
        result(self.database.write(self.stores.rooms.rooms.put_member, room.nid, member))
        self.unread.note_membership(room_id, user_id)

    def event(
        self,
        room_id: RoomId,
        sender: UserId,
        content: Mapping[str, Any],
        *,
        type_: str = "m.room.message",
        state_key: str | None = None,
    ) -> Event:
        pdu: dict[str, Any] = {
            "type": type_,
            "sender": sender,
            "room_id": room_id,
            "content": dict(content),
            "depth": 1,
            "origin_server_ts": self.time.now_ms(),
            "prev_events": [],
            "auth_events": [],
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        return Event.from_raw(VERSION, orjson.dumps(pdu), EventId(f"$event{next(self._numbers)}"))

    def send(
        self,
        room_id: RoomId,
        sender: UserId,
        content: Mapping[str, Any] | None = None,
        *,
        type_: str = "m.room.message",
        state_key: str | None = None,
        thread: EventId | None = None,
    ) -> EventId:
        """Evaluate, store and announce an event."""
        content = content if content is not None else {"msgtype": "m.text", "body": "hello"}
        room = self.rooms.all[room_id]
        event = self.event(room_id, sender, content, type_=type_, state_key=state_key)
        outcome = self.evaluation.evaluate(room, event)
        nid = self.streams.draw()
        result(self.database.write(self._store, room, event, nid, thread, outcome))
        room.places[event.event_id] = Place(nid, thread)
        room.encoded[nid] = Encoded(event.origin_server_ts, orjson.dumps({"event_id": event.event_id}))
        if state_key is not None:
            kept = room.members if type_ == "m.room.member" else room.events
            kept[type_, state_key] = event
        self.unread.note_event(room_id, nid, sender, thread, outcome)
        self.streams.complete(nid, Change("event", rooms=(room_id,)))
        return event.event_id

    def _store(
        self,
        txn: Transaction,
        room: SimpleRoom,
        event: Event,
        nid: int,
        thread: EventId | None,
        outcome: PushOutcome | None,
    ) -> None:
        stores = self.stores.rooms
        key_nid = None
        if event.state_key is not None:
            key_nid = stores.identifiers.state_key_nid(txn, (event.type, event.state_key))
        new = NewEvent(
            nid=nid,
            event_id=event.event_id,
            type=event.type,
            state_key=event.state_key,
            sender=event.sender,
            depth=1,
            origin_server_ts=event.origin_server_ts,
            state_nid=None,
            replaces_nid=None,
            status=ACCEPTED,
            notify=0 if outcome is None else outcome.notify,
            thread_root=thread,
            txn=None,
            raw=event.raw,
        )
        stores.events.insert(txn, room.nid, new, key_nid)
        if outcome is not None:
            stores.push_actions.add(txn, room.nid, nid, thread, outcome)

    def counts(self, room_id: RoomId, user_id: UserId) -> tuple[int, int]:
        """Notifications and highlights, as a sync would tell them."""
        unread = result(self.unread.load(room_id, user_id))
        return unread.notification, unread.highlight

    def recounted(self, room_id: RoomId, user_id: UserId) -> tuple[int, int]:
        """The same, counted anew from the database."""
        unread = result(Unread(self.database, self._counting, self.streams).load(room_id, user_id))
        return unread.notification, unread.highlight

    @property
    def _counting(self) -> Any:
        stores = self.stores.rooms
        return stores.push_actions, stores.receipts, stores.identifiers

    def read(
        self,
        room_id: RoomId,
        user_id: UserId,
        event_id: EventId,
        *,
        type_: str = "m.read",
        thread: str | None = None,
    ) -> None:
        result(self.receipts.mark(room_id, user_id, {type_: event_id}, thread=thread))
