"""The state of rooms: what stands now, as rows; what stood then, as packed layers.

A state set is identified by the nid of the event that made it and keeps pairs of integers
(state_keys.nid, events.nid), 16 bytes each. Sets form chains at most `MAX_LAYERS` deep: a new one
holds what it adds to its parent, and 0 for a key that it has no more. To stay that shallow, a layer that
has grown to about the square root of the one below is merged into it, so a room of n members costs far
less than n a change. Where that would reach the lowest layer, the one above it is written anew as a
whole: all that fork off above find it so.
"""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import EventId
from homeserver.runtime.database import DatabaseCorrupt, Transaction, marks
from homeserver.storage.identifiers import Identifiers

MAX_LAYERS = 4
PICKED_OF = 20
"""To unpack so many entries of a layer costs about what it costs to search it for one."""
_PAIR = struct.Struct("<qq")

StateIds = dict[int, int]  # state_keys.nid -> events.nid


class Layer(NamedTuple):
    nid: int
    parent_nid: int | None
    entries: int
    added: bytes


class Compared(NamedTuple):
    """State sets side by side: what all of them hold, and what each holds of the rest."""

    common: StateIds
    held: dict[int, StateIds]


class StateEntry(NamedTuple):
    """One line of a room's current state, with its event where asked for."""

    type: str
    state_key: str
    nid: int
    event_id: EventId
    raw: bytes | None
    since: int


def pack(ids: Mapping[int, int]) -> bytes:
    return b"".join([_PAIR.pack(key, event) for key, event in sorted(ids.items())])


def unpack(packed: bytes) -> StateIds:
    """Raises DatabaseCorrupt."""
    try:
        return dict(_PAIR.iter_unpack(packed))
    except struct.error:
        raise damaged("A state set") from None


def damaged(what: str) -> DatabaseCorrupt:
    """Something a state set is made of is not as it was written."""
    return DatabaseCorrupt(f"{what} is damaged: the operator must restore the database from a backup")


