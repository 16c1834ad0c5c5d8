"""Registering with the shared secret, through the router."""

import hmac
from dataclasses import replace
from typing import Any

import pytest

from homeserver.runtime.database import Database
from homeserver.services.accounts.registration import RegistrationPolicy
from tests.support.accounts import OPEN, PASSWORD, V1, House, open_house
from tests.support.clock import FakeClock


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


PATH = "/_synapse/admin/v1/register"


def signed(house: House, *, secret: str = "tell nobody", admin: bool = False, **more: Any) -> dict[str, Any]:
    nonce = house.request("GET", PATH).json["nonce"]
    mac = hmac.new(secret.encode(), digestmod="sha1")
    parts = [nonce, "alice", PASSWORD, "admin" if admin else "notadmin"]
    if "user_type" in more:
        parts.append(more["user_type"])
    mac.update("\0".join(parts).encode())
    body = {
        "nonce": nonce,
        "username": "alice",
        "password": PASSWORD,
        "admin": admin,
        "mac": mac.hexdigest(),
    }
    return {**body, **more}


def test_whoever_knows_the_secret_makes_accounts(house: House) -> None:
    answer = house.request("POST", PATH, signed(house, displayname="Alice M")).json
    assert answer["user_id"] == "@alice:test"
    assert house.status_of(answer["access_token"]) == 200
    assert house.request("GET", "/profile/@alice:test").json == {"displayname": "Alice M"}
    assert house.log_in("alice").status == 200


def test_administrators_too(house: House) -> None:
    answer = house.request("POST", PATH, signed(house, admin=True))
    person = house.person(answer)
    assert person.request("GET", f"{V1}/admin/lock/@alice:test").json == {"locked": False}


def test_a_user_type_is_signed_as_well(house: House) -> None:
    assert house.request("POST", PATH, signed(house, user_type="bot")).status == 200


def test_a_wrong_secret_or_a_changed_part_is_refused(house: House) -> None:
    assert house.request("POST", PATH, signed(house, secret="guess")).errcode == "M_FORBIDDEN"
    changed = {**signed(house), "admin": True}
    assert house.request("POST", PATH, changed).errcode == "M_FORBIDDEN"


def test_a_nonce_serves_once_and_for_a_minute(house: House, time: FakeClock) -> None:
    body = signed(house)
    assert house.request("POST", PATH, body).status == 200
    assert house.request("POST", PATH, {**body, "username": "bob"}).status == 400
    late = signed(house)
    time.advance(60)
    assert house.request("POST", PATH, late).status == 400


def test_without_a_secret_nobody_can(sqlite_database: Database, time: FakeClock) -> None:
    house = open_house(sqlite_database, time, replace(OPEN, shared_secret=None))
    assert house.request("GET", PATH).status == 400


def test_it_works_where_registration_is_closed(sqlite_database: Database, time: FakeClock) -> None:
    house = open_house(sqlite_database, time, replace(OPEN, registration=RegistrationPolicy("closed")))
    assert house.request("POST", PATH, signed(house)).status == 200
