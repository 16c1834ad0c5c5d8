"""Rooms: everything that happens in one."""

from dataclasses import dataclass

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import MatrixError, NotFound
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.aliases import RoomAliases
from homeserver.services.rooms.backfill import RoomBackfill
from homeserver.services.rooms.creation import RoomCreation
from homeserver.services.rooms.directory import RoomDirectory
from homeserver.services.rooms.drafting import Drafting
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.facts import RoomFacts
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.guests import RoomGuests
from homeserver.services.rooms.history import RoomHistory
from homeserver.services.rooms.membership import RoomMembership
from homeserver.services.rooms.receiving import Receiving, RoomParts
from homeserver.services.rooms.relations import RoomRelations
from homeserver.services.rooms.remote_directory import RemoteDirectory
from homeserver.services.rooms.remote_membership import RemoteMembership
from homeserver.services.rooms.restricted_joins import RestrictedJoins
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.sending import RoomSending
from homeserver.services.rooms.spaces import Spaces
from homeserver.services.rooms.state import RoomState
from homeserver.services.rooms.third_party_invites import ThirdPartyInvites
from homeserver.services.rooms.told_members import ToldMembers
from homeserver.services.rooms.transactions import Transactions
from homeserver.services.rooms.untold_leaves import UntoldLeaves
from homeserver.services.rooms.upgrades import RoomUpgrades
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.visibility import Visibility
from homeserver.services.rooms.writer import RoomWriter


@dataclass(frozen=True, slots=True)
class RoomServices:
    """What the API and the other services ask of rooms."""

    rooms: Rooms
    events: Events
    writer: RoomWriter
    user_rooms: UserRooms
    facts: RoomFacts
    transactions: Transactions
    visibility: Visibility
    membership: RoomMembership
    third_party_invites: ThirdPartyInvites
    creation: RoomCreation
    sending: RoomSending
    state: RoomState
    history: RoomHistory
    told_members: ToldMembers
    relations: RoomRelations
    aliases: RoomAliases
    directory: RoomDirectory
    remote_directory: RemoteDirectory
    receiving: Receiving
    drafting: Drafting
    restricted_joins: RestrictedJoins
    spaces: Spaces
    upgrades: RoomUpgrades
    untold_leaves: UntoldLeaves

    async def renew_profile(self, user_id: UserId) -> None:
        """Say the user's present name and picture in all their rooms."""
        for room_id in await self.user_rooms.joined(user_id):
            await self.membership.renew_profile(user_id, room_id)

    async def leave_all(self, user_id: UserId, _erase: bool) -> None:
        """Leave every room and turn down every invite: the account was closed.

        Raises the first refusal, when all rooms were tried.
        """
        refusals: list[MatrixError] = []
        for room_id, place in list((await self.user_rooms.load(user_id)).items()):
            if place.membership in ("join", "invite", "knock"):
                try:
                    await self.membership.leave(user_id, room_id)
                except MatrixError as refusal:
                    refusals.append(refusal)
        if refusals:
            raise refusals[0]


def room_services(ground: RoomGround) -> RoomServices:
    """All of them, built bottom-up."""
    parts = _parts(ground)
    rooms, events, writer, user_rooms = parts
    shown = _Shown(ground)
    membership = RoomMembership(ground, writer, rooms, user_rooms, shown.profile_of, shown.blocks)
    writer.follow(RoomGuests(ground, rooms, membership).note)
    drafting = writer.drafting
    third_party_invites = ThirdPartyInvites(ground, writer, rooms, user_rooms, drafting, membership)
    transactions = Transactions(ground.database, ground.stores.events, ground.clock)
    sending = RoomSending(ground, writer, rooms, events, transactions, membership)
    visibility = Visibility(ground.database, ground.stores, user_rooms)
    state = RoomState(ground, rooms, events, visibility)
    told_members = ToldMembers()
    history = RoomHistory(ground, rooms, events, visibility, state, told_members)
    receiving = Receiving(ground, parts, keys=ground.key_ring, remote=ground.client)
    state.complete = receiving.complete
    elsewhere = RemoteMembership(ground, rooms, drafting, ground.client, receiving)
    membership.elsewhere = elsewhere
    history.older = RoomBackfill(ground, events, receiving, ground.client)
    directory = RoomDirectory(ground.database, ground.stores.rooms, rooms)
    remote_directory = RemoteDirectory(ground.client, ground.clock)
    return RoomServices(
        rooms=rooms, events=events, writer=writer, user_rooms=user_rooms,
        facts=RoomFacts(rooms, user_rooms, events, ground.clock),
        transactions=transactions, visibility=visibility, membership=membership,
        third_party_invites=third_party_invites,
        creation=RoomCreation(ground, writer, membership, third_party_invites, shown.profile_of),
        sending=sending, state=state, history=history, told_members=told_members,
        relations=RoomRelations(ground, rooms, events, visibility, history),
        aliases=RoomAliases(ground, rooms, sending, remote_directory),
        directory=directory, remote_directory=remote_directory, receiving=receiving, drafting=drafting,
        restricted_joins=RestrictedJoins(rooms),
        spaces=Spaces(rooms, directory, user_rooms, ground.clock, ground.client),
        upgrades=RoomUpgrades(ground, writer, rooms, sending, shown.profile_of),
        untold_leaves=elsewhere.untold_leaves,
    )  # fmt: skip


def _parts(ground: RoomGround) -> RoomParts:
    """The rooms in memory, their events, who writes them, and who is in them."""
    stores = ground.stores
    rooms = Rooms(ground.database, (stores.rooms, stores.state, stores.received_events), ground.server_name)
    events = Events(ground.database, stores.events)
    writer = RoomWriter(ground, rooms, events)
    user_rooms = UserRooms(ground.database, stores.rooms)
    writer.follow(user_rooms.note)
    return RoomParts(rooms, events, writer, user_rooms)


class _Shown:
    """What rooms take from accounts."""

    def __init__(self, ground: RoomGround) -> None:
        self._ground = ground

    async def profile_of(self, user_id: UserId) -> JsonObject:
        """{displayname?, avatar_url?} of a local user."""
        shown = await self._ground.database.look_up(self._ground.profiles.shown, user_id)
        content: JsonObject = {}
        if shown.display_name is not None:
            content["displayname"] = shown.display_name
        if shown.avatar_url is not None:
            content["avatar_url"] = shown.avatar_url
        return content

    async def blocks(self, user_id: UserId, _sender: UserId) -> bool:
        """https://spec.matrix.org/latest/client-server-api/#invite-permission"""
        try:
            content = await self._ground.account_data.get(user_id, event_types.INVITE_PERMISSION_CONFIG)
        except NotFound:
            return False
        config = orjson.loads(content)
        return isinstance(config, dict) and config.get("default_action") == "block"
