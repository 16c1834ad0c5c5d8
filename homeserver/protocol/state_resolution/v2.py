"""State resolution v2 (room versions 2 to 11) and v2.1 (12), as a table of steps.

Where the text can be read in two ways we read it as the servers that are there do, because all servers of a
room must come to the same state: `conflicts` says how auth chains are understood, `ordering` which events are
power events, and a power event brings along what it rests on inside the full conflicted set.
https://spec.matrix.org/latest/rooms/v12/#state-resolution
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from homeserver.protocol.auth_rules import auth_keys, check
from homeserver.protocol.auth_rules.power_levels import CREATE_KEY, POWER_LEVELS_KEY
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.state_resolution.conflicts import (
    Agreed,
    Holder,
    Split,
    auth_chain_difference,
    conflicted_subgraph,
)
from homeserver.protocol.state_resolution.known_events import KnownEvents
from homeserver.protocol.state_resolution.ordering import is_power_event, mainline_order, power_order


@dataclass(frozen=True, slots=True)
class Steps:
    """In what the versions of the algorithm differ."""

    adds_subgraph: bool
    """The full conflicted set holds the conflicted state subgraph too."""
    starts_empty: bool
    """The iterative auth checks start from no state, not from the unconflicted one."""


V2 = Steps(adds_subgraph=False, starts_empty=False)
V2_1 = Steps(adds_subgraph=True, starts_empty=True)


def resolve(steps: Steps, parts: Split, events: KnownEvents) -> dict[StateKey, EventId]:
    """What stands beside that on which the state sets agree."""
    full = _full_conflicted_set(steps, parts, events)
    events.load(auth_id for event in events.of(full) for auth_id in event.auth_event_ids)
    decided: dict[StateKey, EventId] = {}
    under = None if steps.starts_empty else parts.agreed
    first = _power_events(full, events)
    apply_allowed(power_order(first, events), decided, under, events)
    rest = mainline_order(full - first, _holder(decided, under)(POWER_LEVELS_KEY), events)
    apply_allowed(rest, decided, under, events)
    return {key: event_id for key, event_id in decided.items() if parts.agreed.holder(key) is None}


def _full_conflicted_set(steps: Steps, parts: Split, events: KnownEvents) -> set[EventId]:
    conflicted = parts.conflicted_ids
    full = conflicted | auth_chain_difference(parts.held, parts.agreed, events)
    if steps.adds_subgraph:
        full |= conflicted_subgraph(conflicted, events)
    return full


def _power_events(full: Set[EventId], events: KnownEvents) -> set[EventId]:
    """The power events among them, with what those rest on inside the set."""
    chosen: set[EventId] = set()
    frontier = [event.event_id for event in events.of(full) if is_power_event(event)]
    while frontier:
        event_id = frontier.pop()
        if event_id not in chosen:
            chosen.add(event_id)
            frontier += [auth_id for auth_id in events.auth_event_ids(event_id) if auth_id in full]
    return chosen


def apply_allowed(
    ordered: Sequence[Event], decided: dict[StateKey, EventId], under: Agreed | None, events: KnownEvents
) -> None:
    """The iterative auth checks: put into `decided`, one after the other, the events that are allowed by it
    and, where it has nothing, by what is `under` it.
    """
    holder = _holder(decided, under)
    keys = {event.event_id: _needed_keys(event) for event in ordered}
    events.load(auth_id for event in ordered for auth_id in event.auth_event_ids)
    wanted = dict.fromkeys(key for needed in keys.values() for key in needed)
    events.load(event_id for key in wanted if (event_id := holder(key)) is not None)
    for event in ordered:
        if event.is_state and _is_allowed(event, keys[event.event_id], holder, events):
            decided[event.key] = event.event_id


def _holder(decided: Mapping[StateKey, EventId], under: Agreed | None) -> Holder:
    def holder(key: StateKey) -> EventId | None:
        return decided.get(key) or (None if under is None else under.holder(key))

    return holder


def _needed_keys(event: Event) -> list[StateKey]:
    return auth_keys(
        event.version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )


def _is_allowed(event: Event, keys: Iterable[StateKey], holder: Holder, events: KnownEvents) -> bool:
    """Do the rules allow it, given the state, and its own `auth_events` where the state has nothing?"""
    found: dict[StateKey, Event] = {}
    own: dict[StateKey, Event] | None = None
    for key in keys:
        event_id = holder(key)
        chosen = None if event_id is None else events.get(event_id)
        if chosen is None:
            if own is None:
                own = events.accepted_auth_events(event)
            chosen = own.get(key)
        if chosen is not None:
            found[key] = chosen
    if event.version.room_id_is_create_hash:
        create = events.create_of(event)
        if create is not None:
            found[CREATE_KEY] = create
    try:
        check(event, found)
    except MatrixError:  # an AuthFailure, or the event is too odd to be judged
        return False
    return True
