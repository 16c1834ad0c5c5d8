import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.relations import (
    BadRelation,
    Relation,
    ThreadSummary,
    bundle,
    check_may_relate,
    is_valid_edit,
    latest_edit,
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


# Edits


def edit_of(original, content=None, **changes):
    new = {"m.new_content": {"body": "new"}} if content is None else content
    return message({**new, **relates("m.replace", original.event_id)}, **changes)


def test_ones_own_message_can_be_edited_again_and_again():
    original = message({"body": "old"})
    assert is_valid_edit(edit_of(original), original)
    assert is_valid_edit(edit_of(original, {"m.new_content": {}}), original)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": BOB},
        {"type": "m.sticker"},
        {"room_id": "!other:example.org"},
        {"state_key": ""},
        {"content": {"body": "no new content"}},
        {"content": {"m.new_content": "text"}},
    ],
)
def test_what_is_no_valid_edit(changes):
    original = message({"body": "old"})
    assert not is_valid_edit(edit_of(original, **changes), original)


def test_neither_state_nor_edits_can_be_edited():
    topic = message({"topic": "x"}, type="m.room.topic", state_key="")
    assert not is_valid_edit(edit_of(topic, type="m.room.topic"), topic)
    edit = edit_of(message({"body": "old"}))
    assert not is_valid_edit(edit_of(edit), edit)


def test_an_edit_is_of_what_it_names():
    original, other = message({"body": "a"}), message({"body": "b"})
    assert not is_valid_edit(edit_of(original), other)
    assert not is_valid_edit(message({"m.new_content": {}}), original)


def test_encrypted_edits_hide_their_new_content():
    original = message({"ciphertext": "a"}, type="m.room.encrypted")
    assert is_valid_edit(edit_of(original, {"ciphertext": "b"}, type="m.room.encrypted"), original)


def test_messages_in_threads_can_be_edited():
    original = message({"body": "old", **relates("m.thread", "$root")})
    assert is_valid_edit(edit_of(original), original)


def test_the_latest_edit_is_by_time_then_id():
    original = message({"body": "old"})
    early, late = (edit_of(original, origin_server_ts=ts) for ts in (5, 6))
    assert latest_edit([late, early]) is late
    twins = [edit_of(original, {"m.new_content": {"n": n}}, origin_server_ts=6) for n in range(4)]
    assert latest_edit(twins).event_id == max(twin.event_id for twin in twins)
    assert latest_edit([]) is None


# What may relate to what


def test_threads_start_at_events_without_relations():
    thread = Relation("m.thread", "$root")
    check_may_relate(thread, {"body": "hi"})
    check_may_relate(thread, {"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}})
    for rel_type in ("m.thread", "m.replace", "org.example"):
        with pytest.raises(BadRelation) as refused:
            check_may_relate(thread, relates(rel_type))
        assert (refused.value.status, refused.value.errcode) == (400, "M_UNKNOWN")


def test_reactions_and_edits_take_no_reactions():
    reaction = Relation("m.annotation", "$parent", "👍")
    check_may_relate(reaction, relates("m.thread"))
    for rel_type in ("m.annotation", "m.replace"):
        with pytest.raises(BadRelation):
            check_may_relate(reaction, relates(rel_type))


def test_other_relations_go_to_any_event():
    check_may_relate(Relation("m.reference", "$parent"), relates("m.thread"))


# Aggregation


def test_a_bundle_holds_what_there_is():
    assert bundle() == {}
    assert bundle(edit={"event_id": "$edit"}) == {"m.replace": {"event_id": "$edit"}}
    assert bundle(references=["$one", "$two"]) == {
        "m.reference": {"chunk": [{"event_id": "$one"}, {"event_id": "$two"}]}
    }
    thread = ThreadSummary({"event_id": "$last"}, 7, current_user_participated=True)
    assert bundle(thread=thread) == {
        "m.thread": {"latest_event": {"event_id": "$last"}, "count": 7, "current_user_participated": True}
    }
