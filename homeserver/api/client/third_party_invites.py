"""What clients say of people whom they know by address only, and of invites they got by address.

https://spec.matrix.org/latest/client-server-api/#third-party-invites
"""

import re
from typing import Any, Protocol

import msgspec

from homeserver.api.client.events import HasRooms
from homeserver.http.request import Request
from homeserver.protocol.errors import BadJson, InvalidParam, ThreepidMediumNotSupported
from homeserver.protocol.ids import parse_server_name, parse_user_id
from homeserver.remote.identity_servers import Address
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms.third_party_invites import Proof, Wanted

_TOKEN = re.compile(r"[!-~]{1,2048}", re.ASCII)
_EMAIL = re.compile(r"[^\s@]{1,240}@[^\s@]{1,250}")
_NUMBER = re.compile(r"[0-9]{4,15}", re.ASCII)


class HasThirdPartyInvites(HasRooms, Protocol):
    @property
    def rate_limits(self) -> RateLimits: ...


class ByAddress(msgspec.Struct):
    """Somebody to invite."""

    id_server: str
    id_access_token: str
    medium: str
    address: str

    def wanted(self) -> Wanted:
        """Raises InvalidParam, ThreepidMediumNotSupported."""
        if not _TOKEN.fullmatch(self.id_access_token):
            raise InvalidParam("id_access_token is not an access token")
        if self.medium == "email":
            address, form = self.address.strip().casefold(), _EMAIL
        elif self.medium == "msisdn":
            address, form = self.address.strip().removeprefix("+"), _NUMBER
        else:
            raise ThreepidMediumNotSupported(f"People are not invited by {self.medium[:50]!r}")
        if not form.fullmatch(address):
            raise InvalidParam(f"{self.address[:100]!r} is not an address of the kind {self.medium}")
        return Wanted(parse_server_name(self.id_server), self.id_access_token, Address(self.medium, address))


class Signed(msgspec.Struct):
    """What an identity server has signed for who joins."""

    sender: str
    mxid: str
    token: str
    signatures: dict[str, Any]


def proof_of(third_party_signed: dict[str, Any]) -> Proof:
    """Raises BadJson, InvalidParam. All of it was signed, so all of it is kept."""
    try:
        signed = msgspec.convert(third_party_signed, Signed)
    except msgspec.ValidationError as error:
        raise BadJson(f"third_party_signed: {error}") from None
    return Proof(parse_user_id(signed.sender), third_party_signed)


def count(services: HasThirdPartyInvites, request: Request, number: int) -> None:
    """Raises LimitExceeded: each of them may be a message that somebody did not ask for."""
    services.rate_limits.spend("third_party_invites", request.requester.user_id, number)
