"""Who is in a room: invite, join, knock, leave, kick, ban, unban, forget.

https://spec.matrix.org/latest/client-server-api/#room-membership
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol import event_types
from homeserver.protocol.errors import (
    BadState,
    Forbidden,
    GuestAccessForbidden,
    InviteBlocked,
    MatrixError,
    Unknown,
)
from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.concurrency import KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.access import NotInRoom, check_guests_may_join
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.restricted_joins import AUTHORISED_VIA, RestrictedJoins, Verdict
from homeserver.services.rooms.room import CREATE, Room
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


class Elsewhere(Protocol):
    """What needs the help of other servers. `content` is that of the whole member event."""

    async def join(self, change: Change, content: JsonObject, via: Sequence[ServerName]) -> None:
        """Join a room this server is not in, or whose members here cannot let the user in."""

    async def knock(self, change: Change, content: JsonObject, via: Sequence[ServerName]) -> None:
        """Knock at a room this server is not in."""

    async def leave(self, change: Change, content: JsonObject) -> None:
        """Refuse an invite to, or take back a knock at, a room this server is not in."""

    async def invite(self, room: Room, change: Change, content: JsonObject) -> None:
        """Invite a user of another server, or in the name of one."""

    async def exchange(self, change: Change, content: JsonObject) -> None:
        """Have a third-party invite to a room this server is not in turned into one of our user."""


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
        """`elsewhere` is to be set before anything is asked."""
        self.elsewhere: Elsewhere
        self.blocks = blocks
        self._joining: KeyedLock = KeyedLock()  # for rooms elsewhere: the second to come finds us there
        self._writer = writer
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._database = ground.database
        self._store = ground.stores.rooms
        self._identifiers = ground.stores.identifiers
        self._server_name = ground.server_name
        self.profile_of = profile_of
        self._restricted = RestrictedJoins(rooms)

    async def join(
        self, user_id: UserId, room_id: RoomId, *, via: Sequence[ServerName] = (), reason: str | None = None,
        is_guest: bool = False,
    ) -> None:  # fmt: skip
        """With the help of other servers (`via`, and those that invited) where this one is not in the room.

        Raises RoomUnreachable, AuthFailure when the rules refuse.
        """
        change = Change(user_id, room_id, user_id, "join", reason)
        room = await self.hosted(room_id, user_id)
        if room is None:
            if is_guest:
                raise GuestAccessForbidden("Guests may join rooms of this server only")
            async with self._joining.hold(room_id):
                room = await self.hosted(room_id, user_id)
                if room is None:
                    await self.elsewhere.join(change, await self._content(change), via)
                    return
        if room.membership(user_id) == "join":
            return
        if is_guest:
            check_guests_may_join(room)
        more = await self.authorise(room, user_id)
        if more is not None:
            await self._change(change._replace(extra=more))
        else:
            await self.elsewhere.join(change, await self._content(change), via)

    async def authorise(self, room: Room, user_id: UserId) -> JsonObject | None:
        """What the join of a user of ours needs in its content. None: others can let them in, we cannot.

        Raises Forbidden when they meet no condition, or nobody can let them in.
        """
        if not self._restricted.needs_condition(room, user_id):
            return {}
        if await self._restricted.verdict(room, user_id) is not Verdict.MET:  # we are wherever they are
            raise Forbidden(f"You are in none of the rooms whose members may join {room.room_id}")
        authoriser = self._restricted.authoriser(room)
        if authoriser is not None:
            return {AUTHORISED_VIA: authoriser}
        if room.is_shared:
            return None
        raise Forbidden(f"Nobody of this server may invite to {room.room_id}")

    async def invite(
        self, sender: UserId, room_id: RoomId, target: UserId, *, reason: str | None = None,
        extra: JsonObject | None = None,
    ) -> None:  # fmt: skip
        room = await self._of(sender, room_id)
        await self.check_invitable(sender, target)
        if room.membership(target) == "join":
            raise Forbidden(f"{target} is already in the room")
        change = Change(sender, room_id, target, "invite", reason, extra)
        if self.is_local(target):
            await self._change(change)
        else:
            await self.elsewhere.invite(room, change, await self._content(change))

    async def complete_invite(
        self, sender: UserId, room_id: RoomId, target: UserId, third_party_invite: JsonObject
    ) -> None:
        """Turn a third-party invite into that of a Matrix user, in the name of who made it.

        Where this server is not in the room, another is asked to. Raises RoomUnreachable, AuthFailure,
        InviteBlocked.
        """
        await self.check_invitable(sender, target)
        extra: JsonObject = {"third_party_invite": third_party_invite}
        change = Change(sender, room_id, target, "invite", extra=extra)
        room = await self.hosted(room_id, target)
        if room is None:
            await self.elsewhere.exchange(change, {**extra, "membership": "invite"})
        elif self.is_local(target) and self.is_local(sender):
            await self._change(change)
        else:
            await self.elsewhere.invite(room, change, await self._content(change))

    async def check_invitable(self, sender: UserId, target: UserId) -> None:
        """Raises InviteBlocked when the target, of this server, wants no invites from the sender."""
        if self.is_local(target) and await self.blocks(target, sender):
            raise InviteBlocked(f"{target} does not accept invites from {sender}")

    def is_local(self, user_id: UserId) -> bool:
        return domain_of(user_id) == self._server_name

    async def knock(
        self, user_id: UserId, room_id: RoomId, *, via: Sequence[ServerName] = (), reason: str | None = None
    ) -> None:
        """Raises RoomUnreachable, AuthFailure."""
        change = Change(user_id, room_id, user_id, "knock", reason)
        if await self.hosted(room_id, user_id) is None:
            await self.elsewhere.knock(change, await self._content(change), via)
        else:
            await self._change(change)

    async def leave(self, user_id: UserId, room_id: RoomId, *, reason: str | None = None) -> None:
        """Leave, reject an invite or take back a knock; nothing happens when already out."""
        change = Change(user_id, room_id, user_id, "leave", reason)
        if await self.hosted(room_id, user_id) is None:
            place = (await self._user_rooms.load(user_id)).get(room_id)
            if place is None:
                raise NotInRoom(f"{user_id} is not in {room_id}")
            if place.membership in ("invite", "knock"):
                await self.elsewhere.leave(change, await self._content(change))
            return
        room = await self._known(user_id, room_id)
        if room.membership(user_id) != "leave":
            await self._change(change)

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
        """Raises StillInRoom; NotInRoom for a room the user never had to do with."""
        place = (await self._user_rooms.load(user_id)).get(room_id)
        if place is None:
            raise NotInRoom(f"{user_id} is not in {room_id}")
        if place.membership not in ("leave", "ban"):
            raise StillInRoom(f"{user_id} is in {room_id}: leave it first")
        await self._database.write(self._forget, room_id, user_id)
        self._user_rooms.forget(user_id, room_id)

    async def renew_profile(self, user_id: UserId, room_id: RoomId) -> None:
        """Say the user's present name and picture in a room they are joined to."""
        room = await self._rooms.load(room_id)
        if room.membership(user_id) != "join":
            return
        await self._change(Change(user_id, room_id, user_id, "join"))

    async def _change(self, change: Change) -> None:
        proposal = Proposal(
            event_types.MEMBER, change.sender, await self._content(change), state_key=change.target
        )
        await self._writer.append(change.room_id, [proposal])

    async def _content(self, change: Change) -> JsonObject:
        """That of the member event, with the name and picture of a user of ours."""
        content: JsonObject = dict(change.extra or {})
        content["membership"] = change.membership
        if change.reason is not None:
            content["reason"] = change.reason
        if change.membership in ("join", "invite", "knock") and self.is_local(change.target):
            content = {**await self.profile_of(change.target), **content}
        return content

    async def hosted(self, room_id: RoomId, user_id: UserId) -> Room | None:
        """The room, if this server is in it, or was its last one: then nobody else could help the user.

        Unless they were invited from outside since: then somebody is there after all.
        """
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            return None
        if not room.joined_local and (room.is_shared or await self._is_asked_outside(room, user_id)):
            return None
        return room if CREATE in room.state else None

    async def _is_asked_outside(self, room: Room, user_id: UserId) -> bool:
        """Has the user an invite or a knock of which the room, as it is known here, knows nothing?"""
        place = (await self._user_rooms.load(user_id)).get(room.room_id) if self.is_local(user_id) else None
        if place is None or place.membership not in ("invite", "knock"):
            return False
        standing = room.state.get((event_types.MEMBER, user_id))
        return standing is None or place.since not in (standing.nid, standing.since)

    def _forget(self, txn: Transaction, room_id: RoomId, user_id: UserId) -> None:
        room_nid = self._identifiers.room_nid(txn, room_id)
        if room_nid is not None:
            self._store.forget(txn, room_nid, user_id)

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
