"""From what another server sent to events: form, signatures, content hash.

https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_signatures import proofs_of
from homeserver.protocol.events import BadPdu, Event, ReadPdu, read_pdu
from homeserver.protocol.hashes import event_id_of
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.json_values import Json
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import gather
from homeserver.services.key_ring import KeyUnknown
from homeserver.services.rooms.receiving.ports import Keys, Unproven

AT_ONCE = 200
"""Events that are looked at before any is verified elsewhere."""
PER_JOB = 100
"""Events looked at before others get their turn, and verified together."""
JOBS_AT_ONCE = 6
USED_AT_ONCE = 500
"""Good events handed on together: each such lot may become a write."""


class Checked(NamedTuple):
    """Events whose signatures are good, in the order given, and what is wrong with the others."""

    events: list[Event]
    problems: dict[EventId, MatrixError]

    def ids(self) -> Iterator[EventId]:
        """Of all that has one."""
        yield from (event.event_id for event in self.events)
        yield from self.problems


class _Formed(NamedTuple):
    """What has the form of an event, and what is wrong with the rest."""

    events: list[ReadPdu]
    problems: dict[EventId, MatrixError]


Use: TypeAlias = Callable[[list[Event]], Awaitable[None]]


class Checking:
    """Everything about an event that can be told without its room."""

    def __init__(self, keys: Keys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def prepare(self) -> None:
        """A whole state is about to be fetched."""
        self._keys.prepare()

    async def check(
        self,
        version: RoomVersion,
        room_id: RoomId,
        pdus: Sequence[Mapping[str, Json]],
        use: Use | None = None,
    ) -> Checked:
        """Events of a room. What is no event at all, so has no ID, is left out.

        `use` gets most of the good ones while others are being verified, many at a time, in any order.
        """
        parts = [pdus[:AT_ONCE]]
        parts += [pdus[start : start + PER_JOB] for start in range(AT_ONCE, len(pdus), PER_JOB)]
        results = [Checked([], {}) for _ in parts]
        waiting = iter(range(1, len(parts)))
        ready: list[Event] = []

        async def check_part(number: int) -> None:
            formed = _form_all(version, room_id, parts[number])
            is_verified = number > 0 and await self._are_signed(version, formed.events)
            await self._conclude(version, formed, results[number], is_verified=is_verified)
            if use is not None:
                ready.extend(results[number].events)
                if len(ready) >= USED_AT_ONCE:
                    some = ready.copy()
                    ready.clear()
                    await use(some)

        async def check_waiting() -> None:
            for number in waiting:
                await self._clock.sleep(0)
                await check_part(number)

        await check_part(0)
        await gather(*(check_waiting() for _ in range(min(JOBS_AT_ONCE, len(parts) - 1))))
        return _together(results)

    async def _are_signed(self, version: RoomVersion, reads: Sequence[ReadPdu]) -> bool:
        """Are all signatures good, as far as that can be told on other cores, with keys in memory?"""
        proofs = []
        for read in reads:
            found = proofs_of(version, read, self._keys.known_key)
            if found is None:
                return False
            proofs += found
        return await self._keys.are_good(proofs)

    async def _conclude(
        self, version: RoomVersion, formed: _Formed, checked: Checked, *, is_verified: bool
    ) -> None:
        checked.problems.update(formed.problems)
        verdicts: Sequence[MatrixError | None] = [None] * len(formed.events)
        if not is_verified:
            verdicts = await self._keys.check_events(version, [read.event.pdu for read in formed.events])
        for (event, _, is_intact), verdict in zip(formed.events, verdicts, strict=True):
            if isinstance(verdict, KeyUnknown):  # perhaps only for the moment
                checked.problems[event.event_id] = Unproven(event, verdict.message)
            elif verdict is not None:
                checked.problems[event.event_id] = verdict
            elif is_intact:
                checked.events.append(event)
            else:  # somebody altered it on the way: only what is signed counts
                redacted = redact(version, event.pdu)
                checked.events.append(Event.from_pdu(version, redacted, event.event_id))


def _together(parts: Sequence[Checked]) -> Checked:
    together = Checked([], {})
    for part in parts:
        together.events.extend(part.events)
        together.problems.update(part.problems)
    return together


def _form_all(version: RoomVersion, room_id: RoomId, pdus: Sequence[Mapping[str, Json]]) -> _Formed:
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
    return _Formed(list(formed.values()), problems)


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
