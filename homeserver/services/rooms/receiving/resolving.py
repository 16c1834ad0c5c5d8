"""What a resolution of states looks at, read within one transaction as it is asked for."""

from collections.abc import Iterable, Mapping, Set

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.stored_events import REJECTED
from homeserver.storage.room_state import StateIds
from homeserver.storage.room_stores import RoomStores

MOST_FETCHED = 100_000
"""Events that one resolution looks at."""
NEW_EVENT = 0
"""The number of an event that is not stored yet."""


class KeyNames:
    """State keys by number; a key that has no number yet gets one for the time being."""

    def __init__(self, stores: RoomStores, txn: Transaction) -> None:
        self._identifiers = stores.identifiers
        self._txn = txn
        self._names: dict[int, StateKey] = {}
        self._numbers: dict[StateKey, int] = {}

    def number(self, key: StateKey) -> int:
        nid = self._numbers.get(key)
        if nid is None:
            nid = self._identifiers.state_key_nid(self._txn, key) or -1 - len(self._numbers)
            self._numbers[key], self._names[nid] = nid, key
        return nid

    def load(self, nids: Iterable[int]) -> None:
        found = self._identifiers.state_keys(self._txn, set(nids) - self._names.keys())
        self._names |= found
        self._numbers.update((key, nid) for nid, key in found.items())

    def of(self, nid: int) -> StateKey:
        if nid not in self._names:
            self.load((nid,))
        return self._names[nid]


class Known:
    """The room's events, by ID and by number. `new`: those that are not stored yet."""

    def __init__(
        self, stores: RoomStores, txn: Transaction, room_nid: int, version: RoomVersion, new: Iterable[Event]
    ) -> None:
        self._store = stores.received_events
        self._txn = txn
        self._room_nid = room_nid
        self._version = version
        self._new = {event.event_id: event for event in new}
        self._ids: dict[int, EventId] = {}
        self._nids: dict[EventId, int] = dict.fromkeys(self._new, NEW_EVENT)
        self._keys: dict[EventId, int | None] = {}
        self._fetched = 0
        self.rejected: set[EventId] = set()

    def fetch(self, event_ids: Iterable[EventId]) -> Mapping[EventId, Event]:
        """Those that the room has. Raises CannotJudge when they become too many."""
        wanted = list(event_ids)
        self._fetched += len(wanted)
        if self._fetched > MOST_FETCHED:
            raise CannotJudge("The room's state forked too far to be resolved")
        found = {event_id: self._new[event_id] for event_id in wanted if event_id in self._new}
        rest = [event_id for event_id in wanted if event_id not in found]
        for event_id, (known, raw) in self._store.pdus(self._txn, rest).items():
            if known.room_nid == self._room_nid:
                found[event_id] = Event.from_raw(self._version, raw, event_id)
                self._nids[event_id], self._keys[event_id] = known.nid, known.state_key_nid
                if known.status == REJECTED:
                    self.rejected.add(event_id)
        return found

    def ids(self, nids: Iterable[int]) -> dict[int, EventId]:
        """{nid: event id}."""
        wanted = list(nids)
        found = self._store.ids(self._txn, [nid for nid in wanted if nid not in self._ids])
        self._ids |= found
        self._nids.update((event_id, nid) for nid, event_id in found.items())
        return {nid: self._ids[nid] for nid in wanted}

    def nid(self, event_id: EventId) -> int:
        """Of an event that was fetched, or whose ID was looked up."""
        return self._nids[event_id]

    def stands_in(self, ids: StateIds, event_id: EventId) -> bool:
        """Is it part of the state? Asked of events that were fetched."""
        key = self._keys.get(event_id)
        return key is not None and ids.get(key) == self._nids[event_id]


class AgreedIds:
    """`homeserver.protocol.state_resolution.Agreed`, by numbers."""

    def __init__(self, ids: StateIds, names: KeyNames, known: Known) -> None:
        self._state = ids
        self._names = names
        self._known = known
        self._holders: dict[StateKey, EventId | None] = {}

    def holder(self, key: StateKey) -> EventId | None:
        if key not in self._holders:  # thousands of events are judged by the same few keys
            nid = self._state.get(self._names.number(key))
            self._holders[key] = None if nid is None else self._known.ids([nid])[nid]
        return self._holders[key]

    def holds(self, event_id: EventId) -> bool:
        return self._known.stands_in(self._state, event_id)

    def resting_on(self, event_ids: Set[EventId]) -> Iterable[EventId]:
        """An event is stored after all that it rests on, and has a higher number unless one is below zero."""
        lowest = min(map(self._known.nid, event_ids))
        later = [nid for nid in self._state.values() if lowest <= 0 or nid < 0 or nid > lowest]
        return self._known.ids(later).values()
