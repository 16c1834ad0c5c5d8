"""Who is this token? In memory and from the database, while sessions begin, change and end."""

from dataclasses import replace
from typing import Any

import pytest

from homeserver.protocol.errors import MatrixError, UnknownToken
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.sessions import Lifetimes, Sessions
from homeserver.services.streams import Change
from tests.support.accounts import OPEN, House, Person, open_house
from tests.support.clock import FakeClock
from tests.support.running import result


def soft_logout(refusal: Any) -> object:
    return refusal.value.body()["soft_logout"]


def refresh(house: House, token: str) -> Any:
    return result(house.accounts.sessions.refresh(token))


@pytest.fixture
def sessions(house: House) -> Sessions:
    return house.accounts.sessions


@pytest.fixture
def restarted(house: House, sqlite_database: Database, time: FakeClock) -> House:
    """Another server on the same database: nothing is in memory."""
    return open_house(sqlite_database, time)


def test_a_new_session_is_known_without_asking_the_database(sessions: Sessions, alice: Person) -> None:
    requester = sessions.lookup_now(alice.token)
    assert requester is not None
    assert requester == Requester(alice.user_id, alice.device_id, requester.session_id)
    assert sessions.find(alice.token) is requester


def test_after_a_restart_the_database_is_asked_once(alice: Person, restarted: House) -> None:
    sessions = restarted.accounts.sessions
    assert sessions.lookup_now(alice.token) is None
    assert result(sessions.lookup(alice.token)).user_id == alice.user_id
    assert sessions.lookup_now(alice.token) is not None


def test_an_unknown_token_is_refused_for_good(sessions: Sessions) -> None:
    with pytest.raises(UnknownToken) as refusal:
        result(sessions.lookup("psa_made_up"))
    assert soft_logout(refusal) is False
    assert len(sessions._known) == 0


def test_tokens_are_stored_as_hashes_only(house: House, alice: Person) -> None:
    house.log_in("alice", refresh_token=True)

    def everything(txn: Transaction) -> str:
        return repr(txn.rows("SELECT * FROM token_pairs"))

    stored = result(house.database.read(everything))
    assert alice.token not in stored
    assert "psr_" not in stored
    assert "psa_" not in stored


def test_logging_out_forgets_the_token_and_the_device_at_once(
    house: House, sessions: Sessions, alice: Person
) -> None:
    requester = sessions.lookup_now(alice.token)
    assert requester is not None
    house.changes.clear()

    result(sessions.log_out(requester))

    assert sessions.lookup_now(alice.token) is None
    with pytest.raises(UnknownToken) as refusal:
        result(sessions.lookup(alice.token))
    assert soft_logout(refusal) is False
    assert result(house.devices.of_user(alice.user_id)) == []
    assert house.changes == [Change("device_lists", users=(alice.user_id,))]


def test_logging_out_twice_tells_nobody(house: House, sessions: Sessions, alice: Person) -> None:
    requester = sessions.lookup_now(alice.token)
    assert requester is not None
    result(sessions.log_out(requester))
    house.changes.clear()
    result(sessions.log_out(requester))
    assert house.changes == []


def test_logging_out_everywhere_may_keep_one_device(house: House, sessions: Sessions, alice: Person) -> None:
    others = [house.person(house.log_in("alice")) for _ in range(3)]
    result(sessions.log_out_everywhere(alice.user_id, keep=others[1].device_id))
    known = [sessions.lookup_now(person.token) is not None for person in (alice, *others)]
    assert known == [False, False, True, False]
    assert [device.device_id for device in result(house.devices.of_user(alice.user_id))] == [
        others[1].device_id
    ]


def test_logging_in_on_a_known_device_ends_its_former_session_and_keeps_its_name(
    house: House, sessions: Sessions
) -> None:
    first = house.register("alice", device_id="PHONE", initial_device_display_name="My phone")
    again = house.person(house.log_in("alice", device_id="PHONE", initial_device_display_name="Other"))
    assert sessions.lookup_now(first.token) is None
    assert house.status_of(first.token) == 401
    assert house.status_of(again.token) == 200
    devices = result(house.devices.of_user(first.user_id))
    assert [(device.device_id, device.display_name) for device in devices] == [("PHONE", "My phone")]


def test_what_else_belongs_to_devices_goes_with_them(house: House, sessions: Sessions, alice: Person) -> None:
    gone: list[tuple[UserId, list[DeviceId]]] = []
    sessions.also_clean(lambda txn, user_id, device_ids: gone.append((user_id, list(device_ids))))
    result(sessions.remove_devices(alice.user_id, [alice.device_id, DeviceId("NONE")]))
    assert gone == [(alice.user_id, [alice.device_id])]


