"""May this event stand, by what it names as authorising it, and by a state?"""

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter

from homeserver.protocol.auth_rules import check, check_auth_events
from homeserver.protocol.auth_rules.power_levels import CREATE_KEY
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import MEMBER, SERVER_ACL
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId, ServerName, domain_of


def keys_needed(event: Event) -> list[StateKey]:
    """What of a state the rules look at."""
    keys = auth_keys(
        event.version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )
    return keys if CREATE_KEY in keys else [CREATE_KEY, *keys]


def check_by_own(
    event: Event, auth_events: Sequence[Event], rejected: set[EventId], create: Event | None
) -> None:
    """Raises AuthFailure unless the events it names are the right ones, and allow it."""
    check_auth_events(event, auth_events, rejected=rejected)
    state = {auth_event.key: auth_event for auth_event in auth_events}
    if create is not None:
        state.setdefault(CREATE_KEY, create)
    check(event, state)


def check_by_state(
    event: Event, state: Mapping[StateKey, Event], auth_events: Iterable[Event], *, is_partial: bool
) -> None:
    """Raises AuthFailure unless the state allows it.

    `is_partial`: memberships that the state lacks are taken from the event's own `auth_events`.
    """
    if is_partial:
        own = {auth_event.key: auth_event for auth_event in auth_events if auth_event.type == MEMBER}
        state = {**own, **state}
    check(event, state)


def named_create(event: Event) -> EventId | None:
    """The create event, where the room ID names it."""
    return EventId("$" + event.room_id[1:]) if event.version.room_id_is_create_hash else None


def auth_ids(event: Event) -> tuple[EventId, ...]:
    """All events that decide whether the event's own `auth_events` allow it."""
    create = named_create(event)
    if create is None or create == event.event_id:
        return event.auth_event_ids
    return (create, *event.auth_event_ids)


def in_order(events: Iterable[Event], *, by_auth: bool = False) -> list[Event]:
    """Each event after those of the others that it follows (or, `by_auth`, that authorise it).

    What stands in a circle or behind one, which only room versions 1 and 2 allow, is left out.
    """
    by_id = {event.event_id: event for event in sorted(events, key=lambda event: event.depth)}
    if _stand_in_order(by_id, by_auth=by_auth):
        return list(by_id.values())
    sorter: TopologicalSorter[EventId] = TopologicalSorter()
    for event in by_id.values():
        named = auth_ids(event) if by_auth else event.prev_event_ids
        sorter.add(event.event_id, *(id_ for id_ in named if id_ in by_id))
    with suppress(CycleError):
        sorter.prepare()
    ordered: list[Event] = []
    while ready := sorter.get_ready():
        ordered += (by_id[event_id] for event_id in ready)
        sorter.done(*ready)
    return ordered


def _stand_in_order(events: Mapping[EventId, Event], *, by_auth: bool) -> bool:
    """As their depth has them: so it is nearly always."""
    passed: set[EventId] = set()
    for event in events.values():
        for named in auth_ids(event) if by_auth else event.prev_event_ids:
            if named in events and named not in passed:
                return False
        passed.add(event.event_id)
    return True


def admits(present: Container[ServerName], changed: Iterable[Event]) -> bool:
    """Do these state events let servers be heard that were not before? `present`: the servers in the room."""
    return any(
        event.type == SERVER_ACL
        or (event.type == MEMBER and event.membership == "join" and domain_of(event.key[1]) not in present)
        for event in changed
    )


def refusal(event: Event, error: AuthFailure) -> AuthFailure:
    """The error, naming the event."""
    return AuthFailure(error.rule, f"{event.event_id}: {error.message}")
