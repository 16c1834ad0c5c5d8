"""From an access token to who asks, and who may use which route."""

import pytest
from twisted.internet.defer import Deferred

from homeserver.api.access import Access
from homeserver.http.reply import Answer
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.protocol.errors import UnknownToken
from homeserver.protocol.ids import UserId
from homeserver.protocol.requester import Requester
from tests.support.http import dispatch, start

PEOPLE = {
    "alice": Requester(UserId("@alice:x")),
    "admin": Requester(UserId("@admin:x"), is_admin=True),
    "guest": Requester(UserId("@guest:x"), is_guest=True),
    "suspended": Requester(UserId("@suspended:x"), is_suspended=True),
    "locked": Requester(UserId("@locked:x"), is_locked=True),
}


def find(token: str) -> Requester:
    if token not in PEOPLE:
        raise UnknownToken
    return PEOPLE[token]


async def who(services: object, request: Request) -> Answer:
    return {"user_id": request.known_requester.user_id if request.known_requester else None}


ROUTER = Router(
    None,
    [
        Route("GET", "/none", who, Auth.NONE),
        Route("GET", "/optional", who, Auth.OPTIONAL),
        Route("GET", "/user", who, Auth.USER),
        Route("GET", "/admin", who, Auth.ADMIN),
        Route("GET", "/guests", who, Auth.USER, for_guests=True),
        Route("GET", "/writes", who, Auth.USER, for_suspended=False),
        Route("GET", "/logout", who, Auth.USER, for_guests=True, for_locked=True),
    ],
    authenticate=Access(find),
)


@pytest.mark.parametrize(
    ("path", "token", "status", "errcode"),
    [
        ("/none", None, 200, None),
        ("/none", "nonsense", 200, None),
        ("/optional", None, 200, None),
        ("/optional", "alice", 200, None),
        ("/optional", "nonsense", 401, "M_UNKNOWN_TOKEN"),
        ("/user", None, 401, "M_MISSING_TOKEN"),
        ("/user", "nonsense", 401, "M_UNKNOWN_TOKEN"),
        ("/user", "alice", 200, None),
        ("/user", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("/user", "suspended", 200, None),
        ("/user", "locked", 401, "M_USER_LOCKED"),
        ("/admin", "alice", 403, "M_FORBIDDEN"),
        ("/admin", "admin", 200, None),
        ("/guests", "guest", 200, None),
        ("/writes", "suspended", 403, "M_USER_SUSPENDED"),
        ("/writes", "alice", 200, None),
        ("/logout", "locked", 200, None),
    ],
)
def test_who_may_use_a_route(path: str, token: str | None, status: int, errcode: str | None) -> None:
    answer = dispatch(ROUTER, "GET", path, {"Authorization": f"Bearer {token}"} if token else None)
    assert (answer.status, answer.errcode) == (status, errcode)


def test_the_endpoint_knows_who_asks() -> None:
    assert dispatch(ROUTER, "GET", "/user?access_token=alice").json == {"user_id": "@alice:x"}
    assert dispatch(ROUTER, "GET", "/none?access_token=alice").json == {"user_id": None}


def test_a_locked_session_is_kept() -> None:
    assert dispatch(ROUTER, "GET", "/user?access_token=locked").json["soft_logout"] is True


def test_the_token_may_have_to_be_looked_up() -> None:
    found: Deferred[Requester] = Deferred()

    async def look_up(token: str) -> Requester:
        return await found

    router = Router(None, [Route("GET", "/user", who, Auth.USER)], authenticate=Access(look_up))
    pending = start(router, "GET", "/user?access_token=x")
    assert not pending.is_done
    found.callback(PEOPLE["guest"])
    assert pending.answer.errcode == "M_GUEST_ACCESS_FORBIDDEN"


def test_who_came_from_where_is_noted() -> None:
    noted: list[tuple[str, str, bytes | None]] = []
    access = Access(find, lambda requester, ip, agent: noted.append((requester.user_id, ip, agent)))
    router = Router(None, [Route("GET", "/user", who, Auth.USER)], authenticate=access)
    headers = {"Authorization": "Bearer alice", "User-Agent": "Element"}
    dispatch(router, "GET", "/user", headers, client_ip="192.0.2.1")
    dispatch(router, "GET", "/user", {"Authorization": "Bearer guest"})
    assert noted == [("@alice:x", "192.0.2.1", b"Element")]
