"""From what another server sent to events: form, signatures, content hash.

https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_signatures import KnownKey, is_signed
from homeserver.protocol.events import BadPdu, Event, ReadPdu, read_pdu
from homeserver.protocol.hashes import event_id_of
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.json_values import Json
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import gather
from homeserver.services.key_ring import KeyUnknown
from homeserver.services.rooms.receiving.ports import CannotJudge, Keys

AT_ONCE = 200
"""Events looked at before others get their turn."""
PER_JOB = 100
JOBS_AT_ONCE = 4


class Checked(NamedTuple):
    """Events whose signatures are good, in the order given, and what is wrong with the others."""

    events: list[Event]
    problems: dict[EventId, MatrixError]


class _Glance(NamedTuple):
    """What has the form of an event; whether keys in memory suffice to say that all signatures are good."""

    formed: list[ReadPdu]
    problems: dict[EventId, MatrixError]
    is_verified: bool


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
        await self._conclude(version, _form_all(version, room_id, pdus[:AT_ONCE]), checked)
        parts = [pdus[start : start + PER_JOB] for start in range(AT_ONCE, len(pdus), PER_JOB)]
        for start in range(0, len(parts), JOBS_AT_ONCE):
            await self._clock.sleep(0)
            jobs = [
                self._keys.aside(_look_at, version, room_id, part, self._keys.known_key)
                for part in parts[start : start + JOBS_AT_ONCE]
            ]
            for glance in await gather(*jobs):
                await self._conclude(version, glance, checked)
        return checked

    async def _conclude(self, version: RoomVersion, glance: _Glance, checked: Checked) -> None:
        checked.problems.update(glance.problems)
        verdicts: Sequence[MatrixError | None] = [None] * len(glance.formed)
        if not glance.is_verified:
            verdicts = await self._keys.check_events(version, [read.event.pdu for read in glance.formed])
        for (event, _, is_intact), verdict in zip(glance.formed, verdicts, strict=True):
            if isinstance(verdict, KeyUnknown):  # perhaps only for the moment
                checked.problems[event.event_id] = CannotJudge(verdict.message)
            elif verdict is not None:
                checked.problems[event.event_id] = verdict
            elif is_intact:
                checked.events.append(event)
            else:  # somebody altered it on the way: only what is signed counts
                redacted = redact(version, event.pdu)
                checked.events.append(Event.from_pdu(version, redacted, event.event_id))


def _look_at(
    version: RoomVersion, room_id: RoomId, pdus: Sequence[Mapping[str, Json]], known_key: KnownKey
) -> _Glance:
    """In a thread. Each event is read, then verified: while one thread verifies, another can read."""
    glance = _Glance([], {}, True)
    is_verified = True
    for pdu in pdus:
        one = _form_all(version, room_id, [pdu])
        glance.problems.update(one.problems)
        glance.formed.extend(one.formed)
        for read in one.formed:
            is_verified = is_verified and is_signed(version, read, known_key)
    return glance._replace(is_verified=is_verified)


def _form_all(version: RoomVersion, room_id: RoomId, pdus: Sequence[Mapping[str, Json]]) -> _Glance:
    formed: dict[EventId, ReadPdu] = {}
    problems: dict[EventId, MatrixError] = {}
    for pdu in pdus:
        try:
            read = _form(version, room_id, pdu)
        except MatrixError as problem:
            event_id = _id_of(version, pdu)
            if event_id is not None:
                problems[event_id] = problem
        else:
            formed[read.event.event_id] = read
    return _Glance(list(formed.values()), problems, is_verified=not formed)


def _form(version: RoomVersion, room_id: RoomId, pdu: Mapping[str, Json]) -> ReadPdu:
    try:
        read = read_pdu(version, pdu)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadPdu(f"This is not an event of room version {version.version}") from error
    if read.event.room_id != room_id:
        raise BadPdu(f"{read.event.event_id} is not of room {room_id}")
    return read


def _id_of(version: RoomVersion, pdu: Mapping[str, Json]) -> EventId | None:
    try:
        return event_id_of(version, pdu)
    except (MatrixError, ValueError, TypeError, KeyError, RecursionError):
        return None
