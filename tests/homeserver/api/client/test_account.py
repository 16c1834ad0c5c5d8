"""Registering, logging in and out, and looking after an account, through the router."""

from dataclasses import replace
from typing import Any

import pytest

from homeserver.config.rate_limits import Limit
from homeserver.protocol.errors import ExclusiveNamespace
from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.services.accounts.passwords import Cost
from homeserver.services.accounts.registration import RegistrationPolicy
from tests.support.accounts import OPEN, PASSWORD, V1, House, Person, open_house
from tests.support.clock import FakeClock
from tests.support.running import result

DUMMY = {"type": "m.login.dummy"}


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return house.register("alice", device_id="PHONE", initial_device_display_name="Phone")


@pytest.fixture
def bob(house: House) -> Person:
    return house.register("bob")


@pytest.fixture
def admin(house: House) -> Person:
    admin = house.register("admin")
    house.make_admin(admin)
    return admin


def _registering(more: bytes) -> bytes:
    return b'{"auth": {"type": "m.login.dummy"}, "password": "correct horse", ' + more + b"}"


class TestRegistering:
    def register(self, house: House, **body: Any) -> Any:
        return house.request("POST", "/register", {"password": PASSWORD, **body})

    def test_the_stages_are_asked_for_first(self, house: House) -> None:
        asked = self.register(house, username="alice")
        assert asked.status == 401
        assert asked.json["flows"] == [{"stages": ["m.login.dummy"]}]
        auth = {**DUMMY, "session": asked.json["session"]}

        answer = self.register(house, username="alice", auth=auth)

        assert answer.status == 200
        assert answer.json["user_id"] == "@alice:test"
        assert answer.json["home_server"] == "test"
        assert house.status_of(answer.json["access_token"]) == 200
        assert len(answer.json["device_id"]) == 10

    def test_flows_may_be_asked_for_with_nothing_at_all(self, house: House) -> None:
        asked = house.request("POST", "/register", {})
        assert asked.status == 401
        auth = {**DUMMY, "session": asked.json["session"]}
        assert self.register(house, username="alice", auth=auth).status == 200

    def test_device_and_refresh_token_are_as_wished(self, house: House) -> None:
        answer = self.register(
            house,
            username="alice",
            auth=DUMMY,
            device_id="PHONE",
            initial_device_display_name="My phone",
            refresh_token=True,
        ).json
        assert answer["device_id"] == "PHONE"
        assert answer["expires_in_ms"] == 3_600_000
        refreshed = house.request("POST", "/refresh", {"refresh_token": answer["refresh_token"]}).json
        device = house.request("GET", "/devices/PHONE", token=refreshed["access_token"]).json
        assert device["display_name"] == "My phone"

    def test_nobody_is_logged_in_who_does_not_want_to(self, house: House) -> None:
        answer = self.register(house, username="alice", auth=DUMMY, inhibit_login=True)
        assert answer.json == {"user_id": "@alice:test", "home_server": "test"}
        assert house.log_in("alice").status == 200

    def test_without_a_name_one_is_drawn(self, house: House) -> None:
        one, two = (self.register(house, auth=DUMMY).json["user_id"] for _ in range(2))
        assert one != two

    def test_capitals_become_small(self, house: House) -> None:
        assert self.register(house, username="Alice.M", auth=DUMMY).json["user_id"] == "@alice.m:test"
        assert house.log_in("ALICE.m").status == 200

    @pytest.mark.parametrize("name", ["al ice", "@alice:test", "alice:test", "älice", "", "a#b", "x" * 250])
    def test_names_that_are_none_are_refused_before_any_stage(self, house: House, name: str) -> None:
        assert self.register(house, username=name).errcode == "M_INVALID_USERNAME"
        assert house.request("GET", "/register/available", username=name).errcode == "M_INVALID_USERNAME"

    def test_the_longest_user_id_has_255_bytes(self, house: House) -> None:
        assert self.register(house, username="x" * 249, auth=DUMMY).status == 200

    def test_a_taken_name_is_refused_before_and_after_the_stages(self, house: House, alice: Person) -> None:
        assert self.register(house, username="alice").errcode == "M_USER_IN_USE"
        assert self.register(house, username="Alice", auth=DUMMY).errcode == "M_USER_IN_USE"
        assert house.request("GET", "/register/available", username="alice").errcode == "M_USER_IN_USE"
        assert house.request("GET", "/register/available", username="carol").json == {"available": True}

    def test_names_of_application_services_are_refused(self, house: House) -> None:
        def check(user_id: UserId) -> None:
            if user_id.startswith("@_bridge_"):
                raise ExclusiveNamespace

        house.accounts.new_accounts.also_check_names(check)
        assert self.register(house, username="_bridge_x", auth=DUMMY).errcode == "M_EXCLUSIVE"
        assert house.request("GET", "/register/available", username="_bridge_x").errcode == "M_EXCLUSIVE"

    def test_a_weak_password_is_refused_and_one_is_needed(self, house: House) -> None:
        assert self.register(house, username="a", password="short").errcode == "M_WEAK_PASSWORD"
        answer = house.request("POST", "/register", {"username": "a", "auth": DUMMY})
        assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")
        assert house.request("GET", "/register/available", username="a").status == 200

    @pytest.mark.parametrize(
        ("body", "errcode"),
        [
            (b"{", "M_NOT_JSON"),
            (b"[]", "M_BAD_JSON"),
            (b'{"username": 1}', "M_BAD_JSON"),
            (b'{"auth": "dummy"}', "M_BAD_JSON"),
            (b'{"auth": {"type": 1}}', "M_BAD_JSON"),
            (b'{"device_id": "a\\u0000b"}', "M_INVALID_PARAM"),
            (b'{"initial_device_display_name": "' + b"x" * 256 + b'"}', "M_TOO_LARGE"),
            (b'{"initial_device_display_name": "a\\ud800"}', "M_NOT_JSON"),
            (_registering(b'"initial_device_display_name": "a\\u0000"'), "M_INVALID_PARAM"),
        ],
    )
    def test_nonsense_is_refused_by_name(self, house: House, body: bytes, errcode: str) -> None:
        assert house.request("POST", "/register", body).errcode == errcode

    def test_an_unknown_kind_is_refused(self, house: House) -> None:
        assert house.request("POST", "/register", {}, kind="robot").errcode == "M_INVALID_PARAM"

    def test_a_closed_server_makes_no_accounts(self, sqlite_database: Database, time: FakeClock) -> None:
        house = open_house(sqlite_database, time, replace(OPEN, registration=RegistrationPolicy()))
        assert self.register(house, username="alice", auth=DUMMY).status == 403
        assert house.request("GET", "/register/available", username="alice").errcode == "M_FORBIDDEN"
        validity = f"{V1}/register/m.login.registration_token/validity"
        assert house.request("GET", f"{validity}?token=x").errcode == "M_FORBIDDEN"
        assert house.request("POST", "/register", {}, kind="guest").errcode == "M_GUEST_ACCESS_FORBIDDEN"

    def test_registering_is_limited_by_address(self, sqlite_database: Database, time: FakeClock) -> None:
        house = open_house(sqlite_database, time, limits={"registrations": Limit(0.1, 2)})
        for name in ("one", "two"):
            house.register(name)
        refused = self.register(house, username="three", auth=DUMMY)
        assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert refused.headers["Retry-After"] == "11"
        body = {"username": "four", "password": PASSWORD, "auth": DUMMY}
        assert house.request("POST", "/register", body, ip="5.6.7.8").status == 200


