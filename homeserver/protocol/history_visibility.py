"""Who may see an event: decided from the room's state at that event.

https://spec.matrix.org/latest/client-server-api/#room-history-visibility
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from homeserver.protocol.event_types import HISTORY_VISIBILITY, MEMBER
from homeserver.protocol.json_values import Json


class Visibility(StrEnum):
    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"


_BY_NAME: Final[Mapping[str, Visibility]] = {visibility.value: visibility for visibility in Visibility}


def visibility_of(content: Mapping[str, Json] | None) -> Visibility:
    """The setting in an m.room.history_visibility event's content: `shared` when it has none we know."""
    value = None if content is None else content.get("history_visibility")
    return _BY_NAME.get(value, Visibility.SHARED) if isinstance(value, str) else Visibility.SHARED


@dataclass(frozen=True, slots=True)
class Standing:
    """The state before an event, as far as it matters to one user; the event may itself change it."""

    visibility: Visibility
    membership: str | None
    """None, like "leave", for somebody who never was there."""


def may_see(standing: Standing, *, joined_later: bool) -> bool:
    """May the user see an event that was sent while they stood so?

    `joined_later`: did the user join the room at any point after the event? Being in the room now says so,
    unless the event is newer than their join and they were in the room at it: then it does not matter.
    """
    visibility, membership = standing.visibility, standing.membership
    if visibility is Visibility.WORLD_READABLE or membership == "join":
        return True
    if visibility is Visibility.SHARED:
        return joined_later
    return visibility is Visibility.INVITED and membership == "invite"


def may_see_event(
    event_type: str,
    state_key: str | None,
    content: Mapping[str, Json],
    *,
    user_id: str,
    before: Standing,
    joined_later: bool,
) -> bool:
    """As `may_see`, for a given event: one that changes the user's standing is seen if either allows it.

    So everybody sees their own joins, leaves and bans, and the world sees a room close.
    """
    if may_see(before, joined_later=joined_later):
        return True
    after = standing_after(before, event_type, state_key, content, user_id=user_id)
    return after is not before and may_see(after, joined_later=joined_later)


def standing_after(
    before: Standing, event_type: str, state_key: str | None, content: Mapping[str, Json], *, user_id: str
) -> Standing:
    """The user's standing once the event is part of the state; the same object when it changes nothing."""
    if event_type == HISTORY_VISIBILITY and state_key == "":
        return Standing(visibility_of(content), before.membership)
    if event_type == MEMBER and state_key == user_id:
        membership = content.get("membership")
        return Standing(before.visibility, membership if isinstance(membership, str) else None)
    return before
