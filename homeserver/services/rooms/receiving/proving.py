"""Events of a state that could not be verified when it was told, put into the room's present once they can;
and such events of a gap, which become news.

States of the time between stay as they were: judged by these, who is missing there is believed to be a member
if what he sends names a membership that is good (`Room.has_late`), and the present decides, as always. This
leaves one thing: in room versions before 12, a branch of that time which comes still later may drop him
again, if the room's rules would not let him in any more.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import orjson

from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName, domain_of
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.fetching import Parts
from homeserver.services.rooms.receiving.forking import Source
from homeserver.services.rooms.receiving.intake import Intake, Outcomes
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.partial import PartialRooms
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.rewriting import Rewriting
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.receiving.stored_events import Stored
from homeserver.services.rooms.receiving.unproven import servers_of
from homeserver.services.rooms.room import Room, hash_changed
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.storage.room_state import StateIds
from homeserver.storage.room_stores import RoomStores
from homeserver.storage.unproven_events import OF_AUTH_CHAIN, OF_GAP, OF_JOINED_STATE, UnprovenEvent

logger = logging.getLogger(__name__)

MOST_NEW_SETS = 1_000


class Late(NamedTuple):
    """A state event that is good after all. `is_certain`: it was part of the state before our join."""

    stored: Stored
    is_certain: bool


class Proving:
    """What `UnprovenEvents` keeps, one room at a time."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, parts: Parts, *, partial: PartialRooms, rewriting: Rewriting,
        intake: Intake,
    ) -> None:  # fmt: skip
        self._database = ground.database
        self._stores = ground.stores
        self._store = ground.stores.unproven_events
        self._rooms = rooms
        self._checking = parts.checking
        self._outliers = parts.outliers
        self._stored = parts.stored
        self._sets = parts.sets
        self._partial = partial
        self._rewriting = rewriting
        self._intake = intake

    async def prove(self, room_id: RoomId, learned: AbstractSet[ServerName]) -> set[ServerName]:
        """As `unproven.Prove`. Raises CannotJudge: later."""
        room = await self._joined(room_id)
        if room is None:
            await self._database.write(self._store.remove_all, room_id)
            return set()
        if self._partial.is_partial(room_id):
            raise CannotJudge("the room's members are still being fetched")
        waiting = await self._database.read(self._store.of_room, room.nid)
        some = [
            event
            for event in waiting
            if not learned or not event.servers or not learned.isdisjoint(event.servers.split())
        ]
        checked = await self._checking.check(room.version, room_id, [orjson.loads(one.raw) for one in some])
        key = RoomKey(room_id, room.nid, room.version)
        of_gap = {event.event_id for event in some if event.part == OF_GAP}
        kept = await self._outliers.add(key, [one for one in checked.events if one.event_id not in of_gap])
        bad = [
            event_id for event_id, problem in checked.problems.items() if not isinstance(problem, CannotJudge)
        ]
        await self._take_in(key, [event for event in some if event.event_id in kept], kept, bad)
        # After the state: it may say that those who spoke in a gap are members.
        told = await self._take_news(room_id, [one for one in checked.events if one.event_id in of_gap])
        done = {*kept, *bad, *told}
        left = [event for event in waiting if event.event_id not in done]
        servers = servers_of(left)
        if not servers:  # what rests on nobody's keys any more rests on nothing that there is
            told += [event.event_id for event in left]
        if told:
            await self._database.write(self._store.remove, room.nid, told)
        return servers

    async def _take_news(self, room_id: RoomId, events: Sequence[Event]) -> list[EventId]:
        """Take in what lay in gaps: what there is no more to do for."""
        by_server: dict[ServerName, list[Event]] = {}
        for event in events:
            by_server.setdefault(domain_of(event.sender), []).append(event)
        outcomes: Outcomes = {}
        for server, theirs in by_server.items():
            outcomes |= await self._intake.take(room_id, theirs, Source(server))
        return [event_id for event_id, problem in outcomes.items() if not isinstance(problem, CannotJudge)]

    async def _joined(self, room_id: RoomId) -> Room | None:
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            return None
        return room if room.joined_local else None

    async def _take_in(
        self, room: RoomKey, proven: Sequence[UnprovenEvent], kept: Mapping[EventId, Stored],
        bad: Sequence[EventId],
    ) -> None:  # fmt: skip
        late = [
            Late(stored, event.part == OF_JOINED_STATE)
            for event in proven
            if event.part != OF_AUTH_CHAIN
            and (stored := kept[event.event_id]).event.is_state
            and not stored.is_rejected
        ]
        taken = [one.stored.event.event_id for one in late]
        gone = [*bad, *(event.event_id for event in proven if event.event_id not in set(taken))]

        def settle(txn: Transaction) -> None:
            self._store.mark_late(txn, room.nid, taken)
            self._store.remove(txn, room.nid, gone)

        def work(txn: Transaction, position: int) -> list[EventId]:
            waiting = {event.event_id for event in self._store.of_room(txn, room.nid)}
            settle(txn)  # a join anew may have begun meanwhile with another state
            some = [one for one in late if one.stored.event.event_id in waiting]
            present = _Present(txn, self._stores, self._sets, room, numbers)
            return present.add(some, self._rewriting, position)

        if not late:
            await self._database.write(settle)
            return
        async with self._intake.turns.hold(room.room_id):
            if self._partial.is_partial(room.room_id):
                raise CannotJudge("the room's members are still being fetched")
            numbers = self._stored.past_nids(MOST_NEW_SETS)
            await self._rewriting.run(room.room_id, work)
        logger.info("%d events of the state of %s could be verified now", len(late), room.room_id)