def test_a_read_that_was_overtaken_by_a_logout_is_not_remembered(
    restarted: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = restarted.accounts.sessions
    read = sessions._stores.sessions.of_access_token

    def read_then_drop(self: object, txn: Transaction, token_hash: bytes) -> Any:
        found = read(txn, token_hash)
        sessions._known.drop([token_hash])
        return found

    monkeypatch.setattr(type(sessions._stores.sessions), "of_access_token", read_then_drop)
    assert result(sessions.lookup(alice.token)).user_id == alice.user_id
    assert sessions.lookup_now(alice.token) is None


class TestRefreshing:
    """One pair of tokens follows another."""

    @pytest.fixture
    def first(self, house: House, alice: Person) -> dict[str, Any]:
        answer: dict[str, Any] = house.log_in("alice", refresh_token=True, device_id="PHONE").json
        return answer

    def test_without_asking_for_it_tokens_do_not_expire(
        self, house: House, alice: Person, time: FakeClock
    ) -> None:
        answer = house.log_in("alice").json
        assert "refresh_token" not in answer
        assert "expires_in_ms" not in answer
        time.advance(7 * 86_400)
        assert house.status_of(answer["access_token"]) == 200

    def test_an_expired_token_is_softly_refused_and_may_be_refreshed(
        self, house: House, first: dict[str, Any], time: FakeClock
    ) -> None:
        assert house.status_of(first["access_token"]) == 200
        time.advance(first["expires_in_ms"] / 1000)
        refused = house.request("GET", "/account/whoami", token=first["access_token"])
        assert (refused.status, refused.errcode, refused.json["soft_logout"]) == (
            401,
            "M_UNKNOWN_TOKEN",
            True,
        )

        tokens = refresh(house, first["refresh_token"])

        assert house.status_of(tokens.access_token) == 200

    def test_the_new_pair_belongs_to_the_same_device(self, house: House, first: dict[str, Any]) -> None:
        tokens = refresh(house, first["refresh_token"])
        answer = house.request("GET", "/account/whoami", token=tokens.access_token).json
        assert (answer["user_id"], answer["device_id"]) == ("@alice:test", "PHONE")
        assert tokens.refresh_token not in (None, first["refresh_token"])

    def test_a_lost_answer_can_be_asked_for_again(self, house: House, first: dict[str, Any]) -> None:
        refresh(house, first["refresh_token"])
        tokens = refresh(house, first["refresh_token"])
        assert house.status_of(first["access_token"]) == 200
        assert house.status_of(tokens.access_token) == 200

    def test_using_the_new_access_token_makes_the_old_pair_void(
        self, house: House, first: dict[str, Any]
    ) -> None:
        tokens = refresh(house, first["refresh_token"])
        assert house.status_of(tokens.access_token) == 200
        refused = house.request("GET", "/account/whoami", token=first["access_token"])
        assert (refused.status, refused.json["soft_logout"]) == (401, True)
        assert house.status_of(tokens.access_token) == 200

    def test_using_the_new_refresh_token_makes_the_old_pair_void(
        self, house: House, first: dict[str, Any]
    ) -> None:
        second = refresh(house, first["refresh_token"])
        third = refresh(house, second.refresh_token)
        assert house.status_of(first["access_token"]) == 401
        assert house.status_of(second.access_token) == 200
        assert house.status_of(third.access_token) == 200
        assert house.status_of(second.access_token) == 401

    def test_a_replaced_refresh_token_used_again_ends_the_session_softly(
        self, house: House, first: dict[str, Any]
    ) -> None:
        tokens = refresh(house, first["refresh_token"])
        assert house.status_of(tokens.access_token) == 200

        with pytest.raises(UnknownToken) as refusal:
            refresh(house, first["refresh_token"])

        assert soft_logout(refusal) is True
        assert house.status_of(tokens.access_token) == 401
        with pytest.raises(UnknownToken):
            refresh(house, tokens.refresh_token)
        devices = result(house.devices.of_user(UserId("@alice:test")))
        assert "PHONE" in [device.device_id for device in devices]

    def test_it_ends_after_a_restart_too(
        self, house: House, first: dict[str, Any], sqlite_database: Database, time: FakeClock
    ) -> None:
        tokens = refresh(house, first["refresh_token"])
        restarted = open_house(sqlite_database, time)
        assert restarted.status_of(tokens.access_token) == 200
        assert restarted.status_of(first["access_token"]) == 401
        with pytest.raises(UnknownToken):
            refresh(restarted, first["refresh_token"])

    def test_a_refresh_token_expires(self, alice: Person, sqlite_database: Database, time: FakeClock) -> None:
        settings = replace(OPEN, lifetimes=Lifetimes(access_ms=1000, refresh_ms=5000))
        house = open_house(sqlite_database, time, settings)
        first = house.log_in("alice", refresh_token=True).json
        time.advance(5)
        with pytest.raises(UnknownToken) as refusal:
            refresh(house, first["refresh_token"])
        assert soft_logout(refusal) is True

    def test_a_made_up_refresh_token_is_refused_for_good(self, house: House) -> None:
        with pytest.raises(UnknownToken) as refusal:
            refresh(house, "psr_made_up")
        assert soft_logout(refusal) is False

    def test_a_locked_account_refreshes_nothing(self, house: House, first: dict[str, Any]) -> None:
        admin = house.register("admin")
        house.make_admin(admin)
        admin.request("PUT", "/_matrix/client/v1/admin/lock/@alice:test", {"locked": True})
        with pytest.raises(MatrixError) as refusal:
            refresh(house, first["refresh_token"])
        assert refusal.value.errcode == "M_USER_LOCKED"
