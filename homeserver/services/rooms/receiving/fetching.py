"""What an event rests on and we do not have, from the server that sent it.

Everything fetched is checked as if it had been sent; nothing here changes the present of a room. All is
bounded: how much is asked for, how much an answer may hold, how often it is asked.
https://spec.matrix.org/latest/server-server-api/#retrieving-event-authorization-information
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteRefused, RemoteUnreachable
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import FairLimit, TimedOut, gather, timeout
from homeserver.services.rooms.receiving.checking import Checked, Checking
from homeserver.services.rooms.receiving.judging import auth_ids
from homeserver.services.rooms.receiving.outliers import Outliers, RoomKey
from homeserver.services.rooms.receiving.patience import Patience, Question, Turn
from homeserver.services.rooms.receiving.ports import CannotJudge, Remote, Unproven
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.receiving.stored_events import Stored, StoredEvents
from homeserver.services.rooms.receiving.unproven import UnprovenEvents
from homeserver.services.rooms.room import Room
from homeserver.storage.unproven_events import OF_TOLD_STATE

MOST_PER_ANSWER = 100
"""Missing events asked for at once. Many servers give fewer."""
MOST_MISSING = 6_000
"""Events fetched to close one gap; beyond, the gap stays and the state after it is fetched."""
MOST_MISSING_BYTES = 16 * 1024 * 1024
MOST_ROUNDS = 300
FEWEST_PER_ROUND = 5
PATIENT_ROUNDS = 10
"""A server that after so many rounds has told fewer events than that in each keeps us busy, nothing else."""
FEWEST_PER_SECOND = 5
"""A server that tells fewer has half of its turn only: the other half is for the state after the gap. What is
not told by then stays a gap."""
MOST_LATEST = 20
MOST_STATE = 300_000
"""Events in a state and its auth chain."""
MOST_ONE_BY_ONE = 40
WHOLE_STATES_AT_ONCE = 4
"""Each may fill hundreds of megabytes of memory. Of one server only one."""
MOST_AUTH_CHAIN = 20_000
AT_ONCE = 5
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500


class Parts(NamedTuple):
    """What fetching works with."""

    remote: Remote
    checking: Checking
    stored: StoredEvents
    outliers: Outliers
    sets: StateSets
    clock: Clock
    patience: Patience
    unproven: UnprovenEvents


class Fetching:
    """Asks one server."""

    def __init__(self, parts: Parts) -> None:
        self._remote = parts.remote
        self._checking = parts.checking
        self._stored = parts.stored
        self._outliers = parts.outliers
        self._sets = parts.sets
        self._clock = parts.clock
        self.patience = parts.patience
        self._whole_states: FairLimit[ServerName] = FairLimit(WHOLE_STATES_AT_ONCE, 1)
        self._unproven = parts.unproven

    async def missing_events(self, room: Room, event: Event, origin: ServerName, turn: Turn) -> list[Event]:
        """What the event follows and has no place here, as far as the server tells; in any order.

        The server may not know where we are, and tell what is before our join: that is no news.
        """
        got: dict[EventId, Event] = {}
        unproven: dict[EventId, Event] = {}
        size = 0
        latest: Sequence[EventId] = [event.event_id]
        wanted = await self._without_place(event.prev_event_ids)
        began, patient_s = self._clock.monotonic(), self.patience.left_s(turn) / 2
        for number in range(MOST_ROUNDS):
            if number >= PATIENT_ROUNDS and len(got) < number * FEWEST_PER_ROUND:
                break
            took_s = self._clock.monotonic() - began
            most_s = min(turn.filling_s, max(patient_s, len(got) / FEWEST_PER_SECOND))
            try:
                answered = await timeout(
                    self._clock, max(0.0, most_s - took_s), self._ask_missing(room, latest, origin)
                )
            except TimedOut:
                self.patience.note_slow((room.room_id, origin))
                break
            unproven |= {
                event_id: problem.event
                for event_id, problem in answered.problems.items()
                if isinstance(problem, Unproven)
            }
            fresh = await self._needed(answered.events, wanted, got)
            size += sum(len(found.raw) for found in fresh)
            if not fresh or len(got) >= MOST_MISSING or size >= MOST_MISSING_BYTES:
                break
            latest = [one.event_id for one in fresh if not wanted.isdisjoint(one.prev_event_ids)][
                :MOST_LATEST
            ]
            if not latest:
                break
        late = [unproven[event_id] for event_id in wanted & unproven.keys()]
        await self._unproven.note_gap((room.room_id, room.nid), late)
        took_s = self._clock.monotonic() - began
        turn.filling_s = max(0.0, turn.filling_s - took_s)
        if got:  # what came is of use: it is not taken off the time for what else is missing
            turn.until += took_s
        return list(got.values())

    async def auth_events(
        self, room: RoomKey, event: Event, origin: ServerName, turn: Turn
    ) -> dict[EventId, Stored]:
        """The events that decide whether it is allowed by its own `auth_events`. Raises CannotJudge."""
        found = await self.auth_events_here(room, event)
        if found is None:
            question = Question((room.room_id, origin), ("auth chain", event.event_id))
            await self.patience.answer(question, partial(self._fetch_auth_chain, room, event, origin), turn)
            found = await self.auth_events_here(room, event)
        if found is None:
            raise CannotJudge(f"What authorises {event.event_id} cannot be fetched")
        return found

    async def auth_events_here(self, room: RoomKey, event: Event) -> dict[EventId, Stored] | None:
        """The same without asking anybody; None: not all of them are here."""
        wanted = auth_ids(event)
        found = await self._stored.load(room.version, wanted)
        here = {id_: stored for id_, stored in found.items() if stored.known.room_nid == room.nid}
        return here if len(here) == len(set(wanted)) else None

    async def state_before(self, room: Room, event_id: EventId, origin: ServerName, turn: Turn) -> int:
        """The state set before an event, as the server tells it. Raises CannotJudge."""
        question = Question((room.room_id, origin), ("state before", event_id))
        ask = partial(self._state_before, room, event_id, origin)
        state_nid = await self.patience.answer(question, ask, turn)
        if not await self._sets.is_stored(state_nid):  # told before the room became whole
            state_nid = await self.patience.answer(question, ask, turn)
        return state_nid

    async def _state_before(self, room: Room, event_id: EventId, origin: ServerName) -> int:
        try:
            answer = await self._remote.state_ids(origin, room.room_id, event_id)
        except MatrixError as error:
            raise CannotJudge(f"{origin} does not tell the state before {event_id}") from error
        ids = list(dict.fromkeys([*answer.auth_chain_ids, *answer.pdu_ids]))
        if len(ids) > MOST_STATE:
            raise CannotJudge(f"The state before {event_id} is too large")
        known = await self._stored.known(ids)
        missing = [id_ for id_ in ids if id_ not in known]
        if len(missing) > MOST_ONE_BY_ONE:
            async with self._whole_states.place(origin):
                return await self.whole_state_before(room, event_id, origin)
        key = RoomKey(room.room_id, room.nid, room.version)
        if missing:
            checked, kept = await self._keep(key, await self.one(key, missing, origin))
            await self._unproven.note(key[:2], [checked], kept, answer.pdu_ids, OF_TOLD_STATE)
        found = await self._stored.load(room.version, list(dict.fromkeys(answer.pdu_ids)))
        return await self._set_of(room, found.values())

    async def whole_state_before(
        self, room: Room, event_id: EventId, origin: ServerName, *, part: int = OF_TOLD_STATE
    ) -> int:
        """The same where nearly nothing of it is here: it is asked for whole, at once.

        What cannot be verified is left out, and kept as `part` of that state until it can.
        """
        self._checking.prepare()
        try:
            answer = await self._remote.state(origin, room.room_id, event_id)
        except MatrixError as error:
            raise CannotJudge(f"{origin} does not give the state before {event_id}") from error
        if len(answer.auth_chain) + len(answer.pdus) > MOST_STATE:
            raise CannotJudge(f"The state before {event_id} is too large")
        key = RoomKey(room.room_id, room.nid, room.version)
        chain = await self._checking.check(room.version, room.room_id, answer.auth_chain)
        kept = await self._outliers.add(key, chain.events)

        async def keep(events: list[Event]) -> None:
            kept.update(await self._outliers.add(key, [one for one in events if one.event_id not in kept]))

        state = await self._checking.check(room.version, room.room_id, answer.pdus, keep)
        await keep(state.events)  # those that came before what authorises them
        await self._unproven.note(key[:2], [chain, state], kept, state.ids(), part)
        return await self._set_of(
            room, [kept[event.event_id] for event in state.events if event.event_id in kept]
        )

    async def one(self, room: RoomKey, event_ids: Sequence[EventId], origin: ServerName) -> list[JsonObject]:
        """Events by ID, a few at a time; those the server does not have are left out. Raises CannotJudge."""
        found: list[JsonObject] = []
        for start in range(0, len(event_ids), AT_ONCE):
            some = event_ids[start : start + AT_ONCE]
            found += [
                pdu
                for pdu in await gather(*(self._event(event_id, origin) for event_id in some))
                if pdu is not None
            ]
        return found

    async def _ask_missing(self, room: Room, latest: Sequence[EventId], origin: ServerName) -> Checked:
        try:
            pdus = await self._remote.missing_events(
                origin, room.room_id, earliest=room.heads[-MOST_LATEST:], latest=latest,
                limit=MOST_PER_ANSWER, min_depth=0,
            )  # fmt: skip
        except MatrixError:
            return Checked([], {})
        return await self._checking.check(room.version, room.room_id, pdus[:MOST_PER_ANSWER])

    async def _needed(
        self, answered: Iterable[Event], wanted: set[EventId], got: dict[EventId, Event]
    ) -> list[Event]:
        """Take what is wanted, and what that follows, over to `got`; what is not there stays `wanted`."""
        offered = {event.event_id: event for event in answered}
        prevs = {id_ for event in offered.values() for id_ in event.prev_event_ids}
        placeless = await self._without_place(prevs)
        fresh: list[Event] = []
        at_hand = wanted & offered.keys()
        while at_hand:
            event = offered[at_hand.pop()]
            fresh.append(event)
            got[event.event_id] = event
            wanted.discard(event.event_id)
            before = placeless.intersection(event.prev_event_ids) - got.keys()
            wanted |= before
            at_hand |= before & offered.keys()
        return fresh

    async def _without_place(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Those that have none in their room: unknown ones, and outliers."""
        known = await self._stored.known(event_ids)
        return {id_ for id_ in event_ids if id_ not in known or not known[id_].is_placed}

    async def _fetch_auth_chain(self, room: RoomKey, event: Event, origin: ServerName) -> int:
        """How many events it has."""
        try:
            pdus = await self._remote.event_auth(origin, room.room_id, event.event_id)
        except MatrixError:
            pdus = await self.one(room, auth_ids(event), origin)
        await self._keep(room, pdus[:MOST_AUTH_CHAIN])
        return len(pdus)

    async def _keep(
        self, room: RoomKey, pdus: Sequence[JsonObject]
    ) -> tuple[Checked, Mapping[EventId, Stored]]:
        checked = await self._checking.check(room.version, room.room_id, pdus)
        return checked, await self._outliers.add(room, checked.events)

    async def _set_of(self, room: Room, told: Iterable[Stored]) -> int:
        state = {
            stored.event.key: stored.known
            for stored in told
            if stored.event.is_state and stored.known.room_nid == room.nid and not stored.is_rejected
        }
        create = room.state.get(CREATE_KEY)
        told_create = state.get(CREATE_KEY)
        if create is None or told_create is None or told_create.nid != create.nid:
            raise CannotJudge("The state that the other server tells is of another room")
        return await self._sets.keep(room.nid, state, near=[room.state_nid])

    async def _event(self, event_id: EventId, origin: ServerName) -> JsonObject | None:
        try:
            return await self._remote.get_event(origin, event_id)
        except MatrixError as error:
            if _may_pass(error):  # what is only out of reach now must not be missing from a state for ever
                raise CannotJudge(f"{origin} does not give {event_id} at the moment") from error
            return None


def _may_pass(error: MatrixError) -> bool:
    """Will the same question perhaps be answered later?"""
    if isinstance(error, RemoteRefused):
        return error.remote_status == TOO_MANY_REQUESTS or error.remote_status >= SERVER_ERROR
    return isinstance(error, RemoteUnreachable)
