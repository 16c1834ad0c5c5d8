"""Closing accounts."""

import pytest

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import UserId
from tests.support.accounts import House, Person
from tests.support.running import result


def close(house: House, user_id: UserId, *, erase: bool = False) -> None:
    result(house.accounts.deactivation.deactivate_for(user_id, erase=erase))


def test_a_closed_account_is_logged_out_and_nobody_logs_in(house: House, alice: Person) -> None:
    """CVE-2023-32682."""
    token = alice.proven("POST", "/_matrix/client/v1/login/get_token").json["login_token"]
    refresh = house.log_in("alice", refresh_token=True).json["refresh_token"]

    close(house, alice.user_id)

    assert house.status_of(alice.token) == 401
    assert house.log_in("alice").status == 403
    assert house.request("POST", "/login", {"type": "m.login.token", "token": token}).status == 403
    with pytest.raises(MatrixError):
        result(house.accounts.sessions.refresh(refresh))
    assert result(house.devices.of_user(alice.user_id)) == []


def test_its_name_stays_taken(house: House, alice: Person) -> None:
    close(house, alice.user_id)
    assert house.request("GET", "/register/available", username="alice").errcode == "M_USER_IN_USE"


def test_a_new_password_does_not_bring_it_back(house: House, alice: Person) -> None:
    close(house, alice.user_id)
    result(house.accounts.password_change.set_for(alice.user_id, "another password"))
    assert house.log_in("alice", "another password").status == 403


def test_its_profile_goes_only_when_it_is_erased(house: House, alice: Person) -> None:
    bob = house.register("bob")
    close(house, alice.user_id)
    close(house, bob.user_id, erase=True)
    assert result(house.profiles.profile(alice.user_id)) == {"displayname": "alice"}
    assert result(house.profiles.profile(bob.user_id)) == {}


def test_steps_run_once_in_their_order(house: House, alice: Person) -> None:
    ran: list[object] = []

    async def leave_rooms(user_id: UserId, erase: bool) -> None:
        ran.append(("leave", user_id, erase))

    async def forget(user_id: UserId, erase: bool) -> None:
        ran.append(("forget", user_id, erase))

    house.accounts.deactivation.also(leave_rooms)
    house.accounts.deactivation.also(forget)
    close(house, alice.user_id, erase=True)
    close(house, alice.user_id, erase=True)
    assert ran == [("leave", "@alice:test", True), ("forget", "@alice:test", True)]


def test_steps_that_failed_run_again_at_the_next_start(house: House, alice: Person) -> None:
    async def fail(user_id: UserId, erase: bool) -> None:
        raise OSError("The network is down")

    ran: list[tuple[UserId, bool]] = []

    async def succeed(user_id: UserId, erase: bool) -> None:
        ran.append((user_id, erase))

    deactivation = house.accounts.deactivation
    deactivation.also(fail)
    close(house, alice.user_id)
    deactivation._steps[:] = [succeed]
    result(deactivation.start())
    result(deactivation.start())
    assert ran == [(alice.user_id, False)]
