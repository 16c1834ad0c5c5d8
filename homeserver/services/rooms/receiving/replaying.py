"""A room that was known in part is known whole: what was kept meanwhile is judged once more.

Each event since the join gets the state that really stood before it, resolved anew where branches meet, and
the verdict that follows from that. What was accepted by a state that lacked somebody's leave is rejected;
what was rejected because of it is taken in. What was soft failed is, if the room as it is then allows it.
https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import REDACTION
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.relations import relation_of
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.policy import POLICY_KEY, is_recommended_by, named_by
from homeserver.services.rooms.receiving.judging import (
    auth_ids,
    check_by_own,
    check_by_state,
    in_order,
    keys_needed,
    named_create,
)
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.receiving.stored_events import ACCEPTED, REJECTED, SOFT_FAILED, Stored
from homeserver.services.rooms.redactions import Redactions
from homeserver.services.rooms.room import hash_changed
from homeserver.services.rooms.timeline_event import accepted_as
from homeserver.storage.events import HIDDEN, Relation
from homeserver.storage.received_events import KnownEvent
from homeserver.storage.received_rooms import PartialRoom
from homeserver.storage.room_state import StateIds
from homeserver.storage.room_stores import RoomStores

MOST_NEW_SETS = 100_000


class Replayed(NamedTuple):
    """Where the room is now. `changed`: events that stand there otherwise than before.

    `is_seen`: some of them are shown now, or are not any more.
    """

    heads: list[EventId]
    state_nid: int
    changed: list[EventId]
    is_seen: bool


class Replay:
    """One room, in one transaction. `numbers` are for new state sets."""

    def __init__(
        self, txn: Transaction, stores: RoomStores, sets: StateSets, *, room: RoomKey, partial: PartialRoom,
        numbers: Sequence[int],
    ) -> None:  # fmt: skip
        self._txn = txn
        self._stores = stores
        self._sets = sets
        self._room = room
        self._partial = partial
        self._numbers: Iterator[int] = iter(numbers)
        self._redactions = Redactions(stores)
        found = stores.received_events.known(txn, [partial.join_id])
        self._join = found[partial.join_id]
        self._inside: dict[EventId, Stored] = {}
        self._known: dict[EventId, KnownEvent] = {}
        self._own: set[int] = set()
        self._status: dict[EventId, int] = {}
        self._after: dict[EventId, int] = {}
        self._met: dict[frozenset[int], int] = {}
        self._free: set[int] = set()
        self._same: dict[int, int] = {}
        self._loaded: dict[EventId, Stored] = {}
        self._good: set[tuple[object, ...]] = set()

    def run(self, whole_nid: int, heads: Sequence[EventId]) -> Replayed:
        """`whole_nid` is the state before the join. Raises CannotJudge."""
        before = self._stand_on(whole_nid)
        changed: list[EventId] = []
        ordered = [self._inside[one.event_id] for one in in_order(one.event for one in self._inside.values())]
        for stored in ordered:
            event = stored.event
            if event.event_id not in before:
                before[event.event_id] = self._meet(event.prev_event_ids)
            if self._place(stored, before[event.event_id]):
                changed.append(event.event_id)
        now = self._heads(heads, changed) if changed else list(heads)
        now = self._take_in(ordered, now, changed)
        changed += self._redact([stored for stored in ordered if stored.event.type == REDACTION])
        is_seen = any(self._status[one.known.event_id] != one.known.status for one in ordered)
        return Replayed(now, self._meet(now), changed, is_seen)

    # Before

    def _stand_on(self, whole_nid: int) -> dict[EventId, int]:
        """Drop all sets that grew out of the incomplete one. What remains: sets that were told as a whole."""
        beside = self._read()
        told = {
            id_: stored.known.state_nid or 0
            for id_, stored in self._inside.items()
            if any(not self._has_place(prev) for prev in stored.event.prev_event_ids)
        }
        told[self._partial.join_id] = whole_nid
        state = self._stores.state
        grown = dict(state.since(self._txn, self._room.nid, self._join.nid))
        own = self._own
        kept = {nid for nid in told.values() if nid not in own and (not self._is_grown(nid) or grown[nid])}
        copied = {nid for nid in (*told.values(), *beside) if nid not in kept}
        contents = {
            nid: (state.hash_of(self._txn, nid), held)
            for nid, held in state.many_state_ids(self._txn, copied).items()
        }
        dropped = {nid for nid in grown if self._is_grown(nid) and nid not in kept}
        state.drop(self._txn, dropped)
        self._free = dropped - own - copied
        moved = {}
        for nid in copied:
            moved[nid] = self._put(next(self._numbers) if nid in own else nid, *contents[nid])
        return {event_id: moved.get(nid, nid) for event_id, nid in told.items()}

    def _read(self) -> list[int]:
        """What is judged again; the sets after events that are not, but stand among the others."""
        received = self._stores.received_events
        placed = received.placed_since(self._txn, self._room.nid, self._join.nid)
        waiting, count = list(placed.values()), -1
        while len(waiting) != count:
            count = len(waiting)  # an outlier that found its place has an old number, as has the set after it
            for stored in waiting:
                known = stored.known
                if known.state_nid is not None and self._is_grown(known.state_nid):
                    event = Event.from_raw(self._room.version, stored.raw, known.event_id)
                    self._inside[known.event_id] = Stored(known, event)
                    self._own.add(known.nid)
            waiting = [stored for stored in waiting if stored.known.event_id not in self._inside]
        self._status = {id_: stored.known.status for id_, stored in self._inside.items()}
        prevs = {prev for stored in self._inside.values() for prev in stored.event.prev_event_ids}
        self._known = received.known(self._txn, list(prevs - self._inside.keys()))
        return [
            stored.known.nid
            for stored in waiting
            if stored.known.state_after == stored.known.nid and self._is_grown(stored.known.nid)
        ]

    def _is_grown(self, state_nid: int) -> bool:
        """Was the set stored since the join?"""
        return state_nid >= self._join.nid or state_nid <= self._partial.state_nid or state_nid in self._own

    def _under_old_number(self, old: int, nid: int) -> int:
        """The same set under the number by which events in memory name it, if nothing else has that now."""
        if old in self._free:
            self._free.discard(old)
            self._same[old] = nid
            state = self._stores.state
            hash_ = state.hash_of(self._txn, nid)
            state.append(self._txn, self._room.nid, nid=old, parent_nid=nid, hash_=hash_, added={})
        return old if self._same.get(old) == nid else nid

    def _has_place(self, event_id: EventId) -> bool:
        known = self._known.get(event_id)
        return event_id in self._inside or (
            known is not None and known.is_placed and known.room_nid == self._room.nid
        )

    def _put(self, nid: int, hash_: bytes, held: StateIds) -> int:
        self._stores.state.put_set(self._txn, self._room.nid, nid=nid, parent=(), hash_=hash_, added=held)
        return nid

    def _meet(self, event_ids: Sequence[EventId]) -> int:
        """The set where the states after these events meet."""
        nids = list(dict.fromkeys(self._state_after(event_id) for event_id in event_ids))
        if len(nids) == 1:
            return nids[0]
        key = frozenset(nids)
        if key not in self._met:
            new_nid = next(self._numbers, None)
            if new_nid is None:
                raise CannotJudge("The room forked too often while it was known in part")
            self._met[key] = self._sets.meet(self._txn, self._room.nid, self._room.version, nids, new_nid)
        return self._met[key]

    def _state_after(self, event_id: EventId) -> int:
        if event_id in self._after:
            return self._after[event_id]
        known = self._known.get(event_id)
        if known is None:
            known = self._stores.received_events.known(self._txn, [event_id])[event_id]
        return known.state_after or 0

    # One event

    def _place(self, stored: Stored, before: int) -> bool:
        """Store its place. Is it another one, or the verdict?"""
        known, event = stored.known, stored.event
        before = self._under_old_number(known.state_nid or 0, before)
        status = self._verdict(stored, before)
        self._status[event.event_id] = status
        self._after[event.event_id] = before
        replaced = None
        if event.is_state and status != REJECTED:
            replaced = self._put_after(known.nid, event, before)
            self._after[event.event_id] = known.nid
        self._stores.received_events.place(
            self._txn, known.nid, status=status, state_nid=before, replaces_nid=replaced
        )
        if status != known.status:
            self._relate(known.nid, event, status)
        return status != known.status or before != known.state_nid

    def _relate(self, nid: int, event: Event, status: int) -> None:
        """Only what is accepted counts as a reaction, an edit, an answer."""
        events = self._stores.events
        events.remove_relation(self._txn, nid)
        relation = relation_of(event.content) if status == ACCEPTED else None
        if relation is not None:
            row = Relation(nid, relation.event_id, relation.rel_type, relation.key)
            events.add_relation(self._txn, self._room.nid, row)

    def _put_after(self, nid: int, event: Event, before: int) -> int | None:
        """The set after a state event; what it replaced."""
        state, txn = self._stores.state, self._txn
        number = self._stores.identifiers.state_key_nid(txn, event.key)
        replaced = state.pick(txn, before, [number]).get(number)
        gone = self._stores.received_events.ids(txn, [] if replaced is None else [replaced])
        hash_ = hash_changed(
            int.from_bytes(state.hash_of(txn, before), "little"), gone.values(), [event.event_id]
        )
        state.append(
            txn, self._room.nid, nid=nid, parent_nid=before, hash_=hash_.to_bytes(16, "little"),
            added={number: nid},
        )  # fmt: skip
        return replaced

    def _verdict(self, stored: Stored, before: int) -> int:
        event, old = stored.event, stored.known.status
        if event.event_id == self._partial.join_id:
            return old
        wanted = auth_ids(event)
        named = self._load(wanted)
        if len(named) < len(set(wanted)):
            return old
        memo = (before, event.sender, event.type, *(named[id_].known for id_ in wanted))
        is_plain = event.state_key is None and event.type != REDACTION
        if not (is_plain and memo in self._good):
            try:
                self._check(event, before, named)
            except AuthFailure:
                return REJECTED
            if is_plain:
                self._good.add(memo)
        return accepted_as(event) if old == REJECTED else old

    def _check(self, event: Event, before: int, named: Mapping[EventId, Stored]) -> None:
        """Raises AuthFailure."""
        own = [named[id_].event for id_ in event.auth_event_ids]
        rejected = {id_ for id_, stored in named.items() if stored.is_rejected}
        create_id = named_create(event)
        check_by_own(event, own, rejected, named[create_id].event if create_id else None)
        check_by_state(event, self._held(before, keys_needed(event)), own, is_partial=False)

    def _held(self, state_nid: int, keys: Sequence[StateKey]) -> dict[StateKey, Event]:
        """What holds these keys in a set."""
        numbers = self._stores.identifiers.state_key_nids(self._txn, keys).values()
        nids = self._stores.state.pick(self._txn, state_nid, numbers)
        held = self._load(self._stores.received_events.ids(self._txn, nids.values()).values())
        return {one.event.key: one.event for one in held.values()}

    def _load(self, wanted: Iterable[EventId]) -> dict[EventId, Stored]:
        """Events of the room, with the verdicts that they have now."""
        ids = set(wanted)
        absent = [id_ for id_ in ids if id_ not in self._loaded]
        for id_, pdu in self._stores.received_events.pdus(self._txn, absent).items():
            if pdu.known.room_nid == self._room.nid:
                self._loaded[id_] = Stored(pdu.known, Event.from_raw(self._room.version, pdu.raw, id_))
        found = {id_: self._loaded[id_] for id_ in ids if id_ in self._loaded}
        return {
            id_: stored._replace(known=stored.known._replace(status=self._status[id_]))
            if id_ in self._status
            else stored
            for id_, stored in found.items()
        }

    # After all

    def _take_in(
        self, ordered: Sequence[Stored], heads: list[EventId], changed: list[EventId]
    ) -> list[EventId]:
        """Of the events that were not allowed by the room as it seemed those that are by what it is now."""
        taken: list[EventId] = []
        now = self._meet(heads)
        for known, event in ordered:
            if self._status[event.event_id] != SOFT_FAILED or not self._is_allowed(event, now):
                continue
            self._status[event.event_id] = status = accepted_as(event)
            self._stores.received_events.set_status(self._txn, known.nid, status)
            self._relate(known.nid, event, status)
            taken.append(event.event_id)
            if event.is_state:
                heads, taken = self._heads(heads, taken), []
                now = self._meet(heads)
                changed.append(event.event_id)
        changed += taken
        return self._heads(heads, taken) if taken else heads

    def _is_allowed(self, event: Event, now: int) -> bool:
        wanted = auth_ids(event)
        named = self._load(wanted)
        if len(named) < len(set(wanted)):
            return False
        try:
            self._check(event, now, named)
        except AuthFailure:
            return False
        policy = self._held(now, [POLICY_KEY]).get(POLICY_KEY)
        return is_recommended_by(named_by(policy), event)

    def _redact(self, redactions: Sequence[Stored]) -> list[EventId]:
        """Undo those that were rejected, do those that were taken in: what they name."""
        stores, txn = self._stores, self._txn
        changed: list[EventId] = []
        for known, event in redactions:
            if self._status[event.event_id] != known.status and event.redacts is not None:
                changed.append(event.redacts)
            if self._status[event.event_id] != ACCEPTED:
                changed += stores.received_rooms.put_back(txn, self._room.nid, known.nid)
        for known, event in redactions:
            if self._status[event.event_id] == ACCEPTED:
                self._redactions.redact_by_state(txn, known.nid, event, self._after[event.event_id])
        return changed

    def _heads(self, heads: Sequence[EventId], changed: Sequence[EventId]) -> list[EventId]:
        """In the place of a rejected head those it followed; what was taken in and is followed by nobody."""
        accepted = [one for id_, one in self._inside.items() if self._status[id_] in (ACCEPTED, HIDDEN)]
        followed = {prev for one in accepted for prev in one.event.prev_event_ids}
        waiting = [*heads, *(id_ for id_ in changed if self._status[id_] in (ACCEPTED, HIDDEN))]
        now: dict[EventId, None] = {}
        seen: set[EventId] = set()
        while waiting:
            event_id = waiting.pop(0)
            if event_id in seen or not self._has_place(event_id):
                continue
            seen.add(event_id)
            if self._status.get(event_id) == REJECTED:
                waiting += self._inside[event_id].event.prev_event_ids
            elif event_id not in followed:
                now[event_id] = None
        return list(now) or list(heads)
