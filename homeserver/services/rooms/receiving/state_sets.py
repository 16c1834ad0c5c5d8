"""The state where a room forks: of several sets, one.

Only what the sets differ in is read, resolved and stored; that is little even in a room with many members.
What came out is remembered by what went in: forks tend to be there for more than one event.
https://spec.matrix.org/latest/server-server-api/#room-state-resolution
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution import conflict, decide
from homeserver.runtime.cache import ByteCache
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.receiving.resolving import NEW_EVENT, AgreedIds, KeyNames, Known
from homeserver.services.rooms.receiving.stored_events import StoredEvents
from homeserver.services.rooms.room import Room, hash_changed, hash_of
from homeserver.storage.received_events import KnownEvent
from homeserver.storage.room_state import StateIds
from homeserver.storage.room_stores import RoomStores

__all__ = ["NEW_EVENT", "Branch", "Resolved", "SetInfo", "StateSets"]

MOST_BYTES = 16 * 1024 * 1024
"""Of results that are kept."""
BYTES_OF_ONE = 300
"""A branch, or a key of a result, in memory."""


class Branch(NamedTuple):
    """The state at the end of a branch: a set and, where it is not stored yet, a state event on top."""

    state_nid: int
    event: Event | None = None


class Resolved(NamedTuple):
    """The state where branches meet: how it differs from a set that is stored."""

    base_nid: int
    changed: Mapping[StateKey, int]
    """{key: nid of its event}; NEW_EVENT stands for one that is not stored yet."""
    removed: Sequence[StateKey]


class SetInfo(NamedTuple):
    """A set's number, and its hash."""

    nid: int
    hash: int


class _Sources(NamedTuple):
    room_nid: int
    version: RoomVersion
    branches: Sequence[Branch]
    base_nid: int | None


class _Compared(NamedTuple):
    """As `homeserver.storage.room_state.Compared`; `ends`: what each branch holds, with its event."""

    common: StateIds
    held: dict[int, StateIds]
    ends: Sequence[StateIds]
    differing: set[int]


