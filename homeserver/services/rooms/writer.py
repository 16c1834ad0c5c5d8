"""The writer of rooms: builds events on the room in memory, and keeps them.

    propose -> build, authorise, hash, sign (no SQL once the room is warm)
            -> one write, shared with whoever else is writing -> announce

A write is fenced by the room's tip: when anything else moved the room, or an earlier write of the
same room failed, it is refused, the room is loaded afresh and the event is built again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.built import Advance, Built, records, replaced_by
from homeserver.services.rooms.drafting import MOST_HEADS, Drafting
from homeserver.services.rooms.event_rows import EventRows
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.outbox import Outbox
from homeserver.services.rooms.policy import PolicySignatures, policy_server
from homeserver.services.rooms.proposals import Proposal, StaleRoom
from homeserver.services.rooms.reference_hashes import note_hash
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.streams import Change
from homeserver.storage.events import ACCEPTED
from homeserver.storage.rooms import Member

__all__ = ["Advance", "Built", "Follower", "Proposal", "RoomWriter", "StaleRoom"]

ATTEMPTS = 4


class Follower(Protocol):
    """Told of events on the reactor thread right after their commit, before they are announced."""

    def __call__(self, room: Room, batch: Sequence[Built]) -> None: ...


class Forks(Protocol):
    """What to do about more heads than an event may name."""

    async def close(self, room_id: RoomId) -> None:
        """Bring them down to as many, if somebody here may."""

    async def append(self, room_id: RoomId, proposal: Proposal) -> TimelineEvent | None:
        """Make the proposed event happen after some of them. None: meanwhile there are not so many."""


class RoomWriter:
    """Appends local events to rooms."""

    def __init__(self, ground: RoomGround, rooms: Rooms, events: Events) -> None:
        self._database = ground.database
        self._streams = ground.streams
        self._rooms = rooms
        self._events = events
        self.drafting = Drafting(ground, events)
        self._push = ground.push
        self._outbox = Outbox(ground.stores.outgoing, ground.server_name)
        self._clock = ground.clock
        self._server_name = ground.server_name
        self._followers: list[Follower] = []
        self._last_creation_ms = 0
        self._policy = PolicySignatures(ground.client)
        self.rows = EventRows(ground.stores, self._outbox)
        self.forks: Forks | None = None
        """Set by who can."""

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    async def append(self, room_id: RoomId, proposals: Sequence[Proposal]) -> list[TimelineEvent]:
        """Make the proposed events happen, all or none. Raises AuthFailure, TooLarge, RoomNotFound.

        One by one where nobody here may close forks.
        """
        for attempt in range(ATTEMPTS):
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
            if room.branches or room.held is not None:
                room = await self._ready(room)
                if len(room.heads) > MOST_HEADS and self.forks is not None:
                    first = await self.forks.append(room_id, proposals[0])
                    if first is not None:
                        return [first, *(await self.append(room_id, proposals[1:]) if proposals[1:] else ())]
                    room = self._rooms.find(room_id) or await self._rooms.load(room_id)
            try:
                return await self._append(room, proposals)
            except StaleRoom:
                self._rooms.discard(room)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _ready(self, room: Room) -> Room:
        """The room, once nobody holds it and it has no more forks than an event can close."""
        if len(room.heads) > MOST_HEADS and self.forks is not None:
            await self.forks.close(room.room_id)
        while room.held is not None:
            await room.held.wait()
        return self._rooms.find(room.room_id) or await self._rooms.load(room.room_id)

    async def found(
        self, version: RoomVersion, room_id: RoomId | None, proposals: Sequence[Proposal],
        also: Callable[[Transaction, RoomId], None],
    ) -> Room:  # fmt: skip
        """A new room with these first events, the create event first; `also` runs in the same write.

        `room_id` is None where the create event's hash is the room id. Raises what `also` raises.
        """
        room = Room(room_id or RoomId(""), version, 0)
        create = replace(proposals[0], origin_server_ts=self._time_of_creation())
        batch, advance = self._build_all(room, [create, *proposals[1:]])
        try:
            room.nid = await self._database.write(self.rows.store_new, room, batch, advance, also)
        except BaseException:
            self.abandon(batch)
            raise
        self._rooms.add(room)
        await self.kept(room, batch)
        return room

    def _time_of_creation(self) -> int:
        """Now, or the first later millisecond in which no room was made here.

        Create events of one sender that are alike to the millisecond have one hash: they would be one room.
        """
        self._last_creation_ms = max(self._last_creation_ms + 1, self._clock.now_ms())
        return self._last_creation_ms

    async def _append(self, room: Room, proposals: Sequence[Proposal]) -> list[TimelineEvent]:
        await self.drafting.prepare(room, proposals)
        if policy_server(room) is not None:
            return await self._append_signed(room, proposals)
        batch, advance = self._build_all(room, proposals)
        return await self.keep(room, batch, advance)

    async def _append_signed(self, room: Room, proposals: Sequence[Proposal]) -> list[TimelineEvent]:
        """As `_append`, one at a time, each once the room's policy server has signed it."""
        kept: list[TimelineEvent] = []
        for proposal in proposals:
            async with self._policy.turns.hold(room.room_id):
                await self.drafting.prepare(room, [proposal])
                _check_heads(room)
                tip, event = room.tip, self.drafting.authorised(room, proposal)
                event = await self._policy.signed(room, event)
                if room.tip != tip or room.held is not None or self._rooms.find(room.room_id) is not room:
                    raise StaleRoom
                built = self.applied(room, event, txn=proposal.txn)
                heads = orjson.dumps(room.heads)
                advance = Advance(tip, room.tip, heads, room.depth, room.state_nid)
                kept += await self.keep(room, [built], advance)
        return kept

    def _build_all(self, room: Room, proposals: Sequence[Proposal]) -> tuple[list[Built], Advance]:
        """Build and apply; on a refusal of a later one the room in memory is given up."""
        _check_heads(room)
        expected_tip = room.tip
        batch: list[Built] = []
        try:
            for proposal in proposals:
                batch.append(self._build(room, proposal))
        except BaseException:
            if batch:
                self._rooms.discard(room)
                self.abandon(batch)
            raise
        return batch, Advance(expected_tip, room.tip, orjson.dumps(room.heads), room.depth, room.state_nid)

    def _build(self, room: Room, proposal: Proposal) -> Built:
        event = self.drafting.authorised(room, proposal)
        return self.applied(room, event, txn=proposal.txn)

    def applied(
        self, room: Room, event: Event, *, txn: str | None = None, is_local: bool = True,
        besides: ServerName | None = None,
    ) -> Built:  # fmt: skip
        """Move the room in memory on by an event after all its heads. It is to be kept before anything else.

        `besides`: the server that made the event and asks us to pass it on to the others.
        """
        before = room.event(event.key) if event.state_key is not None else None
        state_before = room.state_nid
        outcome = self._push.evaluate(room, event)
        nid = self._streams.draw()
        if not room.room_id:
            room.room_id = event.room_id
        outgoing = None
        if (is_local or besides is not None) and (room.is_shared or event.type == event_types.MEMBER):
            outgoing = self._outbox.address(room, event, besides=besides)
        standing = room.apply(event, nid, self._server_name)
        if room.version.event_id_format is EventIdFormat.EXPLICIT:
            note_hash(room, event)
        member = None
        if event.type == event_types.MEMBER and event.state_key is not None:
            member = self.member(room, UserId(event.state_key), nid)
        timeline, new, relation = records(
            event, nid=nid, state_nid=state_before, notify=0 if outcome is None else outcome.notify, txn=txn,
            replaced=replaced_by(standing, before),
        )  # fmt: skip
        return Built(
            event, timeline, new, outcome, relation, member, room.state_hash.to_bytes(16, "little"),
            event.redacts if event.type == event_types.REDACTION else None, outgoing, is_local,
            levels=PowerLevels(room.events) if event.type == event_types.REDACTION else None,
        )  # fmt: skip

    def member(self, room: Room, user_id: UserId, nid: int) -> Member:
        """The row of a membership that is new at `nid`."""
        membership = room.members[user_id]
        is_local = domain_of(user_id) == self._server_name
        return Member(user_id, membership.membership, nid, membership.since, is_local)

    async def keep(
        self, room: Room, batch: Sequence[Built], advance: Advance,
        also: Callable[[Transaction], None] | None = None,
    ) -> list[TimelineEvent]:  # fmt: skip
        """Store events that were applied, then tell; a failure gives the room in memory up.

        `also` runs in the same write, after the events are stored. Raises StaleRoom.
        """
        try:
            await self._database.write(self.rows.store, room.nid, batch, advance, also)
        except BaseException:
            self._rooms.discard(room)
            self.abandon(batch)
            raise
        return await self.kept(room, batch)

    async def kept(self, room: Room, batch: Sequence[Built]) -> list[TimelineEvent]:
        if self._rooms.find(room.room_id) is not room:
            self._rooms.outdate(room.room_id)
        events = [built.timeline for built in batch if not built.placed_at]
        shown = [event for event in events if event.status == ACCEPTED]
        for event in shown:
            self._events.note(event)
        room.committed(shown, batch[-1].position)
        for built in batch:
            if built.redacts is not None:
                await self.forget_redacted(room, built.redacts)
        for follower in self._followers:
            follower(room, batch)
        for built in batch:
            users = tuple([member.user_id for member in built.members]) if built.members else ()
            self._streams.complete(built.position, Change("event", (room.room_id,), users))
        return events

    def abandon(self, batch: Sequence[Built]) -> None:
        """They will not be kept."""
        for built in batch:
            self._streams.complete(built.position)

    async def forget_redacted(self, room: Room, target: EventId) -> None:
        """Memory must not outlive what was taken back."""
        try:
            changed = {event.nid: event for event in await self._events.read_again(target)}
            signed = (await self._events.signed([target])).get(target)
        except MatrixError:  # the database does not answer now; what was stored is to be told all the same
            self._events.forget()
            self._rooms.discard(room)
            return
        # nothing is awaited from here on: the room may have moved on meanwhile
        for index, event in enumerate(room.recent):
            if event.nid in changed:
                room.recent[index] = changed[event.nid]
        if signed is not None and signed.is_state:
            standing = room.state.get(signed.key)
            if standing is not None and standing.event_id == target:
                room.remember(signed)
        room.fragments.clear()


def _check_heads(room: Room) -> None:
    """Raises StaleRoom if others forked it, while something was read, into more than an event can name."""
    if len(room.heads) > MOST_HEADS:
        raise StaleRoom
