"""Who is asking: the account and session behind a request.

Every floor above speaks of it, so it stands here, as plain values.
"""

from dataclasses import dataclass

from homeserver.protocol.ids import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class Requester:
    """The owner of a valid access token. `shadow`: an admin acts for the user, and others see no trace."""

    user_id: UserId
    device_id: DeviceId | None = None
    session_id: int | None = None
    is_guest: bool = False
    is_admin: bool = False
    shadow: bool = False
    is_locked: bool = False
    is_suspended: bool = False
