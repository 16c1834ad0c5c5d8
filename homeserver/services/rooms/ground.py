"""What the services of rooms stand on."""

from dataclasses import dataclass

from homeserver.protocol.ids import ServerName
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.federation import FederationClient
from homeserver.remote.identity_servers import IdentityServers
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.services.account_data import AccountData
from homeserver.services.key_ring import KeyRing
from homeserver.services.profiles import Profiles
from homeserver.services.push.evaluation import PushEvaluation
from homeserver.services.streams import Streams
from homeserver.storage.room_stores import RoomStores


@dataclass(frozen=True, slots=True)
class RoomGround:
    """Built by the application, shared by all of them."""

    server_name: ServerName
    key: SigningKey
    default_version: str
    clock: Clock
    database: Database
    stores: RoomStores
    streams: Streams
    profiles: Profiles
    account_data: AccountData
    push: PushEvaluation
    client: FederationClient
    identity_servers: IdentityServers
    key_ring: KeyRing
    tasks: Tasks
