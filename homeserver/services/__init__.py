"""What the server does. `Services` is all of it; `homeserver/app.py` builds it, in the order of the fields.

Each service imports only those before it.
"""

from dataclasses import dataclass

from homeserver.services.accounts import AccountServices
from homeserver.services.discovery import Discovery
from homeserver.services.media import MediaServices
from homeserver.services.rate_limits import RateLimits
from homeserver.services.streams import Streams


@dataclass(frozen=True, slots=True)
class Services:
    """What endpoints get as their first argument."""

    discovery: Discovery
    streams: Streams
    rate_limits: RateLimits
    accounts: AccountServices
    media: MediaServices
