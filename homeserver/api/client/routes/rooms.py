"""Rooms: making, finding, joining and reporting them."""

from homeserver.api.client import membership, reports, rooms, spaces
from homeserver.api.client.routes.prefixes import V1, V3
from homeserver.http.routing import Auth, Route

ROOMS = (
    Route("POST", f"{V3}/createRoom", rooms.create, Auth.USER, limited="room_creations", for_suspended=False),
    Route("GET", f"{V3}/directory/room/{{roomAlias}}", rooms.alias, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/directory/room/{{roomAlias}}",
        rooms.put_alias,
        Auth.USER,
        limited="messages",
        for_suspended=False,
    ),
    Route("DELETE", f"{V3}/directory/room/{{roomAlias}}", rooms.delete_alias, Auth.USER, limited="messages"),
    Route("GET", f"{V3}/rooms/{{roomId}}/aliases", rooms.room_aliases, Auth.USER),
)
MEMBERSHIP = (
    Route("GET", f"{V3}/joined_rooms", membership.joined_rooms, Auth.USER, for_guests=True),
    Route("GET", f"{V1}/mutual_rooms", membership.mutual_rooms, Auth.USER, limited="mutual_rooms"),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/invite",
        membership.invite,
        Auth.USER,
        limited="invites",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/join/{{roomIdOrAlias}}",
        membership.join,
        Auth.USER,
        limited="joins",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/join",
        membership.join_room,
        Auth.USER,
        limited="joins",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/knock/{{roomIdOrAlias}}",
        membership.knock,
        Auth.USER,
        limited="joins",
        for_suspended=False,
    ),
    Route(
        "POST", f"{V3}/rooms/{{roomId}}/forget", membership.forget, Auth.USER, limited="membership_changes"
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/leave",
        membership.leave,
        Auth.USER,
        limited="membership_changes",
        for_guests=True,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/kick",
        membership.kick,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/ban",
        membership.ban,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/unban",
        membership.unban,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
)
UPGRADES = (Route("POST", f"{V3}/rooms/{{roomId}}/upgrade", rooms.upgrade, Auth.USER, for_suspended=False),)
DIRECTORY = (
    Route("GET", f"{V3}/directory/list/room/{{roomId}}", rooms.visibility, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/directory/list/room/{{roomId}}",
        rooms.put_visibility,
        Auth.USER,
        limited="messages",
        for_suspended=False,
    ),
    Route("GET", f"{V3}/publicRooms", rooms.public_rooms, Auth.NONE),
    Route("POST", f"{V3}/publicRooms", rooms.search_public_rooms, Auth.USER, for_guests=True),
)
SPACES = (
    Route(
        "GET",
        f"{V1}/room_summary/{{roomIdOrAlias}}",
        spaces.room_summary,
        Auth.OPTIONAL,
        limited="spaces",
        for_guests=True,
    ),
    Route(
        "GET",
        f"{V1}/rooms/{{roomId}}/hierarchy",
        spaces.hierarchy,
        Auth.USER,
        limited="spaces",
        for_guests=True,
    ),
)
REPORTS = (
    Route("POST", f"{V3}/rooms/{{roomId}}/report", reports.report_room, Auth.USER, limited="reports"),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/report/{{eventId}}",
        reports.report_event,
        Auth.USER,
        limited="reports",
    ),
    Route("POST", f"{V3}/users/{{userId}}/report", reports.report_user, Auth.USER, limited="reports"),
)
