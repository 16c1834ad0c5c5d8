"""Our own join of a room elsewhere: its state comes whole (or without most members), and is checked.

https://spec.matrix.org/latest/server-server-api/#joining-rooms
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY
from homeserver.protocol.errors import AuthFailure, BadState
from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of, is_server_name
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.built import Built, records, replaced_by
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.checking import Checked
from homeserver.services.rooms.receiving.fetching import Parts
from homeserver.services.rooms.receiving.forking import Source
from homeserver.services.rooms.receiving.intake import Intake
from homeserver.services.rooms.receiving.judging import (
    auth_ids,
    check_by_own,
    check_by_state,
    named_create,
    refusal,
)
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.partial import PartialRooms
from homeserver.services.rooms.receiving.stored_events import Stored
from homeserver.services.rooms.receiving.unproven import servers_of, unproven_of
from homeserver.services.rooms.room import Room, Standing, hash_of, hash_replacing
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.writer import RoomWriter, StaleRoom
from homeserver.storage.received_rooms import CurrentEntry, PartialRoom
from homeserver.storage.rooms import Member
from homeserver.storage.unproven_events import OF_JOINED_STATE, UnprovenEvent

MOST_EVENTS = 500_000
"""In the state and its auth chain."""
MOST_SERVERS = 20_000
"""That are believed to be in the room before its members are known."""


class RemoteJoin(NamedTuple):
    """What send_join answered. `join`: our user's join, as it was signed in the end.

    `is_partial`: the memberships were left out (`members_omitted`); they are fetched afterwards, from any of
    `servers_in_room`, by work that survives restarts.
    """

    room_id: RoomId
    version: RoomVersion
    join: Mapping[str, Json]
    state: Sequence[Mapping[str, Json]]
    auth_chain: Sequence[Mapping[str, Json]]
    origin: ServerName
    servers_in_room: Sequence[ServerName] = ()
    is_partial: bool = False


class _Beginning(NamedTuple):
    """The room as it will be: the state before the join, the join, their numbers."""

    key: RoomKey
    join: Event
    state: Mapping[StateKey, Stored]
    state_nid: int
    position: int
    absent: Sequence[EventId]
    partial: PartialRoom | None
    unproven: Sequence[UnprovenEvent] = ()

    @property
    def replaced(self) -> Stored | None:
        return self.state.get(self.join.key)

    @property
    def state_hash(self) -> int:
        return hash_of(stored.event.event_id for stored in self.state.values())


class Joining:
    """Takes a room in."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, writer: RoomWriter, *, intake: Intake, parts: Parts,
        partial: PartialRooms,
    ) -> None:  # fmt: skip
        self._ground = ground
        self._database = ground.database
        self._stores = ground.stores
        self._rooms = rooms
        self._writer = writer
        self._intake = intake
        self._checking = parts.checking
        self._outliers = parts.outliers
        self._stored = parts.stored
        self._unproven = parts.unproven
        self._partial = partial

    async def accept(self, joined: RemoteJoin) -> Room:
        """Raises AuthFailure, BadPdu, BadSignature..., BadState."""
        room = await self._where_we_are(joined.room_id)
        join = await self._join_event(joined)
        if room is not None:  # somebody of ours was quicker
            outcome = (await self._intake.take(room.room_id, [join], Source(joined.origin)))[join.event_id]
            if outcome is not None:
                raise outcome
            return await self._rooms.load(room.room_id)
        async with self._intake.turns.hold(joined.room_id):
            await self._stored.ready()
            beginning = await self._checked(joined, join)
            return await self._take_in(beginning)

    async def _where_we_are(self, room_id: RoomId) -> Room | None:
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            return None
        return room if room.joined_local else None

    async def _join_event(self, joined: RemoteJoin) -> Event:
        checked = await self._checking.check(joined.version, joined.room_id, [joined.join])
        for problem in checked.problems.values():
            raise problem
        if not checked.events or checked.events[0].type != MEMBER or checked.events[0].membership != "join":
            raise BadState("This is not a join")
        return checked.events[0]

    async def _checked(self, joined: RemoteJoin, join: Event) -> _Beginning:
        version, room_id = joined.version, joined.room_id
        if len(joined.state) + len(joined.auth_chain) > MOST_EVENTS:
            raise BadState("The room's state is too large")
        checked_chain = _without(join, await self._checking.check(version, room_id, joined.auth_chain))
        checked_state = _without(join, await self._checking.check(version, room_id, joined.state))
        chain, state = checked_chain.events, checked_state.events
        in_chain = {event.event_id for event in chain}
        _check_create(version, [event for event in state if event.is_state and event.key == CREATE_KEY])
        room_nid = await self._database.write(self._row, room_id, version)
        key = RoomKey(room_id, room_nid, version)
        kept = await self._outliers.add(
            key, [*chain, *(event for event in state if event.event_id not in in_chain)]
        )
        standing: dict[StateKey, Stored] = {}
        for event in state:
            stored = kept.get(event.event_id)
            if stored is None or stored.is_rejected or not event.is_state:
                continue
            if event.key in standing and standing[event.key].event.event_id != event.event_id:
                raise BadState(f"The state has two events for {event.key}")
            standing[event.key] = stored
        for (
            event_id
        ) in join.auth_event_ids:  # where memberships were left out, the user's own may be here only
            stored = kept.get(event_id)
            if stored is None or stored.is_rejected or not stored.event.is_state:
                continue
            if stored.event.key == join.key:
                standing.setdefault(join.key, stored)
        if CREATE_KEY not in standing:
            raise BadState("The room's create event is not valid")
        await self._check_join(join, key, standing, is_partial=joined.is_partial)
        checks = [checked_chain, checked_state]
        unproven = unproven_of(checks, kept, checked_state.ids(), OF_JOINED_STATE)
        return (await self._beginning(joined, join, key, standing))._replace(unproven=unproven)

    async def _check_join(
        self, join: Event, key: RoomKey, state: Mapping[StateKey, Stored], *, is_partial: bool
    ) -> None:
        auth = await self._stored.load(key.version, auth_ids(join))
        own = [auth[event_id] for event_id in join.auth_event_ids if event_id in auth]
        if len(own) < len(join.auth_event_ids):
            raise BadState("What authorises the join is not in its auth chain")
        create_id = named_create(join)
        try:
            events = [stored.event for stored in own]
            rejected = {stored.event.event_id for stored in own if stored.is_rejected}
            check_by_own(join, events, rejected, auth[create_id].event if create_id else None)
            now = {state_key: stored.event for state_key, stored in state.items()}
            check_by_state(join, now, events, is_partial=is_partial)
        except AuthFailure as error:
            raise refusal(join, error) from None

    async def _beginning(
        self, joined: RemoteJoin, join: Event, key: RoomKey, state: Mapping[StateKey, Stored]
    ) -> _Beginning:
        known = await self._stored.known_in_room(key.nid, join.prev_event_ids)
        absent = [id_ for id_ in join.prev_event_ids if id_ not in known or not known[id_].is_placed]
        state_nid = self._stored.past_nids(1)[0]
        partial = None
        if joined.is_partial:
            named = [name for name in joined.servers_in_room[:MOST_SERVERS] if is_server_name(name)]
            servers = dict.fromkeys([joined.origin, *named])
            servers.pop(self._ground.server_name, None)
            partial = PartialRoom(key.room_id, join.event_id, state_nid, orjson.dumps(list(servers)))
        return _Beginning(key, join, state, state_nid, self._ground.streams.draw(), absent, partial)

    async def _take_in(self, beginning: _Beginning) -> Room:
        key, position = beginning.key, beginning.position
        try:
            built = self._built(beginning)
            locals_ = await self._database.write(self._write, beginning, built)
            stale = self._rooms.find(key.room_id)
            if stale is not None:
                self._rooms.discard(stale)
            self._begin_to_wait(beginning)
            room = await self._rooms.load(key.room_id)
        except BaseException:
            self._ground.streams.complete(position)
            raise
        await self._writer.kept(room, [built._replace(moved=tuple(locals_))])
        return room

    def _begin_to_wait(self, beginning: _Beginning) -> None:
        """For what is stored to be missing: before anything else can fail."""
        room_id = beginning.key.room_id
        if beginning.unproven:
            self._unproven.wait_for(room_id, servers_of(beginning.unproven))
        if beginning.partial is not None:
            self._partial.begin(beginning.partial)
        else:
            self._partial.end(room_id)

    def _built(self, beginning: _Beginning) -> Built:
        join, replaced = beginning.join, beginning.replaced
        old = None if replaced is None else Standing(replaced.known.nid, replaced.event.event_id, 0)
        timeline, new, relation = records(
            join, nid=beginning.position, state_nid=beginning.state_nid, notify=0, txn=None,
            replaced=replaced_by(old, None if replaced is None else replaced.event),
        )  # fmt: skip
        hash_ = hash_replacing(beginning.state_hash, old, join.event_id)
        user = UserId(join.state_key or "")
        member = Member(user, "join", beginning.position, beginning.position, True)
        return Built(
            join, timeline, new, None, relation, member, hash_.to_bytes(16, "little"), None, is_local=False
        )

    # In transactions

    def _row(self, txn: Transaction, room_id: RoomId, version: RoomVersion) -> int:
        store = self._stores.received_rooms
        room_nid = store.create_or_get(txn, room_id, version.version)
        if not store.settle_version(txn, room_nid, version.version):
            raise BadState("The room was of another version when this server was in it")
        return room_nid

    def _write(self, txn: Transaction, beginning: _Beginning, built: Built) -> list[Member]:
        """The other local members whose row is new."""
        stores, key, position = self._stores, beginning.key, beginning.position
        number = stores.identifiers.state_key_nid
        tip = txn.value("SELECT tip FROM rooms WHERE nid = %s", (key.nid,))
        if not stores.rooms.advance(
            txn, key.nid, expected_tip=tip, tip=position, heads=orjson.dumps([beginning.join.event_id]),
            depth=beginning.join.depth, state_nid=position,
        ):  # fmt: skip
            raise StaleRoom
        ids = {number(txn, state_key): stored.known.nid for state_key, stored in beginning.state.items()}
        stores.state.put_set(
            txn, key.nid, nid=beginning.state_nid, parent=(),
            hash_=beginning.state_hash.to_bytes(16, "little"), added=ids,
        )  # fmt: skip
        stores.received_rooms.clear_current(txn, key.nid)
        stores.received_rooms.put_current(
            txn, key.nid, [CurrentEntry(state_key, nid, nid) for state_key, nid in ids.items()]
        )
        locals_ = self._write_members(txn, beginning)
        self._writer.rows.store_one(txn, key.nid, built)
        stores.received_rooms.remove_outside(txn, key.nid)
        stores.unproven_events.remove_all(txn, key.room_id)
        self._unproven.write(txn, key.nid, beginning.unproven)
        if beginning.absent:
            stores.received_events.note_missing(
                txn, key.nid, beginning.absent, depth=beginning.join.depth, follower_nid=position
            )
        if beginning.absent or beginning.unproven or beginning.partial is not None:
            stores.received_events.set_last_gap(txn, key.nid, position)
        if beginning.partial is not None:
            stores.received_rooms.put_partial(txn, key.nid, beginning.partial)
        else:
            stores.received_rooms.remove_partial(txn, key.nid)
        return locals_

    def _write_members(self, txn: Transaction, beginning: _Beginning) -> list[Member]:
        """Other servers' users as the state has them; ours where they do not stand so already."""
        here = self._ground.server_name
        stores, key = self._stores, beginning.key
        before = {member.user_id: member for member in stores.rooms.members(txn, key.nid)}
        remote, local = [], []
        for (type_, state_key), stored in beginning.state.items():
            if type_ != MEMBER:
                continue
            user, membership = UserId(state_key), stored.event.membership or "leave"
            if domain_of(user) != here:
                remote.append(Member(user, membership, stored.known.nid, stored.known.nid, False))
            elif user not in before or before[user].membership != membership:
                local.append(Member(user, membership, beginning.position, beginning.position, True))
        present = {member.user_id for member in remote}
        remote += [
            member._replace(membership="leave")
            for member in before.values()
            if not member.is_local and member.user_id not in present
        ]
        stores.received_rooms.put_members(txn, key.nid, [*remote, *local])
        return [member for member in local if member.user_id != beginning.join.state_key]


def _without(join: Event, checked: Checked) -> Checked:
    """What was told of the state before the join, in case the join is in that."""
    return checked._replace(events=[event for event in checked.events if event.event_id != join.event_id])


def _check_create(version: RoomVersion, created: Sequence[Event]) -> None:
    """Before anything is kept that was judged by the rules of that version. Raises BadState."""
    if not created:
        raise BadState("The state has no create event")
    if any(event.content.get("room_version", "1") != version.version for event in created):
        raise BadState("The room is of another version")