class TestRegistrationTokens:
    @pytest.fixture
    def house(self, sqlite_database: Database, time: FakeClock) -> House:
        return open_house(sqlite_database, time, replace(OPEN, registration=RegistrationPolicy("token")))

    def is_valid(self, house: House, token: str) -> bool:
        answer = house.request("GET", f"{V1}/register/m.login.registration_token/validity?token={token}")
        valid: bool = answer.json["valid"]
        return valid

    def register(self, house: House, name: str, token: str) -> Any:
        auth = {"type": "m.login.registration_token", "token": token}
        return house.request("POST", "/register", {"username": name, "password": PASSWORD, "auth": auth})

    def test_a_token_lets_as_many_register_as_allowed(self, house: House) -> None:
        result(house.accounts.registration_tokens.create("two", uses_allowed=2))
        assert self.is_valid(house, "two")
        assert not self.is_valid(house, "other")
        assert self.register(house, "alice", "two").status == 200
        assert self.register(house, "bob", "two").status == 200
        assert not self.is_valid(house, "two")
        refused = self.register(house, "carol", "two")
        assert (refused.status, refused.errcode) == (401, "M_FORBIDDEN")
        assert refused.json["flows"] == [{"stages": ["m.login.registration_token"]}]

    def test_a_name_that_is_taken_costs_no_use(self, house: House) -> None:
        result(house.accounts.registration_tokens.create("two", uses_allowed=2))
        assert self.register(house, "alice", "two").status == 200
        assert self.register(house, "alice", "two").errcode == "M_USER_IN_USE"
        assert result(house.accounts.registration_tokens.token("two")).completed == 1

    def test_the_dummy_stage_does_not_do(self, house: House) -> None:
        body = {"username": "alice", "password": PASSWORD, "auth": DUMMY}
        assert house.request("POST", "/register", body).status == 401


