"""Suspended: reads, leaves, takes back what is theirs, and nothing else. Locked: logs out, and nothing else.

https://spec.matrix.org/latest/client-server-api/#account-suspension
https://spec.matrix.org/latest/client-server-api/#account-locking
"""

import pytest

from homeserver.api.client.routes import ROUTES
from homeserver.http.routing import Auth
from homeserver.protocol.ids import UserId
from tests.support.people import V1, Person, path
from tests.support.running import result
from tests.support.whole_server import WholeServer


@pytest.fixture
def admin(server: WholeServer) -> Person:
    admin = server.register("admin")
    make_admin = server.services.accounts.moderation.make_admin
    result(make_admin(UserId(admin.user_id), is_admin=True))
    return admin


def moderate(admin: Person, what: str, whom: Person, *, on: bool = True) -> None:
    name = {"suspend": "suspended", "lock": "locked"}[what]
    admin.ask("PUT", f"{V1}/admin/{what}/{whom.user_id}", {name: on})


def test_what_a_suspended_account_may_still_do(admin: Person, alice: Person, bob: Person) -> None:
    room, other = bob.create_room([alice]), bob.create_room(invite=[alice.user_id])
    own, others = alice.send(room, "mine"), bob.send(room, "not mine")
    bob.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 50}})
    moderate(admin, "suspend", alice)

    assert alice.sync(since=None).texts(room) == ["mine", "not mine"]
    assert alice.messages(room).texts == ["not mine", "mine"]
    alice.redact(room, own)
    alice.redact(room, others, refused="M_USER_SUSPENDED")
    alice.leave(other)
    alice.leave(room)
    alice.ask("POST", "/logout")


def test_what_a_suspended_account_may_not_do(admin: Person, alice: Person, bob: Person) -> None:
    room, public = alice.create_room([bob]), bob.create_room(preset="public_chat")
    invited = bob.create_room(invite=[alice.user_id])
    moderate(admin, "suspend", alice)

    refused = "M_USER_SUSPENDED"
    alice.send(room, "x", refused=refused)
    alice.set_state(room, "m.room.name", {"name": "x"}, refused=refused)
    alice.join(public, refused=refused)
    alice.join(invited, refused=refused)
    alice.knock(public, refused=refused)
    alice.invite(room, "@carol:test", refused=refused)
    alice.kick(room, bob, refused=refused)
    alice.ban(room, bob, refused=refused)
    alice.ask("POST", "/createRoom", {}, refused=refused)
    alice.ask("PUT", path("profile", alice.user_id, "displayname"), {"displayname": "x"}, refused=refused)
    alice.ask("POST", "/_matrix/media/v3/upload", b"x", refused=refused)

    moderate(admin, "suspend", alice, on=False)
    alice.send(room, "back")


def test_a_locked_account_can_only_log_out(
    server: WholeServer, admin: Person, alice: Person, bob: Person
) -> None:
    """And finds everything as it was once it is unlocked: clients keep their session (soft_logout)."""
    room = alice.create_room([bob])
    moderate(admin, "lock", alice)
    for route in ROUTES:
        if route.auth is Auth.USER and "{" not in route.path and "/logout" not in route.path:
            answer = alice.request(route.method, route.path)
            assert (answer.status, answer.errcode) == (401, "M_USER_LOCKED"), route.path
            assert answer.json["soft_logout"] is True

    moderate(admin, "lock", alice, on=False)
    alice.send(room, "back")
    moderate(admin, "lock", alice)
    alice.ask("POST", "/logout")
    assert alice.request("GET", "/account/whoami").errcode == "M_UNKNOWN_TOKEN"


def test_a_held_sync_does_not_outlive_a_lock(
    server: WholeServer, admin: Person, alice: Person, bob: Person
) -> None:
    """At the latest its next one is refused: what it was told meanwhile was theirs to know."""
    room = alice.create_room([bob])
    alice.sync()
    held = alice.start_sync()
    moderate(admin, "lock", alice)
    bob.send(room, "x")
    if held.is_done:
        assert held.pending.answer.status in (200, 401)
    assert alice.request("GET", "/sync").errcode == "M_USER_LOCKED"
