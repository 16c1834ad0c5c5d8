"""Templates of membership events: what another server proposes, completed and signed if it is what we asked.

https://spec.matrix.org/latest/server-server-api/#get_matrixfederationv1make_joinroomiduserid
"""

from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.errors import IncompatibleRoomVersion, MatrixError
from homeserver.protocol.events import Draft, Event, build, parse_pdu
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import RemoteMisbehaved
from homeserver.services.rooms.restricted_joins import AUTHORISED_VIA


class Wish(NamedTuple):
    """What was asked for, and the content that the user wants: membership, name, picture, reason."""

    room_id: RoomId
    user_id: UserId
    membership: str
    content: JsonObject


class Completed(NamedTuple):
    version: RoomVersion
    event: Event


def complete(
    version_name: str,
    template: JsonObject,
    wish: Wish,
    server_name: ServerName,
    key: SigningKey,
    *,
    now_ms: int,
) -> Completed:
    """The event, signed. Raises RemoteMisbehaved when it is not what was asked, IncompatibleRoomVersion."""
    version = ROOM_VERSIONS.get(version_name)
    if version is None:
        raise IncompatibleRoomVersion(
            f"{wish.room_id} has room version {version_name[:64]!r}, which is not supported here",
            room_version=version_name[:64],
        )
    content = template.get("content")
    _check(template, wish)
    assert isinstance(content, dict)
    authoriser = content.get(AUTHORISED_VIA)
    more: JsonObject = {AUTHORISED_VIA: authoriser} if isinstance(authoriser, str) else {}
    prev, prev_hashes = _links(version, template.get("prev_events"))
    auth, auth_hashes = _links(version, template.get("auth_events"))
    depth = template.get("depth")
    if not isinstance(depth, int):
        raise RemoteMisbehaved("The template has no depth")
    try:
        event = build(
            Draft(
                type=event_types.MEMBER, sender=wish.user_id, state_key=wish.user_id,
                content={**wish.content, **more}, room_id=wish.room_id, prev_event_ids=prev,
                auth_event_ids=auth, depth=depth, origin_server_ts=now_ms,
                reference_hashes={**prev_hashes, **auth_hashes},
            ),
            version, server_name, key,
        )  # fmt: skip
        parse_pdu(version, event.pdu)
    except MatrixError as error:
        raise RemoteMisbehaved(f"The template makes no event: {error}") from error
    return Completed(version, event)


def with_signature_of(server: ServerName, ours: Event, theirs: JsonObject) -> JsonObject:
    """Our event with the other server's signature, if that sent it back signed; nothing else is taken."""
    signatures = theirs.get("signatures")
    added = signatures.get(server) if isinstance(signatures, dict) else None
    pdu: JsonObject = dict(ours.pdu)
    own = pdu["signatures"]
    if isinstance(added, dict) and isinstance(own, dict):
        pdu["signatures"] = {**own, server: added}
    return pdu


def _check(template: JsonObject, wish: Wish) -> None:
    """Raises RemoteMisbehaved unless the template is for this user, room and membership."""
    expected: dict[str, Json] = {
        "type": event_types.MEMBER,
        "room_id": wish.room_id,
        "sender": wish.user_id,
        "state_key": wish.user_id,
    }
    for name, value in expected.items():
        if template.get(name) != value:
            raise RemoteMisbehaved(f"The template's {name} is not {value}")
    content = template.get("content")
    if not isinstance(content, dict) or content.get("membership") != wish.membership:
        raise RemoteMisbehaved(f"The template is not that of a {wish.membership}")


def _links(version: RoomVersion, links: Json) -> tuple[tuple[EventId, ...], dict[EventId, str]]:
    """Event IDs and, in room versions 1 and 2, the hashes written down with them."""
    if not isinstance(links, list):
        raise RemoteMisbehaved("The template lacks prev_events or auth_events")
    ids: list[EventId] = []
    hashes: dict[EventId, str] = {}
    for link in links:
        digest: Json = None
        if version.event_id_format is EventIdFormat.EXPLICIT:
            if not isinstance(link, list) or len(link) != 2 or not isinstance(link[1], dict):
                raise RemoteMisbehaved("prev_events or auth_events of the template hold something else")
            digest, link = link[1].get("sha256"), link[0]
        if not isinstance(link, str):
            raise RemoteMisbehaved("prev_events or auth_events of the template hold something else")
        ids.append(EventId(link))
        if isinstance(digest, str):
            hashes[EventId(link)] = digest
    return tuple(ids), hashes
