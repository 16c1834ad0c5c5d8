"""When devices were seen: in memory at once, in the database a minute later."""

from typing import Any

import pytest

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction
from homeserver.services.accounts import last_seen as module
from tests.support.accounts import House, Person
from tests.support.clock import FakeClock
from tests.support.running import result


def stored(house: House) -> list[Any]:
    def read(txn: Transaction) -> list[Any]:
        return txn.rows("SELECT last_seen_ms, last_seen_ip, last_seen_user_agent FROM devices")

    return result(house.database.read(read))


def test_uses_are_shown_at_once_and_written_a_minute_later(
    house: House, alice: Person, time: FakeClock
) -> None:
    for _ in range(5):
        house.request("GET", "/account/whoami", token=alice.token, ip="9.8.7.6")
    device = result(house.devices.device(alice.user_id, alice.device_id))
    assert (device.last_seen_ip, device.last_seen_ms) == ("9.8.7.6", time.now_ms())
    assert stored(house) == [(None, None, None)]

    seen_ms = time.now_ms()
    time.advance(60)

    assert stored(house) == [(seen_ms, "9.8.7.6", None)]
    assert house.accounts.last_seen.of(alice.user_id, alice.device_id) is None


def test_what_could_not_be_written_is_written_later(
    house: House, alice: Person, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.status_of(alice.token)

    def fail(*args: object) -> None:
        raise OSError("The disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(house.accounts.last_seen._devices), "seen", fail)
        time.advance(60)
    assert stored(house) == [(None, None, None)]
    time.advance(60)
    assert stored(house) != [(None, None, None)]


def test_stopping_the_background_work_stops_it(house: House, alice: Person, time: FakeClock) -> None:
    result(house.tasks.stop_all())
    house.status_of(alice.token)
    time.advance(600)
    assert stored(house) == [(None, None, None)]
    result(house.accounts.last_seen.write())
    assert stored(house) != [(None, None, None)]


def test_control_characters_of_a_user_agent_are_left_out(house: House, alice: Person) -> None:
    requester = house.accounts.sessions.lookup_now(alice.token)
    assert requester is not None
    house.accounts.last_seen.note(requester, "1.2.3.4", b"Fire\0fox\x1b\xe9" + b"x" * 1000)
    result(house.accounts.last_seen.write())
    agent = stored(house)[0][2]
    assert agent.startswith("Firefoxéx")
    assert len(agent) == module.MAX_USER_AGENT
    assert UserId("@alice:test") == alice.user_id


def test_a_database_that_is_gone_does_not_keep_the_server_from_stopping(house: House, alice: Person) -> None:
    house.status_of(alice.token)
    result(house.database.stop())
    result(house.accounts.last_seen.write_or_log())
