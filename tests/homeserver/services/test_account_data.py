"""Account data, tags and who ignores whom."""

import orjson
import pytest

from homeserver.protocol.errors import InvalidParam, NotFound, TooLarge
from homeserver.protocol.ids import RoomId, UserId
from homeserver.services.account_data import (
    FULLY_READ,
    IGNORED_USERS,
    MAX_TAGS,
    PUSH_RULES,
    TAGS,
    KeptByServer,
    TooManyTypes,
)
from homeserver.services.streams import Change
from tests.support.personal import ALICE, BOB, House
from tests.support.running import result

ROOM = RoomId("!room:here")


def put(
    house: House, type_: str, content: object, *, room: RoomId | None = None, user: UserId = ALICE
) -> None:
    result(house.account_data.put(user, type_, orjson.dumps(content), room_id=room))


def changed(house: House, since: int, user: UserId = ALICE) -> list[tuple[RoomId | None, str, object]]:
    entries = result(house.account_data.changed_since(user, since))
    return [(entry.room_id, entry.type, orjson.loads(entry.content)) for entry in entries]


def ignore(house: House, *users: UserId) -> None:
    put(house, IGNORED_USERS, {"ignored_users": {user: {} for user in users}})


def test_what_was_put_is_read_back(house: House) -> None:
    put(house, "org.example", {"a": 1})
    put(house, "org.example", {"b": 2}, room=ROOM)
    assert result(house.account_data.get(ALICE, "org.example")) == b'{"a":1}'
    assert result(house.account_data.get(ALICE, "org.example", ROOM)) == b'{"b":2}'


def test_a_room_does_not_fall_back_to_global_data(house: House) -> None:
    put(house, "org.example", {"a": 1})
    with pytest.raises(NotFound):
        result(house.account_data.get(ALICE, "org.example", ROOM))


def test_each_user_has_their_own(house: House) -> None:
    put(house, "org.example", {"a": 1})
    with pytest.raises(NotFound):
        result(house.account_data.get(BOB, "org.example"))


def test_a_change_wakes_its_owner_only(house: House) -> None:
    house.changes.clear()
    put(house, "org.example", {})
    assert house.changes == [Change("account_data", users=(ALICE,))]


def test_changes_since_a_position_come_from_memory_and_after_a_restart_from_sql(house: House) -> None:
    put(house, "first", {"n": 1})
    since = house.streams.position
    put(house, "second", {"n": 2}, room=ROOM)
    put(house, "second", {"n": 3}, room=ROOM)
    expected = [(ROOM, "second", {"n": 3})]
    assert house.account_data.last_position(ALICE) > since
    assert changed(house, since) == expected
    later = house.restart()
    assert later.account_data.last_position(ALICE) > since
    assert changed(later, since) == expected
    assert changed(later, later.streams.position) == []


def test_somebody_up_to_date_has_no_news_even_after_a_restart(house: House) -> None:
    put(house, "first", {"n": 1})
    since = house.streams.position
    later = house.restart()
    assert changed(later, since) == []
    assert later.account_data.last_position(ALICE) <= since


def test_a_first_sync_gets_everything_and_the_push_rules(house: House) -> None:
    put(house, "first", {"n": 1})
    everything = {(room, type_) for room, type_, _ in changed(house, 0)}
    assert everything == {(None, "first"), (None, PUSH_RULES)}


@pytest.mark.parametrize("type_", [FULLY_READ, PUSH_RULES])
@pytest.mark.parametrize("room", [None, ROOM])
def test_what_the_server_keeps_cannot_be_put(small_house: House, type_: str, room: RoomId | None) -> None:
    with pytest.raises(KeptByServer) as refusal:
        put(small_house, type_, {}, room=room)
    assert (refusal.value.status, refusal.value.errcode) == (405, "M_BAD_JSON")


def test_sizes_are_limited(small_house: House) -> None:
    with pytest.raises(TooLarge):
        put(small_house, "big", {"a": "x" * 70_000})
    with pytest.raises(InvalidParam):
        put(small_house, "x" * 256, {})


def test_the_number_of_types_is_limited(small_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.account_data.MOST_TYPES", 2)
    put(small_house, "first", {})
    put(small_house, "second", {})
    put(small_house, "second", {"again": 1})
    with pytest.raises(TooManyTypes):
        put(small_house, "third", {})


def test_tags_are_one_event_of_account_data(house: House) -> None:
    since = house.streams.position
    result(house.account_data.add_tag(ALICE, ROOM, "m.favourite", info={"order": 0.5}))
    result(house.account_data.add_tag(ALICE, ROOM, "u.work", info={}))
    result(house.account_data.remove_tag(ALICE, ROOM, "m.favourite"))
    result(house.account_data.add_tag(ALICE, ROOM, "u.home", info={"order": 1}))
    tags = {"u.work": {}, "u.home": {"order": 1}}
    assert result(house.account_data.tags(ALICE, ROOM)) == tags
    assert changed(house, since) == [(ROOM, TAGS, {"tags": tags})]
    assert result(house.account_data.tags(BOB, ROOM)) == {}


def test_removing_a_tag_that_is_not_there_tells_nobody(house: House) -> None:
    house.changes.clear()
    result(house.account_data.remove_tag(ALICE, ROOM, "u.work"))
    assert house.changes == []


@pytest.mark.parametrize("order", [-0.1, 1.1, "0.5", True])
def test_the_order_of_a_tag_is_a_number_from_0_to_1(small_house: House, order: float) -> None:
    with pytest.raises(InvalidParam):
        result(small_house.account_data.add_tag(ALICE, ROOM, "u.work", info={"order": order}))


def test_tags_are_limited(small_house: House) -> None:
    with pytest.raises(InvalidParam):
        result(small_house.account_data.add_tag(ALICE, ROOM, "x" * 256, info={}))
    for number in range(MAX_TAGS):
        result(small_house.account_data.add_tag(ALICE, ROOM, f"u.{number}", info={}))
    with pytest.raises(TooManyTypes):
        result(small_house.account_data.add_tag(ALICE, ROOM, "u.more", info={}))


def test_who_ignores_whom_is_known_at_once_and_after_a_restart(house: House) -> None:
    ignore(house, BOB)
    for now in (house, house.restart()):
        assert now.account_data.ignored_users(ALICE) == {BOB}
        assert now.account_data.ignored_by(BOB) == {ALICE}
        assert now.account_data.ignored_users(BOB) == set()
    ignore(house)
    assert house.account_data.ignored_users(ALICE) == set()
    assert house.account_data.ignored_by(BOB) == set()


@pytest.mark.parametrize("content", [{}, {"ignored_users": []}, {"ignored_users": "@bob:here"}])
def test_a_malformed_ignore_list_ignores_nobody(small_house: House, content: object) -> None:
    ignore(small_house, BOB)
    put(small_house, IGNORED_USERS, content)
    assert small_house.account_data.ignored_users(ALICE) == set()
