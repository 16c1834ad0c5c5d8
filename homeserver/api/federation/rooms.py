"""Joining, leaving, knocking and inviting, asked for by other servers.

https://spec.matrix.org/latest/server-server-api/#joining-rooms
"""

from typing import Any, Protocol

import msgspec
import orjson

from homeserver.api.federation.events import large_json, pdus
from homeserver.http.reply import Reply
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam, MissingParam
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, parse_room_id, parse_user_id
from homeserver.protocol.json_values import JsonObject
from homeserver.services.federation.answering import Answering
from homeserver.services.federation.handed_in import HandedIn
from homeserver.services.federation.invites import Bound
from homeserver.services.federation.joining import Template
from homeserver.services.rooms.third_party_invites import Proof

OLDEST_VERSION = "1"
MOST_BOUND = 50
"""Invites that one third-party binding may bring."""


class HasAnswering(Protocol):
    @property
    def answering(self) -> Answering: ...


class Invite(msgspec.Struct):
    """The body of the second version."""

    room_version: str
    event: dict[str, Any]
    invite_room_state: list[dict[str, Any]] = []


class BoundInvite(msgspec.Struct):
    room_id: str
    sender: str
    signed: dict[str, Any]


class Binding(msgspec.Struct):
    mxid: str
    invites: list[BoundInvite] = []


async def make_join(services: HasAnswering, request: Request, room_id: RoomId, user_id: UserId) -> JsonObject:
    return _template(
        await services.answering.joining.make_join(_origin(request), room_id, user_id, _versions(request))
    )


async def send_join(services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId) -> Reply:
    omit_members = request.query_bool("omit_members")
    joined = await services.answering.joining.send_join(
        _handed_in(request, room_id, event_id), omit_members=omit_members
    )
    head: JsonObject = {"members_omitted": joined.members_omitted}
    if joined.members_omitted:
        head["servers_in_room"] = list(joined.servers_in_room)
    return large_json(services.answering, request, [
        orjson.dumps(head)[:-1], b',"event":', joined.event.raw,
        b',"state":', *pdus(pdu.raw for pdu in joined.state),
        b',"auth_chain":', *pdus(pdu.raw for pdu in joined.auth_chain), b"}",
    ])  # fmt: skip


async def make_leave(
    services: HasAnswering, request: Request, room_id: RoomId, user_id: UserId
) -> JsonObject:
    return _template(await services.answering.joining.make_leave(_origin(request), room_id, user_id))


async def send_leave(
    services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId
) -> JsonObject:
    await services.answering.joining.send_leave(_handed_in(request, room_id, event_id))
    return {}


async def make_knock(
    services: HasAnswering, request: Request, room_id: RoomId, user_id: UserId
) -> JsonObject:
    if not request.query_all("ver"):
        raise MissingParam("ver names the room versions that your server supports")
    return _template(
        await services.answering.joining.make_knock(_origin(request), room_id, user_id, _versions(request))
    )


async def send_knock(services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId) -> Reply:
    described = await services.answering.joining.send_knock(_handed_in(request, room_id, event_id))
    return large_json(services.answering, request, [b'{"knock_room_state":', *pdus(described), b"}"])


async def invite(services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId) -> JsonObject:
    body = request.json(Invite)
    handed_in = HandedIn(_origin(request), room_id, event_id, body.event)
    signed = await services.answering.invites.take(handed_in, body.room_version, body.invite_room_state)
    return {"event": signed}


async def invite_v1(
    services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId
) -> list[object]:
    """The first version: for rooms of versions 1 and 2, the stripped state inside `unsigned`."""
    handed_in = _handed_in(request, room_id, event_id)
    unsigned = handed_in.pdu.get("unsigned")
    state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    described = [each for each in (state if isinstance(state, list) else []) if isinstance(each, dict)]
    return [200, {"event": await services.answering.invites.take(handed_in, OLDEST_VERSION, described)}]


async def exchange_third_party_invite(
    services: HasAnswering, request: Request, room_id: RoomId
) -> JsonObject:
    await services.answering.invites.exchange(_origin(request), room_id, request.json_object())
    return {}


async def on_bind(services: HasAnswering, request: Request) -> JsonObject:
    """An identity server says that an address was found to be that of one of our users."""
    body = request.json(Binding)
    if len(body.invites) > MOST_BOUND:
        raise InvalidParam(f"At most {MOST_BOUND} invites at once")
    invites = [
        Bound(parse_room_id(invite.room_id), Proof(parse_user_id(invite.sender), invite.signed))
        for invite in body.invites
    ]
    await services.answering.invites.bind(parse_user_id(body.mxid), invites)
    return {}


def _origin(request: Request) -> ServerName:
    return ServerName(request.origin)


def _versions(request: Request) -> list[str]:
    return request.query_all("ver") or [OLDEST_VERSION]


def _handed_in(request: Request, room_id: RoomId, event_id: EventId) -> HandedIn:
    return HandedIn(_origin(request), room_id, event_id, request.json_object())


def _template(template: Template) -> JsonObject:
    return {"room_version": template.room_version, "event": template.event}
