"""What an outsider who is invited, or knocks, may know of a room.

https://spec.matrix.org/latest/client-server-api/#stripped-state
"""

from homeserver.protocol import event_types
from homeserver.protocol.json_values import Json, JsonObject

STRIPPED = (
    event_types.CREATE, event_types.JOIN_RULES, event_types.NAME, event_types.AVATAR, event_types.TOPIC,
    event_types.CANONICAL_ALIAS, event_types.ENCRYPTION,
)  # fmt: skip
MOST_STRIPPED = 50


def stripped(event: JsonObject) -> JsonObject | None:
    """Type, state key, sender and content of an event; None when it has no such form."""
    found: JsonObject = {name: event.get(name) for name in ("type", "state_key", "sender", "content")}
    texts: list[Json] = [found["type"], found["state_key"], found["sender"]]
    if not all(isinstance(text, str) for text in texts) or not isinstance(found["content"], dict):
        return None
    return found
