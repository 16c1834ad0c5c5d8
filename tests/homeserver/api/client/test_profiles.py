"""Profiles, through the router."""

from typing import Any

import pytest

from homeserver.runtime.database import Database
from tests.support.accounts import House, Person, open_house
from tests.support.clock import FakeClock

ALICE = "/profile/@alice:test"


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return house.register("alice")


def test_fields_are_set_read_and_deleted(house: House, alice: Person) -> None:
    for key, value in {"displayname": "Alice", "avatar_url": "mxc://test/a", "m.tz": "Europe/Rome"}.items():
        assert alice.request("PUT", f"{ALICE}/{key}", {key: value}).json == {}
        assert house.request("GET", f"{ALICE}/{key}").json == {key: value}
    assert (
        alice.request("PUT", f"{ALICE}/org.example.job", {"org.example.job": {"title": "Chef"}}).status == 200
    )
    assert house.request("GET", ALICE).json == {
        "avatar_url": "mxc://test/a",
        "displayname": "Alice",
        "m.tz": "Europe/Rome",
        "org.example.job": {"title": "Chef"},
    }
    assert alice.request("DELETE", f"{ALICE}/avatar_url").json == {}
    assert alice.request("DELETE", f"{ALICE}/avatar_url").json == {}
    assert house.request("GET", f"{ALICE}/avatar_url").errcode == "M_NOT_FOUND"


@pytest.mark.parametrize(
    ("key", "body", "errcode"),
    [
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"other": "x"}, "M_MISSING_PARAM"),
        ("displayname", {"displayname": 1}, "M_BAD_JSON"),
        ("Upper", {"Upper": 1}, "M_INVALID_PARAM"),
        ("x" * 256, {}, "M_KEY_TOO_LARGE"),
        ("org.example.big", {"org.example.big": "x" * 66_000}, "M_PROFILE_TOO_LARGE"),
        ("displayname", b"nonsense", "M_NOT_JSON"),
        ("displayname", b"[]", "M_BAD_JSON"),
    ],
)
def test_what_may_not_be_is_refused(alice: Person, key: str, body: Any, errcode: str) -> None:
    answer = alice.request("PUT", f"{ALICE}/{key}", body)
    assert (answer.status, answer.errcode) == (400, errcode)


def test_nobody_changes_the_profile_of_another(house: House, alice: Person) -> None:
    bob = house.register("bob")
    assert bob.request("PUT", f"{ALICE}/displayname", {"displayname": "B"}).errcode == "M_FORBIDDEN"
    assert bob.request("DELETE", f"{ALICE}/displayname").errcode == "M_FORBIDDEN"
    assert house.request("PUT", f"{ALICE}/displayname", {"displayname": "B"}).errcode == "M_MISSING_TOKEN"


@pytest.mark.parametrize("user", ["@nobody:test", "@alice:elsewhere"])
def test_whom_this_server_does_not_know_has_no_profile(house: House, user: str) -> None:
    assert house.request("GET", f"/profile/{user}").errcode == "M_NOT_FOUND"
    assert house.request("GET", f"/profile/{user}/displayname").errcode == "M_NOT_FOUND"


def test_a_profile_without_fields_is_empty(house: House, alice: Person) -> None:
    alice.request("DELETE", f"{ALICE}/displayname")
    assert house.request("GET", ALICE).json == {}
