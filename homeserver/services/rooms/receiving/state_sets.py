"""The state where a room forks: of several sets, one.

Works on numbers (state keys, events) as far as the sets agree; only what they differ in is resolved. What
came out is remembered by what went in: forks tend to be there for more than one event.
https://spec.matrix.org/latest/server-server-api/#room-state-resolution
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution import resolve
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.stored_events import REJECTED, StoredEvents
from homeserver.services.rooms.room import Room, hash_changed, hash_of
from homeserver.storage.room_state import StateIds
from homeserver.storage.room_stores import RoomStores

MOST_FETCHED = 100_000
"""Events that one resolution looks at."""
MOST_REMEMBERED = 400_000
"""State entries of results that are kept."""
NEW_KEY = -1
NEW_EVENT = 0


class Branch(NamedTuple):
    """The state at the end of a branch: a set and, where it is not stored yet, a state event on top."""

    state_nid: int
    event: Event | None = None


class SetInfo(NamedTuple):
    """A set's number, and its hash."""

    nid: int
    hash: int


class _Sources(NamedTuple):
    room_nid: int
    version: RoomVersion
    branches: Sequence[Branch]


class StateSets:
    """Reads sets, resolves them, stores what came out."""

    def __init__(self, database: Database, stores: RoomStores, stored: StoredEvents) -> None:
        self._database = database
        self._stores = stores
        self._stored = stored
        self._resolved: OrderedDict[frozenset[tuple[int, EventId]], Mapping[StateKey, int]] = OrderedDict()
        self._entries = 0

    async def state_of(self, room: Room, branches: Collection[Branch]) -> Mapping[StateKey, int]:
        """{key: nid of its event} where the branches meet; NEW_EVENT stands for one not stored yet.

        Raises CannotJudge when too many events would have to be looked at.
        """
        key = frozenset(
            (branch.state_nid, branch.event.event_id if branch.event else EventId("")) for branch in branches
        )
        known = self._resolved.get(key)
        if known is not None:
            self._resolved.move_to_end(key)
            return known
        sources = _Sources(room.nid, room.version, list(dict.fromkeys(branches)))
        found = await self._database.read(self._meet, sources)
        self._remember(key, found)
        return found

    async def set_of(self, room: Room, nids: Collection[int]) -> int:
        """The set where these meet: one of them, or one that is stored now if it was not."""
        different = list(dict.fromkeys(nids))
        if len(different) == 1:
            return different[0]
        state = await self.state_of(room, [Branch(nid) for nid in different])
        return await self.keep(room.nid, state, near=different)

    async def keep(self, room_nid: int, state: Mapping[StateKey, int], *, near: Sequence[int]) -> int:
        """The set with this state, stored if it was not; `near` are sets that hold much of the same."""
        await self._stored.ready()
        nid = self._stored.past_nids(1)[0]
        return await self._database.write(self._keep, room_nid, state, near, nid)

    async def pick(self, state_nid: int, keys: Iterable[StateKey]) -> list[EventId]:
        """The events that hold these keys in a set."""
        return await self._database.read(self._pick, state_nid, list(keys))

    async def ids(self, state_nid: int) -> list[EventId]:
        """All events of a set."""
        return await self._database.read(self._ids, state_nid)

    async def info(self, state_nid: int) -> SetInfo:
        """The set's hash."""
        hash_ = await self._database.read(self._stores.state.hash_of, state_nid)
        return SetInfo(state_nid, int.from_bytes(hash_, "little"))

    def forget(self) -> None:
        """Sets were rewritten: what was resolved from them may be different now."""
        self._resolved.clear()
        self._entries = 0

    def _remember(self, key: frozenset[tuple[int, EventId]], state: Mapping[StateKey, int]) -> None:
        self._resolved[key] = state
        self._entries += len(state) + 1
        while self._entries > MOST_REMEMBERED and len(self._resolved) > 1:
            self._entries -= len(self._resolved.popitem(last=False)[1]) + 1

    # In transactions

    def meet(
        self, txn: Transaction, room_nid: int, version: RoomVersion, nids: Iterable[int], new_nid: int
    ) -> int:
        """As `set_of`, inside a transaction."""
        near = list(nids)
        state = self._meet(txn, _Sources(room_nid, version, [Branch(nid) for nid in near]))
        return self._keep(txn, room_nid, state, near, new_nid)

    def _meet(self, txn: Transaction, sources: _Sources) -> dict[StateKey, int]:
        names = _KeyNames(self._stores, txn)
        sets = self._sets(txn, sources.branches, names)
        differing = _differing(sets)
        names.load(set().union(*sets))
        if not differing:
            return {names.of(key): nid for key, nid in sets[0].items()}
        resolution = _Resolution(self._stores, txn, sources)
        events: set[int] = set().union(*(held.values() for held in sets))
        ids = self._stores.received_events.ids(txn, events)
        ids[NEW_EVENT] = EventId("")
        common = {names.of(key): ids[nid] for key, nid in sets[0].items() if key not in differing}
        maps = []
        for branch, held in zip(sources.branches, sets, strict=True):
            own = {names.of(key): ids[held[key]] for key in differing if key in held}
            if branch.event is not None:
                own[branch.event.key] = branch.event.event_id
            maps.append({**common, **own})
        result = resolve(sources.version, maps, resolution.fetch, rejected=resolution.rejected)
        nids = {event_id: nid for nid, event_id in ids.items()}
        nids.update(
            (branch.event.event_id, NEW_EVENT) for branch in sources.branches if branch.event is not None
        )
        missing = [event_id for event_id in result.values() if event_id not in nids]
        nids |= self._stores.received_events.nids(txn, missing) if missing else {}
        return {key: nids[event_id] for key, event_id in result.items()}

    def _sets(self, txn: Transaction, branches: Sequence[Branch], names: "_KeyNames") -> list[StateIds]:
        found = self._stores.state.many_state_ids(txn, {branch.state_nid for branch in branches})
        sets = []
        for branch in branches:
            ids = found[branch.state_nid]
            if branch.event is not None:
                ids = ids | {names.number(branch.event.key): NEW_EVENT}
            sets.append(ids)
        return sets

    def _keep(
        self, txn: Transaction, room_nid: int, state: Mapping[StateKey, int], near: Sequence[int], nid: int
    ) -> int:
        stores = self._stores
        numbers = stores.identifiers.state_key_nids(txn, state)
        wanted = {numbers[key]: event_nid for key, event_nid in state.items()}
        sets = stores.state.many_state_ids(txn, stores.state.stored(txn, near))
        parent, added = 0, wanted
        hash_: int | None = None
        for candidate, ids in sets.items():
            change = dict(wanted.items() - ids.items())
            gone = ids.keys() - wanted.keys()
            if not change and not gone:
                return candidate
            if hash_ is None:
                lost = [ids[key] for key in (*gone, *(key for key in change if key in ids))]
                hash_ = self._hash_near(txn, candidate, lost, list(change.values()))
            if not gone and len(change) < len(added):
                parent, added = candidate, change
        if hash_ is None:
            hash_ = hash_of(stores.received_events.ids(txn, wanted.values()).values())
        packed = hash_.to_bytes(16, "little")
        known = stores.state.with_hash(txn, room_nid, packed)
        if known is not None:
            return known
        stores.state.append(txn, room_nid, nid=nid, parent_nid=parent, hash_=packed, added=added)
        return nid

    def _hash_near(self, txn: Transaction, nid: int, gone: Sequence[int], come: Sequence[int]) -> int:
        ids = self._stores.received_events.ids(txn, [*gone, *come])
        base = int.from_bytes(self._stores.state.hash_of(txn, nid), "little")
        return hash_changed(base, [ids[one] for one in gone], [ids[one] for one in come])

    def _ids(self, txn: Transaction, state_nid: int) -> list[EventId]:
        nids = self._stores.state.state_ids(txn, state_nid).values()
        return list(self._stores.received_events.ids(txn, nids).values())

    def _pick(self, txn: Transaction, state_nid: int, keys: Sequence[StateKey]) -> list[EventId]:
        number = self._stores.identifiers.state_key_nid
        picked = self._stores.state.pick(txn, state_nid, [number(txn, key) for key in keys])
        return list(self._stores.received_events.ids(txn, picked.values()).values())