class StateSets:
    """Reads sets, resolves them, stores what came out."""

    def __init__(self, database: Database, stores: RoomStores, stored: StoredEvents) -> None:
        self._database = database
        self._stores = stores
        self._stored = stored
        self._resolved: ByteCache[object, Resolved] = ByteCache(MOST_BYTES)

    async def resolved(
        self, room: Room, branches: Collection[Branch], *, base_nid: int | None = None
    ) -> Resolved:
        """The state where the branches meet, as it differs from one set: by default from their nearest.

        Raises CannotJudge when too many events would have to be looked at.
        """
        ends = frozenset((one.state_nid, one.event.event_id if one.event else "") for one in branches)
        known = self._resolved.get((base_nid, ends))
        if known is None:
            sources = _Sources(room.nid, room.version, list(dict.fromkeys(branches)), base_nid)
            known = await self._database.read(self._meet, sources)
            size = len(ends) + len(known.changed) + len(known.removed)
            self._resolved.put((base_nid, ends), known, size * BYTES_OF_ONE)
        return known

    async def set_of(self, room: Room, nids: Collection[int]) -> int:
        """The set where these meet: one of them, or one that is stored now if it was not."""
        different = list(dict.fromkeys(nids))
        if len(different) == 1:
            return different[0]
        resolved = await self.resolved(room, [Branch(nid) for nid in different])
        if not resolved.changed and not resolved.removed:
            return resolved.base_nid
        await self._stored.ready()
        nid = self._stored.past_nids(1)[0]
        return await self._database.write(self._keep_resolved, room.nid, resolved, nid)

    async def keep(self, room_nid: int, state: Mapping[StateKey, KnownEvent], *, near: Sequence[int]) -> int:
        """The set with this state, stored if it was not; `near` are sets that hold much of the same."""
        await self._stored.ready()
        nid = self._stored.past_nids(1)[0]
        return await self._database.write(self._keep, room_nid, state, near, nid)

    async def pick(self, state_nid: int, keys: Iterable[StateKey]) -> list[EventId]:
        """The events that hold these keys in a set."""
        return await self._database.read(self._pick, state_nid, list(keys))

    async def pick_where(self, room: Room, nids: Collection[int], keys: Iterable[StateKey]) -> list[EventId]:
        """The same where these sets meet; nothing is stored."""
        resolved = await self.resolved(room, [Branch(nid) for nid in dict.fromkeys(nids)])
        return await self._database.read(self._pick, resolved.base_nid, list(keys), resolved)

    async def ids(self, state_nid: int) -> list[EventId]:
        """All events of a set."""
        return await self._database.read(self._ids, state_nid)

    async def info(self, state_nid: int) -> SetInfo:
        """The set's hash."""
        hash_ = await self._database.read(self._stores.state.hash_of, state_nid)
        return SetInfo(state_nid, int.from_bytes(hash_, "little"))

    async def is_stored(self, state_nid: int) -> bool:
        """Is it still there? Sets that grew out of an incomplete one are replaced (`replaying`)."""
        return bool(await self._database.read(self._stores.state.stored, [state_nid]))

    def forget(self) -> None:
        """Sets were rewritten: what was resolved from them may be different now."""
        self._resolved.clear()

    # In transactions

    def meet(
        self, txn: Transaction, room_nid: int, version: RoomVersion, nids: Iterable[int], new_nid: int
    ) -> int:
        """As `set_of`, inside a transaction."""
        resolved = self._meet(txn, _Sources(room_nid, version, [Branch(nid) for nid in nids], None))
        if not resolved.changed and not resolved.removed:
            return resolved.base_nid
        return self._keep_resolved(txn, room_nid, resolved, new_nid)

    def _meet(self, txn: Transaction, sources: _Sources) -> Resolved:
        names = KeyNames(self._stores, txn)
        compared = self._compared(txn, sources, names)
        common, held, ends, differing = compared
        outcome = {key: nid for key, nid in ends[0].items() if key not in differing}
        if differing:
            outcome |= self._decided(txn, sources, names, compared, common | outcome)
        bases = held if sources.base_nid is None else [sources.base_nid]
        _, base_nid, changed, removed = min(
            (len(changed) + len(removed), nid, changed, removed)
            for nid in bases
            for changed, removed in [_difference(common, held[nid], outcome)]
        )
        names.load([*changed, *removed])
        return Resolved(
            base_nid, {names.of(key): outcome[key] for key in changed}, [names.of(key) for key in removed]
        )

    def _compared(self, txn: Transaction, sources: _Sources, names: KeyNames) -> _Compared:
        nids = dict.fromkeys(branch.state_nid for branch in sources.branches)
        if sources.base_nid is not None:
            nids[sources.base_nid] = None
        common, held = self._stores.state.compared(txn, nids)
        new = [names.number(one.event.key) for one in sources.branches if one.event is not None]
        for key in new:
            if key in common:
                nid = common.pop(key)
                for ids in held.values():
                    ids[key] = nid
        ends = []
        for branch in sources.branches:
            own = {} if branch.event is None else {names.number(branch.event.key): NEW_EVENT}
            ends.append(held[branch.state_nid] | own)
        keys = set().union(*ends)
        differing = {key for key in keys if len({ids.get(key) for ids in ends}) > 1}
        return _Compared(common, held, ends, differing | set(new) if len(ends) > 1 else differing)

    def _decided(
        self, txn: Transaction, sources: _Sources, names: KeyNames, compared: _Compared, agreed: StateIds
    ) -> StateIds:
        """What stands of the keys on which they differ, and besides."""
        branches, differing = sources.branches, compared.differing
        new = [branch.event for branch in branches if branch.event is not None]
        known = Known(self._stores, txn, sources.room_nid, sources.version, new)
        ids = known.ids({ids[key] for ids in compared.ends for key in differing if ids.get(key)})
        names.load(differing)
        maps = []
        for branch, held in zip(branches, compared.ends, strict=True):
            own = {names.of(key): ids[held[key]] for key in differing if held.get(key)}
            if branch.event is not None:
                own[branch.event.key] = branch.event.event_id
            maps.append(own)
        parts = conflict(AgreedIds(agreed, names, known), maps)
        decided = decide(sources.version, parts, known.fetch, rejected=known.rejected)
        return {names.number(key): known.nid(event_id) for key, event_id in decided.items()}

    def _keep_resolved(self, txn: Transaction, room_nid: int, resolved: Resolved, nid: int) -> int:
        numbers = self._stores.identifiers.state_key_nids(txn, [*resolved.changed, *resolved.removed])
        added = {numbers[key]: event_nid for key, event_nid in resolved.changed.items()}
        added |= dict.fromkeys((numbers[key] for key in resolved.removed), 0)
        return self.keep_near(txn, room_nid, resolved.base_nid, added, nid)

    def _keep(
        self, txn: Transaction, room_nid: int, state: Mapping[StateKey, KnownEvent], near: Sequence[int],
        nid: int,
    ) -> int:  # fmt: skip
        stores = self._stores
        packed = hash_of(known.event_id for known in state.values()).to_bytes(16, "little")
        stored = stores.state.with_hash(txn, room_nid, packed)
        if stored is not None:
            return stored
        numbers = stores.identifiers.state_key_nids(txn, state)
        wanted = {numbers[key]: known.nid for key, known in state.items()}
        parent, added = 0, wanted
        for candidate, ids in stores.state.many_state_ids(txn, stores.state.stored(txn, near)).items():
            change = dict(wanted.items() - ids.items()) | dict.fromkeys(ids.keys() - wanted.keys(), 0)
            if len(change) < len(added):
                parent, added = candidate, change
        stores.state.append(txn, room_nid, nid=nid, parent_nid=parent, hash_=packed, added=added)
        return nid

    def keep_near(self, txn: Transaction, room_nid: int, parent: int, added: StateIds, nid: int) -> int:
        """The set that differs so from its parent, 0 for keys that it has no more; stored if it was not."""
        stores = self._stores
        gone = stores.received_events.ids(txn, stores.state.pick(txn, parent, list(added)).values())
        come = stores.received_events.ids(txn, [event_nid for event_nid in added.values() if event_nid])
        base = int.from_bytes(stores.state.hash_of(txn, parent), "little")
        packed = hash_changed(base, gone.values(), come.values()).to_bytes(16, "little")
        known = stores.state.with_hash(txn, room_nid, packed)
        if known is not None:
            return known
        stores.state.append(txn, room_nid, nid=nid, parent_nid=parent, hash_=packed, added=added)
        return nid

    def _ids(self, txn: Transaction, state_nid: int) -> list[EventId]:
        nids = self._stores.state.state_ids(txn, state_nid).values()
        return list(self._stores.received_events.ids(txn, nids).values())

    def _pick(
        self, txn: Transaction, state_nid: int, keys: Sequence[StateKey], resolved: Resolved | None = None
    ) -> list[EventId]:
        changed, removed = ({}, ()) if resolved is None else (resolved.changed, resolved.removed)
        number = self._stores.identifiers.state_key_nid
        rest = [number(txn, key) for key in keys if key not in changed and key not in removed]
        picked = [*self._stores.state.pick(txn, state_nid, rest).values()]
        picked += [changed[key] for key in keys if key in changed]
        return list(self._stores.received_events.ids(txn, picked).values())


def _difference(common: StateIds, held: StateIds, outcome: StateIds) -> tuple[list[int], list[int]]:
    """(the keys that stand differently than in a set, those that do not stand any more)."""
    changed = [key for key, nid in outcome.items() if held.get(key, common.get(key)) != nid]
    return changed, [key for key in held if key not in outcome]
