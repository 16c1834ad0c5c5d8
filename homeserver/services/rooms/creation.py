"""/createRoom: the first events of a room, in the order the specification gives.

https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3createroom
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from homeserver.protocol import event_types
from homeserver.protocol.canonical_json import encode
from homeserver.protocol.errors import (
    AuthFailure,
    BadJson,
    InvalidRoomState,
    MatrixError,
    RoomInUse,
)
from homeserver.protocol.ids import RoomAlias, RoomId, ServerName, UserId, parse_room_alias, parse_user_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import ProfileOf, RoomMembership
from homeserver.services.rooms.third_party_invites import ThirdPartyInvites, Wanted
from homeserver.services.rooms.writer import Proposal, RoomWriter
from homeserver.storage.rooms import AliasRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StateItem:
    """One of `initial_state`."""

    type: str
    content: JsonObject
    state_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRoom:
    """What a client asks for."""

    visibility: str = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Sequence[str] = ()
    invite_3pid: Sequence[Wanted] = ()
    room_version: str | None = None
    creation_content: JsonObject = field(default_factory=dict)
    initial_state: Sequence[StateItem] = ()
    preset: str | None = None
    is_direct: bool = False
    power_level_content_override: JsonObject = field(default_factory=dict)


_PRESETS: dict[str, tuple[tuple[str, JsonObject], ...]] = {
    preset: (
        (event_types.JOIN_RULES, {"join_rule": join_rule}),
        (event_types.HISTORY_VISIBILITY, {"history_visibility": "shared"}),
        (event_types.GUEST_ACCESS, {"guest_access": guest_access}),
    )
    for preset, join_rule, guest_access in (
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    )
}


class RoomCreation:
    """Makes rooms."""

    def __init__(
        self, ground: RoomGround, writer: RoomWriter, membership: RoomMembership,
        third_party_invites: ThirdPartyInvites, profile_of: ProfileOf,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._membership = membership
        self._third_party_invites = third_party_invites
        self._store = ground.stores.rooms
        self._profile_of = profile_of
        self._server_name = ground.server_name
        self._default_version = ground.default_version

    async def create(self, creator: UserId, wanted: NewRoom) -> RoomId:
        """Raises UnsupportedRoomVersion, RoomInUse, InvalidRoomState, InviteBlocked, Forbidden."""
        version = room_version(wanted.room_version or self._default_version)
        invites = [parse_user_id(user_id) for user_id in dict.fromkeys(wanted.invite) if user_id != creator]
        for user_id in invites:
            await self._membership.check_invitable(creator, user_id)
        alias = self._alias(wanted.room_alias_name)
        elsewhere = [user_id for user_id in invites if not self._membership.is_local(user_id)]
        proposals = await self._first_events(creator, wanted, version, alias, invites)
        try:
            room = await self._writer.found(
                version,
                new_room_id(version, self._server_name),
                proposals,
                self._bookkeeping(creator, alias, public=wanted.visibility == "public"),
            )
        except AuthFailure as refused:
            raise InvalidRoomState(
                f"The room would refuse its own first events: {refused.message}"
            ) from refused
        await self._invite_others(creator, room.room_id, elsewhere, wanted)
        return room.room_id

    async def _invite_others(
        self, creator: UserId, room_id: RoomId, elsewhere: Sequence[UserId], wanted: NewRoom
    ) -> None:
        """Invite those for whom other servers must be asked. The room stands whether or not they answer."""
        extra: JsonObject = {"is_direct": True} if wanted.is_direct else {}
        invite, offer = self._membership.invite, self._third_party_invites.offer
        for asking in chain(
            (invite(creator, room_id, user_id, extra=extra) for user_id in elsewhere),
            (offer(creator, room_id, invited, extra=extra) for invited in wanted.invite_3pid),
        ):
            try:
                await asking
            except MatrixError as error:
                logger.info("Somebody could not be invited to the new %s: %s", room_id, error)

    def _alias(self, localpart: str | None) -> RoomAlias | None:
        if localpart is None:
            return None
        if ":" in localpart or "\0" in localpart or not localpart:
            raise BadJson("room_alias_name is the part of an alias before the colon, without the #")
        return parse_room_alias(f"#{localpart}:{self._server_name}")

    def _bookkeeping(
        self, creator: UserId, alias: RoomAlias | None, *, public: bool
    ) -> Callable[[Transaction, RoomId], None]:
        def keep(txn: Transaction, room_id: RoomId) -> None:
            if alias is not None and not self._store.add_alias(txn, AliasRow(alias, room_id, creator)):
                raise RoomInUse(f"{alias} is taken")
            if public:
                self._store.set_public(txn, room_id, public=True)

        return keep

    async def _first_events(
        self, creator: UserId, wanted: NewRoom, version: RoomVersion, alias: RoomAlias | None,
        invites: Sequence[UserId],
    ) -> list[Proposal]:  # fmt: skip
        preset = wanted.preset or ("public_chat" if wanted.visibility == "public" else "private_chat")
        join: JsonObject = {**await self._profile_of(creator), "membership": "join"}
        events: list[tuple[str, str, JsonObject]] = [
            (event_types.CREATE, "", self._creation_content(creator, wanted, version, preset, invites)),
            (event_types.MEMBER, creator, join),
        ]
        given = {(item.type, item.state_key): item.content for item in wanted.initial_state}
        if (event_types.POWER_LEVELS, "") not in given:
            events.append(
                (event_types.POWER_LEVELS, "", self._power_levels(creator, wanted, version, invites))
            )
        if alias is not None:
            events.append((event_types.CANONICAL_ALIAS, "", {"alias": alias}))
        named = {event_types.NAME: wanted.name is not None, event_types.TOPIC: wanted.topic is not None}
        events += [(type_, "", content) for type_, content in _PRESETS[preset] if (type_, "") not in given]
        events += [
            (item.type, item.state_key, item.content)
            for item in wanted.initial_state
            if not (named.get(item.type) and item.state_key == "")
        ]
        if wanted.name is not None:
            events.append((event_types.NAME, "", {"name": wanted.name}))
        if wanted.topic is not None:
            events.append((event_types.TOPIC, "", _topic(wanted.topic)))
        for user_id in filter(self._membership.is_local, invites):
            invite: JsonObject = {**await self._profile_of(user_id), "membership": "invite"}
            if wanted.is_direct:
                invite["is_direct"] = True
            events.append((event_types.MEMBER, user_id, invite))
        return [Proposal(type_, creator, content, state_key=key) for type_, key, content in events]

    def _creation_content(
        self, creator: UserId, wanted: NewRoom, version: RoomVersion, preset: str, invites: Sequence[UserId]
    ) -> JsonObject:
        content: JsonObject = dict(wanted.creation_content)
        content.pop("creator", None)
        content["room_version"] = version.version
        if version.creator_in_content:
            content["creator"] = creator
        if not version.privileged_creators:
            content.pop("additional_creators", None)
        elif "additional_creators" in content or (preset == "trusted_private_chat" and invites):
            given = content.get("additional_creators", [])
            if not isinstance(given, list) or not all(isinstance(user_id, str) for user_id in given):
                raise BadJson("creation_content.additional_creators is a list of user ids")
            more = invites if preset == "trusted_private_chat" else ()
            content["additional_creators"] = list(dict.fromkeys([*given, *more]))
        encode(content)
        return content

    def _power_levels(
        self, creator: UserId, wanted: NewRoom, version: RoomVersion, invites: Sequence[UserId]
    ) -> JsonObject:
        users: dict[str, Json] = {}
        if not version.privileged_creators:
            users[creator] = 100
            if wanted.preset == "trusted_private_chat":
                users |= dict.fromkeys(invites, 100)
        content: JsonObject = {
            "ban": 50, "events_default": 0, "invite": 0, "kick": 50, "redact": 50,
            "state_default": 50, "users_default": 0, "users": users,
            "events": {
                event_types.AVATAR: 50, event_types.CANONICAL_ALIAS: 50, event_types.ENCRYPTION: 100,
                event_types.HISTORY_VISIBILITY: 100, event_types.NAME: 50, event_types.POWER_LEVELS: 100,
                event_types.SERVER_ACL: 100,
                event_types.TOMBSTONE: 150 if version.privileged_creators else 100,
            },
        }  # fmt: skip
        override = wanted.power_level_content_override
        if version.privileged_creators and isinstance(override.get("users"), dict):
            creators = {creator, *invites} if wanted.preset == "trusted_private_chat" else {creator}
            if creators & set(override["users"]):  # type: ignore[arg-type]
                raise BadJson("power_level_content_override.users cannot name a creator of the room")
        return {**content, **override}


def new_room_id(version: RoomVersion, server_name: ServerName) -> RoomId | None:
    """None where the create event gives the room its ID."""
    return None if version.room_id_is_create_hash else RoomId(f"!{secrets.token_urlsafe(18)}:{server_name}")


def _topic(topic: str) -> JsonObject:
    """https://spec.matrix.org/latest/client-server-api/#mroomtopic"""
    return {"topic": topic, "m.topic": {"m.text": [{"body": topic, "mimetype": "text/plain"}]}}