class TestGuests:
    def register(self, house: House, body: Any = None) -> Any:
        return house.request("POST", "/register", body or {}, kind="guest")

    def test_a_guest_needs_neither_stage_nor_name(self, house: House) -> None:
        answer = self.register(house, {"username": "mallory", "password": 7, "device_id": 3})
        assert answer.status == 200
        assert "mallory" not in answer.json["user_id"]
        who = house.request("GET", "/account/whoami", token=answer.json["access_token"]).json
        assert who == {
            "user_id": answer.json["user_id"],
            "device_id": answer.json["device_id"],
            "is_guest": True,
        }

    def test_guests_may_do_little(self, house: House) -> None:
        guest = house.person(self.register(house))
        assert guest.request("GET", "/account/3pid").errcode == "M_GUEST_ACCESS_FORBIDDEN"
        profile = f"/profile/{guest.user_id}"
        assert guest.request("PUT", f"{profile}/displayname", {"displayname": "G"}).status == 200
        avatar = guest.request("PUT", f"{profile}/avatar_url", {"avatar_url": "mxc://test/a"})
        assert avatar.errcode == "M_GUEST_ACCESS_FORBIDDEN"
        capabilities = guest.request("GET", "/capabilities").json["capabilities"]
        assert capabilities["m.change_password"] == {"enabled": False}
        assert guest.request("POST", "/logout").status == 200

    def test_a_guest_becomes_a_full_account_and_stays_logged_in(self, house: House) -> None:
        guest = house.person(self.register(house))
        name = guest.user_id.removeprefix("@").removesuffix(":test")
        body = {
            "username": name,
            "password": PASSWORD,
            "guest_access_token": guest.token,
            "auth": DUMMY,
        }
        answer = house.request("POST", "/register", body)
        assert answer.json["user_id"] == guest.user_id
        assert guest.request("GET", "/account/whoami").json["is_guest"] is False
        assert house.log_in(name).status == 200
        assert house.request("POST", "/register", body).errcode == "M_FORBIDDEN"

    def test_only_a_guest_becomes_one_and_under_the_same_name(self, house: House, alice: Person) -> None:
        guest = house.person(self.register(house))
        for token in (guest.token, alice.token):
            body = {"username": "alice", "password": PASSWORD, "guest_access_token": token, "auth": DUMMY}
            assert house.request("POST", "/register", body).errcode == "M_FORBIDDEN"
        body = {"username": "x", "password": PASSWORD, "guest_access_token": "nonsense", "auth": DUMMY}
        assert house.request("POST", "/register", body).errcode == "M_UNKNOWN_TOKEN"


