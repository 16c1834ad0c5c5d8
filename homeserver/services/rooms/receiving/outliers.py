"""Events that are known without their place in history: what authorises others, what was the state elsewhere.

They are judged by what they themselves name as authorising them.
https://spec.matrix.org/latest/server-server-api/#rejection
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.receiving.judging import auth_ids, check_by_own, in_order, named_create
from homeserver.services.rooms.receiving.stored_events import OUTLIER, REJECTED, Aside, Stored, StoredEvents
from homeserver.storage.received_events import KnownEvent

AT_ONCE = 1_000
"""Events in one write."""


class RoomKey(NamedTuple):
    """A room of which this server may know nothing but its version."""

    room_id: RoomId
    nid: int
    version: RoomVersion


class Outliers:
    """Judges and keeps them."""

    def __init__(self, database: Database, stored: StoredEvents) -> None:
        self._database = database
        self._stored = stored

    async def add(self, room: RoomKey, events: Iterable[Event]) -> dict[EventId, Stored]:
        """Keep events whose signatures were checked: all of them that are stored now, rejected ones included.

        Left out is what rests on events that are neither among them nor stored.
        """
        given = in_order(events, by_auth=True)
        clashing = await self._stored.clashing(room.nid, room.version, given)
        given = [event for event in given if event.event_id not in clashing]
        ids = {event.event_id for event in given}
        named = {id_ for event in given for id_ in auth_ids(event)} - ids
        found = await self._stored.load(room.version, named)
        known = await self._stored.known(ids)
        fresh = [event for event in given if event.event_id not in known]
        await self._stored.ready()
        nids = self._stored.past_nids(len(fresh))
        judged = {id_: stored for id_, stored in found.items() if stored.known.room_nid == room.nid}
        asides: list[Aside] = []
        for event in given:
            if event.event_id in known:
                judged[event.event_id] = Stored(known[event.event_id], event)
                continue
            status = _judge(event, judged)
            if status is None:
                continue
            nid = nids[len(asides)]
            asides.append(Aside(event, nid, status, None))
            row = KnownEvent(nid, event.event_id, room.nid, status, None, None, event.depth)
            judged[event.event_id] = Stored(row, event)
        quicker = await self._keep(room.nid, asides)
        for event_id, row in quicker.items():
            judged[event_id] = judged[event_id]._replace(known=row)
        return {event.event_id: judged[event.event_id] for event in given if event.event_id in judged}

    async def _keep(self, room_nid: int, asides: Sequence[Aside]) -> dict[EventId, KnownEvent]:
        """Those that somebody else was quicker with, as they stand now."""
        quicker: dict[EventId, KnownEvent] = {}
        for start in range(0, len(asides), AT_ONCE):
            quicker |= await self._database.write(self._write, room_nid, asides[start : start + AT_ONCE])
        return quicker

    def _write(self, txn: Transaction, room_nid: int, asides: Sequence[Aside]) -> dict[EventId, KnownEvent]:
        known = self._stored.known_in(txn, [aside.event.event_id for aside in asides])
        fresh = [aside for aside in asides if aside.event.event_id not in known]
        self._stored.keep_aside(txn, room_nid, fresh)
        return known


def _judge(event: Event, judged: Mapping[EventId, Stored]) -> int | None:
    """Its status; None when what authorises it is missing."""
    own = [judged.get(event_id) for event_id in event.auth_event_ids]
    create_id = named_create(event)
    create = None if create_id is None else judged.get(create_id)
    if any(stored is None for stored in own) or (create_id not in (None, event.event_id) and create is None):
        return None
    present = [stored for stored in own if stored is not None]
    rejected = {stored.event.event_id for stored in present if stored.is_rejected}
    try:
        check_by_own(event, [stored.event for stored in present], rejected, create.event if create else None)
    except AuthFailure:
        return REJECTED
    return OUTLIER
