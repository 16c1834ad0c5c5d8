"""Who is online, who is told, and what it costs."""

import pytest

from homeserver.protocol.errors import Forbidden
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.presence import PresenceState
from homeserver.services.presence.news import FLUSH_EVERY_S
from homeserver.services.presence.presence import Presence
from homeserver.services.streams import Change
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result

ONLINE, UNAVAILABLE, OFFLINE = PresenceState.ONLINE, PresenceState.UNAVAILABLE, PresenceState.OFFLINE


def shown(house: House, user: UserId = ALICE) -> str:
    content = house.presence.event(user)["content"]
    assert isinstance(content, dict)
    return str(content["presence"])


def say(house: House, state: PresenceState, status_msg: str | None = None, user: UserId = ALICE) -> None:
    result(house.presence.update(user, state, status_msg))


def told(house: House) -> list[RoomId]:
    """The rooms told about presence since the last call."""
    rooms = [room for change in house.changes if change.kind == "presence" for room in change.rooms]
    house.changes.clear()
    return rooms


def test_a_sync_makes_online_and_its_end_offline_after_a_while(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE)
    assert shown(house) == "online"
    house.time.advance(120)
    assert shown(house) == "online"
    house.presence.end_sync(ALICE)
    house.time.advance(20)
    assert shown(house) == "online"
    house.time.advance(16)
    assert shown(house) == "offline"


def test_syncs_one_after_another_keep_alive(small_house: House) -> None:
    house = small_house
    for _ in range(8):
        house.presence.begin_sync(ALICE, ONLINE)
        house.time.advance(30)
        house.presence.end_sync(ALICE, ONLINE)
        house.time.advance(5)
        assert shown(house) == "online"


def test_somebody_idle_becomes_unavailable_and_an_act_brings_them_back(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE)
    house.time.advance(299)
    assert shown(house) == "online"
    house.time.advance(10)
    assert shown(house) == "unavailable"
    house.presence.note_activity(ALICE)
    assert shown(house) == "online"


def test_a_sync_may_leave_presence_alone(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE, OFFLINE)
    assert shown(house) == "offline"
    house.presence.end_sync(ALICE, OFFLINE)
    house.presence.begin_sync(ALICE, UNAVAILABLE)
    assert shown(house) == "unavailable"
    house.presence.begin_sync(ALICE, ONLINE)
    house.presence.note_activity(ALICE)
    assert shown(house) == "online"


def test_one_of_several_devices_is_enough(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE)
    house.presence.begin_sync(ALICE)
    house.presence.end_sync(ALICE)
    house.time.advance(60)
    assert shown(house) == "online"


def test_what_a_user_says_lasts_until_they_act(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE)
    say(house, UNAVAILABLE, "lunch")
    assert shown(house) == "unavailable"
    house.presence.begin_sync(ALICE, ONLINE)
    assert shown(house) == "unavailable"
    house.presence.note_activity(ALICE)
    assert shown(house) == "online"
    say(house, OFFLINE)
    house.presence.begin_sync(ALICE)
    assert shown(house) == "offline"
    house.presence.begin_sync(ALICE, ONLINE)
    assert shown(house) == "online"


def test_the_content_has_what_the_specification_lists(small_house: House) -> None:
    house = small_house
    house.create_room(ALICE, BOB)
    assert result(house.presence.get(BOB, ALICE)) == {"presence": "offline"}
    house.presence.begin_sync(ALICE)
    say(house, ONLINE, "here")
    house.time.advance(2)
    assert result(house.presence.get(BOB, ALICE)) == {
        "presence": "online",
        "last_active_ago": 2_000,
        "currently_active": True,
        "status_msg": "here",
    }
    house.time.advance(70)
    assert result(house.presence.get(BOB, ALICE))["currently_active"] is False


def test_only_those_who_share_a_room_may_look(small_house: House) -> None:
    house = small_house
    house.create_room(ALICE, BOB)
    say(house, ONLINE)
    with pytest.raises(Forbidden):
        result(house.presence.get(CAROL, ALICE))
    assert result(house.presence.get(ALICE, ALICE))["presence"] == "online"


def test_a_change_is_told_at_once_to_rooms_with_company(small_house: House) -> None:
    house = small_house
    shared, alone = house.create_room(ALICE, BOB), house.create_room(ALICE)
    since = house.streams.position
    told(house)
    house.presence.begin_sync(ALICE)
    assert told(house) == [shared]
    assert house.presence.last_position(shared) > since
    assert house.presence.changed_in_room(shared, since) == [ALICE]
    assert house.presence.changed_in_room(shared, house.streams.position) == []
    assert house.presence.changed_in_room(alone, since) == []


def test_changes_that_come_together_are_told_together(small_house: House) -> None:
    house = small_house
    room = house.create_room(ALICE, BOB, CAROL)
    house.presence.begin_sync(ALICE)
    told(house)
    before = house.streams.position
    house.presence.begin_sync(BOB)
    house.presence.begin_sync(CAROL)
    assert told(house) == []
    house.time.advance(FLUSH_EVERY_S)
    assert told(house) == [room]
    assert house.streams.position == before + 1
    assert house.presence.changed_in_room(room, before) == [BOB, CAROL]


