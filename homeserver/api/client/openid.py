"""OpenID tokens.

https://spec.matrix.org/latest/client-server-api/#openid
"""

from homeserver.api.client.account import HasAccounts
from homeserver.http.request import Request
from homeserver.protocol.ids import UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.services.accounts.openid import LIFETIME_S


async def request_token(services: HasAccounts, request: Request, user_id: UserId) -> JsonObject:
    request.require_self(user_id)
    request.json_object(allow_empty=True)
    return {
        "access_token": await services.accounts.openid.issue(user_id),
        "token_type": "Bearer",
        "matrix_server_name": domain_of(user_id),
        "expires_in": LIFETIME_S,
    }
