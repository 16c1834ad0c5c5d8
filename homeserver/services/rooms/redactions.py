"""What a redaction does to the event it names, whichever of the two came first.

Whether it may is decided by the state at the redaction, in room versions 3 and later; before, by the
authorisation rules alone.
https://spec.matrix.org/latest/rooms/v12/#handling-redactions
"""

from collections.abc import Mapping, Sequence

from homeserver.protocol.auth_rules.power_levels import (
    CREATE_KEY,
    POWER_LEVELS_KEY,
    PowerLevels,
    may_redact,
)
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.hashes import encode_for
from homeserver.protocol.ids import EventId
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.database import Transaction
from homeserver.storage.room_stores import RoomStores

_JUDGES: tuple[StateKey, ...] = (CREATE_KEY, POWER_LEVELS_KEY)


class Redactions:
    """Applied in the write that stores the later of the two events."""

    def __init__(self, stores: RoomStores) -> None:
        self._stores = stores

    def redact(
        self, txn: Transaction, nid: int, redaction: Event, target_id: EventId, levels: PowerLevels
    ) -> None:
        """Empty the target if the redaction may; if it is not here yet, have it emptied when it comes."""
        found = self._stores.events.by_ids(txn, [target_id])
        if not found:
            self._stores.received_events.note_early_redaction(txn, target_id, nid)
        for located in found:
            if located.room_id != redaction.room_id or located.row.redaction_id is not None:
                continue
            target = Event.from_raw(redaction.version, located.row.raw, target_id)
            if may_redact(redaction, target, levels):
                self._empty(txn, target, located.row.nid, nid)

    def redact_by_state(self, txn: Transaction, nid: int, redaction: Event, state_nid: int) -> None:
        """The same with the power levels of the state before the redaction."""
        if redaction.redacts is not None:
            levels = PowerLevels(self._judges(txn, redaction.version, state_nid))
            self.redact(txn, nid, redaction, redaction.redacts, levels)

    def redact_early(
        self, txn: Transaction, version: RoomVersion, events: Mapping[EventId, int]
    ) -> list[EventId]:
        """Apply the redactions that waited for these events ({event id: nid}): those that were emptied."""
        waiting = self._stores.received_events.early_redactions(txn, list(events))
        emptied = []
        for event_id, redactions in waiting.items():
            stored = self._stores.received_events.pdus(txn, [event_id])[event_id]
            target = Event.from_raw(version, stored.raw, event_id)
            for nid, raw, state_nid in redactions:
                redaction = Event.from_raw(version, raw)
                if may_redact(redaction, target, PowerLevels(self._judges(txn, version, state_nid))):
                    self._empty(txn, target, events[event_id], nid)
                    emptied.append(event_id)
                    break
            self._stores.received_events.forget_early_redactions(txn, event_id)
        return emptied

    def _empty(self, txn: Transaction, target: Event, target_nid: int, redaction_nid: int) -> None:
        self._stores.received_rooms.keep_original(txn, target_nid)
        emptied = redact(target.version, target.pdu)
        raw = encode_for(emptied, strict=target.version.strict_canonical_json)
        self._stores.events.redact(txn, target_nid, redaction_nid=redaction_nid, raw=raw)

    def _judges(
        self, txn: Transaction, version: RoomVersion, state_nid: int | None
    ) -> Mapping[StateKey, Event]:
        stores = self._stores
        keys = [stores.identifiers.state_key_nid(txn, key) for key in _JUDGES]
        picked: Sequence[int] = list(stores.state.pick(txn, state_nid or 0, keys).values())
        rows = stores.events.by_nids(txn, picked)
        events = [Event.from_raw(version, row.raw, row.event_id) for row in rows]
        return {event.key: event for event in events}