def test_nobody_is_told_what_they_cannot_see(small_house: House) -> None:
    house = small_house
    house.create_room(ALICE, BOB)
    house.presence.begin_sync(ALICE)
    house.time.advance(1)
    told(house)
    for _ in range(100):
        house.presence.note_activity(ALICE)
        house.presence.end_sync(ALICE)
        house.presence.begin_sync(ALICE)
        house.time.advance(2)
    assert told(house) == []


def test_currently_active_flips_at_most_once_a_minute(small_house: House) -> None:
    house = small_house
    house.create_room(ALICE, BOB)
    house.presence.begin_sync(ALICE)
    house.time.advance(1)
    told(house)
    for _ in range(10):
        house.presence.note_activity(ALICE)
        house.time.advance(59)
    assert told(house) == []


def test_users_without_company_draw_no_positions_and_leave_no_timers(small_house: House) -> None:
    house = small_house
    users = [UserId(f"@user{number}:here") for number in range(300)]
    before, timers = house.streams.position, house.time.timers
    for user in users:
        house.presence.begin_sync(user)
    assert house.time.timers <= timers + 3
    house.time.advance(1_000)
    assert house.streams.position == before
    assert house.time.timers == timers
    assert shown(house, users[0]) == "unavailable"


def test_a_first_sync_sees_who_is_not_offline(small_house: House) -> None:
    house = small_house
    room = house.create_room(ALICE, BOB, CAROL)
    house.presence.begin_sync(BOB)
    house.presence.begin_sync(UserId("@stranger:here"))
    assert house.presence.visible_now(ALICE) == [BOB]
    assert house.presence.visible_in(room) == [BOB]
    house.presence.begin_sync(ALICE)
    assert set(house.presence.visible_now(ALICE)) == {ALICE, BOB}


def test_joining_shows_ones_presence_to_the_room(small_house: House) -> None:
    house = small_house
    house.presence.begin_sync(ALICE)
    house.time.advance(1)
    room, other = house.create_room(BOB), house.create_room(ALICE, BOB)
    house.time.advance(1)
    since = house.streams.position
    assert house.presence.last_position(other) <= since
    house.join(room, ALICE)
    house.time.advance(1)
    assert house.presence.changed_in_room(room, since) == [ALICE]
    assert house.presence.changed_in_room(other, since) == []


def test_big_rooms_are_told_less_often(small_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.presence.news.WAKES_PER_S", 1)
    house = small_house
    room = house.create_room(ALICE, BOB, CAROL)
    house.presence.begin_sync(ALICE)
    told(house)
    house.presence.begin_sync(BOB)
    house.time.advance(2.9)
    assert told(house) == []
    house.time.advance(0.2)
    assert told(house) == [room]


def test_what_was_known_survives_a_restart(house: House) -> None:
    house.create_room(ALICE, BOB)
    house.presence.begin_sync(ALICE)
    say(house, ONLINE, "here")
    house.presence.end_sync(ALICE)
    house.time.advance(100)
    assert shown(house) == "offline"
    result(house.presence.stop())
    later = house.restart()
    content = result(later.presence.get(BOB, ALICE))
    assert content == {"presence": "offline", "last_active_ago": 100_000, "status_msg": "here"}
    later.presence.begin_sync(ALICE)
    assert result(later.presence.get(BOB, ALICE))["status_msg"] == "here"


def test_who_does_not_come_back_after_a_restart_is_told_offline(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    house.presence.begin_sync(ALICE)
    house.presence.begin_sync(BOB)
    result(house.presence.stop())
    later = house.restart()
    since = later.streams.position
    assert (shown(later, ALICE), shown(later, BOB)) == ("online", "online")
    later.presence.begin_sync(BOB)
    later.time.advance(40)
    assert (shown(later, ALICE), shown(later, BOB)) == ("offline", "online")
    assert later.presence.changed_in_room(room, since) == [ALICE]


def test_a_client_from_before_the_restart_is_told_everyone_who_is_there(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    since = house.streams.position
    house.presence.begin_sync(ALICE)
    result(house.presence.stop())
    later = house.restart()
    assert later.presence.last_position(room) > since
    assert later.presence.changed_in_room(room, since) == [ALICE]


def test_the_gone_are_saved_and_forgotten(house: House) -> None:
    house.create_room(ALICE, BOB)
    house.presence.begin_sync(ALICE)
    house.presence.end_sync(ALICE)
    house.time.advance(300)
    assert house.presence._people == {}
    content = result(house.presence.get(BOB, ALICE))
    assert content == {"presence": "offline", "last_active_ago": 300_000}


def test_without_presence_everybody_is_offline(house: House) -> None:
    presence = Presence(
        house.database,
        house.stores.presence,
        streams=house.streams,
        clock=house.time,
        tasks=house.tasks,
        rooms=house.rooms,
        enabled=False,
    )
    room = house.create_room(ALICE, BOB)
    house.changes.clear()
    presence.begin_sync(ALICE)
    presence.note_activity(ALICE)
    result(presence.update(ALICE, ONLINE, "here"))
    presence.note_join(ALICE, room)
    presence.end_sync(ALICE)
    assert house.changes == list[Change]()
    assert result(presence.get(BOB, ALICE)) == {"presence": "offline"}
    assert presence.visible_now(BOB) == []
