"""Identity servers: whose is an address, may it be told of an invite, is a key still good?

Whom this server trusts with addresses is configured; keys are asked about wherever the offer of a room says.
https://spec.matrix.org/latest/identity-service-api/
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import ServerName, UserId, is_user_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.third_party_invites import lookup_hash
from homeserver.remote.errors import RemoteMisbehaved, RemoteRefused, RemoteUnreachable
from homeserver.runtime.http_client import (
    AnswerTooLarge,
    BadRedirect,
    HttpAnswer,
    HttpClient,
    HttpFailure,
    HttpRequest,
    target_of_url,
)

V2 = "/_matrix/identity/v2"
TIMEOUT_S = 15.0
MAX_BYTES = 64 * 1024
MAX_TOKEN = 255
MAX_URL = 2048
MOST_KEYS = 20


class Address(NamedTuple):
    """A third-party identifier: `medium` is `email` or `msisdn`."""

    medium: str
    address: str


class StoredInvite(NamedTuple):
    """What an identity server made of an invite: the state key and the content of the room's event."""

    token: str
    content: JsonObject


class IdentityServers:
    """Asks identity servers in the name of users, with tokens that they brought."""

    def __init__(self, http: HttpClient, trusted: Collection[ServerName] = ()) -> None:
        self._http = http
        self._trusted = frozenset(name.lower() for name in trusted)

    def trusts(self, server: ServerName) -> bool:
        """May it be told people's addresses? The operator says so."""
        return server.lower() in self._trusted

    async def look_up(self, server: ServerName, token: str, address: Address) -> UserId | None:
        """Whose the address is, if the server knows that. Raises RemoteError."""
        details = await self._json(server, token, "GET", "/hash_details")
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list):
            raise RemoteMisbehaved(f"{server} does not say how it is to be asked for addresses")
        if "sha256" in algorithms:
            algorithm, asked = "sha256", lookup_hash(address.address, address.medium, pepper)
        elif "none" in algorithms:
            algorithm, asked = "none", f"{address.address} {address.medium}"
        else:
            raise RemoteMisbehaved(f"{server} wants addresses hashed in no way that is known here")
        body: JsonObject = {"addresses": [asked], "algorithm": algorithm, "pepper": pepper}
        found = (await self._json(server, token, "POST", "/lookup", body)).get("mappings")
        user_id = found.get(asked) if isinstance(found, dict) else None
        return UserId(user_id) if isinstance(user_id, str) and is_user_id(user_id) else None

    async def store_invite(self, server: ServerName, token: str, invite: JsonObject) -> StoredInvite | UserId:
        """Let the server write to the address; the user, if it turns out to be bound. Raises RemoteError."""
        try:
            answer = await self._json(server, token, "POST", "/store-invite", invite)
        except RemoteRefused as refusal:
            user_id = refusal.remote_body.get("mxid")
            if refusal.remote_errcode != "M_THREEPID_IN_USE" or not isinstance(user_id, str):
                raise
            if not is_user_id(user_id):
                raise RemoteMisbehaved(f"{server} names somebody who is no user") from refusal
            return UserId(user_id)
        return _stored(server, answer)

    async def is_valid(self, url: str, public_key: str) -> bool:
        """What the validity URL of a key says of it. Raises RemoteError."""
        if len(url) > MAX_URL:
            raise RemoteMisbehaved("The address under which the key could be checked is too long")
        joint = "&" if "?" in url else "?"
        target = f"{url.partition('#')[0]}{joint}public_key={quote(public_key, safe='')}"
        try:
            answer = await self._http.get(target, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)
        except HttpFailure as error:
            raise _failure("The server that vouches for the key", error) from error
        body = _object(answer) if answer.status == 200 else None
        if body is None:
            raise RemoteMisbehaved("The server that vouches for the key does not say whether it is valid")
        return body.get("valid") is True

    async def _json(
        self, server: ServerName, token: str, method: str, path: str, body: JsonObject | None = None
    ) -> JsonObject:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = canonical_json.encode(body)
        try:
            target, whole = target_of_url(f"https://{server}{V2}{path}")
            request = HttpRequest(method, whole, headers, content, is_repeatable=method == "GET")
            answer = await self._http.send(request, [target], timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)
        except HttpFailure as error:
            raise _failure(server, error) from error
        found = _object(answer)
        if answer.status != 200:
            raise _refusal(server, answer.status, found or {})
        if found is None:
            raise RemoteMisbehaved(f"{server} does not answer with a JSON object")
        return found


def _stored(server: ServerName, answer: Mapping[str, Json]) -> StoredInvite:
    token, listed, name = answer.get("token"), answer.get("public_keys"), answer.get("display_name")
    keys = [_key(entry) for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not isinstance(token, str) or not 0 < len(token.encode()) <= MAX_TOKEN:
        raise RemoteMisbehaved(f"{server} gives an invite no token")
    if not keys or len(keys) > MOST_KEYS or not all("public_key" in key for key in keys):
        raise RemoteMisbehaved(f"{server} gives an invite no keys, or too many")
    content: JsonObject = {
        "display_name": name if isinstance(name, str) else "",
        "public_keys": keys,
        **keys[0],  # once the only one, and still required
    }
    return StoredInvite(token, content)


def _key(entry: Mapping[str, Json]) -> dict[str, Json]:
    return {
        name: value
        for name in ("public_key", "key_validity_url")
        if isinstance(value := entry.get(name), str)
    }


def _object(answer: HttpAnswer) -> JsonObject | None:
    try:
        found = orjson.loads(answer.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refusal(server: ServerName, status: int, body: JsonObject) -> RemoteRefused:
    errcode, error = body.get("errcode"), body.get("error")
    return RemoteRefused(
        f"{server} refuses: {str(error)[:300] if error else status}",
        remote_status=status,
        remote_errcode=errcode if isinstance(errcode, str) else "",
        remote_body=body,
    )


def _failure(who: str, error: HttpFailure) -> MatrixError:
    if isinstance(error, AnswerTooLarge | BadRedirect):
        return RemoteMisbehaved(f"{who}: {error}")
    return RemoteUnreachable(f"{who} cannot be reached: {error}")
