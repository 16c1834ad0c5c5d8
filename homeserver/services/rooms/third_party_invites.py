"""Invites of people by e-mail address or phone number, and how they become invites of Matrix users.

    offer     a client names an address -> an identity server knows whose it is: an ordinary invite
              -> it does not: it writes to the address, and the room gets an offer (m.room.third_party_invite)
    complete  somebody shows that an identity server has signed for them -> the offer becomes their invite

https://spec.matrix.org/latest/client-server-api/#third-party-invites
"""

from itertools import islice
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import Forbidden, InvalidParam, ServerNotTrusted, TermsNotSigned
from homeserver.protocol.events import Event
from homeserver.protocol.ids import RoomId, ServerName, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.third_party_invites import OfferedKey, keys_that_signed
from homeserver.remote.errors import RemoteError, RemoteRefused
from homeserver.remote.identity_servers import Address, StoredInvite
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.memory import Memory
from homeserver.services.rooms.access import joined_room
from homeserver.services.rooms.drafting import Drafting
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import RoomMembership
from homeserver.services.rooms.room import CREATE, JOIN_RULES, Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.writer import Proposal, RoomWriter

MOST_CHECKS = 32
"""Pairs of key and signature that are tried for one proof: identity servers give two or three."""
MOST_KEYS = 5
"""Of one offer so many are asked about."""
MOST_KEY_CHARACTERS = 100
KEYS_REMEMBERED = 5_000
KEY_REMEMBERED_S = 600.0
_DESCRIPTION = (
    ("room_alias", event_types.CANONICAL_ALIAS, "alias"),
    ("room_avatar_url", event_types.AVATAR, "url"),
    ("room_join_rules", JOIN_RULES[0], "join_rule"),
    ("room_name", event_types.NAME, "name"),
    ("room_type", CREATE[0], "type"),
)
"""What an identity server may tell the invited of the room: its word, the event, the field."""


class Wanted(NamedTuple):
    """Whom a client wants invited, and the identity server to ask, with the user's token for it."""

    server: ServerName
    token: str
    address: Address


class Proof(NamedTuple):
    """What an identity server has signed for somebody, and who made the offer that it is about."""

    sender: UserId
    signed: JsonObject

    @property
    def token(self) -> str:
        """The offer's state key. Raises InvalidParam."""
        token = self.signed.get("token")
        if not isinstance(token, str):
            raise InvalidParam("A signed third-party invite has a token")
        return token


