"""Every call this server makes to other homeservers, one method each.

All raise RemoteUnreachable, RemoteRefused or RemoteMisbehaved of `homeserver.remote.errors`, which are also
errors that an endpoint may let through. Events in answers are unchecked: signatures, hashes, sizes, rooms and
auth rules are the caller's to look at.
https://spec.matrix.org/latest/server-server-api/
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Literal

from homeserver.protocol.ids import EventId, RoomAlias, RoomId, ServerName, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.remote import federation_answers as answers
from homeserver.remote.errors import RemoteMisbehaved, RemoteRefused
from homeserver.remote.federation_answers import (
    DirectoryAnswer,
    JoinAnswer,
    NearbyEvent,
    StateAnswer,
    StateIdsAnswer,
    Template,
)
from homeserver.remote.federation_media import RemoteMedia, download
from homeserver.remote.federation_requests import (
    NORMAL,
    Body,
    Effort,
    Method,
    Query,
    Reachability,
    SignedRequests,
    path_of,
)
from homeserver.runtime.clock import Clock
from homeserver.runtime.http_client import HttpClient

__all__ = ["Effort", "FederationClient", "Reachability"]

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"

MEBIBYTE = 1024 * 1024
LARGE = Effort(timeout_s=180.0, max_bytes=500 * MEBIBYTE)
"""State of large rooms: Synapse takes minutes to answer for the largest."""
MEDIUM = Effort(timeout_s=60.0, max_bytes=50 * MEBIBYTE)
PAGE = Effort(timeout_s=60.0, max_bytes=10 * MEBIBYTE)
"""A hundred events of the greatest size, and room for what is around them."""
QUICK = Effort(timeout_s=15.0)
POLICY = Effort(timeout_s=15.0, max_bytes=64 * 1024)
TRANSACTION = Effort(timeout_s=60.0, max_bytes=MEBIBYTE, insist=True)
ONCE = Effort(is_repeatable=False)
ASKED_FOR = Effort(timeout_s=20.0, insist=True)
"""Somebody wants it this moment, and knows of no back-off."""
FAREWELL = Effort(timeout_s=10.0, insist=True)
"""Somebody goes, and will have gone whether or not this is heard."""


class FederationClient:
    """This server as a client of others."""

    def __init__(self, requests: SignedRequests, http: HttpClient, clock: Clock) -> None:
        self._requests = requests
        self._http = http
        self._clock = clock

    def use_reachability(self, reachability: Reachability) -> None:
        """Ask this from now on which destinations may be bothered, and tell it how requests went."""
        self._requests.reachability = reachability

    def is_likely_up(self, destination: ServerName) -> bool:
        """Has it not failed lately?"""
        return self._requests.reachability.may_try(destination)

    async def request(
        self,
        destination: ServerName,
        method: Method,
        path: str,
        *,
        query: Query | None = None,
        body: Body = None,
        effort: Effort = NORMAL,
    ) -> JsonObject:
        """Any signed request. `path` is percent-encoded, `body` JSON or the bytes of canonical JSON."""
        return await self._requests.json(destination, method, path, query=query, body=body, effort=effort)

    async def request_large(
        self, destination: ServerName, method: Method, path: str, *, query: Query | None = None
    ) -> bytes:
        """A signed request whose answer may take minutes and hundreds of megabytes; the undecoded body."""
        return await self._requests.raw(destination, method, path, query=query, effort=LARGE)

    # Transactions

    async def send_transaction(self, destination: ServerName, txn_id: str, body: Body) -> JsonObject:
        """PUT /send. Tries even a destination that is backed off from: when to send is the sender's decision.

        `body` as bytes must be canonical JSON.
        """
        path = path_of(V1 + "/send/{}", txn_id)
        return await self._requests.json(destination, "PUT", path, body=body, effort=TRANSACTION)

    async def pull(self, destination: ServerName, txn_id: str) -> JsonObject:
        """Another Postroom's transactions to us after `txn_id`: {transactions: [{txn_id, body}]}."""
        path = "/_postroom/federation/v1/pull"
        return await self.request(destination, "GET", path, query={"v": txn_id}, effort=MEDIUM)

    # Joining, leaving, knocking, inviting

    async def make_join(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> Template:
        """A join to complete and sign. `versions` are the room versions we can take."""
        path = path_of(V1 + "/make_join/{}/{}", room_id, user_id)
        query = {"ver": list(versions)}
        return answers.template(await self.request(destination, "GET", path, query=query, effort=ASKED_FOR))

    async def send_join(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        event: JsonObject,
        *,
        omit_members: bool = False,
    ) -> JoinAnswer:
        """Hand in the join; learn the state before it. `omit_members` asks for a part of the members only."""
        raw = await self._requests.raw(
            destination,
            "PUT",
            path_of(V2 + "/send_join/{}/{}", room_id, event_id),
            query={"omit_members": omit_members},
            body=event,
            effort=LARGE,
        )
        return await answers.join_answer(raw, self._clock)

    async def make_leave(self, destination: ServerName, room_id: RoomId, user_id: UserId) -> Template:
        """A leave to complete and sign: to refuse an invite, take back a knock, or go."""
        path = path_of(V1 + "/make_leave/{}/{}", room_id, user_id)
        return answers.template(await self.request(destination, "GET", path, effort=FAREWELL))

    async def send_leave(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, event: JsonObject
    ) -> None:
        """Hand in the leave."""
        path = path_of(V2 + "/send_leave/{}/{}", room_id, event_id)
        await self.request(destination, "PUT", path, body=event, effort=FAREWELL)

    async def make_knock(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> Template:
        """A knock to complete and sign."""
        path = path_of(V1 + "/make_knock/{}/{}", room_id, user_id)
        query = {"ver": list(versions)}
        return answers.template(await self.request(destination, "GET", path, query=query, effort=ASKED_FOR))

    async def send_knock(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, event: JsonObject
    ) -> list[JsonObject]:
        """Hand in the knock; the stripped state (or PDUs) that describes the room."""
        path = path_of(V1 + "/send_knock/{}/{}", room_id, event_id)
        answer = await self.request(destination, "PUT", path, body=event)
        return answers.objects(answer.get("knock_room_state", []), "knock_room_state")

    async def invite(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        *,
        room_version: str,
        event: JsonObject,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        """Invite a user of the destination: the event with the destination's signature added.

        Servers without the second version of the endpoint get the first, for room versions 1 and 2.
        """
        body: JsonObject = {
            "event": event,
            "invite_room_state": list(invite_room_state),
            "room_version": room_version,
        }
        path = path_of(V2 + "/invite/{}/{}", room_id, event_id)
        try:
            answer = await self.request(destination, "PUT", path, body=body, effort=ASKED_FOR)
        except RemoteRefused as refusal:
            if not refusal.is_unknown_endpoint or room_version not in ("1", "2"):
                raise
            answer = await self._invite_v1(destination, room_id, event_id, event, invite_room_state)
        return answers.checked_object(answer.get("event"), "event")

    async def _invite_v1(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        event: JsonObject,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        """The old way: [200, {"event": ...}], the stripped state inside `unsigned`."""
        unsigned = event.get("unsigned")
        kept = unsigned if isinstance(unsigned, dict) else {}
        body = {**event, "unsigned": {**kept, "invite_room_state": list(invite_room_state)}}
        path = path_of(V1 + "/invite/{}/{}", room_id, event_id)
        raw = await self._requests.raw(destination, "PUT", path, body=body)
        return answers.second_of_pair(raw)

    async def exchange_third_party_invite(
        self, destination: ServerName, room_id: RoomId, event: JsonObject
    ) -> None:
        """Ask a server in the room to turn an accepted third-party invite into an invite."""
        path = path_of(V1 + "/exchange_third_party_invite/{}", room_id)
        await self.request(destination, "PUT", path, body=event, effort=ASKED_FOR)

    # Events and state

    async def get_event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """One event."""
        raw = await self._requests.raw(destination, "GET", path_of(V1 + "/event/{}", event_id))
        pdus = await answers.pdus_of_transaction(raw, self._clock)
        if len(pdus) != 1:
            raise RemoteMisbehaved(f"{destination} answered with {len(pdus)} events instead of one")
        return pdus[0]

    async def state(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> StateAnswer:
        """The state before an event, with its auth chain, as whole events."""
        path = path_of(V1 + "/state/{}", room_id)
        raw = await self.request_large(destination, "GET", path, query={"event_id": event_id})
        return await answers.state_answer(raw, self._clock)

    async def state_ids(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> StateIdsAnswer:
        """As `state`, IDs only."""
        path = path_of(V1 + "/state_ids/{}", room_id)
        query = {"event_id": event_id}
        return answers.state_ids(await self.request(destination, "GET", path, query=query, effort=MEDIUM))

    async def event_auth(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> list[JsonObject]:
        """The whole auth chain of an event."""
        path = path_of(V1 + "/event_auth/{}/{}", room_id, event_id)
        raw = await self._requests.raw(destination, "GET", path, effort=MEDIUM)
        return await answers.auth_chain_answer(raw, self._clock)

    async def backfill(
        self, destination: ServerName, room_id: RoomId, event_ids: Sequence[EventId], *, limit: int
    ) -> list[JsonObject]:
        """Up to `limit` events before and including the given ones."""
        raw = await self._requests.raw(
            destination,
            "GET",
            path_of(V1 + "/backfill/{}", room_id),
            query={"v": list(event_ids), "limit": limit},
            effort=PAGE,
        )
        return await answers.pdus_of_transaction(raw, self._clock)

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int = 10,
        min_depth: int = 0,
    ) -> list[JsonObject]:
        """Events between what we have (`earliest`) and what we were sent (`latest`), both left out."""
        body: JsonObject = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        path = path_of(V1 + "/get_missing_events/{}", room_id)
        raw = await self._requests.raw(destination, "POST", path, body=body, effort=PAGE)
        return await answers.missing_events_answer(raw, self._clock)

    async def timestamp_to_event(
        self, destination: ServerName, room_id: RoomId, timestamp_ms: int, *, direction: Literal["f", "b"]
    ) -> NearbyEvent:
        """The event nearest to a time."""
        path = path_of(V1 + "/timestamp_to_event/{}", room_id)
        query = {"ts": timestamp_ms, "dir": direction}
        return answers.nearby_event(await self.request(destination, "GET", path, query=query, effort=QUICK))

    # Queries

    async def profile(
        self, destination: ServerName, user_id: UserId, *, field: str | None = None
    ) -> JsonObject:
        """A user's profile, or one field of it."""
        query = {"user_id": user_id, "field": field}
        return await self.request(destination, "GET", f"{V1}/query/profile", query=query, effort=QUICK)

    async def directory(self, destination: ServerName, alias: RoomAlias) -> DirectoryAnswer:
        """What a room alias stands for."""
        query = {"room_alias": alias}
        return answers.directory(
            await self.request(destination, "GET", f"{V1}/query/directory", query=query, effort=QUICK)
        )

    async def public_rooms(
        self, destination: ServerName, search: JsonObject, *, insist_on_get: bool = False
    ) -> JsonObject:
        """The destination's public rooms. `search` is a body of POST /publicRooms: limit, since, ...

        `insist_on_get` sends it as GET, for servers that know no other; `filter` is then left out.
        """
        path = f"{V1}/publicRooms"
        if not insist_on_get:
            answer = await self.request(destination, "POST", path, body=search)
        else:
            query = {name: value for name, value in search.items() if isinstance(value, str | int)}
            answer = await self.request(destination, "GET", path, query=query)
        answers.objects(answer.get("chunk"), "chunk")
        return answer

    async def hierarchy(
        self, destination: ServerName, room_id: RoomId, *, suggested_only: bool = False
    ) -> JsonObject:
        """A space and its children: `room`, `children`, `inaccessible_children`."""
        path = path_of(V1 + "/hierarchy/{}", room_id)
        answer = await self.request(destination, "GET", path, query={"suggested_only": suggested_only})
        answers.checked_object(answer.get("room"), "room")
        answers.objects(answer.get("children"), "children")
        return answer

    async def user_devices(self, destination: ServerName, user_id: UserId) -> JsonObject:
        """All devices of a user, with the stream_id of the list."""
        answer = await self.request(destination, "GET", path_of(V1 + "/user/devices/{}", user_id))
        answers.objects(answer.get("devices"), "devices")
        return answer

    async def query_keys(
        self, destination: ServerName, device_keys: Mapping[UserId, Sequence[str]], *, timeout_s: float = 30.0
    ) -> JsonObject:
        """Device and signing keys of users; an empty list means all devices."""
        body: JsonObject = {"device_keys": {user_id: list(ids) for user_id, ids in device_keys.items()}}
        effort = Effort(timeout_s=timeout_s)
        return await self.request(destination, "POST", f"{V1}/user/keys/query", body=body, effort=effort)

    async def claim_keys(
        self, destination: ServerName, one_time_keys: Mapping[UserId, Mapping[str, str]]
    ) -> JsonObject:
        """One-time keys for devices. Never sent twice: what was claimed is gone."""
        body: JsonObject = {"one_time_keys": {user_id: dict(keys) for user_id, keys in one_time_keys.items()}}
        return await self.request(destination, "POST", f"{V1}/user/keys/claim", body=body, effort=ONCE)

    async def openid_userinfo(self, destination: ServerName, token: str) -> str:
        """The user whom an OpenID token of the destination names."""
        query = {"access_token": token}
        answer = await self.request(destination, "GET", f"{V1}/openid/userinfo", query=query, effort=QUICK)
        return answers.text(answer, "sub")

    async def server_version(self, destination: ServerName) -> JsonObject:
        """What software the destination runs: `name` and `version`, if it tells."""
        answer = await self.request(destination, "GET", f"{V1}/version", effort=QUICK)
        server = answer.get("server")
        return server if isinstance(server, dict) else {}

    async def policy_signature(
        self, destination: ServerName, event: JsonObject, *, insist: bool = False
    ) -> JsonObject:
        """A policy server's signature on an event: `{server: {key_id: signature}}`. RemoteRefused: spam.

        `insist`: somebody waits, and cannot speak in the room without it.
        """
        effort = replace(POLICY, insist=insist)
        return await self.request(destination, "POST", "/_matrix/policy/v1/sign", body=event, effort=effort)

    # Media

    def media_download(
        self, destination: ServerName, media_id: str, *, timeout_ms: int = 20_000
    ) -> AbstractAsyncContextManager[RemoteMedia]:
        """A file of the destination's, while it comes: `async with client.media_download(...) as media`.

        `timeout_ms` is for files whose upload is not finished yet. The old, unauthenticated endpoint is asked
        where the destination has no other.
        """
        return download(self._requests, self._http, destination, media_id, timeout_ms=timeout_ms)
