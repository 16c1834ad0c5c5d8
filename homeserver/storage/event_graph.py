"""Events as other servers get them: their signed bytes, and the edges between them.

Edges are read from the events themselves: only other servers ask for them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.events import ACCEPTED, HIDDEN, MANY, REJECTED, SOFT_FAILED
from homeserver.storage.room_state import RoomStateStore

T = TypeVar("T")


class StoredPdu(NamedTuple):
    """An event with what decides who may have it. `state_nid` is None for an outlier."""

    event_id: EventId
    nid: int
    room_id: RoomId
    status: int
    state_nid: int | None
    depth: int
    raw: bytes


_COLUMNS = "e.event_id, e.nid, rooms.room_id, e.status, e.state_nid, e.depth, e.raw"
_SHARED = (ACCEPTED, SOFT_FAILED, HIDDEN)
_FROM = "FROM events AS e JOIN rooms ON rooms.nid = e.room_nid"


class EventGraphStore:
    """Look-ups and walks. Everything here only reads."""

    def __init__(self, state: RoomStateStore) -> None:
        self._state = state

    def by_ids(self, txn: Transaction, event_ids: Collection[EventId]) -> list[StoredPdu]:
        """In no particular order; unknown ones are left out."""
        return [
            pdu
            for some in _chunks(event_ids)
            for pdu in txn.all(
                StoredPdu, f"SELECT {_COLUMNS} {_FROM} WHERE e.event_id IN ({marks(some)})", some
            )
        ]

    def by_nids(self, txn: Transaction, nids: Collection[int]) -> list[StoredPdu]:
        """In no particular order; unknown ones are left out."""
        return [
            pdu
            for some in _chunks(nids)
            for pdu in txn.all(StoredPdu, f"SELECT {_COLUMNS} {_FROM} WHERE e.nid IN ({marks(some)})", some)
        ]

    def state_at(self, txn: Transaction, state_nid: int) -> list[StoredPdu]:
        """The events of a state set."""
        return self.by_nids(txn, list(self._state.state_ids(txn, state_nid).values()))

    def described_at(self, txn: Transaction, state_nid: int, members: Collection[UserId]) -> list[StoredPdu]:
        """The events of a state set without the memberships of anybody but `members`."""
        keyed = self._state.keyed(txn, state_nid)
        return self.by_nids(
            txn, [nid for (type_, key), nid in keyed.items() if type_ != event_types.MEMBER or key in members]
        )

    def auth_chain(self, txn: Transaction, starts: Sequence[StoredPdu]) -> list[StoredPdu]:
        """What authorised the events of a room, and what authorised that, and so on.

        The create event always does: from version 12 on nobody names it, its ID is that of the room.
        """
        known = {pdu.event_id: pdu for pdu in starts}
        found: dict[EventId, StoredPdu] = {}
        seen: set[EventId] = set()
        level = starts
        while level:
            wanted = {id_ for pdu in level for id_ in _authorising(pdu)} - seen
            seen |= wanted
            next_ = [known[id_] for id_ in wanted if id_ in known]
            next_ += self.by_ids(txn, [id_ for id_ in wanted if id_ not in known])
            level = [pdu for pdu in next_ if pdu.status != REJECTED]
            found |= {pdu.event_id: pdu for pdu in level}
        return list(found.values())

    def backfill(
        self, txn: Transaction, room_id: RoomId, start_ids: Collection[EventId], limit: int
    ) -> list[StoredPdu]:
        """The events and those before them, deepest first, at most `limit`."""
        edge = self._shared(txn, room_id, start_ids)
        near = self._just_before(txn, room_id, max((pdu.depth for pdu in edge), default=0), limit)
        found: list[StoredPdu] = []
        seen: set[EventId] = set(start_ids)
        while edge and len(found) < limit:
            deepest = max(pdu.depth for pdu in edge)
            taken = [pdu for pdu in edge if pdu.depth == deepest]
            found += sorted(taken, key=lambda pdu: -pdu.nid)
            wanted = {id_ for pdu in taken for id_ in prev_ids(pdu.raw)} - seen
            seen |= wanted
            edge = [pdu for pdu in edge if pdu.depth != deepest]
            edge += [near[id_] for id_ in wanted if id_ in near]
            edge += self._shared(txn, room_id, [id_ for id_ in wanted if id_ not in near])
        return found[:limit]

    def missing(
        self, txn: Transaction, room_id: RoomId, latest: Collection[EventId], earliest: Collection[EventId],
        *, limit: int, min_depth: int,
    ) -> list[StoredPdu]:  # fmt: skip
        """Between `earliest` and `latest`, both left out: those nearest to `latest`, oldest first."""
        found: list[StoredPdu] = []
        seen = {*latest, *earliest}
        level = self._shared(txn, room_id, latest)
        while level and len(found) < limit:
            wanted = {id_ for pdu in level for id_ in prev_ids(pdu.raw)} - seen
            seen |= wanted
            level = [pdu for pdu in self._shared(txn, room_id, wanted) if pdu.depth >= min_depth]
            found += sorted(level, key=lambda pdu: (-pdu.depth, -pdu.nid))
        return sorted(found[:limit], key=lambda pdu: (pdu.depth, pdu.nid))

    def version_of(self, txn: Transaction, room_id: RoomId) -> str | None:
        """The room's version, also of rooms known from outside only."""
        version = txn.value("SELECT version FROM rooms WHERE room_id = %s", (room_id,))
        return None if version is None else str(version)

    def visibility_settings(self, txn: Transaction, room_nid: int) -> dict[int, tuple[int, str]]:
        """{nid: (state key's nid, setting)} of every m.room.history_visibility event of the room."""
        rows = txn.rows(
            """
            SELECT e.nid, e.state_key_nid, e.raw
            FROM events AS e JOIN state_keys AS k ON k.nid = e.state_key_nid
            WHERE e.room_nid = %s AND k.type = %s AND k.state_key = ''""",
            (room_nid, event_types.HISTORY_VISIBILITY),
        )
        return {nid: (key_nid, _text(raw, "history_visibility")) for nid, key_nid, raw in rows}

    def memberships_of_server(
        self, txn: Transaction, room_nid: int, server_name: str
    ) -> dict[int, tuple[int, str]]:
        """{nid: (state key's nid, membership)} of every membership event of the server's users."""
        rows = txn.rows(
            """
            SELECT e.nid, e.state_key_nid, e.raw FROM user_ids AS users
            JOIN memberships AS m ON m.user_nid = users.nid
            JOIN state_keys AS k ON k.type = 'm.room.member' AND k.state_key = users.user_id
            JOIN events AS e ON e.room_nid = m.room_nid AND e.state_key_nid = k.nid
            WHERE m.room_nid = %s AND users.user_id LIKE %s""",
            (room_nid, "%:" + server_name),
        )
        return {nid: (key_nid, _text(raw, "membership")) for nid, key_nid, raw in rows}

    def pick_state(self, txn: Transaction, state_nid: int, state_key_nids: Collection[int]) -> dict[int, int]:
        """{nid of the state key: nid of the event} of these keys in a state set."""
        return self._state.pick(txn, state_nid, state_key_nids)

    def _shared(self, txn: Transaction, room_id: RoomId, ids: Collection[EventId]) -> list[StoredPdu]:
        """Those that are part of the room's history. Soft-failed ones are: others may have built on them."""
        return [pdu for pdu in self.by_ids(txn, ids) if pdu.room_id == room_id and pdu.status in _SHARED]

    def _just_before(
        self, txn: Transaction, room_id: RoomId, depth: int, limit: int
    ) -> dict[EventId, StoredPdu]:
        """The likely answer in one statement: most history is a line."""
        pdus = txn.all(
            StoredPdu,
            f"""
            SELECT {_COLUMNS} {_FROM}
            WHERE e.room_nid = (SELECT nid FROM rooms WHERE room_id = %s) AND e.depth < %s
                AND e.status IN ({marks(_SHARED)})
            ORDER BY e.depth DESC, e.nid DESC LIMIT %s""",
            (room_id, depth, *_SHARED, limit),
        )
        return {pdu.event_id: pdu for pdu in pdus}


def prev_ids(raw: bytes) -> list[EventId]:
    """The events right before this one."""
    return _links(orjson.loads(raw)["prev_events"])


def _authorising(pdu: StoredPdu) -> list[EventId]:
    if ":" in pdu.room_id:
        return auth_ids(pdu.raw)
    create = EventId("$" + pdu.room_id[1:])
    return [*auth_ids(pdu.raw), create] if pdu.event_id != create else []


def auth_ids(raw: bytes) -> list[EventId]:
    """The events that authorise this one."""
    return _links(orjson.loads(raw)["auth_events"])


def _links(links: Sequence[object]) -> list[EventId]:
    """Room versions 1 and 2 write pairs of ID and hash."""
    return [EventId(str(link[0] if isinstance(link, list) else link)) for link in links]


def _text(raw: bytes, name: str) -> str:
    value = orjson.loads(raw)["content"].get(name)
    return value if isinstance(value, str) else ""


def _chunks(items: Collection[T]) -> Iterable[list[T]]:
    listed = list(items)
    return (listed[start : start + MANY] for start in range(0, len(listed), MANY))
