"""What a user was notified about."""

import pytest

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import EventId, UserId
from homeserver.services.push.notifications import NotifiedPage
from tests.support.personal import ALICE, BOB, House
from tests.support.running import result

MENTION = {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [BOB]}}


def page(
    house: House,
    user: UserId = BOB,
    before: str | None = None,
    *,
    limit: int = 10,
    only_highlights: bool = False,
) -> NotifiedPage:
    return result(house.notifications.page(user, before, limit=limit, only_highlights=only_highlights))


def listed(found: NotifiedPage, events: dict[EventId, str]) -> list[str]:
    names = {f'{{"event_id":"{event_id}"}}'.encode(): name for event_id, name in events.items()}
    return [names[entry.event.encoded] for entry in found.entries]


def test_the_newest_come_first_from_all_rooms(house: House) -> None:
    one, two = house.create_room(ALICE, BOB), house.create_room(ALICE, BOB)
    events = {
        house.send(one, ALICE): "first",
        house.send(two, ALICE, MENTION): "mention",
        house.send(two, BOB): "own",
        house.send(one, ALICE, {"msgtype": "m.notice"}): "silent",
        house.send(one, ALICE): "last",
    }
    found = page(house)
    assert listed(found, events) == ["last", "mention", "first"]
    assert [list(entry.actions)[1:] for entry in found.entries] == [[], [{"set_tweak": "highlight"}], []]
    assert [entry.room_id for entry in found.entries] == [one, two, one]
    assert found.next_token is None
    assert listed(page(house, only_highlights=True), events) == ["mention"]
    assert listed(page(house, ALICE), events) == ["own"]


def test_pages_follow_one_another(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    events = {house.send(room, ALICE): str(number) for number in range(5)}
    first = page(house, limit=3)
    assert listed(first, events) == ["4", "3", "2"]
    second = page(house, before=first.next_token, limit=3)
    assert listed(second, events) == ["1", "0"]
    assert second.next_token is None


def test_entries_say_what_was_read(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first = house.send(room, ALICE)
    house.send(room, ALICE)
    house.read(room, BOB, first)
    assert [entry.is_read for entry in page(house).entries] == [False, True]


def test_what_comes_from_rooms_one_has_left_is_gone(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    house.send(room, ALICE)
    house.leave(room, BOB)
    assert page(house).entries == []


@pytest.mark.parametrize("token", ["", "x", "-1", "9" * 30])
def test_a_strange_token_is_refused(small_house: House, token: str) -> None:
    with pytest.raises(InvalidParam):
        page(small_house, before=token)
