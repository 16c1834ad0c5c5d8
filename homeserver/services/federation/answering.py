"""Everything this server answers other servers about rooms and users, built on the room services.

What comes without being asked for (transactions) is for the inbox.
"""

from dataclasses import dataclass

from homeserver.protocol.ids import ServerName
from homeserver.services.federation.asking import AskingServers
from homeserver.services.federation.invites import Invites
from homeserver.services.federation.invites import Ports as InvitePorts
from homeserver.services.federation.joining import Joining
from homeserver.services.federation.large_answers import LargeAnswers
from homeserver.services.federation.outsiders import Outsiders
from homeserver.services.federation.queries import Ports as QueryPorts
from homeserver.services.federation.queries import Queries
from homeserver.services.federation.serving import Serving
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms import RoomServices
from homeserver.services.rooms.ground import RoomGround
from homeserver.storage.accounts import AccountStore
from homeserver.storage.event_graph import EventGraphStore


@dataclass(frozen=True, slots=True)
class Answering:
    """Made by `answering`."""

    server_name: ServerName
    asking: AskingServers
    joining: Joining
    invites: Invites
    serving: Serving
    queries: Queries
    outsiders: Outsiders
    large_answers: LargeAnswers


def answering(
    ground: RoomGround, rooms: RoomServices, accounts: AccountStore, limits: RateLimits
) -> Answering:
    """All parts, built bottom-up."""
    graph = EventGraphStore(ground.stores.state)
    asking = AskingServers(ground.database, graph, rooms.rooms)
    ports = QueryPorts(rooms.aliases, rooms.directory, rooms.spaces, ground.profiles, ground.streams)
    invite_ports = InvitePorts(
        ground.key_ring,
        rooms.receiving,
        rooms.third_party_invites,
        accounts,
        rooms.membership.blocks,
        limits,
    )
    return Answering(
        server_name=ground.server_name,
        asking=asking,
        joining=Joining(ground, graph, asking, rooms.drafting, rooms.restricted_joins, rooms.receiving),
        invites=Invites(ground, rooms.rooms, asking, invite_ports),
        serving=Serving(ground.database, ground.stores.events, graph, asking),
        queries=Queries(ground.server_name, asking, ports),
        outsiders=Outsiders(ground, graph, rooms.user_rooms, ground.key_ring, rooms.receiving),
        large_answers=LargeAnswers(),
    )
