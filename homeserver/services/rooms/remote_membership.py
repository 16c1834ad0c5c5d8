"""Coming into, knocking at, leaving and inviting to rooms with the help of other servers.

One server after the other is asked until one helps. What it answers is checked here where it is about the
request (is this our template?) and by `Receiving` where it is about the room.
https://spec.matrix.org/latest/server-server-api/#joining-rooms
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InviteBlocked,
    MatrixError,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from homeserver.protocol.events import Event
from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of, is_server_name
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.remote.errors import RemoteRefused
from homeserver.remote.federation import FederationClient
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.drafting import Drafting
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import Change, RoomUnreachable
from homeserver.services.rooms.policy import PolicySignatures
from homeserver.services.rooms.receiving import Receiving, RemoteJoin
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.stripped_state import MOST_STRIPPED, STRIPPED, stripped
from homeserver.services.rooms.templates import Completed, Wish, complete, with_signature_of
from homeserver.services.rooms.untold_leaves import UntoldLeaves
from homeserver.services.rooms.writer import Proposal

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_SERVERS = 10
"""Asked for one wish."""
MOST_TOLD = 3
"""Tried for a leave, which happens anyhow."""


class RemoteMembership:
    """Each method makes one membership event, in a room that this server need not be in."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, drafting: Drafting, client: FederationClient,
        receiving: Receiving,
    ) -> None:  # fmt: skip
        self._server_name = ground.server_name
        self._key = ground.key
        self._clock = ground.clock
        self._database = ground.database
        self._stores = ground.stores
        self._rooms = rooms
        self._drafting = drafting
        self._client = client
        self._policy = PolicySignatures(client)
        self._receiving = receiving
        self.untold_leaves = UntoldLeaves(ground, receiving, self._told_leave)

    async def join(self, change: Change, content: JsonObject, via: Sequence[ServerName]) -> None:
        """Raises RoomUnreachable, Forbidden, IncompatibleRoomVersion and, where restricted,
        UnableToAuthoriseJoin and UnableToGrantJoin.
        """
        room = await self._hosted(change.room_id)
        servers = await self._candidates(change, via, room)

        async def attempt(server: ServerName) -> None:
            template = await self._client.make_join(
                server, change.room_id, change.target, list(ROOM_VERSIONS)
            )
            await self._send_join(
                server, self._completed(template.room_version, template.event, change, content)
            )

        await self._with_help(change.room_id, servers, attempt)

    async def knock(self, change: Change, content: JsonObject, via: Sequence[ServerName]) -> None:
        """Raises RoomUnreachable, Forbidden, IncompatibleRoomVersion."""
        servers = await self._candidates(change, via, None)

        async def attempt(server: ServerName) -> None:
            template = await self._client.make_knock(
                server, change.room_id, change.target, list(ROOM_VERSIONS)
            )
            done = self._completed(template.room_version, template.event, change, content)
            state = await self._client.send_knock(
                server, change.room_id, done.event.event_id, dict(done.event.pdu)
            )
            described = [entry for pdu in state[:MOST_STRIPPED] if (entry := stripped(pdu)) is not None]
            await self._receiving.accept_outside(
                change.room_id, done.version, done.event.pdu, stripped=described
            )

        await self._with_help(change.room_id, servers, attempt)

    async def leave(self, change: Change, content: JsonObject) -> None:
        """Refuse an invite or take back a knock. Where no server can be told now, it ends for the user."""
        servers = (await self._candidates(change, (), None))[:MOST_TOLD]
        try:
            done = await self._told_leave(change, content, servers)
        except MatrixError as error:
            logger.info("%s leaves %s without telling: %s", change.target, change.room_id, error)
            await self.untold_leaves.keep(change, content, servers)
            await self._receiving.leave_outside(change.room_id, change.target)
        else:
            await self._receiving.accept_outside(change.room_id, done.version, done.event.pdu, stripped=())

    async def _told_leave(
        self, change: Change, content: JsonObject, servers: Sequence[ServerName]
    ) -> Completed:
        async def attempt(server: ServerName) -> Completed:
            template = await self._client.make_leave(server, change.room_id, change.target)
            done = self._completed(template.room_version, template.event, change, content)
            await self._client.send_leave(server, change.room_id, done.event.event_id, dict(done.event.pdu))
            return done

        return await self._with_help(change.room_id, servers, attempt)

    async def invite(self, room: Room, change: Change, content: JsonObject) -> None:
        """Invite a user of another server, which signs the invite too.

        In the name of another server's user only to complete a third-party invite, which such a user made.
        Raises AuthFailure, Forbidden, InviteBlocked, NotFound, RemoteError.
        """
        proposal = Proposal(event_types.MEMBER, change.sender, content, state_key=change.target)
        event = await self._policy.signed(room, await self._drafting.draft(room, proposal))
        pdu: JsonObject = dict(event.pdu)
        if domain_of(change.target) != self._server_name:
            pdu = await self._signed_by_target(room, change, event)
        # From ourselves: if the invited server is in the room, it gets the event like all others there.
        await self._receiving.accept_signed(room.room_id, pdu, origin=self._server_name)

    async def exchange(self, change: Change, content: JsonObject) -> None:
        """Ask the server of who made a third-party invite, else the one in the room ID, to complete it.

        Raises RoomUnreachable, Forbidden.
        """
        servers = [domain_of(change.sender)]
        if ":" in change.room_id:
            servers.append(domain_of(change.room_id))
        event: JsonObject = {
            "type": event_types.MEMBER, "room_id": change.room_id, "sender": change.sender,
            "state_key": change.target, "content": content,
        }  # fmt: skip

        async def attempt(server: ServerName) -> None:
            await self._client.exchange_third_party_invite(server, change.room_id, event)

        others = [server for server in dict.fromkeys(servers) if server != self._server_name]
        await self._with_help(change.room_id, others, attempt)

    async def _signed_by_target(self, room: Room, change: Change, event: Event) -> JsonObject:
        server = domain_of(change.target)
        described = await self._drafting.recall(
            room, [*((type_, "") for type_ in STRIPPED), (event_types.MEMBER, change.sender)]
        )
        try:
            signed = await self._client.invite(
                server, room.room_id, event.event_id, room_version=room.version.version,
                event=dict(event.pdu), invite_room_state=[dict(each.pdu) for each in described.values()],
            )  # fmt: skip
        except RemoteRefused as refusal:
            raise _as_told(refusal) from refusal
        return with_signature_of(server, event, signed)

    async def _send_join(self, server: ServerName, done: Completed) -> None:
        """Hand the join in, and take the room as the server describes it."""
        event = done.event
        room = await self._hosted(event.room_id)
        with self._rooms.entering(event.room_id):
            answer = await self._client.send_join(
                server, event.room_id, event.event_id, dict(event.pdu), omit_members=room is None
            )
            pdu: JsonObject = dict(event.pdu)
            if answer.event is not None:
                pdu = with_signature_of(server, event, answer.event)
            if room is not None:
                await self._receiving.accept_signed(event.room_id, pdu, origin=server)
                return
            joined = RemoteJoin(
                event.room_id, done.version, pdu, answer.state, answer.auth_chain, server,
                answer.servers_in_room, answer.members_omitted,
            )  # fmt: skip
            await self._receiving.accept_join(joined)

    def _completed(
        self, version: str, template: JsonObject, change: Change, content: JsonObject
    ) -> Completed:
        wish = Wish(change.room_id, change.target, change.membership, content)
        return complete(version, template, wish, self._server_name, self._key, now_ms=self._clock.now_ms())

    async def _hosted(self, room_id: RoomId) -> Room | None:
        """The room, if this server is in it."""
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            return None
        return room if room.joined_local else None

    async def _candidates(
        self, change: Change, via: Sequence[ServerName], room: Room | None
    ) -> list[ServerName]:
        """Whom to ask, in this order: who invited, whom the client names, who is or was in the room.

        Servers that did not answer lately come last: they may be back.
        """
        found = [domain_of(sender) for sender in await self._acquaintances(change.room_id, change.target)]
        found += via
        if room is None:
            try:
                room = await self._rooms.load(change.room_id)
            except RoomNotFound:
                room = None
        if room is not None:
            found += sorted(room.servers, key=lambda server: -room.servers[server])
        if ":" in change.room_id:
            found.append(domain_of(change.room_id))
        others = [
            server
            for server in dict.fromkeys(found)
            if server != self._server_name and is_server_name(server)
        ]
        return sorted(others, key=self._client.is_likely_up, reverse=True)[:MOST_SERVERS]

    async def _acquaintances(self, room_id: RoomId, user_id: UserId) -> list[UserId]:
        """Who sent the invite that the user has from outside, and whom it names as being there."""
        return await self._database.read(self._read_acquaintances, room_id, user_id)

    def _read_acquaintances(self, txn: Transaction, room_id: RoomId, user_id: UserId) -> list[UserId]:
        outside = self._stores.received_rooms.outside(txn, room_id, user_id)
        if outside is None:
            return []
        senders: list[Json] = [
            orjson.loads(row.raw).get("sender")
            for row in self._stores.events.by_nids(txn, [outside.event_nid])
        ]
        senders += [
            entry.get("sender") for entry in orjson.loads(outside.stripped) if isinstance(entry, dict)
        ]
        return [UserId(sender) for sender in senders if isinstance(sender, str) and ":" in sender]

    async def _with_help(
        self, room_id: RoomId, servers: Sequence[ServerName], attempt: Callable[[ServerName], Awaitable[T]]
    ) -> T:
        """What the first server that helps gives; else the most telling refusal."""
        refusals: list[RemoteRefused] = []
        problems: list[str] = []
        for server in servers:
            try:
                return await attempt(server)
            except RemoteRefused as refusal:
                if refusal.remote_errcode == IncompatibleRoomVersion.errcode:
                    raise _as_told(refusal) from refusal
                refusals.append(refusal)
                problems.append(str(refusal))
            except IncompatibleRoomVersion:
                raise
            except MatrixError as error:
                problems.append(f"{server}: {error}")
        if refusals:
            raise _as_told(min(refusals, key=_rank))
        reason = "; ".join(problems) or "no server is known that is in it"
        raise RoomUnreachable(f"No server could help with {room_id}: {reason}"[:1000])


_TELLING = {
    kind.errcode: rank
    for rank, kind in enumerate(
        (Forbidden, UnableToGrantJoin, UnableToAuthoriseJoin, InviteBlocked, NotFound)
    )
}


def _rank(refusal: RemoteRefused) -> int:
    return _TELLING.get(refusal.remote_errcode, len(_TELLING))


def _as_told(refusal: RemoteRefused) -> MatrixError:
    """Another server's refusal, as our client gets it."""
    errcode, message = refusal.remote_errcode, refusal.message
    if errcode == IncompatibleRoomVersion.errcode:
        version = refusal.remote_body.get("room_version")
        return IncompatibleRoomVersion(message, room_version=version if isinstance(version, str) else "")
    for kind in (UnableToGrantJoin, UnableToAuthoriseJoin, InviteBlocked):
        if errcode == kind.errcode:
            return kind(message)
    if refusal.remote_status == 403:
        return Forbidden(message)
    if refusal.remote_status == 404:
        return RoomUnreachable(message)
    return refusal
