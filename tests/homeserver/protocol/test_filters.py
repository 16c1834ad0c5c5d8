import pytest

from homeserver.protocol.errors import BadJson, InvalidParam
from homeserver.protocol.filters import PASS_ALL, parse_filter, parse_room_event_filter, projection

ALICE, BOB = "@alice:example.org", "@bob:example.org"
ROOM, OTHER = "!room:example.org", "!other:example.org"


def takes(filter_json, event_type="m.room.message", sender=ALICE, content=None, room_id=ROOM):
    chosen = parse_room_event_filter(filter_json)
    return chosen.matches_event(event_type, sender, content or {}, room_id=room_id)


def test_an_empty_filter_passes_everything():
    chosen = parse_filter({})
    assert chosen == PASS_ALL
    assert chosen.room.timeline.is_pass_all
    assert chosen.presence.is_pass_all
    assert takes({})


@pytest.mark.parametrize(
    ("filter_json", "taken"),
    [
        ({"types": ["m.room.message"]}, True),
        ({"types": ["m.room.*"]}, True),
        ({"types": ["*"]}, True),
        ({"types": ["m.*.message"]}, True),
        ({"types": ["m.room.member", "m.room.top*"]}, False),
        ({"types": []}, False),
        ({"types": ["m.room.m?ssage"]}, False),
        ({"not_types": ["m.room.*"]}, False),
        ({"types": ["m.room.message"], "not_types": ["m.room.message"]}, False),
        ({"not_types": []}, True),
        ({"senders": [ALICE]}, True),
        ({"senders": [BOB]}, False),
        ({"senders": []}, False),
        ({"senders": [ALICE], "not_senders": [ALICE]}, False),
        ({"rooms": [ROOM]}, True),
        ({"rooms": []}, False),
        ({"rooms": [ROOM, OTHER], "not_rooms": [ROOM]}, False),
        ({"not_rooms": [OTHER]}, True),
        ({"contains_url": False}, True),
        ({"contains_url": True}, False),
    ],
)
def test_lists_let_through_and_keep_out(filter_json, taken):
    assert takes(filter_json) is taken


def test_contains_url_asks_for_the_key_whatever_its_value():
    assert takes({"contains_url": True}, content={"url": 1})
    assert not takes({"contains_url": False}, content={"url": "mxc://a/b"})


def test_related_by_asks_for_one_child_that_fits_both():
    chosen = parse_room_event_filter({"related_by_rel_types": ["m.thread"], "related_by_senders": [BOB]})
    assert chosen.needs_relations
    assert not chosen.is_pass_all
    assert chosen.matches_related([("m.thread", ALICE), ("m.thread", BOB)])
    assert not chosen.matches_related([("m.thread", ALICE), ("m.annotation", BOB)])
    assert not chosen.matches_related([])
    assert parse_room_event_filter({}).matches_related([])


def test_rooms_are_chosen_before_their_events():
    chosen = parse_filter(
        {"room": {"rooms": [ROOM, OTHER], "not_rooms": [OTHER], "include_leave": True}}
    ).room
    assert chosen.include_leave
    assert chosen.choose_rooms([ROOM, OTHER, "!third:example.org"]) == [ROOM]
    everything = [ROOM, OTHER]
    assert PASS_ALL.room.choose_rooms(everything) is everything


def test_nothing_need_be_read_when_nothing_can_match():
    for filter_json in ({"types": []}, {"senders": []}, {"limit": 0}):
        assert parse_room_event_filter(filter_json).takes_nothing
    assert not parse_room_event_filter({"types": ["a"], "limit": 1}).takes_nothing


def test_flags_have_the_defaults_of_the_specification():
    plain = parse_room_event_filter({})
    assert not plain.lazy_load_members
    assert not plain.include_redundant_members
    assert not plain.unread_thread_notifications
    lazy = parse_filter({"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}})
    assert lazy.room.state.lazy_load_members
    assert lazy.room.state.include_redundant_members
    assert not lazy.room.timeline.lazy_load_members
    assert parse_filter({"event_format": "federation"}).federation_format


@pytest.mark.parametrize(
    "filter_json",
    [
        None,
        [],
        "x",
        {"room": []},
        {"room": {"timeline": 1}},
        {"presence": "all"},
        {"event_fields": "type"},
        {"event_fields": [1]},
        {"room": {"timeline": {"limit": "10"}}},
        {"room": {"timeline": {"limit": True}}},
        {"room": {"timeline": {"limit": 10.5}}},
        {"room": {"timeline": {"types": "m.room.message"}}},
        {"room": {"state": {"lazy_load_members": "yes"}}},
        {"room": {"include_leave": 1}},
    ],
)
def test_wrong_shapes_are_bad_json(filter_json):
    with pytest.raises(BadJson):
        parse_filter(filter_json)


@pytest.mark.parametrize(
    "filter_json",
    [
        {"event_format": "xml"},
        {"room": {"rooms": ["room"]}},
        {"room": {"timeline": {"senders": ["alice"]}}},
        {"room": {"timeline": {"limit": -1}}},
        {"room": {"timeline": {"types": [f"{n}*" for n in range(101)]}}},
    ],
)
def test_wrong_values_are_invalid_and_their_place_is_named(filter_json):
    with pytest.raises(InvalidParam):
        parse_filter(filter_json)
    with pytest.raises(InvalidParam, match=r"filter\.room\.timeline\.senders.*'alice'"):
        parse_filter({"room": {"timeline": {"senders": ["alice"]}}})


def test_unknown_keys_are_ignored():
    assert parse_filter({"org.example": 1, "room": {"x": {}}}) == PASS_ALL


def test_filters_that_mean_the_same_are_equal_and_share_a_key():
    one = parse_filter({"room": {"timeline": {"types": ["b", "a*", "a"]}}, "event_format": "client"})
    two = parse_filter({"room": {"timeline": {"types": ["a*", "a", "b", "b"]}, "include_leave": False}})
    assert one == two
    assert hash(one) == hash(two)
    assert one.key == two.key
    others = [PASS_ALL, parse_filter({"room": {"state": {"types": ["b", "a*", "a"]}}})]
    assert len({one.key, *(other.key for other in others)}) == 3


def test_event_fields_cut_an_event_down():
    event = {
        "type": "m.x",
        "sender": ALICE,
        "content": {"body": "hi", "m.relates_to": {"a": 1, "b": 2}, "n": None},
    }
    assert projection(["type", "content.body"])(event) == {"type": "m.x", "content": {"body": "hi"}}
    assert projection([r"content.m\.relates_to.b"])(event) == {"content": {"m.relates_to": {"b": 2}}}
    assert projection(["content", "content.body"])(event) == {"content": event["content"]}
    assert projection(["content.n", "content.body.x", "nothing"])(event) == {"content": {"n": None}}


def test_without_event_fields_the_event_is_handed_back_untouched():
    event = {"type": "m.x"}
    assert PASS_ALL.project(event) is event
    assert parse_filter({"event_fields": []}).project(event) is event
    assert parse_filter({"event_fields": ["sender"]}).project(event) == {}
