"""Sending into a room: messages, state, redactions.

https://spec.matrix.org/latest/client-server-api/#sending-events-to-a-room
"""

from collections.abc import Mapping

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import (
    BadAlias,
    BadJson,
    DuplicateAnnotation,
    Forbidden,
    InvalidParam,
    NotFound,
    UserSuspended,
)
from homeserver.protocol.ids import (
    EventId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    domain_of,
    parse_room_alias,
    parse_user_id,
)
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.relations import ANNOTATION, THREAD, check_may_begin_thread, relation_of
from homeserver.protocol.requester import Requester
from homeserver.services.rooms.access import NotInRoom, check_guests_may_join, joined_room
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import RoomMembership
from homeserver.services.rooms.remote_directory import RemoteDirectory
from homeserver.services.rooms.restricted_joins import AUTHORISED_VIA
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.transactions import TransactionKey, Transactions
from homeserver.services.rooms.writer import Proposal, RoomWriter
from homeserver.storage.events import txn_of


class RoomSending:
    """What a member does in a room beside coming and going."""

    def __init__(
        self,
        ground: RoomGround,
        writer: RoomWriter,
        rooms: Rooms,
        events: Events,
        transactions: Transactions,
        membership: RoomMembership,
    ) -> None:
        self._remote = RemoteDirectory(ground.client, ground.clock)
        self._writer = writer
        self._rooms = rooms
        self._events = events
        self._transactions = transactions
        self._membership = membership
        self._database = ground.database
        self._store = ground.stores.rooms
        self._relations = ground.stores.relations
        self._server_name = ground.server_name

    async def send(
        self, requester: Requester, room_id: RoomId, type_: str, content: JsonObject, txn_id: str
    ) -> EventId:
        """A message event; the same transaction id from the same device gives the same event."""
        device = requester.device_id or ""

        async def send() -> EventId:
            if type_ == event_types.REDACTION:
                return await self._redact(requester, room_id, content, txn_of(device, txn_id))
            if "m.relates_to" in content:
                await self._check_relation(requester.user_id, room_id, type_, content)
            proposal = Proposal(type_, requester.user_id, content, txn=txn_of(device, txn_id))
            await joined_room(self._rooms, room_id, requester.user_id)
            return (await self._writer.append(room_id, [proposal]))[0].event_id

        return await self._transactions.once(
            requester.user_id, device, TransactionKey(room_id, type_, txn_id), send
        )

    async def redact(
        self, requester: Requester, room_id: RoomId, target: EventId, txn_id: str, *, reason: str | None
    ) -> EventId:
        content: JsonObject = {"redacts": target}
        if reason is not None:
            content["reason"] = reason
        device = requester.device_id or ""
        return await self._transactions.once(
            requester.user_id, device, TransactionKey(room_id, event_types.REDACTION, txn_id),
            lambda: self._redact(requester, room_id, content, txn_of(device, txn_id)),
        )  # fmt: skip

    async def set_state(
        self, user_id: UserId, room_id: RoomId, type_: str, state_key: str, content: JsonObject,
        *, is_guest: bool = False,
    ) -> EventId:  # fmt: skip
        """A state event; content equal to what stands already makes no new event."""
        room = await joined_room(self._rooms, room_id, user_id) if type_ != event_types.MEMBER else None
        if type_ == event_types.CREATE:
            raise Forbidden("A room has one create event, its first")
        if type_ == event_types.MEMBER:
            return await self._set_membership(user_id, room_id, state_key, content, is_guest=is_guest)
        assert room is not None
        if type_ == event_types.CANONICAL_ALIAS:
            await self._check_aliases(room, content)
        if type_ == event_types.SERVER_ACL:
            _check_acl(content, self._server_name)
        before = room.event((type_, state_key))
        if before is not None and before.content == content and before.sender == user_id:
            return before.event_id
        proposal = Proposal(type_, user_id, content, state_key=state_key)
        return (await self._writer.append(room_id, [proposal]))[0].event_id

    async def _set_membership(
        self, user_id: UserId, room_id: RoomId, target: str, content: Mapping[str, Json], *, is_guest: bool
    ) -> EventId:
        """PUT of an m.room.member event: the same rules and courtesies as its own endpoints."""
        membership = content.get("membership")
        if membership not in ("join", "invite", "leave", "ban", "knock"):
            raise BadJson("content.membership is one of join, invite, leave, ban, knock")
        parse_user_id(target)
        if membership == "invite":
            await self._membership.check_invitable(user_id, UserId(target))
            if not self._membership.is_local(UserId(target)):
                await self._membership.invite(user_id, room_id, UserId(target), extra=dict(content))
                return (await self._rooms.load(room_id)).state[event_types.MEMBER, target].event_id
        room = await self._membership.hosted(room_id, user_id)
        if room is None:
            raise NotInRoom(f"{user_id} is not in {room_id}, nor is this server")
        if membership == "join" and is_guest:
            check_guests_may_join(room)
        body = {key: value for key, value in content.items() if key != AUTHORISED_VIA}
        if membership == "join" and target == user_id:
            more = await self._membership.authorise(room, user_id)
            if more is None:
                raise Forbidden(f"Only other servers can let you into {room_id}: join, rather than say so")
            body |= more
        proposal = Proposal(event_types.MEMBER, user_id, body, state_key=target)
        return (await self._writer.append(room_id, [proposal]))[0].event_id

    async def _redact(self, requester: Requester, room_id: RoomId, content: JsonObject, txn: str) -> EventId:
        user_id = requester.user_id
        room = await joined_room(self._rooms, room_id, user_id)
        redacts = content.get("redacts")
        if not isinstance(redacts, str):
            raise BadJson("A redaction names the event to redact in `redacts`")
        target = await self._events.by_id(EventId(redacts))
        if target is None and (room.has_gaps or room.is_shared):
            is_own = False  # it may be elsewhere, old or on its way: what our users sent is here
        elif target is None or target.room_id != room_id:
            raise NotFound(f"{redacts} is not an event of this room")
        elif target.type == event_types.CREATE:
            raise Forbidden("The create event of a room cannot be redacted")
        else:
            is_own = target.sender == user_id
        if not is_own and requester.is_suspended:
            raise UserSuspended("While suspended you may redact only your own events")
        levels = PowerLevels(room.events)
        if not is_own and levels.of_user(user_id) < levels.to_redact:
            raise Forbidden("You may redact only your own events here")
        rest: JsonObject = {key: value for key, value in content.items() if key != "redacts"}
        proposal = Proposal(event_types.REDACTION, user_id, rest, redacts=EventId(redacts), txn=txn)
        return (await self._writer.append(room_id, [proposal]))[0].event_id

    async def _check_relation(
        self, user_id: UserId, room_id: RoomId, type_: str, content: JsonObject
    ) -> None:
        """Raises BadRelation, DuplicateAnnotation."""
        relation = relation_of(content)
        if relation is None:
            return
        parent_id = relation.event_id
        if relation.rel_type == THREAD:
            root = await self._events.by_id(parent_id)
            if root is not None and root.room_id == room_id:
                check_may_begin_thread(root.content)
            return
        key = relation.key if relation.rel_type == ANNOTATION and type_ == event_types.REACTION else None
        if key is not None and await self._database.read(
            self._relations.has_annotated, user_id, parent_id, key
        ):
            raise DuplicateAnnotation(f"You have reacted to {parent_id} with this already")

    async def _check_aliases(self, room: Room, content: JsonObject) -> None:
        """New aliases of m.room.canonical_alias must point here. Raises InvalidParam, BadAlias."""
        before = room.content_of(event_types.CANONICAL_ALIAS)
        old = {before.get("alias"), *_alias_list(before)}
        alias = content.get("alias")
        if alias is not None and not isinstance(alias, str):
            raise InvalidParam("alias is a room alias")
        for wanted in dict.fromkeys([*([alias] if alias else []), *_alias_list(content)]):
            if wanted in old:
                continue
            parsed = parse_room_alias(wanted)
            if await self._room_of(parsed) != room.room_id:
                raise BadAlias(f"{parsed} does not point to this room")

    async def _room_of(self, alias: RoomAlias) -> RoomId | None:
        if domain_of(alias) == self._server_name:
            row = await self._database.read(self._store.alias, alias)
            return None if row is None else row.room_id
        try:
            return (await self._remote.locate(alias)).room_id
        except NotFound as error:
            raise BadAlias(error.message) from error


def _alias_list(content: Mapping[str, object]) -> list[str]:
    given = content.get("alt_aliases", [])
    if not isinstance(given, list) or not all(isinstance(alias, str) for alias in given):
        raise InvalidParam("alt_aliases is a list of room aliases")
    return given


def _check_acl(content: JsonObject, server_name: ServerName) -> None:
    """An operator of a room should not shut out their own server by a slip."""
    allow = content.get("allow", [])
    deny = content.get("deny", [])
    for name, value in (("allow", allow), ("deny", deny)):
        if not isinstance(value, list):
            raise BadJson(f"content.{name} is a list of server names")
    if not allow:
        raise BadJson(f"An empty allow list would shut everybody out, {server_name} included")