class ThirdPartyInvites:
    """Makes offers, and completes them."""

    def __init__(
        self, ground: RoomGround, writer: RoomWriter, rooms: Rooms, user_rooms: UserRooms,
        drafting: Drafting, membership: RoomMembership,
    ) -> None:  # fmt: skip
        self._identity = ground.identity_servers
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._drafting = drafting
        self._writer = writer
        self._membership = membership
        self._asking: Coalescing[OfferedKey, bool] = Coalescing()
        self._validity: Memory[OfferedKey, bool] = Memory(ground.clock, KEYS_REMEMBERED)

    def check_trusted(self, server: ServerName) -> None:
        """Raises ServerNotTrusted."""
        if not self._identity.trusts(server):
            raise ServerNotTrusted(f"This server does not give people's addresses to {server}")

    async def offer(
        self, sender: UserId, room_id: RoomId, wanted: Wanted, *, extra: JsonObject | None = None
    ) -> None:
        """Invite whoever has the address. `extra` goes into the invite of somebody who is known.

        Raises ServerNotTrusted, NotInRoom, Forbidden, TermsNotSigned, RemoteError.
        """
        self.check_trusted(wanted.server)
        room = await joined_room(self._rooms, room_id, sender)
        levels = PowerLevels(room.events)
        if levels.of_user(sender) < levels.to_invite:
            raise Forbidden(f"Inviting to {room_id} needs power level {levels.to_invite}")
        try:
            invited = await self._identity.look_up(*wanted) or await self._stored(room, sender, wanted)
        except RemoteRefused as refusal:
            if refusal.remote_errcode == TermsNotSigned.errcode:
                raise TermsNotSigned(refusal.message) from refusal
            raise
        if isinstance(invited, StoredInvite):
            proposal = Proposal(
                event_types.THIRD_PARTY_INVITE, sender, invited.content, state_key=invited.token
            )
            await self._writer.append(room_id, [proposal])
        else:
            await self._membership.invite(sender, room_id, invited, extra=extra)

    async def complete(self, room_id: RoomId, target: UserId, proof: Proof) -> None:
        """Invite a user who has a proof; nothing happens when they are invited already, or in the room.

        Raises Forbidden, AuthFailure, InviteBlocked; RoomUnreachable, RemoteError when it cannot be told now.
        """
        if proof.signed.get("mxid") != target:
            raise Forbidden(f"The third-party invite is not signed for {target}")
        place = (
            (await self._user_rooms.load(target)).get(room_id) if self._membership.is_local(target) else None
        )
        if place is not None and place.membership in ("join", "invite"):
            return
        name = target[1:].partition(":")[0]  # better known where the offer is
        room = await self._membership.hosted(room_id, target)
        if room is not None:
            if room.membership(target) in ("join", "invite"):
                return
            await self._check_signed(await self._pending(room, target, proof), proof)
            offer = await self._pending(room, target, proof)  # others may have acted meanwhile
            offered_name = offer.content.get("display_name")
            name = offered_name if isinstance(offered_name, str) else name
        content: JsonObject = {"display_name": name, "signed": proof.signed}
        await self._membership.complete_invite(proof.sender, room_id, target, content)

    async def _stored(self, room: Room, sender: UserId, wanted: Wanted) -> StoredInvite | UserId:
        """Have the identity server write to the address."""
        invite: JsonObject = {
            "medium": wanted.address.medium, "address": wanted.address.address, "room_id": room.room_id,
            "sender": sender,
        }  # fmt: skip
        for word, type_, name in _DESCRIPTION:
            value = room.content_of(type_).get(name)
            if isinstance(value, str):
                invite[word] = value
        shown = await self._membership.profile_of(sender)
        for word, name in (("sender_display_name", "displayname"), ("sender_avatar_url", "avatar_url")):
            if name in shown:
                invite[word] = shown[name]
        return await self._identity.store_invite(wanted.server, wanted.token, invite)

    async def _pending(self, room: Room, target: UserId, proof: Proof) -> Event:
        """The offer. Who left or was removed since needs a new one; the rules alone would let them in."""
        key, own = (event_types.THIRD_PARTY_INVITE, proof.token), (event_types.MEMBER, target)
        known = await self._drafting.recall(room, [key, own])
        offer, member = known.get(key), known.get(own)
        if offer is None or offer.sender != proof.sender:
            raise Forbidden(
                f"{proof.sender} has made no third-party invite to {room.room_id} with this token"
            )
        if room.membership(proof.sender) == "ban":
            raise Forbidden(f"{proof.sender}, who made the third-party invite, is banned")
        if member is not None and member.membership in ("leave", "ban") and member.depth > offer.depth:
            raise Forbidden(f"{target} has left {room.room_id} since the third-party invite was made")
        return offer

    async def _check_signed(self, offer: Event, proof: Proof) -> None:
        """Raises Forbidden unless a key of the offer has signed that is good to this day; RemoteError."""
        signers = keys_that_signed(proof.signed, offer.content, most_checks=MOST_CHECKS)
        keys = [key for key in islice(signers, MOST_KEYS) if len(key.public_key) <= MOST_KEY_CHARACTERS]
        problems: list[RemoteError] = []
        for key in keys:
            try:
                if await self._is_valid(key):
                    return
            except RemoteError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        if keys:
            raise Forbidden("The key that has signed the third-party invite is not valid any more")
        raise Forbidden("No key of the third-party invite has signed it, or it was revoked")

    async def _is_valid(self, key: OfferedKey) -> bool:
        """Raises RemoteError when nobody could tell, which is not remembered."""
        if key.validity_url is None:
            return True
        known = self._validity.get(key)
        return known if known is not None else await self._asking.run(key, lambda: self._ask(key))

    async def _ask(self, key: OfferedKey) -> bool:
        is_valid = await self._identity.is_valid(key.validity_url or "", key.public_key)
        self._validity.keep(key, is_valid, KEY_REMEMBERED_S)
        return is_valid
