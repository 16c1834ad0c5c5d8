import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.relations import (
    BadRelation,
    Relation,
    check_may_begin_thread,
    relation_of,
    replied_to,
    thread_root,
)
from homeserver.protocol.room_versions import room_version

ALICE, BOB = "@alice:example.org", "@bob:example.org"


def relates(rel_type="m.thread", event_id="$parent", **more):
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


def message(content=None, **changes):
    pdu = {
        "type": "m.room.message",
        "sender": ALICE,
        "room_id": "!room:example.org",
        "content": content or {},
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
        "hashes": {"sha256": repr((content, changes))},
        **changes,
    }
    return Event.from_pdu(room_version("11"), pdu)


# Reading


def test_relations_are_read_from_the_content():
    assert relation_of(relates("m.annotation", key="👍")) == Relation("m.annotation", "$parent", "👍")
    content = relates(is_falling_back=True, **{"m.in_reply_to": {"event_id": "$reply"}})
    assert relation_of(content) == Relation("m.thread", "$parent", is_falling_back=True)
    assert replied_to(content) == "$reply"


def test_a_mere_reply_is_no_relation():
    content = {"m.relates_to": {"m.in_reply_to": {"event_id": "$reply"}}}
    assert relation_of(content) is None
    assert replied_to(content) == "$reply"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"m.relates_to": None},
        {"m.relates_to": "m.thread"},
        {"m.relates_to": []},
        {"m.relates_to": {"rel_type": "m.thread"}},
        {"m.relates_to": {"event_id": "$parent"}},
        relates(rel_type=1),
        relates(rel_type=""),
        relates(rel_type="x" * 256),
        relates(event_id=["$parent"]),
        relates(event_id="parent"),
        relates(event_id="$" + "x" * 255),
    ],
)
def test_malformed_relations_are_none(content):
    assert relation_of(content) is None


@pytest.mark.parametrize("reply", [None, "$reply", {}, {"event_id": 1}, {"event_id": "reply"}])
def test_malformed_replies_are_none(reply):
    assert replied_to({"m.relates_to": {"m.in_reply_to": reply}}) is None
    assert replied_to({"m.relates_to": reply}) is None


def test_odd_keys_and_flags_do_not_count():
    assert relation_of(relates(key=1, is_falling_back="yes")) == Relation("m.thread", "$parent")


# Threads


def test_the_thread_is_found_through_what_an_event_relates_to():
    parents = {
        "$edit": Relation("m.replace", "$message"),
        "$message": Relation("m.thread", "$root"),
        "$plain": None,
    }
    assert thread_root(Relation("m.thread", "$root"), parents.get) == "$root"
    assert thread_root(Relation("m.annotation", "$message"), parents.get) == "$root"
    assert thread_root(Relation("m.annotation", "$edit"), parents.get) == "$root"
    assert thread_root(Relation("m.annotation", "$plain"), parents.get) is None
    assert thread_root(Relation("m.annotation", "$unknown"), parents.get) is None
    assert thread_root(None, parents.get) is None


def test_the_search_for_a_thread_ends():
    assert thread_root(Relation("x", "$a"), lambda event_id: Relation("x", event_id)) is None
    chain = {"$a": Relation("x", "$b"), "$b": Relation("x", "$c"), "$c": Relation("m.thread", "$root")}
    assert thread_root(Relation("x", "$a"), chain.get) is None
    assert thread_root(Relation("x", "$b"), chain.get) == "$root"


# What may relate to what


def test_threads_start_at_events_without_relations():
    check_may_begin_thread({"body": "hi"})
    check_may_begin_thread({"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}})
    for rel_type in ("m.thread", "m.replace", "org.example"):
        with pytest.raises(BadRelation) as refused:
            check_may_begin_thread(relates(rel_type))
        assert (refused.value.status, refused.value.errcode) == (400, "M_UNKNOWN")