class TestLoggingIn:
    def test_the_flows_are_told(self, house: House) -> None:
        assert house.request("GET", "/login").json == {
            "flows": [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]
        }

    @pytest.mark.parametrize("name", ["alice", "@alice:test", "ALICE", "@Alice:test"])
    def test_by_name_or_user_id_in_any_case(self, house: House, alice: Person, name: str) -> None:
        answer = house.log_in(name)
        assert (answer.status, answer.json["user_id"]) == (200, "@alice:test")
        old = {"type": "m.login.password", "user": name, "password": PASSWORD}
        assert house.request("POST", "/login", old).status == 200

    @pytest.mark.parametrize("name", ["bob", "@bob:test", "@alice:elsewhere", "", "al ice", "@", "x" * 300])
    def test_an_unknown_name_and_a_wrong_password_are_told_apart_by_nobody(
        self, house: House, alice: Person, name: str
    ) -> None:
        jobs = house.threads.jobs
        unknown = house.log_in(name)
        cost_of_unknown = house.threads.jobs - jobs
        wrong = house.log_in("alice", "wrong password")
        assert unknown == wrong
        assert (wrong.status, wrong.errcode) == (403, "M_FORBIDDEN")
        assert cost_of_unknown == house.threads.jobs - jobs - cost_of_unknown == 1

    def test_what_is_missing_is_named(self, house: House) -> None:
        for body, errcode in (
            ({}, "M_BAD_JSON"),
            ({"type": "m.login.password"}, "M_MISSING_PARAM"),
            ({"type": "m.login.password", "user": "alice"}, "M_MISSING_PARAM"),
            (
                {"type": "m.login.password", "identifier": {"type": "m.id.user"}, "password": "x"},
                "M_MISSING_PARAM",
            ),
            ({"type": "m.login.password", "identifier": [], "password": "x"}, "M_BAD_JSON"),
            ({"type": "m.login.password", "user": 7, "password": "x"}, "M_BAD_JSON"),
            ({"type": "m.login.token"}, "M_MISSING_PARAM"),
            ({"type": "org.example.magic"}, "M_UNKNOWN"),
        ):
            answer = house.request("POST", "/login", body)
            assert (answer.status, answer.errcode) == (400, errcode), body

    def test_an_address_cannot_be_used_to_log_in(self, house: House) -> None:
        identifier = {"type": "m.id.thirdparty", "medium": "email", "address": "a@test"}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        assert house.request("POST", "/login", body).status == 403

    def test_wrong_passwords_are_limited_per_account_and_address(
        self, sqlite_database: Database, time: FakeClock
    ) -> None:
        house = open_house(sqlite_database, time, limits={"failed_logins": Limit(0.1, 3)})
        house.register("alice")
        for _ in range(20):
            assert house.log_in("alice").status == 200
        for _ in range(3):
            assert house.log_in("ALICE", "wrong password").status == 403
        assert house.log_in("alice").errcode == "M_LIMIT_EXCEEDED"
        body = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
        assert house.request("POST", "/login", body, ip="5.6.7.8").status == 200
        time.advance(10)
        assert house.log_in("alice").status == 200

    def test_a_password_is_hashed_anew_when_the_cost_has_changed(
        self, house: House, alice: Person, sqlite_database: Database, time: FakeClock
    ) -> None:
        dearer = open_house(sqlite_database, time, replace(OPEN, password_cost=Cost(2, 16)))
        assert dearer.log_in("alice").status == 200

        def stored(txn: Any) -> str:
            return str(txn.value("SELECT password_hash FROM users WHERE user_id = '@alice:test'"))

        assert result(house.database.read(stored)).startswith("$argon2id$v=19$m=16,t=2,p=1$")
        assert dearer.log_in("alice").status == 200
        assert house.log_in("alice", "wrong password").status == 403

    def test_a_login_token_logs_in_once_and_soon(self, house: House, alice: Person, time: FakeClock) -> None:
        assert alice.request("POST", f"{V1}/login/get_token").status == 401
        made = alice.proven("POST", f"{V1}/login/get_token").json
        assert made["expires_in_ms"] == 120_000
        body = {"type": "m.login.token", "token": made["login_token"], "device_id": "TABLET"}
        answer = house.request("POST", "/login", body)
        assert (answer.json["user_id"], answer.json["device_id"]) == ("@alice:test", "TABLET")
        assert house.request("POST", "/login", body).errcode == "M_FORBIDDEN"

        late = alice.proven("POST", f"{V1}/login/get_token").json["login_token"]
        time.advance(120)
        assert (
            house.request("POST", "/login", {"type": "m.login.token", "token": late}).errcode == "M_FORBIDDEN"
        )

    def test_logging_out_ends_one_session_or_all(self, house: House, alice: Person) -> None:
        other = house.person(house.log_in("alice"))
        assert alice.request("POST", "/logout").json == {}
        assert house.status_of(alice.token) == 401
        assert house.status_of(other.token) == 200
        third = house.person(house.log_in("alice"))
        assert other.request("POST", "/logout/all").json == {}
        assert [house.status_of(person.token) for person in (other, third)] == [401, 401]

    def test_tokens_are_needed_and_must_be_good(self, house: House) -> None:
        assert house.request("GET", "/account/whoami").errcode == "M_MISSING_TOKEN"
        refused = house.request("GET", "/account/whoami", token="nonsense")
        assert (refused.status, refused.errcode) == (401, "M_UNKNOWN_TOKEN")

    def test_a_refresh_token_is_needed_to_refresh(self, house: House, alice: Person) -> None:
        assert house.request("POST", "/refresh", {}).errcode == "M_BAD_JSON"
        refused = house.request("POST", "/refresh", {"refresh_token": alice.token})
        assert (refused.status, refused.errcode) == (401, "M_UNKNOWN_TOKEN")