class RoomStateStore:
    """Current state rows and state sets."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def current(self, txn: Transaction, room_nid: int) -> list[StateEntry]:
        """The current state; events other than memberships bring their JSON along."""
        return txn.all(
            StateEntry,
            """
            SELECT k.type, k.state_key, e.nid, e.event_id,
                   CASE WHEN k.type = 'm.room.member' THEN NULL ELSE e.raw END, s.since_nid
            FROM current_state AS s
            JOIN state_keys AS k ON k.nid = s.state_key_nid
            JOIN events AS e ON e.nid = s.event_nid
            WHERE s.room_nid = %s""",
            (room_nid,),
        )

    def put_current(self, txn: Transaction, room_nid: int, state_key_nid: int, event_nid: int) -> None:
        txn.execute(
            """
            INSERT INTO current_state (room_nid, state_key_nid, event_nid, since_nid) VALUES (%s, %s, %s, %s)
            ON CONFLICT (room_nid, state_key_nid) DO UPDATE SET
                event_nid = excluded.event_nid, since_nid = excluded.since_nid""",
            (room_nid, state_key_nid, event_nid, event_nid),
        )

    def append(
        self, txn: Transaction, room_nid: int, *, nid: int, parent_nid: int, hash_: bytes, added: StateIds
    ) -> None:
        """A set that adds `added` to `parent_nid` (0: to nothing), at most four layers deep.

        `added` holds 0 for keys that the parent has and the new set has not.
        """
        below: Sequence[Layer] = self._chain(txn, parent_nid) if parent_nid else []
        if len(below) > 1 and not _settled(added, below)[1]:
            below = [*below[:-2], self._make_whole(txn, below[-2:])]
        added, below = _settled(added, below)
        self.put_set(txn, room_nid, nid=nid, parent=below, hash_=hash_, added=added)

    def _make_whole(self, txn: Transaction, chain: Sequence[Layer]) -> Layer:
        """The same set, on no other."""
        ids = _merged(chain)
        whole = Layer(chain[0].nid, None, len(ids), pack(ids))
        txn.execute(
            "UPDATE state_sets SET parent_nid = NULL, layers = 1, entries = %s, added = %s WHERE nid = %s",
            (whole.entries, whole.added, whole.nid),
        )
        return whole

    def put_set(
        self,
        txn: Transaction,
        room_nid: int,
        *,
        nid: int,
        parent: Sequence[Layer],
        hash_: bytes,
        added: StateIds,
    ) -> None:
        txn.execute(
            """
            INSERT INTO state_sets (nid, room_nid, hash, parent_nid, layers, entries, added)
            VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            (
                nid,
                room_nid,
                hash_,
                parent[0].nid if parent else None,
                len(parent) + 1,
                len(added),
                pack(added),
            ),
        )

    def state_ids(self, txn: Transaction, nid: int) -> StateIds:
        """The set as pairs of integers; empty for nid 0 (before the room's first event)."""
        return _merged(self._chain(txn, nid)) if nid else {}

    def many_state_ids(self, txn: Transaction, nids: Iterable[int]) -> dict[int, StateIds]:
        """As `state_ids` for many sets; layers that they share are read once."""
        unpacked: dict[int, StateIds] = {}
        return {nid: _merged(chain, unpacked) for nid, chain in self._chains(txn, nids).items()}

    def compared(self, txn: Transaction, nids: Iterable[int]) -> Compared:
        """What of the sets is the same, and what is not; `held` has only the keys on which they differ.

        Sets that grew out of one another cost what their upper layers hold, and the lowest one once.
        """
        kin: dict[int | None, dict[int, list[Layer]]] = {}
        for nid, chain in self._chains(txn, nids).items():
            kin.setdefault(chain[-1].nid if chain else None, {})[nid] = chain
        keys: set[int] = set()
        first: StateIds | None = None
        apart: dict[int, tuple[StateIds, StateIds]] = {}
        for chains in kin.values():
            below, tops = _apart(chains)
            first = below if first is None else first
            keys |= {key for key, _ in first.items() ^ below.items()} if below is not first else set()
            keys.update(*tops.values())
            apart |= {nid: (top, below) for nid, top in tops.items()}
        held = {
            nid: {key: event_nid for key in keys if (event_nid := top.get(key, below.get(key)))}
            for nid, (top, below) in apart.items()
        }
        agreed = {key for key in keys if len({ids.get(key) for ids in held.values()}) == 1}
        common = {key: event_nid for key, event_nid in (first or {}).items() if key not in keys}
        for ids in held.values():
            common |= {key: ids[key] for key in agreed if key in ids}
            for key in agreed:
                ids.pop(key, None)
        return Compared(common, held)

    def pick(self, txn: Transaction, nid: int, state_key_nids: Collection[int]) -> StateIds:
        """Of the set only these keys; layers are only unpacked for many of them."""
        ids: StateIds = {}
        for layer in self._chain(txn, nid) if nid else ():
            if len(state_key_nids) * PICKED_OF < layer.entries:
                held: Mapping[int, int | None] = {key: _search(layer.added, key) for key in state_key_nids}
            else:
                held = unpack(layer.added)
            for key in state_key_nids:
                if key not in ids and (event_nid := held.get(key)) is not None:
                    ids[key] = event_nid
        return _present(ids)

    def stored(self, txn: Transaction, nids: Sequence[int]) -> list[int]:
        """Those of the sets that there are: one that is about to be stored may yet fail."""
        if not nids:
            return []
        return txn.column(f"SELECT nid FROM state_sets WHERE nid IN ({marks(nids)})", nids)

    def hash_of(self, txn: Transaction, nid: int) -> bytes:
        """The hash of a set; that of no state for nid 0."""
        found = txn.value("SELECT hash FROM state_sets WHERE nid = %s", (nid,)) if nid else None
        return bytes(found) if found is not None else bytes(16)

    def with_hash(self, txn: Transaction, room_nid: int, hash_: bytes) -> int | None:
        """A set of the room that holds just the events of this hash."""
        nid: int | None = txn.value(
            "SELECT nid FROM state_sets WHERE room_nid = %s AND hash = %s LIMIT 1", (room_nid, hash_)
        )
        return nid

    def since(self, txn: Transaction, room_nid: int, nid: int) -> list[tuple[int, bool]]:
        """(set, is it a full one?) of the room's sets from the nid on, oldest first, and of all below 0."""
        rows = txn.rows(
            """
            SELECT nid, parent_nid IS NULL FROM state_sets
            WHERE room_nid = %s AND (nid >= %s OR nid < 0) ORDER BY nid""",
            (room_nid, nid),
        )
        return [(row[0], bool(row[1])) for row in rows]

    def standing_on(self, txn: Transaction, room_nid: int, nid: int) -> list[int]:
        """The room's sets of which this one is the next layer."""
        sql = "SELECT nid FROM state_sets WHERE room_nid = %s AND parent_nid = %s"
        return txn.column(sql, (room_nid, nid))

    def drop(self, txn: Transaction, nids: Iterable[int]) -> None:
        """Remove sets: only those that grew out of state that was known in part."""
        txn.executemany("DELETE FROM state_sets WHERE nid = %s", [(nid,) for nid in nids])

    def keyed(self, txn: Transaction, nid: int) -> dict[StateKey, int]:
        """The set as {(type, state key): nid of the event that holds it}."""
        ids = self.state_ids(txn, nid)
        keys = self._identifiers.state_keys(txn, ids)
        if len(keys) < len(ids):
            raise damaged(f"State set {nid}")
        return {keys[key_nid]: event_nid for key_nid, event_nid in ids.items()}

    def _chain(self, txn: Transaction, nid: int) -> list[Layer]:
        """The set's layers, newest first."""
        chain: list[Layer] = []
        wanted: int | None = nid
        while wanted is not None:
            layer = self._layer(txn, wanted, nid)
            chain.append(layer)
            wanted = layer.parent_nid
        return chain

    def _chains(self, txn: Transaction, nids: Iterable[int]) -> dict[int, list[Layer]]:
        """The layers of many sets; what they share is read once. None for nid 0."""
        layers: dict[int, Layer] = {}
        chains: dict[int, list[Layer]] = {}
        for nid in nids:
            chain = chains[nid] = []
            wanted: int | None = nid or None
            while wanted is not None:
                layer = layers.get(wanted)
                if layer is None:
                    layer = layers[wanted] = self._layer(txn, wanted, nid)
                chain.append(layer)
                wanted = layer.parent_nid
        return chains

    def _layer(self, txn: Transaction, wanted: int, nid: int) -> Layer:
        layer = txn.one(
            Layer, "SELECT nid, parent_nid, entries, added FROM state_sets WHERE nid = %s", (wanted,)
        )
        if layer is None:
            raise damaged(f"State set {nid}, of which layer {wanted} is missing,")
        return layer


