"""Who is in a room: invite, join, knock, leave, kick, ban, unban, forget.

https://spec.matrix.org/latest/client-server-api/#room-membership
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import BadState, Forbidden, InviteBlocked, MatrixError, Unknown
from homeserver.protocol.ids import RoomId, UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.access import NotInRoom, check_guests_may_join
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import JOIN_RULES, Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.writer import Proposal, RoomWriter

ProfileOf = Callable[[UserId], Awaitable[JsonObject]]
"""{displayname?, avatar_url?} of a local user, as member events carry them."""
InviteBlocks = Callable[[UserId, UserId], Awaitable[bool]]
"""Does the first user refuse invites of the second?"""


class StillInRoom(MatrixError):
    status, errcode, default = 400, "M_UNKNOWN", "You are still in the room: leave it first"


class RoomUnreachable(Unknown):
    """No server that is in the room can be asked."""

    status, default = 404, "No server that is in this room can be reached"
    errcode = "M_NOT_FOUND"


class Change(NamedTuple):
    """A change of one user's membership that somebody asks for."""

    sender: UserId
    room_id: RoomId
    target: UserId
    membership: str
    reason: str | None = None
    extra: JsonObject | None = None


class RoomMembership:
    """Each method makes one m.room.member event, or none when there is nothing to change."""

    def __init__(
        self,
        ground: RoomGround,
        writer: RoomWriter,
        rooms: Rooms,
        user_rooms: UserRooms,
        profile_of: ProfileOf,
        blocks: InviteBlocks,
    ) -> None:
        self._writer = writer
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._database = ground.database
        self._store = ground.stores.rooms
        self._server_name = ground.server_name
        self._profile_of = profile_of
        self._blocks = blocks

    async def join(
        self, user_id: UserId, room_id: RoomId, *, reason: str | None = None, is_guest: bool = False
    ) -> None:
        """Raises RoomUnreachable for a room not known here, AuthFailure when the rules refuse."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise RoomUnreachable(f"{room_id} is not known here, and no server offered to help") from None
        if room.membership(user_id) == "join":
            return
        if is_guest:
            check_guests_may_join(room)
        content = await self._authorisation(room, user_id)
        await self._change(Change(user_id, room_id, user_id, "join", reason, content))

    async def invite(
        self, sender: UserId, room_id: RoomId, target: UserId, *, reason: str | None = None,
        extra: JsonObject | None = None,
    ) -> None:  # fmt: skip
        room = await self._of(sender, room_id)
        await self.check_invitable(sender, target)
        if room.membership(target) == "join":
            raise Forbidden(f"{target} is already in the room")
        await self._change(Change(sender, room_id, target, "invite", reason, extra))

    async def check_invitable(self, sender: UserId, target: UserId) -> None:
        """Raises InviteBlocked when the target wants no invites from the sender, or RoomUnreachable."""
        if domain_of(target) != self._server_name:
            raise RoomUnreachable(f"The server of {target} cannot be reached")
        if await self._blocks(target, sender):
            raise InviteBlocked(f"{target} does not accept invites from {sender}")

    async def knock(self, user_id: UserId, room_id: RoomId, *, reason: str | None = None) -> None:
        try:
            await self._rooms.load(room_id)
        except RoomNotFound:
            raise RoomUnreachable(f"{room_id} is not known here, and no server offered to help") from None
        await self._change(Change(user_id, room_id, user_id, "knock", reason))

    async def leave(self, user_id: UserId, room_id: RoomId, *, reason: str | None = None) -> None:
        """Leave, reject an invite or take back a knock; nothing happens when already out."""
        room = await self._known(user_id, room_id)
        if room.membership(user_id) != "leave":
            await self._change(Change(user_id, room_id, user_id, "leave", reason))

    async def kick(
        self, sender: UserId, room_id: RoomId, target: UserId, *, reason: str | None = None
    ) -> None:
        room = await self._of(sender, room_id)
        if room.membership(target) not in ("join", "invite", "knock"):
            raise Forbidden(f"{target} is not in the room")
        await self._change(Change(sender, room_id, target, "leave", reason))

    async def ban(
        self, sender: UserId, room_id: RoomId, target: UserId, *, reason: str | None = None
    ) -> None:
        await self._of(sender, room_id)
        await self._change(Change(sender, room_id, target, "ban", reason))

    async def unban(
        self, sender: UserId, room_id: RoomId, target: UserId, *, reason: str | None = None
    ) -> None:
        room = await self._of(sender, room_id)
        if room.membership(target) != "ban":
            raise BadState(f"{target} is not banned")
        await self._change(Change(sender, room_id, target, "leave", reason))

    async def forget(self, user_id: UserId, room_id: RoomId) -> None:
        """Raises StillInRoom; NotFound for a room the user never had to do with."""
        room = await self._known(user_id, room_id)
        if room.membership(user_id) not in ("leave", "ban"):
            raise StillInRoom(f"{user_id} is in {room_id}: leave it first")
        await self._database.write(self._store.forget, room.nid, user_id)
        self._user_rooms.forget(user_id, room_id)

    async def renew_profile(self, user_id: UserId, room_id: RoomId) -> None:
        """Say the user's present name and picture in a room they are joined to."""
        room = await self._rooms.load(room_id)
        if room.membership(user_id) != "join":
            return
        content: JsonObject = {}
        event = room.event((event_types.MEMBER, user_id))
        if event is not None and "join_authorised_via_users_server" in event.content:
            content |= await self._authorisation(room, user_id)
        await self._change(Change(user_id, room_id, user_id, "join", extra=content))

    async def _change(self, change: Change) -> None:
        content: JsonObject = dict(change.extra or {})
        content["membership"] = change.membership
        if change.reason is not None:
            content["reason"] = change.reason
        if change.membership in ("join", "invite", "knock") and domain_of(change.target) == self._server_name:
            content = {**await self._profile_of(change.target), **content}
        proposal = Proposal(event_types.MEMBER, change.sender, content, state_key=change.target)
        await self._writer.append(change.room_id, [proposal])

    async def _authorisation(self, room: Room, user_id: UserId) -> JsonObject:
        """What a restricted join needs: a member who may invite, if the user meets a condition."""
        rules = room.event(JOIN_RULES)
        if rules is None or rules.content.get("join_rule") not in ("restricted", "knock_restricted"):
            return {}
        if room.membership(user_id) in ("join", "invite"):
            return {}
        if not await self._meets_a_condition(rules.content.get("allow"), user_id):
            raise Forbidden(f"You are in none of the rooms whose members may join {room.room_id}")
        levels = PowerLevels(room.events)
        strongest = max(room.joined_local, key=levels.of_user, default=None)
        if strongest is not None and levels.of_user(strongest) >= levels.to_invite:
            return {"join_authorised_via_users_server": strongest}
        raise Forbidden(f"Nobody of this server may invite to {room.room_id}")

    async def _meets_a_condition(self, allow: object, user_id: UserId) -> bool:
        joined = set(await self._user_rooms.joined(user_id))
        return isinstance(allow, list) and any(
            isinstance(condition, dict)
            and condition.get("type") == "m.room_membership"
            and condition.get("room_id") in joined
            for condition in allow
        )

    async def _of(self, sender: UserId, room_id: RoomId) -> Room:
        room = await self._known(sender, room_id)
        if room.membership(sender) != "join":
            raise NotInRoom(f"{sender} is not in {room_id}")
        return room

    async def _known(self, user_id: UserId, room_id: RoomId) -> Room:
        """The room, with which the user has or had to do."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotInRoom(f"{user_id} is not in {room_id}") from None
        if room.membership(user_id) is None:
            raise NotInRoom(f"{user_id} is not in {room_id}")
        return room
