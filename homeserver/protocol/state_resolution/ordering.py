"""The two orders of state resolution v2: by power, and along the mainline of power levels.

https://spec.matrix.org/latest/rooms/v12/#definitions
"""

import math
from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY, POWER_LEVELS_KEY, Level, PowerLevels
from homeserver.protocol.event_types import JOIN_RULES, MEMBER, POWER_LEVELS
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId
from homeserver.protocol.state_resolution.known_events import KnownEvents

_REMOVES = ("leave", "ban")


def is_power_event(event: Event) -> bool:
    """May it take away someone's ability to do something?

    Power levels and join rules count at the state key "" only, where the room looks for them.
    """
    if event.type in (POWER_LEVELS, JOIN_RULES):
        return event.state_key == ""
    return event.type == MEMBER and event.membership in _REMOVES and event.sender != event.state_key


def power_order(event_ids: Collection[EventId], events: KnownEvents) -> list[Event]:
    """The reverse topological power ordering: authorising events first, then the powerful, then the early.

    Events that authorise each other in a circle, which room versions 1 and 2 cannot rule out, are left out.
    """
    levels = _SenderLevels(events)
    ranks: dict[EventId, tuple[Level, int, EventId]] = {}
    waiting_for: dict[EventId, int] = {}
    citing: dict[EventId, list[EventId]] = {}
    for event in events.of(event_ids):
        ranks[event.event_id] = (-levels.of(event), event.origin_server_ts, event.event_id)
    for event_id in ranks:
        links = {auth_id for auth_id in events.auth_event_ids(event_id) if auth_id in ranks}
        waiting_for[event_id] = len(links)
        for auth_id in links:
            citing.setdefault(auth_id, []).append(event_id)
    ready = [ranks[event_id] for event_id, count in waiting_for.items() if count == 0]
    heapify(ready)
    ordered = []
    while ready:
        event_id = heappop(ready)[2]
        ordered.append(event_id)
        for above in citing.get(event_id, ()):
            waiting_for[above] -= 1
            if waiting_for[above] == 0:
                heappush(ready, ranks[above])
    return events.of(ordered)


class _SenderLevels:
    """The power of an event's sender according to the event's own `auth_events`."""

    def __init__(self, events: KnownEvents) -> None:
        self._events = events
        self._levels: dict[tuple[EventId | None, EventId | None], PowerLevels] = {}

    def of(self, event: Event) -> Level:
        create, power_levels = self._events.create_of(event), self._events.power_levels_of(event)
        key = (
            None if create is None else create.event_id,
            None if power_levels is None else power_levels.event_id,
        )
        levels = self._levels.get(key)
        if levels is None:
            named = {CREATE_KEY: create, POWER_LEVELS_KEY: power_levels}
            levels = PowerLevels(
                {state_key: found for state_key, found in named.items() if found is not None}
            )
            self._levels[key] = levels
        return levels.of_user(event.sender)


def mainline_order(
    event_ids: Iterable[EventId], power_levels: EventId | None, events: KnownEvents
) -> list[Event]:
    """The mainline ordering based on an m.room.power_levels event; without one, by time alone."""
    positions = _mainline(power_levels, events)
    known: dict[EventId, float] = {event_id: place for place, event_id in enumerate(positions)}

    def position(event: Event) -> float:
        """How far down the mainline the event's power levels stand: infinity when they are not on it."""
        walked: list[EventId] = []
        current = events.power_levels_of(event)
        while current is not None and current.event_id not in known:
            known[current.event_id] = math.inf  # unless it turns out otherwise; also ends circles
            walked.append(current.event_id)
            current = events.power_levels_of(current)
        found = math.inf if current is None else known[current.event_id]
        for event_id in walked:
            known[event_id] = found
        return found

    return sorted(
        events.of(event_ids), key=lambda event: (-position(event), event.origin_server_ts, event.event_id)
    )


def _mainline(power_levels: EventId | None, events: KnownEvents) -> list[EventId]:
    """The event, the power levels that authorise it, and so on down to the room's first."""
    line: dict[EventId, None] = {}
    current = None if power_levels is None else events.get(power_levels)
    while current is not None and current.event_id not in line:
        line[current.event_id] = None
        current = events.power_levels_of(current)
    return list(line)
