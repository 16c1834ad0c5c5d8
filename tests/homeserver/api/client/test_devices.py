"""Devices, through the router."""

import pytest

from homeserver.runtime.database import Database
from homeserver.services.streams import Change
from tests.support.accounts import House, Person, open_house
from tests.support.clock import FakeClock


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return house.register("alice", device_id="PHONE", initial_device_display_name="Phone")


@pytest.fixture
def laptop(house: House, alice: Person) -> Person:
    return house.person(house.log_in("alice", device_id="LAPTOP"))


def test_devices_are_listed_with_what_is_known(alice: Person, laptop: Person, time: FakeClock) -> None:
    listed = alice.request("GET", "/devices").json["devices"]
    seen = {"last_seen_ts": time.now_ms(), "last_seen_ip": "1.2.3.4"}
    assert listed == [{"device_id": "LAPTOP"}, {"device_id": "PHONE", "display_name": "Phone", **seen}]
    assert alice.request("GET", "/devices/LAPTOP").json == {"device_id": "LAPTOP"}
    assert alice.request("GET", "/devices/NONE").errcode == "M_NOT_FOUND"


def test_a_device_is_renamed_and_others_hear_of_it(house: House, alice: Person) -> None:
    house.changes.clear()
    assert alice.request("PUT", "/devices/PHONE", {"display_name": "New"}).json == {}
    assert house.changes == [Change("device_lists", users=(alice.user_id,))]
    assert alice.request("GET", "/devices/PHONE").json["display_name"] == "New"
    assert alice.request("PUT", "/devices/PHONE", {}).status == 200
    assert alice.request("GET", "/devices/PHONE").json["display_name"] == "New"


@pytest.mark.parametrize(
    ("device", "body", "errcode"),
    [
        ("NONE", {"display_name": "x"}, "M_NOT_FOUND"),
        ("NONE", {}, "M_NOT_FOUND"),
        ("PHONE", {"display_name": 1}, "M_BAD_JSON"),
        ("PHONE", {"display_name": "x" * 256}, "M_TOO_LARGE"),
    ],
)
def test_a_name_may_be_refused(alice: Person, device: str, body: dict[str, object], errcode: str) -> None:
    assert alice.request("PUT", f"/devices/{device}", body).errcode == errcode


def test_deleting_needs_the_password_and_logs_the_device_out(
    house: House, alice: Person, laptop: Person
) -> None:
    assert alice.request("DELETE", "/devices/LAPTOP").status == 401
    assert house.status_of(laptop.token) == 200
    assert alice.proven("DELETE", "/devices/LAPTOP").json == {}
    assert house.status_of(laptop.token) == 401
    assert alice.proven("DELETE", "/devices/LAPTOP").json == {}


def test_a_session_of_authentication_is_for_one_device(alice: Person, laptop: Person) -> None:
    session = alice.request("DELETE", "/devices/PHONE").json["session"]
    auth = {"type": "m.login.password", "password": alice.password, "session": session}
    assert alice.request("DELETE", "/devices/LAPTOP", {"auth": auth}).status == 401
    assert alice.request("DELETE", "/devices/PHONE", {"auth": auth}).status == 200


def test_many_are_deleted_at_once(house: House, alice: Person, laptop: Person) -> None:
    bob = house.register("bob", device_id="BOBS")
    body = {"devices": ["LAPTOP", "NONE", "BOBS"]}
    assert alice.request("POST", "/delete_devices", body).status == 401
    assert alice.proven("POST", "/delete_devices", body).json == {}
    assert [device["device_id"] for device in alice.request("GET", "/devices").json["devices"]] == ["PHONE"]
    assert house.status_of(bob.token) == 200
    assert alice.proven("POST", "/delete_devices", {"devices": "LAPTOP"}).errcode == "M_BAD_JSON"
