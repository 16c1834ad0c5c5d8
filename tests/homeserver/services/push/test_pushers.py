"""Pushers: kept for the user, checked when set."""

from typing import Any

import pytest

from homeserver.protocol.errors import InvalidParam, LimitExceeded, MissingParam
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from tests.support.personal import ALICE, BOB, House
from tests.support.running import result

PUSHER: dict[str, Any] = {
    "app_id": "org.example.app",
    "pushkey": "key",
    "kind": "http",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "en",
    "data": {"url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only"},
}


def put(house: House, user: UserId = ALICE, **changes: Any) -> None:
    requester = Requester(user, DeviceId("PHONE"))
    result(house.pushers.put(requester, {**PUSHER, **changes}))


def pushers(house: House, user: UserId = ALICE) -> list[dict[str, Any]]:
    return result(house.pushers.of_user(user))


def test_a_pusher_is_listed_as_it_was_set(house: House) -> None:
    put(house, profile_tag="x", append=False, unknown=1)
    assert pushers(house) == [{**PUSHER, "profile_tag": "x"}]
    assert pushers(house, BOB) == []


def test_setting_it_again_replaces_it(house: House) -> None:
    put(house)
    put(house, lang="de")
    assert pushers(house) == [{**PUSHER, "lang": "de"}]


def test_kind_null_removes_it(house: House) -> None:
    put(house)
    result(house.pushers.put(Requester(ALICE), {"app_id": PUSHER["app_id"], "pushkey": "key", "kind": None}))
    assert pushers(house) == []


def test_a_pushkey_moves_to_its_new_user_unless_it_is_shared(house: House) -> None:
    put(house)
    put(house, BOB, append=True)
    assert len(pushers(house)) == len(pushers(house, BOB)) == 1
    put(house, BOB)
    assert (len(pushers(house)), len(pushers(house, BOB))) == (0, 1)


def test_a_device_takes_its_pushers_along(house: House) -> None:
    put(house)
    result(house.database.write(house.stores.pushers.remove_of_device, ALICE, DeviceId("OTHER")))
    assert len(pushers(house)) == 1
    result(house.database.write(house.stores.pushers.remove_of_device, ALICE, DeviceId("PHONE")))
    assert pushers(house) == []


@pytest.mark.parametrize(
    "name", ["app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"]
)
def test_what_is_missing_is_named(small_house: House, name: str) -> None:
    with pytest.raises(MissingParam, match=name):
        put(small_house, **{name: None})


@pytest.mark.parametrize(
    "changes",
    [
        {"app_id": "x" * 65},
        {"pushkey": "x" * 513},
        {"pushkey": 5},
        {"kind": "pigeon"},
        {"data": []},
        {"data": {"url": "http://push.example.org/_matrix/push/v1/notify"}},
        {"data": {"url": "https://push.example.org/"}},
        {"data": {"url": "https://[/_matrix/push/v1/notify"}},
        {"data": {"url": 5}},
        {"data": {**PUSHER["data"], "more": "x" * 20_000}},
        {"lang": ["en"]},
    ],
)
def test_what_is_wrong_is_refused(small_house: House, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidParam):
        put(small_house, **changes)


def test_a_pusher_needs_a_kind_and_a_url(small_house: House) -> None:
    without = {key: value for key, value in PUSHER.items() if key != "kind"}
    with pytest.raises(MissingParam, match="kind"):
        result(small_house.pushers.put(Requester(ALICE), without))
    with pytest.raises(MissingParam, match="url"):
        put(small_house, data={})


def test_the_number_of_pushers_is_limited(small_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.push.pushers.MOST_PUSHERS", 1)
    put(small_house)
    put(small_house)
    with pytest.raises(LimitExceeded):
        put(small_house, pushkey="other")
