"""Every endpoint of the client-server API: one file for each group of chapters, one table for each module.

`tests/spec` holds the tables against the specification: method, spelling, authentication, rate limit.
Parameters are passed to the endpoint by position, in path order.
"""

from homeserver.api.client.routes import accounts, events, media, personal, rooms, server
from homeserver.http.routing import Route

ROUTES: tuple[Route, ...] = (
    *server.SERVER_DISCOVERY,
    *server.SERVER_ADMINISTRATION,
    *server.CAPABILITIES,
    *accounts.ACCOUNT,
    *accounts.LOGIN,
    *accounts.PROFILES,
    *accounts.DEVICES,
    *accounts.OPENID,
    *events.FILTERS,
    *events.SYNC,
    *events.ROOM_EVENTS,
    *events.RELATIONS,
    *rooms.ROOMS,
    *rooms.MEMBERSHIP,
    *rooms.UPGRADES,
    *rooms.DIRECTORY,
    *rooms.SPACES,
    *rooms.REPORTS,
    *personal.TYPING_NOTIFICATIONS,
    *personal.RECEIPTS,
    *personal.PRESENCE,
    *personal.ACCOUNT_DATA,
    *personal.PUSH,
    *media.MEDIA,
)
