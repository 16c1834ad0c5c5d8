"""What a user may do here, beyond what every server lets everyone do.

https://spec.matrix.org/latest/client-server-api/#capabilities-negotiation
"""

from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.requester import Requester
from homeserver.protocol.room_versions import ROOM_VERSIONS


class Capabilities:
    """Says it."""

    def __init__(self, *, default_room_version: str) -> None:
        self._default_room_version = default_room_version

    def of(self, requester: Requester) -> JsonObject:
        """The requester's capabilities, by name."""
        is_person = not requester.is_guest
        capabilities: JsonObject = {
            "m.room_versions": {
                "default": self._default_room_version,
                "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
            },
            "m.change_password": {"enabled": is_person},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": is_person},
            "m.profile_fields": {"enabled": True}
            if is_person
            else {"enabled": True, "allowed": ["displayname"]},
            "m.3pid_changes": {"enabled": False},
            "m.get_login_token": {"enabled": is_person},
            "m.forget_forced_upon_leave": {"enabled": False},
        }
        if requester.is_admin:
            capabilities["m.account_moderation"] = {"suspend": True, "lock": True}
        return capabilities
