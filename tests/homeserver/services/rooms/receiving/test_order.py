"""Events are taken in after those that they follow."""

from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId
from homeserver.protocol.room_versions import room_version
from homeserver.services.rooms.receiving.judging import in_order

OLD = room_version("1")
MANY = 20_000


def event(event_id: str, *follows: str, depth: int = 1) -> Event:
    """As servers may name it in room version 1."""
    named = [[name, {}] for name in follows]
    pdu = {
        "event_id": event_id, "room_id": "!room", "type": "m.room.message", "sender": "@eve:evil",
        "content": {},
        "depth": depth, "origin_server_ts": 1, "prev_events": named, "auth_events": named,
    }  # fmt: skip
    return Event.from_pdu(OLD, pdu, EventId(event_id))


def test_each_after_what_it_follows_whatever_depth_they_say() -> None:
    last, middle, first = event("$c", "$b", depth=1), event("$b", "$a", depth=2), event("$a", depth=3)
    assert in_order([last, middle, first]) == [first, middle, last]


def test_what_stands_in_a_circle_is_left_out() -> None:
    assert [one.event_id for one in in_order([event("$a", "$b"), event("$b", "$a"), event("$c")])] == ["$c"]


def test_as_many_circles_as_there_can_be_are_seen_through_at_once() -> None:
    """As an answer to event_auth may hold them."""
    circles = [event(f"${n}", f"${n ^ 1}") for n in range(MANY)]
    assert [one.event_id for one in in_order([*circles, event("$good")], by_auth=True)] == ["$good"]
