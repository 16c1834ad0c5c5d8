"""Coming and going.

https://spec.matrix.org/latest/client-server-api/#room-membership
"""

from typing import Any

import msgspec

from homeserver.api.client.events import HasRooms
from homeserver.api.client.third_party_invites import ByAddress, HasThirdPartyInvites, count, proof_of
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam, MissingParam
from homeserver.protocol.ids import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    is_server_name,
    parse_room_id,
    parse_user_id,
)
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.services.rooms.remote_directory import Located

MOST_MUTUAL = 500


class Reason(msgspec.Struct):
    reason: str | None = None


class Join(msgspec.Struct):
    reason: str | None = None
    third_party_signed: dict[str, Any] | None = None


class About(msgspec.Struct):
    """Somebody else."""

    user_id: str
    reason: str | None = None

    @property
    def target(self) -> UserId:
        return parse_user_id(self.user_id)


class Invite(msgspec.Struct):
    user_id: str | None = None
    reason: str | None = None
    address: str | None = None


async def joined_rooms(services: HasRooms, request: Request) -> JsonObject:
    return {"joined_rooms": await services.rooms.user_rooms.joined(request.requester.user_id)}


async def mutual_rooms(services: HasRooms, request: Request) -> JsonObject:
    """https://spec.matrix.org/latest/client-server-api/#mutual-rooms"""
    own, other = request.requester.user_id, parse_user_id(request.query_required("user_id"))
    if other == own:
        raise InvalidParam("user_id is somebody else's")
    token = request.query_one("from")
    start = parse_room_id(token) if token else ""
    shared = await services.rooms.user_rooms.shared_with(own, other)
    rest = [room_id for room_id in shared if room_id > start]
    shown: list[Json] = [*rest[:MOST_MUTUAL]]
    answer: JsonObject = {"joined": shown, "count": len(shared)}
    return {**answer, "next_batch": shown[-1]} if len(rest) > len(shown) else answer


async def join_room(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(Join, allow_empty=True)
    return await _join(services, request, Located(room_id, []), body)


async def join(services: HasRooms, request: Request, room_id_or_alias: str) -> JsonObject:
    body = request.json(Join, allow_empty=True)
    return await _join(services, request, await located(services, request, room_id_or_alias), body)


async def knock(services: HasRooms, request: Request, room_id_or_alias: str) -> JsonObject:
    body = request.json(Reason, allow_empty=True)
    room_id, via = await located(services, request, room_id_or_alias)
    await services.rooms.membership.knock(request.requester.user_id, room_id, via=via, reason=body.reason)
    return {"room_id": room_id}


async def leave(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(Reason, allow_empty=True)
    await services.rooms.membership.leave(request.requester.user_id, room_id, reason=body.reason)
    return {}


async def forget(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    request.json_object(allow_empty=True)
    await services.rooms.membership.forget(request.requester.user_id, room_id)
    return {}


async def invite(services: HasThirdPartyInvites, request: Request, room_id: RoomId) -> JsonObject:
    body, sender = request.json(Invite), request.requester.user_id
    if body.user_id is not None:
        target = parse_user_id(body.user_id)
        await services.rooms.membership.invite(sender, room_id, target, reason=body.reason)
        return {}
    if body.address is None:
        raise MissingParam("Whom to invite is said by user_id, or by id_server, medium and address")
    wanted = request.json(ByAddress).wanted()
    services.rooms.third_party_invites.check_trusted(wanted.server)
    count(services, request, 1)
    await services.rooms.third_party_invites.offer(sender, room_id, wanted)
    return {}


async def kick(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(About)
    await services.rooms.membership.kick(request.requester.user_id, room_id, body.target, reason=body.reason)
    return {}


async def ban(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(About)
    await services.rooms.membership.ban(request.requester.user_id, room_id, body.target, reason=body.reason)
    return {}


async def unban(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(About)
    await services.rooms.membership.unban(request.requester.user_id, room_id, body.target, reason=body.reason)
    return {}


async def located(services: HasRooms, request: Request, room_id_or_alias: str) -> Located:
    """The room, and servers to ask about it: those of the alias, and those the client names."""
    names = [*request.query_all("via"), *request.query_all("server_name")]
    via = [ServerName(name) for name in names if is_server_name(name)]
    if room_id_or_alias[0] != "#":
        return Located(RoomId(room_id_or_alias), via)
    room_id, servers = await services.rooms.aliases.locate(RoomAlias(room_id_or_alias))
    return Located(room_id, [*servers, *via])


async def _join(services: HasRooms, request: Request, where: Located, body: Join) -> JsonObject:
    requester = request.requester
    if body.third_party_signed is not None:
        proof = proof_of(body.third_party_signed)
        await services.rooms.third_party_invites.complete(where.room_id, requester.user_id, proof)
    await services.rooms.membership.join(
        requester.user_id, where.room_id, via=where.servers, reason=body.reason, is_guest=requester.is_guest
    )
    return {"room_id": where.room_id}
