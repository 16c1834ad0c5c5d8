"""From what another server sent to events: form, signatures, content hash.

https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import BadPdu, Event, parse_pdu
from homeserver.protocol.hashes import content_hash_matches, event_id_of
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.json_values import Json
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.clock import Clock
from homeserver.services.key_ring import KeyUnknown
from homeserver.services.rooms.receiving.ports import CannotJudge, Keys

AT_ONCE = 200
"""Events looked at before others get their turn."""


class Checked(NamedTuple):
    """Events whose signatures are good, in the order given, and what is wrong with the others."""

    events: list[Event]
    problems: dict[EventId, MatrixError]


class Checking:
    """Everything about an event that can be told without its room."""

    def __init__(self, keys: Keys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def check(
        self, version: RoomVersion, room_id: RoomId, pdus: Sequence[Mapping[str, Json]]
    ) -> Checked:
        """Events of a room. What is no event at all, so has no ID, is left out."""
        checked = Checked([], {})
        for start in range(0, len(pdus), AT_ONCE):
            if start:
                await self._clock.sleep(0)
            await self._check_some(version, room_id, pdus[start : start + AT_ONCE], checked)
        return checked

    async def _check_some(
        self, version: RoomVersion, room_id: RoomId, pdus: Sequence[Mapping[str, Json]], checked: Checked
    ) -> None:
        formed: dict[EventId, Event] = {}
        for pdu in pdus:
            try:
                event = _form(version, room_id, pdu)
            except MatrixError as problem:
                event_id = _id_of(version, pdu)
                if event_id is not None:
                    checked.problems[event_id] = problem
            else:
                formed[event.event_id] = event
        events = list(formed.values())
        verdicts = await self._keys.check_events(version, [event.pdu for event in events])
        for event, verdict in zip(events, verdicts, strict=True):
            if isinstance(verdict, KeyUnknown):  # perhaps only for the moment
                checked.problems[event.event_id] = CannotJudge(verdict.message)
            elif verdict is not None:
                checked.problems[event.event_id] = verdict
            elif content_hash_matches(version, event.pdu):
                checked.events.append(event)
            else:  # somebody altered it on the way: only what is signed counts
                redacted = redact(version, event.pdu)
                checked.events.append(Event.from_pdu(version, redacted, event.event_id))


def _form(version: RoomVersion, room_id: RoomId, pdu: Mapping[str, Json]) -> Event:
    try:
        event = parse_pdu(version, pdu)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadPdu(f"This is not an event of room version {version.version}") from error
    if event.room_id != room_id:
        raise BadPdu(f"{event.event_id} is not of room {room_id}")
    return event


def _id_of(version: RoomVersion, pdu: Mapping[str, Json]) -> EventId | None:
    try:
        return event_id_of(version, pdu)
    except (MatrixError, ValueError, TypeError, KeyError, RecursionError):
        return None
