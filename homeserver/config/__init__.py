"""homeserver.yaml as frozen records, one module per section: the whole file is one `Config`.

Defaults stand in the fields. `load` reports all mistakes of a file at once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from homeserver.config.accounts import Passwords, Registration, Sessions
from homeserver.config.database import Database
from homeserver.config.federation import Federation
from homeserver.config.logging import Logging
from homeserver.config.media import Media
from homeserver.config.metrics import Metrics
from homeserver.config.presence import Presence
from homeserver.config.rate_limits import RateLimits
from homeserver.config.rooms import Rooms
from homeserver.config.server import Listener
from homeserver.protocol.ids import ServerName

DEFAULT_PORT = 8008


@dataclass(frozen=True)
class Config:
    server_name: ServerName
    public_url: str | None = None
    data_dir: Path = Path("data")
    signing_key: Path = Path("signing.key")
    listeners: tuple[Listener, ...] = (Listener(DEFAULT_PORT),)
    database: Database = Database()
    registration: Registration = Registration()
    passwords: Passwords = Passwords()
    sessions: Sessions = Sessions()
    rooms: Rooms = Rooms()
    media: Media = Media()
    presence: Presence = Presence()
    rate_limits: RateLimits = RateLimits()
    federation: Federation = Federation()
    logging: Logging = field(default_factory=Logging)
    metrics: Metrics = Metrics()
