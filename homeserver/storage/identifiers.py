"""Numbers instead of names: what the big tables keep for users, rooms and (type, state key) pairs.

A number once given out is never changed, so it is remembered here as soon as it is committed.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.database import Transaction, marks

T = TypeVar("T")

UNKNOWN = 0
"""What a read gets for a name that has no number: no row has it."""
MOST_REMEMBERED = 50_000
CHUNK = 1_000


class Identifiers:
    """In a write, a name that is new gets a number; in a read it is UNKNOWN."""

    def __init__(self) -> None:
        self._users: dict[UserId, int] = {}
        self._rooms: dict[RoomId, int] = {}
        self._state_keys: dict[StateKey, int] = {}
        self._keys_by_nid: dict[int, StateKey] = {}

    def user_nid(self, txn: Transaction, user_id: UserId) -> int:
        """The number of the user."""
        return self._users.get(user_id) or self._user_nid(txn, user_id)

    def user_nids(self, txn: Transaction, user_ids: Iterable[UserId]) -> dict[UserId, int]:
        """The numbers of many users, in few statements. In a read those who have none are left out."""
        nids: dict[UserId, int] = {}
        missing: list[UserId] = []
        for user_id in dict.fromkeys(user_ids):
            nid = self._users.get(user_id)
            if nid is None:
                missing.append(user_id)
            else:
                nids[user_id] = nid
        for chunk in _chunks(missing):
            sql = f"SELECT user_id, nid FROM user_ids WHERE user_id IN ({marks(chunk)})"
            found = dict(txn.rows(sql, chunk))
            new = [(user_id,) for user_id in chunk if user_id not in found]
            if new and txn.is_writing:
                txn.executemany("INSERT INTO user_ids (user_id) VALUES (%s) ON CONFLICT DO NOTHING", new)
                found = dict(txn.rows(sql, chunk))
            for user_id in chunk:
                if user_id in found:
                    nids[user_id] = found[user_id]
                    self._remember(txn, self._users, user_id, found[user_id])
        return nids

    def room_nid(self, txn: Transaction, room_id: RoomId) -> int | None:
        """The number of the room; None: we do not know it. Rooms get theirs from their own store."""
        nid = self._rooms.get(room_id)
        if nid is None:
            nid = txn.value("SELECT nid FROM rooms WHERE room_id = %s", (room_id,))
            if nid is not None:
                self._remember(txn, self._rooms, room_id, nid)
        return nid

    def state_key_nid(self, txn: Transaction, key: StateKey) -> int:
        """The number of a (type, state key) pair."""
        return self._state_keys.get(key) or self._state_key_nid(txn, key)

    def state_key_nids(self, txn: Transaction, keys: Iterable[StateKey]) -> dict[StateKey, int]:
        """The numbers of many pairs, in few statements. In a read those who have none are left out."""
        nids: dict[StateKey, int] = {}
        missing: list[StateKey] = []
        for key in dict.fromkeys(keys):
            nid = self._state_keys.get(key)
            if nid is None:
                missing.append(key)
            else:
                nids[key] = nid
        by_type: dict[str, list[str]] = {}
        for event_type, state_key in missing:
            by_type.setdefault(event_type, []).append(state_key)
        for event_type, state_keys in by_type.items():
            for chunk in _chunks(state_keys):
                for state_key, nid in self._nids_of_type(txn, event_type, chunk).items():
                    nids[event_type, state_key] = nid
                    self._remember(txn, self._state_keys, (event_type, state_key), nid)
        return nids

    def _nids_of_type(self, txn: Transaction, event_type: str, state_keys: Sequence[str]) -> dict[str, int]:
        """By type: SQLite looks pairs up in an index one by one only."""
        sql = f"""
            SELECT state_key, nid FROM state_keys
            WHERE type = %s AND state_key IN ({marks(state_keys)})"""
        found = dict(txn.rows(sql, (event_type, *state_keys)))
        new = [(event_type, state_key) for state_key in state_keys if state_key not in found]
        if new and txn.is_writing:
            insert = "INSERT INTO state_keys (type, state_key) VALUES (%s, %s) ON CONFLICT DO NOTHING"
            txn.executemany(insert, new)
            found = dict(txn.rows(sql, (event_type, *state_keys)))
        return found

    def state_keys(self, txn: Transaction, nids: Iterable[int]) -> dict[int, StateKey]:
        """The pairs behind numbers, in few statements."""
        keys: dict[int, StateKey] = {}
        missing: list[int] = []
        for nid in nids:
            key = self._keys_by_nid.get(nid)
            if key is None:
                missing.append(nid)
            else:
                keys[nid] = key
        for chunk in _chunks(missing):
            sql = f"SELECT nid, type, state_key FROM state_keys WHERE nid IN ({marks(chunk)})"
            for nid, event_type, state_key in txn.rows(sql, chunk):
                keys[nid] = key = (event_type, state_key)
                self._remember(txn, self._keys_by_nid, nid, key)
        return keys

    def _user_nid(self, txn: Transaction, user_id: UserId) -> int:
        nid: int | None = txn.value("SELECT nid FROM user_ids WHERE user_id = %s", (user_id,))
        if nid is None and txn.is_writing:
            nid = txn.value(
                """
                INSERT INTO user_ids (user_id) VALUES (%s)
                ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING nid""",
                (user_id,),
            )
        if nid is None:
            return UNKNOWN
        self._remember(txn, self._users, user_id, nid)
        return nid

    def _state_key_nid(self, txn: Transaction, key: StateKey) -> int:
        nid: int | None = txn.value("SELECT nid FROM state_keys WHERE type = %s AND state_key = %s", key)
        if nid is None and txn.is_writing:
            nid = txn.value(
                """
                INSERT INTO state_keys (type, state_key) VALUES (%s, %s)
                ON CONFLICT (type, state_key) DO UPDATE SET type = excluded.type RETURNING nid""",
                key,
            )
        if nid is None:
            return UNKNOWN
        self._remember(txn, self._state_keys, key, nid)
        return nid

    def _remember(self, txn: Transaction, memory: dict[Any, Any], name: object, number: object) -> None:
        """Not before the commit: a number that is rolled back will be given to somebody else."""
        if txn.is_writing:
            txn.after_commit(_keep, memory, name, number)
        else:
            _keep(memory, name, number)


def _keep(memory: dict[Any, Any], name: object, number: object) -> None:
    if len(memory) >= MOST_REMEMBERED:
        for oldest in tuple(islice(memory, MOST_REMEMBERED // 2)):
            memory.pop(oldest, None)
    memory[name] = number


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
