"""What the server does. `Services` is all of it; `homeserver/app` builds it, in the order of the fields.

Each service imports only those before it.
"""

from dataclasses import dataclass

from homeserver.remote.federation import FederationClient
from homeserver.runtime.clock import Clock
from homeserver.services.account_data import AccountData
from homeserver.services.accounts import AccountServices
from homeserver.services.capabilities import Capabilities
from homeserver.services.devices.devices import Devices
from homeserver.services.discovery import Discovery
from homeserver.services.federation.answering import Answering
from homeserver.services.federation.traffic import Traffic
from homeserver.services.filters import Filters
from homeserver.services.key_ring import KeyRing
from homeserver.services.media import MediaServices
from homeserver.services.notary import Notary
from homeserver.services.presence.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.push.notifications import Notifications
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.rules import PushRules
from homeserver.services.push.unread import Unread
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import Receipts
from homeserver.services.reports import Reports
from homeserver.services.rooms import RoomServices
from homeserver.services.streams import Streams
from homeserver.services.sync.sync import Sync
from homeserver.services.sync.waiting import Waiting
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.services.upgraded_rooms import UpgradedRooms


@dataclass(frozen=True, slots=True)
class Services:
    """What endpoints get as their first argument."""

    clock: Clock
    discovery: Discovery
    capabilities: Capabilities
    streams: Streams
    rate_limits: RateLimits
    remote: FederationClient
    key_ring: KeyRing
    notary: Notary
    accounts: AccountServices
    profiles: Profiles
    devices: Devices
    account_data: AccountData
    filters: Filters
    push_rules: PushRules
    pushers: Pushers
    rooms: RoomServices
    unread: Unread
    notifications: Notifications
    receipts: Receipts
    typing_notifications: TypingNotifications
    presence: Presence
    waiting: Waiting
    sync: Sync
    media: MediaServices
    reports: Reports
    answering: Answering
    upgraded_rooms: UpgradedRooms
    traffic: Traffic