class TestPasswords:
    def test_a_change_needs_the_old_one_and_logs_others_out(self, house: House, alice: Person) -> None:
        other = house.person(house.log_in("alice"))
        assert alice.request("POST", "/account/password", {"new_password": "another one"}).status == 401
        assert alice.proven("POST", "/account/password", {"new_password": "another one"}).json == {}
        assert house.status_of(alice.token) == 200
        assert house.status_of(other.token) == 401
        assert house.log_in("alice").status == 403
        assert house.log_in("alice", "another one").status == 200

    def test_others_stay_if_so_wished(self, house: House, alice: Person) -> None:
        other = house.person(house.log_in("alice"))
        body = {"new_password": "another one", "logout_devices": False}
        assert alice.proven("POST", "/account/password", body).status == 200
        assert house.status_of(other.token) == 200

    def test_without_a_session_name_and_password_do(self, house: House, alice: Person) -> None:
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": PASSWORD,
        }
        body = {"new_password": "another one", "auth": auth}
        assert house.request("POST", "/account/password", body).status == 200
        assert house.status_of(alice.token) == 401
        assert house.log_in("alice", "another one").status == 200

    def test_weak_and_missing_ones_are_refused(self, alice: Person) -> None:
        assert alice.proven("POST", "/account/password", {"new_password": "x"}).errcode == "M_WEAK_PASSWORD"
        assert alice.proven("POST", "/account/password", {}).errcode == "M_BAD_JSON"

    def test_nobody_changes_the_password_of_another(self, house: House, alice: Person, bob: Person) -> None:
        auth = {"type": "m.login.password", "user": "bob", "password": PASSWORD}
        refused = alice.request("POST", "/account/password", {"new_password": "another one", "auth": auth})
        assert (refused.status, refused.errcode) == (401, "M_FORBIDDEN")
        assert house.log_in("bob").status == 200
        assert house.log_in("alice").status == 200


class TestClosing:
    def test_closing_needs_the_password(self, house: House, alice: Person) -> None:
        assert alice.request("POST", "/account/deactivate").status == 401
        assert alice.proven("POST", "/account/deactivate").json == {"id_server_unbind_result": "success"}
        assert house.status_of(alice.token) == 401
        assert house.log_in("alice").status == 403

    def test_closing_may_erase(self, house: House, alice: Person) -> None:
        alice.proven("POST", "/account/deactivate", {"erase": True})
        assert house.request("GET", "/profile/@alice:test").json == {}


