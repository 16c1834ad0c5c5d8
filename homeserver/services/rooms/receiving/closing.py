"""Too many heads: our server says nothing, after all of them, so that they become one.

Other servers do the same, with the same type of event. It is sent by a local member who may, and shown to
nobody. Where none may, what our people say goes after a few of the heads, beside the others.
"""

from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple

from homeserver.protocol.auth_rules.power_levels import PowerLevels, creators
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.errors import AuthFailure, Forbidden, MatrixError
from homeserver.protocol.event_types import DUMMY
from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.hashes import reference_hash
from homeserver.protocol.ids import EventId, RoomId, UserId, domain_of
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.services.rooms.drafting import MOST_DEPTH, MOST_HEADS
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.policy import PolicySignatures
from homeserver.services.rooms.proposals import Proposal
from homeserver.services.rooms.receiving.fetching import Parts
from homeserver.services.rooms.receiving.forking import Forking, Judged, Source
from homeserver.services.rooms.receiving.intake import Intake
from homeserver.services.rooms.receiving.judging import check_by_state, keys_needed
from homeserver.services.rooms.receiving.stored_events import Stored
from homeserver.services.rooms.room import CREATE, POWER_LEVELS, Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.timeline_event import TimelineEvent

MOST_DUMMIES = 50
MOST_SENDERS = 3
"""Of ours, who are tried."""


class Drafted(NamedTuple):
    """An event after some of the heads, allowed by the state set where these meet."""

    event: Event
    state_nid: int
    auth: dict[EventId, Stored]


class Closing:
    """Writes dummy events, and what our people say beside heads that stay open."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, events: Events, *, intake: Intake, forking: Forking,
        parts: Parts,
    ) -> None:  # fmt: skip
        self._ground = ground
        self._rooms = rooms
        self._events = events
        self._intake = intake
        self._forking = forking
        self._stored = parts.stored
        self._sets = parts.sets
        self._policy = PolicySignatures(ground.client)

    async def close(self, room_id: RoomId) -> None:
        """Until an event can name all heads, or nobody here may send one."""
        async with self._intake.turns.hold(room_id):
            for _ in range(MOST_DUMMIES):
                room = await self._rooms.load(room_id)
                if len(room.heads) <= MOST_HEADS or not await self._close_some(room):
                    return

    async def close_if_open(self, room_id: RoomId, heads: AbstractSet[EventId], *, only_ours: bool) -> None:
        """Say nothing, once, if two of these are heads still; `only_ours`: if our people said one of them."""
        async with self._intake.turns.hold(room_id):
            room = await self._rooms.load(room_id)
            still = heads & set(room.heads)
            if len(still) > 1 and (not only_ours or await self._is_ours(room, still)):
                await self._close_some(room)

    async def append(self, room_id: RoomId, proposal: Proposal) -> TimelineEvent | None:
        """Make the proposed event happen after as many heads as it may name. None: it may name all.

        Raises AuthFailure, TooLarge, CannotJudge, and what the room's policy server says.
        """
        async with self._intake.turns.hold(room_id):
            room = await self._rooms.load(room_id)
            if len(room.heads) <= MOST_HEADS:  # they may be ahead of what is stored
                return None
            return await self._append(room, proposal)

    async def _append(self, room: Room, proposal: Proposal) -> TimelineEvent:
        """The oldest heads are closed first; what these do not allow, the newest may."""
        try:
            drafted = await self._draft(room, proposal, room.heads[:MOST_HEADS])
        except AuthFailure:
            drafted = await self._draft(room, proposal, room.heads[-MOST_HEADS:])
        if not await self._put_beside(room, drafted, proposal.txn):
            raise Forbidden(f"The room as it is now does not allow {drafted.event.event_id}")
        event = await self._events.by_id(drafted.event.event_id)
        assert event is not None
        return event

    async def _is_ours(self, room: Room, heads: AbstractSet[EventId]) -> bool:
        """Did our people say one of them?"""
        found = await self._stored.load(room.version, heads)
        return any(domain_of(one.event.sender) == self._ground.server_name for one in found.values())

    async def _close_some(self, room: Room) -> bool:
        for sender in self._senders(room):
            try:
                drafted = await self._draft(room, Proposal(DUMMY, sender, {}), room.heads[:MOST_HEADS])
                if await self._put_beside(room, drafted):
                    return True
            except AuthFailure:
                continue
            except MatrixError:  # the policy server's, or a busy room's: there will be another time
                return False
        return False

    async def _put_beside(self, room: Room, drafted: Drafted, txn: str | None = None) -> bool:
        """False: the present state does not allow it."""
        drafted = drafted._replace(event=await self._policy.signed(room, drafted.event))
        source = Source(self._ground.server_name, is_local=True, txn=txn)
        judged = Judged(source, drafted.auth, (), None)
        return await self._forking.append(room.room_id, drafted.event, drafted.state_nid, judged)

    def _senders(self, room: Room) -> list[UserId]:
        """Those of our members who may, a few with the most power: on another branch they may have less.

        Not all are looked at: nearly all have the same.
        """
        levels, create = PowerLevels(room.events), room.events.get(CREATE)
        named = room.content_of(*POWER_LEVELS).get("users")
        some = {*(named if isinstance(named, dict) else ()), *(creators(create) if create else ())}
        some = {*room.joined_local.intersection(some), *islice(room.joined_local, MOST_SENDERS)}
        needed = levels.to_send(DUMMY, is_state=False)
        able = [user for user in some if levels.of_user(user) >= needed]
        return sorted(able, key=lambda user: (-levels.of_user(user), user))[:MOST_SENDERS]

    async def _draft(self, room: Room, proposal: Proposal, prevs: tuple[EventId, ...]) -> Drafted:
        """The event after these heads. Raises AuthFailure when the state where they meet does not allow it:
        then nothing was stored.
        """
        known = await self._stored.known(prevs)
        nids = [known[id_].state_after or 0 for id_ in prevs]
        keys = auth_keys(
            room.version, type=proposal.type, sender=proposal.sender, state_key=proposal.state_key,
            content=proposal.content,
        )  # fmt: skip
        named = await self._sets.pick_where(room, nids, keys)
        draft = Draft(
            type=proposal.type, sender=proposal.sender, content=proposal.content,
            state_key=proposal.state_key, room_id=room.room_id, prev_event_ids=prevs,
            auth_event_ids=tuple(named), depth=min(room.depth + 1, MOST_DEPTH),
            origin_server_ts=proposal.origin_server_ts or self._ground.clock.now_ms(),
            redacts=proposal.redacts, reference_hashes=await self._hashes(room, [*prevs, *named]),
        )  # fmt: skip
        event = build(draft, room.version, self._ground.server_name, self._ground.key)
        needed = await self._sets.pick_where(room, nids, keys_needed(event))
        auth = await self._stored.load(room.version, needed)
        own = [stored.event for stored in auth.values()]
        check_by_state(event, {one.key: one for one in own}, own, is_partial=False)
        return Drafted(event, await self._sets.set_of(room, nids), auth)

    async def _hashes(self, room: Room, event_ids: list[EventId]) -> dict[EventId, str]:
        """Which only room versions 1 and 2 write down."""
        if room.version.event_id_format is not EventIdFormat.EXPLICIT:
            return {}
        found = await self._stored.load(room.version, event_ids)
        return {id_: reference_hash(room.version, stored.event.pdu) for id_, stored in found.items()}
