"""What survives a redaction, per room version.

https://spec.matrix.org/latest/client-server-api/#redactions
"""

from collections.abc import Mapping

from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion


def redact(version: RoomVersion, pdu: Mapping[str, Json]) -> JsonObject:
    """The event without what its room version lets a redaction remove. `unsigned` goes too."""
    kept = version.redaction_keeps
    redacted = {key: value for key, value in pdu.items() if key in kept}
    redacted["content"] = redact_content(version, pdu.get("type"), pdu.get("content"))
    return redacted


def redact_content(version: RoomVersion, event_type: Json, content: Json) -> JsonObject:
    """The content that survives. A type or content that is no string or object keeps nothing."""
    if not isinstance(event_type, str) or not isinstance(content, dict):
        return {}
    if version.redaction_keeps_create and event_type == "m.room.create":
        return content
    kept = version.redaction_keeps_content.get(event_type)
    if kept is None:
        return {}
    redacted = {key: value for key, value in content.items() if key in kept}
    if version.redaction_keeps_third_party_signed and event_type == "m.room.member":
        invite = content.get("third_party_invite")
        if isinstance(invite, dict) and "signed" in invite:
            redacted["third_party_invite"] = {"signed": invite["signed"]}
    return redacted