class TestModeration:
    @pytest.mark.parametrize("what", ["locked", "suspended"])
    def test_administrators_set_and_see_it(self, admin: Person, alice: Person, what: str) -> None:
        path = f"{V1}/admin/{what.removesuffix('ed')}/@alice:test"
        assert admin.request("GET", path).json == {what: False}
        assert admin.request("PUT", path, {what: True}).json == {what: True}
        assert admin.request("GET", path).json == {what: True}
        assert admin.request("PUT", path, {what: False}).json == {what: False}
        assert admin.request("GET", path).json == {what: False}

    def test_a_locked_account_can_only_log_out(self, house: House, admin: Person, alice: Person) -> None:
        admin.request("PUT", f"{V1}/admin/lock/@alice:test", {"locked": True})
        refused = alice.request("GET", "/account/whoami")
        assert (refused.status, refused.errcode, refused.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
        assert house.log_in("alice").errcode == "M_USER_LOCKED"
        assert house.log_in("alice", "wrong password").errcode == "M_FORBIDDEN"
        admin.request("PUT", f"{V1}/admin/lock/@alice:test", {"locked": False})
        assert alice.request("GET", "/account/whoami").status == 200
        admin.request("PUT", f"{V1}/admin/lock/@alice:test", {"locked": True})
        assert alice.request("POST", "/logout").status == 200

    def test_a_suspended_account_reads_and_logs_in_but_changes_no_profile(
        self, house: House, admin: Person, alice: Person
    ) -> None:
        admin.request("PUT", f"{V1}/admin/suspend/@alice:test", {"suspended": True})
        for person in (alice, house.person(house.log_in("alice"))):
            assert person.request("GET", "/devices").status == 200
            refused = person.request("PUT", "/profile/@alice:test/displayname", {"displayname": "A"})
            assert (refused.status, refused.errcode) == (403, "M_USER_SUSPENDED")

    def test_only_administrators_may_and_not_to_each_other(
        self, house: House, admin: Person, alice: Person, bob: Person
    ) -> None:
        for path in ("/admin/lock", "/admin/suspend"):
            name = "locked" if "lock" in path else "suspended"
            for target in ("@bob:test", "@nobody:test"):
                refused = alice.request("PUT", f"{V1}{path}/{target}", {name: True})
                assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
            house.make_admin(bob)
            assert admin.request("PUT", f"{V1}{path}/@bob:test", {name: True}).status == 403
            assert admin.request("PUT", f"{V1}{path}/@admin:test", {name: True}).status == 403
            assert admin.request("GET", f"{V1}{path}/@admin:test").json == {name: False}
            assert admin.request("GET", f"{V1}{path}/@nobody:test").errcode == "M_NOT_FOUND"
            assert admin.request("GET", f"{V1}{path}/@alice:elsewhere").errcode == "M_INVALID_PARAM"
            assert admin.request("PUT", f"{V1}{path}/@alice:test", {}).errcode == "M_BAD_JSON"

    def test_who_is_for_oneself_and_for_administrators(
        self, admin: Person, alice: Person, bob: Person
    ) -> None:
        for person in (alice, admin):
            answer = person.request("GET", "/admin/whois/@alice:test").json
            assert answer["user_id"] == "@alice:test"
            assert list(answer["devices"]) == ["PHONE"]
        connection = alice.request("GET", "/admin/whois/@alice:test").json["devices"]["PHONE"]["sessions"][0]
        assert connection["connections"][0]["ip"] == "1.2.3.4"
        assert bob.request("GET", "/admin/whois/@alice:test").errcode == "M_FORBIDDEN"


def test_capabilities_are_told(alice: Person, admin: Person) -> None:
    told = alice.request("GET", "/capabilities").json["capabilities"]
    assert told["m.room_versions"]["default"] == "12"
    assert told["m.room_versions"]["available"]["1"] == "stable"
    assert told["m.change_password"] == told["m.profile_fields"] == {"enabled": True}
    assert told["m.get_login_token"] == {"enabled": True}
    assert told["m.3pid_changes"] == told["m.forget_forced_upon_leave"] == {"enabled": False}
    assert "m.account_moderation" not in told
    moderation = admin.request("GET", "/capabilities").json["capabilities"]["m.account_moderation"]
    assert moderation == {"suspend": True, "lock": True}


def test_nobody_has_an_address_yet(alice: Person) -> None:
    assert alice.request("GET", "/account/3pid").json == {"threepids": []}


def test_an_openid_token_tells_who_one_is_for_an_hour(
    house: House, alice: Person, bob: Person, time: FakeClock
) -> None:
    path = "/user/@alice:test/openid/request_token"
    told = alice.request("POST", path).json
    assert (told["token_type"], told["matrix_server_name"], told["expires_in"]) == ("Bearer", "test", 3600)
    openid = house.accounts.openid
    assert result(openid.user_of(told["access_token"])) == "@alice:test"
    assert house.status_of(told["access_token"]) == 401
    assert bob.request("POST", path).errcode == "M_FORBIDDEN"
    time.advance(3600)
    with pytest.raises(Exception, match="OpenID"):
        result(openid.user_of(told["access_token"]))
