"""SQL lives here and nowhere else. `Stores` is all of it.

Stores are plain classes whose methods take the transaction first.
"""

from dataclasses import dataclass, field
from pathlib import Path

from homeserver.storage.account_data import AccountDataStore, FilterStore, PushRuleStore
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.media import MediaStore
from homeserver.storage.positions import PositionStore
from homeserver.storage.presence import PresenceStore
from homeserver.storage.pushers import PusherStore
from homeserver.storage.reports import ReportStore
from homeserver.storage.room_stores import RoomStores, room_stores
from homeserver.storage.server_keys import ServerKeyStore

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store there is."""

    positions: PositionStore = field(default_factory=PositionStore)
    accounts: AccountStores = field(default_factory=AccountStores)
    account_data: AccountDataStore = field(default_factory=AccountDataStore)
    filters: FilterStore = field(default_factory=FilterStore)
    push_rules: PushRuleStore = field(default_factory=PushRuleStore)
    pushers: PusherStore = field(default_factory=PusherStore)
    presence: PresenceStore = field(default_factory=PresenceStore)
    rooms: RoomStores = field(default_factory=room_stores)
    media: MediaStore = field(default_factory=MediaStore)
    server_keys: ServerKeyStore = field(default_factory=ServerKeyStore)
    reports: ReportStore = field(default_factory=ReportStore)