class _KeyNames:
    """State keys by number, within one transaction; a key that has no number yet counts too."""

    def __init__(self, stores: RoomStores, txn: Transaction) -> None:
        self._identifiers = stores.identifiers
        self._txn = txn
        self._names: dict[int, StateKey] = {}
        self._new: dict[StateKey, int] = {}

    def number(self, key: StateKey) -> int:
        nid = self._identifiers.state_key_nid(self._txn, key)
        if not nid:
            nid = self._new.setdefault(key, NEW_KEY - len(self._new))
            self._names[nid] = key
        return nid

    def load(self, nids: Iterable[int]) -> None:
        self._names.update(self._identifiers.state_keys(self._txn, set(nids) - self._names.keys()))

    def of(self, nid: int) -> StateKey:
        name = self._names.get(nid)
        if name is None:
            self.load((nid,))
            name = self._names[nid]
        return name


class _Resolution:
    """Fetches what a resolution asks for."""

    def __init__(self, stores: RoomStores, txn: Transaction, sources: _Sources) -> None:
        self._store = stores.received_events
        self._txn = txn
        self._sources = sources
        self._new = {branch.event.event_id: branch.event for branch in sources.branches if branch.event}
        self._fetched = 0
        self.rejected: set[EventId] = set()

    def fetch(self, event_ids: Iterable[EventId]) -> Mapping[EventId, Event]:
        wanted = list(event_ids)
        self._fetched += len(wanted)
        if self._fetched > MOST_FETCHED:
            raise CannotJudge("The room's state forked too far to be resolved")
        found = {event_id: self._new[event_id] for event_id in wanted if event_id in self._new}
        rest = [event_id for event_id in wanted if event_id not in found]
        for event_id, stored in self._store.pdus(self._txn, rest).items():
            if stored.known.room_nid == self._sources.room_nid:
                found[event_id] = Event.from_raw(self._sources.version, stored.raw, event_id)
                if stored.known.status == REJECTED:
                    self.rejected.add(event_id)
        return found


def _differing(sets: Sequence[StateIds]) -> set[int]:
    """The keys on which they do not all agree; those of an event not stored yet are among them."""
    first = sets[0].items()
    keys = {key for other in sets[1:] for key, _ in first ^ other.items()}
    new = {key for ids in sets for key, nid in ids.items() if nid == NEW_EVENT} if len(sets) > 1 else set()
    return keys | new
