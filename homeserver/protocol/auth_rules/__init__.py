"""May this event happen? The authorisation rules, in the spec's order.

Owns no I/O: callers bring the event and the state it names. Each refusal is an AuthFailure that carries the
rule's number in the event's room version.
https://spec.matrix.org/latest/rooms/v12/#authorization-rules
"""

from collections.abc import Container, Mapping, Sequence

from homeserver.protocol.auth_rules.creation import check_create
from homeserver.protocol.auth_rules.membership import check_member
from homeserver.protocol.auth_rules.power_levels import CREATE_KEY, PowerLevels, check_power_levels
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import (
    ALIASES,
    CREATE,
    MEMBER,
    POWER_LEVELS,
    REDACTION,
    THIRD_PARTY_INVITE,
)
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId, domain_of

__all__ = ["auth_keys", "check", "check_auth_events"]


def check(event: Event, state: Mapping[StateKey, Event]) -> None:
    """Raise AuthFailure unless the event is allowed in this state, which must hold the create event.

    All rules but those about the event's own `auth_events`, for which see `check_auth_events`. That the
    signatures are valid is for the caller to have verified: see `signatures.required_signers`.
    """
    if event.type == CREATE:
        check_create(event)
        return
    version = event.version
    create = _create_of(event, state)
    if create.content.get("m.federate") is False and domain_of(event.sender) != domain_of(create.sender):
        rule = "4" if version.room_id_is_create_hash else "3"
        raise AuthFailure(rule, f"The room is only for users of {domain_of(create.sender)}")
    if event.type == ALIASES and version.aliases_by_domain:
        _check_aliases(event)
        return
    levels = PowerLevels(state)
    if event.type == MEMBER:
        check_member(event, state, levels)
        return
    first = version.member_rule + 1
    membership = state.get((MEMBER, event.sender))
    if membership is None or membership.content.get("membership") != "join":
        raise AuthFailure(f"{first}", f"{event.sender} is not in the room")
    _check_levels(event, levels)
    if event.type == POWER_LEVELS:
        check_power_levels(event, state, levels)
    elif event.type == REDACTION and version.redactions_authorised:
        _check_redaction(event, levels)


def check_auth_events(
    event: Event, auth_events: Sequence[Event], *, rejected: Container[EventId] = frozenset()
) -> None:
    """Raise AuthFailure unless the event's `auth_events` are the right ones. They are given in full.

    `rejected` are the IDs of those among them that were rejected themselves.
    """
    if event.type == CREATE:
        return
    version = event.version
    number = "3" if version.room_id_is_create_hash else "2"
    selected = auth_keys(
        version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )
    seen: set[StateKey] = set()
    for auth_event in auth_events:
        if auth_event.state_key is None or auth_event.key not in selected:
            raise AuthFailure(f"{number}.2", f"{auth_event.event_id} does not authorise {event.type} events")
        if auth_event.key in seen:
            raise AuthFailure(f"{number}.1", f"Two auth_events have the type and state key {auth_event.key}")
        seen.add(auth_event.key)
        if auth_event.event_id in rejected:
            raise AuthFailure(f"{number}.3", f"{auth_event.event_id} was itself rejected")
        if auth_event.room_id != event.room_id:
            raise AuthFailure(f"{number}.5", f"{auth_event.event_id} belongs to another room")
    if not version.room_id_is_create_hash and CREATE_KEY not in seen:
        raise AuthFailure(f"{number}.4", "The create event is not among the auth_events")


def _create_of(event: Event, state: Mapping[StateKey, Event]) -> Event:
    create = state.get(CREATE_KEY)
    if event.version.room_id_is_create_hash:
        if create is None or create.event_id[1:] != event.room_id[1:]:
            raise AuthFailure("2", f"{event.room_id} is not named after an accepted create event")
    elif create is None:
        raise AuthFailure("2.4", "The room has no create event")
    return create


def _check_aliases(event: Event) -> None:
    if event.state_key is None:
        raise AuthFailure("4.1", "m.room.aliases needs a state key")
    if event.state_key != domain_of(event.sender):
        raise AuthFailure("4.2", f"{event.sender} cannot set the aliases of {event.state_key}")


def _check_levels(event: Event, levels: PowerLevels) -> None:
    first = event.version.member_rule + 1
    own = levels.of_user(event.sender)
    if event.type == THIRD_PARTY_INVITE:
        needed = levels.to_invite
        if own < needed:
            raise AuthFailure(f"{first + 1}.1", f"Inviting needs power level {needed}, not {own}")
        return
    needed = levels.to_send(event.type, is_state=event.state_key is not None)
    if own < needed:
        raise AuthFailure(f"{first + 2}", f"Sending {event.type} needs power level {needed}, not {own}")
    if event.state_key is not None and event.state_key[:1] == "@" and event.state_key != event.sender:
        raise AuthFailure(f"{first + 3}", f"Only {event.state_key} may set state under their user ID")


def _check_redaction(event: Event, levels: PowerLevels) -> None:
    """Room versions 1 and 2 only."""
    if levels.of_user(event.sender) >= levels.to_redact:
        return
    redacts = event.redacts or ""
    if domain_of(event.event_id) != redacts.partition(":")[2]:
        raise AuthFailure(f"{event.version.member_rule + 6}.3", f"{event.sender} may not redact {redacts}")