class _Present:
    """The states after a room's heads, with what was late. In one transaction."""

    def __init__(
        self, txn: Transaction, stores: RoomStores, sets: StateSets, room: RoomKey, numbers: Sequence[int]
    ) -> None:
        self._txn = txn
        self._stores = stores
        self._sets = sets
        self._room = room
        self._numbers: Iterator[int] = iter(numbers)

    def add(self, late: Sequence[Late], rewriting: Rewriting, position: int) -> list[EventId]:
        """Make it so: the heads. Raises CannotJudge."""
        stores, txn, room = self._stores, self._txn, self._room
        row = txn.row("SELECT tip, heads, depth FROM rooms WHERE nid = %s", (room.nid,))
        if row is None:
            raise CannotJudge("the room is gone")
        tip, heads, depth = row
        heads = [EventId(head) for head in orjson.loads(heads)]
        known = stores.received_events.known(txn, heads)
        after: dict[int, int] = {}
        for head in heads:
            before = known[head].state_after or 0
            if before not in after:
                after[before] = self._with(before, late)
            if before == known[head].nid:  # the set after a state event has its number
                self._put_in_place(before, after[before])
                after[before] = before
            else:
                stores.received_events.set_state(txn, known[head].nid, after[before])
        state_nid = self._meet([after[known[head].state_after or 0] for head in heads])
        stores.rooms.advance(
            txn, room.nid, expected_tip=tip, tip=position, heads=orjson.dumps(heads), depth=depth,
            state_nid=state_nid,
        )  # fmt: skip
        rewriting.make_current(txn, room.nid, state_nid, position)
        return heads

    def _with(self, state_nid: int, late: Sequence[Late]) -> int:
        """A set with what it lacks; where it holds something else, that is resolved, if the late one counts.

        Nobody's word on the state after a gap is taken for more than a branch. What was there before our join
        has been replaced since by what rested on it, but for bans: these the rest may have been made against.
        """
        keys = self._stores.identifiers.state_key_nids(self._txn, [one.stored.event.key for one in late])
        held = self._stores.state.state_ids(self._txn, state_nid)
        missing, other = {}, {}
        for stored, is_certain in late:
            key, nid = keys[stored.event.key], stored.known.nid
            if is_certain and key not in held:
                missing[key] = nid
            elif held.get(key) != nid and (not is_certain or _is_ban(stored.event)):
                other[key] = nid
        if missing:
            state_nid = self._on(state_nid, held, missing)
        if other:
            state_nid = self._meet([state_nid, self._on(state_nid, held, other)])
        return state_nid

    def _on(self, state_nid: int, held: StateIds, added: StateIds) -> int:
        stores, txn, number = self._stores, self._txn, self._number()
        gone = [held[key] for key in added if key in held]
        ids = stores.received_events.ids(txn, [*gone, *added.values()])
        hash_ = hash_changed(
            int.from_bytes(stores.state.hash_of(txn, state_nid), "little"),
            [ids[nid] for nid in gone], [ids[nid] for nid in added.values()],
        )  # fmt: skip
        stores.state.append(
            txn, self._room.nid, nid=number, parent_nid=state_nid, hash_=hash_.to_bytes(16, "little"),
            added=added,
        )  # fmt: skip
        return number

    def _put_in_place(self, old: int, new: int) -> None:
        """The new set under the number of the old one, on which others may stand."""
        state, txn = self._stores.state, self._txn
        if old == new:
            return
        standing = [new, *(nid for nid in state.standing_on(txn, self._room.nid, old) if nid != new)]
        contents = {
            nid: (state.hash_of(txn, nid), held) for nid, held in state.many_state_ids(txn, standing).items()
        }
        contents[old] = contents[new]
        state.drop(txn, contents)
        for nid, (hash_, held) in contents.items():
            state.put_set(txn, self._room.nid, nid=nid, parent=(), hash_=hash_, added=held)

    def _meet(self, nids: Iterable[int]) -> int:
        different = list(dict.fromkeys(nids))
        if len(different) == 1:
            return different[0]
        room = self._room
        return self._sets.meet(self._txn, room.nid, room.version, different, self._number())

    def _number(self) -> int:
        number = next(self._numbers, None)
        if number is None:
            raise CannotJudge("the room has forked too often")
        return number


def _is_ban(event: Event) -> bool:
    return event.type == MEMBER and event.membership == "ban"
