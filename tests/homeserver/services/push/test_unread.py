"""Unread counts in memory agree with those counted anew from the database."""

import random

import orjson
import pytest

from homeserver.protocol.push_rules import Kind
from homeserver.protocol.push_rules_editing import parse_rule, put
from homeserver.runtime.database import Database
from homeserver.services.account_data import IGNORED_USERS
from tests.support.clock import FakeClock
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result

MENTION = {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [BOB]}}
NOTICE = {"msgtype": "m.notice", "body": "beep"}


def test_messages_count_until_they_are_read(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    assert house.counts(room, BOB) == (0, 0)
    first, second = house.send(room, ALICE), house.send(room, ALICE, MENTION)
    house.send(room, ALICE, NOTICE)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (2, 1)
    house.read(room, BOB, first)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (1, 1)
    house.read(room, BOB, second, type_="m.read.private")
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)


def test_the_receipt_that_is_ahead_counts(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, ALICE), house.send(room, ALICE)
    house.read(room, BOB, second, type_="m.read.private")
    house.read(room, BOB, first)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)


def test_sending_marks_as_read(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    house.send(room, ALICE)
    assert house.counts(room, BOB) == (1, 0)
    house.send(room, BOB)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)
    assert house.counts(room, ALICE) == house.recounted(room, ALICE) == (1, 0)


def test_nothing_from_before_the_join_counts(house: House) -> None:
    room = house.create_room(ALICE)
    house.send(room, ALICE)
    house.send(room, ALICE, {"membership": "invite"}, type_="m.room.member", state_key=BOB)
    house.join(room, BOB)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)
    house.send(room, ALICE)
    assert house.counts(room, BOB) == (1, 0)
    house.leave(room, BOB)
    house.send(room, ALICE)
    house.join(room, BOB)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)


def test_threads_are_read_on_their_own(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    root = house.send(room, ALICE)
    reply = house.send(room, ALICE, thread=root)
    last = house.send(room, ALICE, thread=root)
    unread = result(house.unread.load(room, BOB))
    assert (unread.notification, unread.main, unread.by_thread) == (3, (1, 0), {root: (2, 0)})
    house.read(room, BOB, root, thread="main")
    house.read(room, BOB, reply, thread=root)
    unread = result(house.unread.load(room, BOB))
    assert (unread.main, unread.by_thread) == ((0, 0), {root: (1, 0)})
    assert house.recounted(room, BOB) == (1, 0)
    house.read(room, BOB, last)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)


def test_a_muted_room_counts_nothing_but_mentions_do(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    rule = parse_rule(Kind.ROOM, room, {"actions": []})
    result(house.push_rules.edit(BOB, lambda rules: put(rules, rule)))
    house.send(room, ALICE)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (0, 0)
    house.send(room, ALICE, MENTION)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (1, 1)


def test_what_the_ignored_send_does_not_count(house: House) -> None:
    room = house.create_room(ALICE, BOB, CAROL)
    ignoring = orjson.dumps({"ignored_users": {ALICE: {}}})
    result(house.account_data.put(BOB, IGNORED_USERS, ignoring))
    house.send(room, ALICE, MENTION)
    house.send(room, CAROL)
    assert house.counts(room, BOB) == house.recounted(room, BOB) == (1, 0)


def test_memory_answers_without_the_database_once_it_knows(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    assert house.unread.counts(room, BOB) is None
    house.counts(room, BOB)
    event = house.send(room, ALICE)
    found = house.unread.counts(room, BOB)
    assert found is not None
    assert found.notification == 1
    house.read(room, BOB, event)
    found = house.unread.counts(room, BOB)
    assert found is not None
    assert found.notification == 0


def test_a_restart_changes_no_count(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, ALICE)
    house.send(room, ALICE, MENTION)
    house.read(room, BOB, event)
    later = house.restart()
    assert later.counts(room, BOB) == (1, 1)
    later.send(room, ALICE)
    assert later.counts(room, BOB) == (2, 1)


def test_many_rooms_take_one_look(house: House) -> None:
    rooms = [house.create_room(ALICE, BOB) for _ in range(3)]
    house.send(rooms[1], ALICE)
    unread = result(house.restart().unread.counts_in(BOB, rooms))
    assert [unread[room].notification for room in rooms] == [0, 1, 0]


def test_counts_stop_at_a_number_that_costs_little(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.push.unread.MOST_COUNTED", 3)
    room = house.create_room(ALICE, BOB)
    for _ in range(5):
        house.send(room, ALICE)
    assert house.recounted(room, BOB) == (3, 0)


def test_small_memory_only_means_asking_the_database_more_often(
    sqlite_database: Database, time: FakeClock
) -> None:
    house = House(sqlite_database, time, unread_limits={"most_standings": 2, "most_actions": 6})
    dice = random.Random(11)
    rooms = [house.create_room(ALICE, BOB, CAROL) for _ in range(3)]
    sent = {room: [house.send(room, ALICE)] for room in rooms}
    for _ in range(300):
        room, user = dice.choice(rooms), dice.choice((ALICE, BOB, CAROL))
        match dice.randrange(4):
            case 0:
                sent[room].append(house.send(room, user, dice.choice((MENTION, NOTICE, None))))
            case 1:
                root = dice.choice(sent[room])
                if house.rooms.all[room].places[root].thread_root is None:
                    sent[room].append(house.send(room, user, thread=root))
            case 2:
                event = dice.choice(sent[room][-5:])
                root_of = house.rooms.all[room].places[event].thread_root
                house.read(room, user, event, thread=dice.choice((None, root_of or "main")))
            case 3:
                assert house.counts(room, user) == house.recounted(room, user)
