"""Profiles: what may be in them, and how rooms hear of changes."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.protocol.errors import MatrixError, NotFound
from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.services.profiles import MAX_PROFILE_BYTES, PAUSE_S, Shown
from homeserver.services.streams import Change
from tests.support.accounts import House, Person, open_house
from tests.support.clock import FakeClock
from tests.support.running import result


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return house.register("Alice")


class Rooms:
    """Is told of profiles; takes as long as the test wants."""

    def __init__(self) -> None:
        self.told: list[UserId] = []
        self.busy: Deferred[None] | None = None

    async def propagate(self, user_id: UserId) -> None:
        self.told.append(user_id)
        if self.busy is not None:
            await self.busy


@pytest.fixture
def rooms(house: House) -> Rooms:
    rooms = Rooms()
    result(house.profiles.start(rooms.propagate))
    return rooms


def put(house: House, key: str, value: Any, user: str = "@alice:test") -> None:
    result(house.profiles.put(UserId(user), key, value))


def refusal_of(house: House, key: str, value: Any) -> str:
    with pytest.raises(MatrixError) as refusal:
        put(house, key, value)
    return refusal.value.errcode


def test_a_new_account_is_called_as_its_owner_wrote_the_name(house: House, alice: Person) -> None:
    assert alice.user_id == "@alice:test"
    assert result(house.profiles.profile(alice.user_id)) == {"displayname": "Alice"}


@pytest.mark.parametrize("value", ["text", 1, 1.5, True, None, [1, {"a": []}], {"deep": {"er": 1}}])
def test_custom_fields_hold_any_json(house: House, alice: Person, value: Any) -> None:
    put(house, "org.example.field", value)
    assert result(house.profiles.field(alice.user_id, "org.example.field")) == value


def test_what_rooms_show_is_read_in_a_transaction(house: House, alice: Person) -> None:
    put(house, "avatar_url", "mxc://test/cat")
    assert result(house.database.read(house.profiles.shown, alice.user_id)) == Shown(
        "Alice", "mxc://test/cat"
    )
    assert result(house.database.read(house.profiles.shown, UserId("@bob:test"))) == Shown(None, None)


def test_the_whole_profile_stays_below_64_kib(house: House, alice: Person) -> None:
    put(house, "displayname", "A")
    empty = len('{"displayname":"A","org.example.a":""}')
    put(house, "org.example.a", "x" * (MAX_PROFILE_BYTES - empty))
    assert refusal_of(house, "org.example.b", 1) == "M_PROFILE_TOO_LARGE"
    assert refusal_of(house, "org.example.a", "x" * (MAX_PROFILE_BYTES - empty + 1)) == "M_PROFILE_TOO_LARGE"
    put(house, "org.example.a", "small")
    put(house, "org.example.b", 1)


@pytest.mark.parametrize("key", ["", "Upper", "1x", "_x", "a b", "é", "a/b"])
def test_fields_are_named_by_the_grammar(house: House, alice: Person, key: str) -> None:
    assert refusal_of(house, key, "x") == "M_INVALID_PARAM"


def test_a_name_of_255_bytes_is_the_longest(house: House, alice: Person) -> None:
    put(house, "a" * 255, "x")
    assert refusal_of(house, "a" * 256, "x") == "M_KEY_TOO_LARGE"


@pytest.mark.parametrize("key", ["displayname", "avatar_url", "m.tz"])
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_fields_of_the_specification_are_strings(house: House, alice: Person, key: str, value: Any) -> None:
    assert refusal_of(house, key, value) == "M_BAD_JSON"


def test_names_are_short_enough_for_every_room(house: House, alice: Person) -> None:
    assert refusal_of(house, "displayname", "x" * 1001) == "M_INVALID_PARAM"


def test_profiles_of_others_are_not_known_here(house: House) -> None:
    for user in ("@nobody:test", "@alice:elsewhere"):
        with pytest.raises(NotFound):
            result(house.profiles.profile(UserId(user)))


def test_followers_hear_of_every_change(house: House, alice: Person) -> None:
    house.changes.clear()
    put(house, "org.example.field", 1)
    assert house.changes == [Change("profiles", users=(alice.user_id,))]


class TestTellingRooms:
    def test_rooms_are_told_of_names_and_avatars_only(
        self, house: House, alice: Person, rooms: Rooms
    ) -> None:
        put(house, "displayname", "Alice M")
        assert rooms.told == [alice.user_id]
        put(house, "m.tz", "Europe/Rome")
        assert rooms.told == [alice.user_id]

    def test_of_many_changes_at_once_the_first_and_the_newest_are_told(
        self, house: House, alice: Person, rooms: Rooms, time: FakeClock
    ) -> None:
        for number in range(50):
            put(house, "displayname", f"Alice {number}")
        assert len(rooms.told) == 1
        time.advance(PAUSE_S)
        assert len(rooms.told) == 2
        time.advance(10 * PAUSE_S)
        assert len(rooms.told) == 2
        put(house, "displayname", "Alice again")
        assert len(rooms.told) == 3

    def test_one_user_does_not_wait_for_another(self, house: House, alice: Person, rooms: Rooms) -> None:
        bob = house.register("bob")
        rooms.busy = Deferred()
        put(house, "displayname", "Alice M")
        put(house, "displayname", "Bob M", bob.user_id)
        assert rooms.told == [alice.user_id, bob.user_id]

    def test_what_was_not_told_is_told_after_a_restart(
        self, house: House, alice: Person, rooms: Rooms, sqlite_database: Database, time: FakeClock
    ) -> None:
        rooms.busy = Deferred()
        put(house, "displayname", "Alice M")

        restarted, after = open_house(sqlite_database, time), Rooms()
        result(restarted.profiles.start(after.propagate))

        assert after.told == [alice.user_id]
        again = Rooms()
        result(open_house(sqlite_database, time).profiles.start(again.propagate))
        assert again.told == []

    def test_a_failure_is_tried_again_with_the_next_change(
        self, house: House, alice: Person, rooms: Rooms, time: FakeClock
    ) -> None:
        rooms.busy = Deferred()
        put(house, "displayname", "Alice M")
        rooms.busy.errback(OSError("The disk is full"))
        rooms.busy = None
        put(house, "displayname", "Alice N")
        assert len(rooms.told) == 2
