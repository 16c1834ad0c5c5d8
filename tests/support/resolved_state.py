"""What a room's state has to be, found out the plain way: whole states of all heads, resolved."""

from collections.abc import Iterable, Mapping

import orjson

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.state_resolution import resolve
from homeserver.runtime.database import Transaction
from homeserver.storage.events import REJECTED
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.received_events import ReceivedEventStore
from homeserver.storage.room_state import RoomStateStore


def check_sets(txn: Transaction, room_id: str) -> None:
    """The room's state set is what stands, and what its heads' sets resolve to."""
    events, sets = ReceivedEventStore(), RoomStateStore(Identifiers())
    version_name, room_nid, state_nid, heads = txn.row(
        "SELECT version, nid, state_nid, heads FROM rooms WHERE room_id = %s", (room_id,)
    )
    version = room_version(version_name)
    rejected: set[EventId] = set()

    def fetch(event_ids: Iterable[EventId]) -> Mapping[EventId, Event]:
        found = {}
        for event_id, (known, raw) in events.pdus(txn, list(event_ids)).items():
            if known.room_nid == room_nid:
                found[event_id] = Event.from_raw(version, raw, event_id)
                if known.status == REJECTED:
                    rejected.add(event_id)
        return found

    def state(nid: int) -> dict[StateKey, EventId]:
        held = sets.keyed(txn, nid)
        ids = events.ids(txn, held.values())
        return {key: ids[event_nid] for key, event_nid in held.items()}

    present = state(state_nid)
    rows = txn.rows(
        """
        SELECT k.type, k.state_key, e.event_id FROM current_state AS s
        JOIN state_keys AS k ON k.nid = s.state_key_nid JOIN events AS e ON e.nid = s.event_nid
        WHERE s.room_nid = %s""",
        (room_nid,),
    )
    assert present == {(type_, key): event_id for type_, key, event_id in rows}
    known = events.known(txn, orjson.loads(heads))
    branches = [state(known[head].state_after or 0) for head in orjson.loads(heads)]
    assert present == resolve(version, branches, fetch, rejected=rejected)
