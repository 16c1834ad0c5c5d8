"""Paging through history: /messages, /context, /event, /timestamp_to_event.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

import string
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.people import Page, Person, path
from tests.support.whole_server import WholeServer

ABC = string.ascii_lowercase
MESSAGES = {"types": ["m.room.message"]}


def pages(person: Person, room: str, *, most: int = 100, **query: Any) -> list[Page]:
    """All pages from the first one on."""
    found = [person.messages(room, **query)]
    while found[-1].end is not None:
        assert len(found) < most, "The pages do not end"
        found.append(person.messages(room, **{**query, "start": found[-1].end}))
    return found


def texts(found: list[Page]) -> str:
    return "".join(text for page in found for text in page.texts)


def walk(person: Person, room: str, **query: Any) -> str:
    return texts(pages(person, room, **query))


# Pages


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 26, 1000])
def test_pages_hold_everything_once(each_server: WholeServer, limit: int) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    alice.send_many(room, ABC)
    assert walk(alice, room, limit=limit, dir="b") == ABC[::-1]
    each_server.restart()
    assert walk(alice, room, limit=limit, dir="f") == ABC
    everything = [event_id for page in pages(alice, room, limit=limit) for event_id in page.ids]
    assert len(everything) == len(set(everything)) == 26 + 6


def test_a_page_has_ten_events_unless_asked(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, ABC)
    assert len(alice.messages(room).events) == 10


def test_no_events_at_all_may_be_asked_for(alice: Person) -> None:
    room = alice.create_room()
    page = alice.messages(room, limit=0)
    assert page.events == []
    assert page.end is not None
    assert walk(alice, room, limit=10, start=page.end) == ""


@pytest.mark.parametrize("dir", ["b", "f"])
def test_the_end_of_history_has_no_token(alice: Person, dir: str) -> None:
    room = alice.create_room()
    alice.send_many(room, "ab")
    assert alice.messages(room, dir=dir, limit=100).end is None


def test_the_start_is_where_the_page_began(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, ABC)
    first = alice.messages(room, limit=5)
    again = alice.messages(room, limit=5, start=first.start)
    assert again.texts == first.texts == list("zyxwv")
    second = alice.messages(room, limit=5, start=first.end)
    assert second.start == first.end


def test_a_page_can_be_walked_back(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, ABC)
    older = alice.messages(room, limit=5)
    assert alice.messages(room, dir="f", limit=5, start=older.end).texts == list("vwxyz")
    newer = alice.messages(room, dir="f", limit=10, filter=MESSAGES)
    assert newer.texts == list("abcdefghij")
    assert alice.messages(room, dir="b", limit=4, start=newer.end).texts == list("jihg")


def test_pages_begin_at_sync_tokens(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, "abc")
    token = alice.sync().next_batch
    alice.send_many(room, "xyz")
    assert alice.messages(room, dir="f", start=token).texts == list("xyz")
    assert alice.messages(room, dir="b", limit=3, start=token).texts == list("cba")


def test_a_gap_is_filled_from_prev_batch_to_since(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    since = bob.sync().next_batch
    alice.send_many(room, ABC)
    synced = bob.sync(filter={"room": {"timeline": {"limit": 5}}})
    assert synced.texts(room) == list("vwxyz")
    gap = walk(bob, room, start=synced.prev_batch(room), stop=since, limit=4)
    assert gap == "abcdefghijklmnopqrstu"[::-1]


def test_pages_stop_at_the_token_given(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, "abc")
    first = alice.sync().next_batch
    alice.send_many(room, "klm")
    second = alice.sync().next_batch
    alice.send_many(room, "xyz")
    assert walk(alice, room, dir="f", start=first, stop=second, limit=2) == "klm"
    assert walk(alice, room, dir="b", start=second, stop=first, limit=2) == "mlk"
    assert walk(alice, room, dir="b", stop=second, limit=2) == "zyx"
    assert walk(alice, room, dir="f", stop=first, limit=2) == "abc"


def test_tokens_survive_a_restart(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, "abcdef")
    page = alice.messages(room, limit=3)
    server.restart()
    assert alice.messages(room, limit=3, start=page.end).texts == list("cba")


def test_new_events_do_not_shift_pages(alice: Person) -> None:
    room = alice.create_room()
    alice.send_many(room, "abcdef")
    page = alice.messages(room, limit=3)
    alice.send_many(room, "xyz")
    assert alice.messages(room, limit=3, start=page.end).texts == list("cba")


@pytest.mark.parametrize("query", [
    {"from": "x1"}, {"from": "s"}, {"from": "t1"}, {"from": "s" + "9" * 30}, {"to": "nonsense"}, {"dir": "x"},
    {"dir": None}, {"limit": "-1"}, {"limit": "many"}, {"limit": "1.5"}, {"filter": "[]"},
    {"filter": "{\"types\": 1}"},
])  # fmt: skip
def test_bad_queries_are_refused(alice: Person, query: dict[str, Any]) -> None:
    room = alice.create_room()
    answer = alice.request("GET", path("rooms", room, "messages"), **{"dir": "b", **query})
    assert answer.status == 400
    assert answer.errcode in ("M_INVALID_PARAM", "M_MISSING_PARAM", "M_BAD_JSON")


def test_a_filter_that_is_not_json_is_refused(alice: Person) -> None:
    room = alice.create_room()
    alice.ask("GET", path("rooms", room, "messages"), dir="b", filter="{", refused="M_NOT_JSON")


def test_huge_limits_are_cut(alice: Person) -> None:
    room = alice.create_room()
    answer = alice.request("GET", path("rooms", room, "messages"), dir="b", limit=10**15)
    assert answer.status == 200


# Filters


def test_filters_choose_events(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    for number, text in enumerate(ABC):
        (alice if number % 2 else bob).send(room, text)
    alice.send(room, {"body": "!", "url": "mxc://test/file"})
    chosen = {"senders": [bob.user_id], "types": ["m.room.mess*"]}
    assert walk(alice, room, filter=chosen, limit=3) == ABC[::2][::-1]
    assert walk(alice, room, filter={"not_senders": [alice.user_id], **MESSAGES}, dir="f") == ABC[::2]
    assert walk(alice, room, filter={"not_types": ["m.room.message"]}) == ""
    assert walk(alice, room, filter={"contains_url": True}) == "!"
    assert walk(alice, room, filter={"contains_url": False, **MESSAGES}) == ABC[::-1]
    assert walk(alice, room, filter={"rooms": ["!other:test"]}) == ""
    assert walk(alice, room, filter={"not_rooms": [room]}) == ""


def test_a_filter_that_matches_little_fills_its_pages(alice: Person) -> None:
    room = alice.create_room()
    for number in range(120):
        alice.send(room, str(number), type_="org.example.rare" if number % 40 == 0 else "m.room.message")
    rare = {"types": ["org.example.rare"]}
    assert alice.messages(room, limit=3, filter=rare).texts == ["80", "40", "0"]
    assert alice.messages(room, limit=2, filter=rare, dir="f").texts == ["0", "40"]
    assert [page.texts for page in pages(alice, room, limit=1, filter=rare)][:3] == [["80"], ["40"], ["0"]]


def test_filters_choose_by_relations(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    ids = dict(zip("abc", alice.send_many(room, "abc"), strict=True))
    bob.react(room, ids["a"])
    alice.reply_in_thread(room, ids["b"], "reply")
    assert walk(alice, room, filter={"related_by_rel_types": ["m.thread"]}) == "b"
    assert walk(alice, room, filter={"related_by_senders": [bob.user_id]}) == "a"
    assert walk(alice, room, filter={"related_by_rel_types": ["m.reference"]}) == ""


def test_lazy_loading_brings_the_members_who_spoke(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    alice.send(room, "1")
    bob.send(room, "2")
    lazy = {"lazy_load_members": True}
    assert alice.messages(room, limit=1, filter=lazy).members == {bob.user_id}
    assert alice.messages(room, limit=2, filter=lazy).members == {alice.user_id, bob.user_id}
    assert "state" not in alice.messages(room, limit=2).json


def test_lazy_members_stay_known_after_they_left(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.send(room, "bye")
    bob.leave(room)
    page = alice.messages(room, limit=2, filter={"lazy_load_members": True, **MESSAGES})
    assert page.members == {bob.user_id}


# Context


def test_context_surrounds_an_event(alice: Person) -> None:
    room = alice.create_room()
    ids = alice.send_many(room, ABC)
    found = alice.context(room, ids[12], limit=4)
    assert found["event"]["content"]["body"] == "m"
    assert [event["content"]["body"] for event in found["events_before"]] == list("lk")
    assert [event["content"]["body"] for event in found["events_after"]] == list("no")
    assert walk(alice, room, start=found["start"], dir="b", filter=MESSAGES) == "abcdefghij"[::-1]
    assert walk(alice, room, start=found["end"], dir="f") == "pqrstuvwxyz"


@pytest.mark.parametrize("index", [0, 1, 25, 24])
def test_context_at_the_ends_leads_on_without_repeating(alice: Person, index: int) -> None:
    room = alice.create_room()
    ids = alice.send_many(room, ABC)
    found = alice.context(room, ids[index], limit=20)
    around = [
        event["event_id"] for event in [*found["events_before"], found["event"], *found["events_after"]]
    ]
    older = [event_id for page in pages(alice, room, start=found["start"], dir="b") for event_id in page.ids]
    newer = [event_id for page in pages(alice, room, start=found["end"], dir="f") for event_id in page.ids]
    assert sorted(around + older + newer) == sorted(alice.messages(room, limit=100).ids)


def test_context_of_the_first_event(alice: Person) -> None:
    room = alice.create_room()
    create = alice.state_of(room, "m.room.create", format="event")["event_id"]
    found = alice.context(room, create, limit=100)
    assert found["events_before"] == []
    assert len(found["events_after"]) == 5
    assert alice.messages(room, start=found["start"]).events == []
    assert alice.messages(room, start=found["end"], dir="f").events == []


def test_context_has_the_state_at_its_end(alice: Person) -> None:
    room = alice.create_room(name="first")
    event_id = alice.send(room)
    alice.set_state(room, "m.room.name", {"name": "second"})
    alice.send(room)
    alice.set_state(room, "m.room.name", {"name": "third"})

    def name(**query: Any) -> Any:
        state = alice.context(room, event_id, **query)["state"]
        return next(event["content"]["name"] for event in state if event["type"] == "m.room.name")

    assert name(limit=0) == "first"
    assert name(limit=2) == "second"
    assert name(limit=20) == "third"


def test_context_takes_a_filter_and_loads_members_lazily(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    ids = [person.send(room, text) for person, text in ((alice, "1"), (bob, "2"), (alice, "3"))]
    found = alice.context(
        room, ids[1], filter={"lazy_load_members": True, "not_senders": [alice.user_id]}, limit=2
    )
    assert [event["sender"] for event in found["events_before"]] == [carol.user_id]
    assert found["events_after"] == []
    members = {event["state_key"] for event in found["state"] if event["type"] == "m.room.member"}
    assert members == {bob.user_id, carol.user_id}


# One event


def test_an_event_is_found_in_its_room_only(alice: Person, bob: Person) -> None:
    room, other = alice.create_room(), alice.create_room(members=[bob])
    event_id = alice.send(room)
    assert alice.event(room, event_id)["event_id"] == event_id
    alice.event(other, event_id, refused="M_NOT_FOUND")
    alice.event(room, "$nothing", refused="M_NOT_FOUND")
    alice.event(room, "nonsense", refused="M_INVALID_PARAM")
    assert not bob.sees(room, event_id)
    bob.event(other, event_id, refused="M_NOT_FOUND")
    alice.ask("GET", path("rooms", room, "context", "$nothing"), refused="M_NOT_FOUND")


# The nearest event


def nearest(person: Person, room: str, ts: int, dir: str, *, refused: str | None = None) -> Any:
    url = f"/_matrix/client/v1/rooms/{room}/timestamp_to_event"
    return person.ask("GET", url, ts=ts, dir=dir, refused=refused)


def test_the_event_nearest_to_a_time(alice: Person, time: FakeClock) -> None:
    room = alice.create_room()
    ids = []
    for text in "abc":
        time.advance(10)
        ids.append(alice.send(room, text))
    now = time.now_ms()
    assert nearest(alice, room, now - 10_000, "f") == {"event_id": ids[1], "origin_server_ts": now - 10_000}
    assert nearest(alice, room, now - 10_000, "b")["event_id"] == ids[1]
    assert nearest(alice, room, now - 9_000, "f")["event_id"] == ids[2]
    assert nearest(alice, room, now - 9_000, "b")["event_id"] == ids[1]
    assert nearest(alice, room, now + 5, "b")["event_id"] == ids[2]
    nearest(alice, room, now + 5, "f", refused="M_NOT_FOUND")
    nearest(alice, room, 0, "b", refused="M_NOT_FOUND")
    assert nearest(alice, room, 0, "f")["event_id"] == alice.messages(room, dir="f", limit=1).ids[0]


def test_the_nearest_event_is_one_the_user_may_see(alice: Person, bob: Person, time: FakeClock) -> None:
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = alice.create_room(initial_state=[hidden])
    seen_first = alice.messages(room, dir="f", limit=100).ids[-3]
    time.advance(10)
    alice.send_many(room, "abcde")
    hidden_at = time.now_ms()
    time.advance(10)
    alice.invite(room, bob)
    bob.join(room)
    assert nearest(bob, room, hidden_at, "f")["origin_server_ts"] == time.now_ms()
    assert nearest(bob, room, hidden_at + 1, "b")["origin_server_ts"] == time.now_ms() - 20_000
    assert bob.sees(room, seen_first)
    nearest(bob, room, time.now_ms() + 1, "f", refused="M_NOT_FOUND")


def test_times_are_numbers(alice: Person, bob: Person) -> None:
    room = alice.create_room()
    url = f"/_matrix/client/v1/rooms/{room}/timestamp_to_event"
    for ts in ("-1", "now", "1.5", "9" * 30, "\u0661"):
        alice.ask("GET", url, ts=ts, dir="f", refused="M_INVALID_PARAM")
    alice.ask("GET", url, dir="f", refused="M_MISSING_PARAM")
    alice.ask("GET", url, ts=1, refused="M_MISSING_PARAM")
    bob.ask("GET", url, ts=1, dir="f", refused="M_FORBIDDEN")
