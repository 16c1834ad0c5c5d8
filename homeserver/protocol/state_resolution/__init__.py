"""Forked state to one state.

Pure: the caller brings the state sets and a way to fetch events by ID. Every server of a room must come to
the same result from the same sets.
https://spec.matrix.org/latest/server-server-api/#room-state-resolution
"""

from collections.abc import Container, Sequence

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import RoomVersion, StateResolution
from homeserver.protocol.state_resolution import v1, v2
from homeserver.protocol.state_resolution.conflicts import Agreed, Split, StateMap, conflict, split
from homeserver.protocol.state_resolution.known_events import Fetch, KnownEvents

__all__ = ["Agreed", "Fetch", "Split", "StateMap", "conflict", "decide", "resolve"]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[StateMap],
    fetch: Fetch,
    *,
    rejected: Container[EventId] = frozenset(),
) -> dict[StateKey, EventId]:
    """The state that follows from several. Of no state sets, no state; the rest is as with `decide`."""
    if not state_sets:
        return {}
    parts, unconflicted = split(state_sets)
    return unconflicted | decide(version, parts, fetch, rejected=rejected)


def decide(
    version: RoomVersion, parts: Split, fetch: Fetch, *, rejected: Container[EventId] = frozenset()
) -> dict[StateKey, EventId]:
    """What stands beside that on which the state sets agree.

    `fetch` answers those of the events it is asked for that exist; it is asked for each only once. `rejected`
    holds the IDs of rejected events: what an event names in `auth_events` may not speak for it when it was
    itself rejected.
    """
    if not parts.conflicted:
        return {}
    events = KnownEvents(fetch, rejected)
    if version.state_resolution is StateResolution.V1:
        return v1.resolve(parts, events)
    steps = v2.V2 if version.state_resolution is StateResolution.V2 else v2.V2_1
    return v2.resolve(steps, parts, events)
