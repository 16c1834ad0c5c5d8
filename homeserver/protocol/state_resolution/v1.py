"""State resolution of room version 1.

Where the text is silent we do as other servers do: what is decided about one user's membership does not bear
on another's, and when no event of an ordinary key is allowed, the one of least depth stands.
https://spec.matrix.org/latest/rooms/v1/#state-resolution
"""

from collections.abc import Iterable
from hashlib import sha1

from homeserver.protocol.auth_rules import auth_keys, check
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_types import JOIN_RULES, MEMBER, POWER_LEVELS
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.state_resolution.conflicts import Holder, Split
from homeserver.protocol.state_resolution.known_events import KnownEvents

_PASSES = (POWER_LEVELS, JOIN_RULES, MEMBER)
"""The types that others are judged by, in the order in which they are decided."""


def resolve(parts: Split, events: KnownEvents) -> dict[StateKey, EventId]:
    """What stands beside that on which the state sets agree.

    That some lack a key is no conflict if the others agree on it.
    """
    decided: dict[StateKey, EventId] = {}
    conflicting: dict[StateKey, list[Event]] = {}
    for key, event_ids in parts.conflicted.items():
        if len(event_ids) == 1:
            decided[key] = next(iter(event_ids))
        else:
            conflicting[key] = _by_depth(events.of(event_ids))

    def holder(key: StateKey) -> EventId | None:
        return decided.get(key) or parts.agreed.holder(key)

    for event_type in _PASSES:
        decided |= {
            key: _last_allowed(candidates, holder, events)
            for key, candidates in conflicting.items()
            if key[0] == event_type and candidates
        }
    for key, candidates in conflicting.items():
        if key[0] not in _PASSES and candidates:
            decided[key] = _deepest_allowed(candidates, holder, events)
    return decided


def _by_depth(candidates: Iterable[Event]) -> list[Event]:
    """By ascending depth, then descending SHA-1 of the event ID."""
    by_hash = sorted(candidates, key=lambda event: _sha1(event.event_id), reverse=True)
    return sorted(by_hash, key=lambda event: event.depth)


def _sha1(event_id: EventId) -> str:
    return sha1(event_id.encode(), usedforsecurity=False).hexdigest()


def _last_allowed(candidates: list[Event], holder: Holder, events: KnownEvents) -> EventId:
    """Follow the candidates for as long as each is allowed where the one before it stands."""
    last, *others = candidates

    def present(key: StateKey) -> EventId | None:
        return last.event_id if key == last.key else holder(key)

    for event in others:
        if not _is_allowed(event, present, events):
            break
        last = event
    return last.event_id


def _deepest_allowed(candidates: list[Event], holder: Holder, events: KnownEvents) -> EventId:
    for event in reversed(candidates):
        if _is_allowed(event, holder, events):
            return event.event_id
    return candidates[0].event_id


def _is_allowed(event: Event, holder: Holder, events: KnownEvents) -> bool:
    keys = auth_keys(
        event.version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )
    found = events.of(event_id for key in keys if (event_id := holder(key)) is not None)
    try:
        check(event, {other.key: other for other in found})
    except MatrixError:  # an AuthFailure, or the event is too odd to be judged
        return False
    return True
