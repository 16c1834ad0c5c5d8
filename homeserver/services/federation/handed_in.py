"""Events that another server hands in by name (send_join, invite...): are they what the request says?

https://spec.matrix.org/latest/server-server-api/#joining-rooms
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.errors import (
    Forbidden,
    InvalidParam,
    InvalidSignature,
    MatrixError,
    TooLarge,
)
from homeserver.protocol.event_signatures import KeyUnknown
from homeserver.protocol.events import Event, parse_pdu
from homeserver.protocol.hashes import content_hash_matches
from homeserver.protocol.ids import EventId, RoomId, ServerName, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.room_versions import RoomVersion


class HandedIn(NamedTuple):
    """A request to take an event: who asks, the path, the body."""

    origin: ServerName
    room_id: RoomId
    event_id: EventId
    pdu: JsonObject


def membership_event(version: RoomVersion, handed_in: HandedIn, membership: str) -> Event:
    """The event, if it is a membership of this kind, of the room and ID in the path, by a user of the origin.

    Its signatures are not looked at. Raises InvalidParam, TooLarge.
    """
    try:
        event = parse_pdu(version, handed_in.pdu)
    except TooLarge:
        raise
    except MatrixError as error:
        raise InvalidParam(f"This is no event of room version {version.version}: {error}") from error
    if event.room_id != handed_in.room_id:
        raise InvalidParam(f"The event is of {event.room_id}, the path names {handed_in.room_id}")
    if event.event_id != handed_in.event_id:
        raise InvalidParam(f"The event has the ID {event.event_id}, the path names {handed_in.event_id}")
    if event.type != event_types.MEMBER or event.membership != membership or event.state_key is None:
        raise InvalidParam(f"This is not the {event_types.MEMBER} event of a {membership}")
    if domain_of(event.sender) != handed_in.origin:
        raise InvalidParam(f"{event.sender} is not a user of {handed_in.origin}")
    if membership != "invite" and event.state_key != event.sender:
        raise InvalidParam(f"{event.sender} cannot {membership} for {event.state_key[:300]}")
    if not content_hash_matches(version, handed_in.pdu):
        raise InvalidParam("The content hash of the event is wrong")
    return event


@contextmanager
def looking_at_signatures() -> Iterator[None]:
    """Those of the event, not of the request: InvalidParam is raised where they are not good."""
    try:
        yield
    except (InvalidSignature, KeyUnknown) as error:
        raise InvalidParam(f"The event's signatures are not good: {error}") from error


def check_own_user(origin: ServerName, user_id: str) -> None:
    """Raises Forbidden unless the user is of the asking server."""
    if domain_of(user_id) != origin:
        raise Forbidden(f"{user_id} is not a user of {origin}")