def _search(packed: bytes, key: int) -> int | None:
    """The event of a state key in a packed layer, which is sorted."""
    low, high = 0, len(packed) // _PAIR.size
    while low < high:
        middle = (low + high) // 2
        found, event_nid = _PAIR.unpack_from(packed, middle * _PAIR.size)
        if found == key:
            return int(event_nid)
        if found < key:
            low = middle + 1
        else:
            high = middle
    return None


def _settled(added: StateIds, below: Sequence[Layer]) -> tuple[StateIds, Sequence[Layer]]:
    """What the new layer holds, and the layers it stands on."""
    while below and (len(below) >= MAX_LAYERS or _outgrows(added, below)):
        added, below = unpack(below[0].added) | added, below[1:]
    return added if below else _present(added), below


def _merged(chain: Sequence[Layer], unpacked: dict[int, StateIds] | None = None) -> StateIds:
    """The set that has these layers, newest first. `unpacked`: where layers are kept for others."""
    return _present(_laid(chain, {} if unpacked is None else unpacked))


def _laid(chain: Sequence[Layer], unpacked: dict[int, StateIds]) -> StateIds:
    """The same with the keys that were taken away."""
    ids: StateIds = {}
    for layer in reversed(chain):
        if layer.nid not in unpacked:
            unpacked[layer.nid] = unpack(layer.added)
        ids = ids | unpacked[layer.nid]
    return ids


def _present(ids: StateIds) -> StateIds:
    """Without the keys that were taken away."""
    if 0 not in ids.values():
        return ids
    return {key: event_nid for key, event_nid in ids.items() if event_nid}


def _apart(chains: Mapping[int, Sequence[Layer]]) -> tuple[StateIds, dict[int, StateIds]]:
    """Of chains with the same lowest layer: what they share, and what each has on top of that."""
    shared = 0
    for layers in zip(*(reversed(chain) for chain in chains.values()), strict=False):
        if any(layer.nid != layers[0].nid for layer in layers):
            break
        shared += 1
    unpacked: dict[int, StateIds] = {}
    one = next(iter(chains.values()))
    below = _merged(one[len(one) - shared :], unpacked)
    return below, {nid: _laid(chain[: len(chain) - shared], unpacked) for nid, chain in chains.items()}


def _outgrows(added: StateIds, below: Sequence[Layer]) -> bool:
    """Is a layer of this size better merged into the one it would stand on?"""
    return len(added) > 1 and len(added) ** 2 > 2 * below[0].entries
