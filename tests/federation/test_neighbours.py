"""People on two or three servers in one room, in memory: what each sees of what the others do."""

from typing import Any

import pytest

from tests.support.federation import Federation
from tests.support.people import V1, Person, path


@pytest.fixture
def bella(federation: Federation, bob: Person) -> Person:
    """Another one of Bob's server."""
    return federation.all["two"].register("bella")


@pytest.fixture
def room(federation: Federation, alice: Person, bob: Person) -> str:
    """Alice's, with Bob in it."""
    made = alice.create_room(preset="public_chat")
    federation.join(bob, made, via="one")
    federation.settle()
    return made


def rules(rule: str, *clubs: object) -> list[dict[str, Any]]:
    """For `initial_state`."""
    content: dict[str, Any] = {"join_rule": rule}
    if clubs:
        content["allow"] = list(clubs)
    return [{"type": "m.room.join_rules", "state_key": "", "content": content}]


def member(room: str) -> dict[str, str]:
    return {"type": "m.room_membership", "room_id": room}


# Invites


def test_an_unbanned_user_comes_back_by_invite(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    bob.sync()
    alice.ban(room, bob)
    federation.settle()
    assert room in bob.sync().left
    alice.unban(room, bob)
    federation.settle()
    alice.invite(room, bob)
    federation.settle()
    assert room in bob.sync().invites
    federation.join(bob, room, via="one")
    federation.settle()
    assert alice.membership_of(room, bob) == "join"
    assert federation.state_of(room, "one") == federation.state_of(room, "two")


def test_an_invite_to_a_room_that_nobody_is_in_any_more_is_refused(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(invite=[bob.user_id])
    federation.settle()
    bob.sync()
    alice.leave(room)
    pending = bob.start_request("POST", path("rooms", room, "leave"), {})
    federation.settle()
    assert pending.answer.status == 200
    assert room in bob.sync().left
    assert room not in bob.sync(since=None).invites


@pytest.mark.parametrize("version", ["2", "9", "12"])
def test_a_second_guest_is_invited_and_refuses_or_comes(
    federation: Federation, alice: Person, bob: Person, bella: Person, version: str
) -> None:
    room = alice.create_room(preset="private_chat", room_version=version, invite=[bob.user_id])
    federation.settle()
    federation.join(bob, room, via="one")
    federation.settle()
    for answer in ("leave", "join"):
        alice.invite(room, bella)
        federation.settle()
        assert room in bella.sync().invites
        bella.request("POST", path("rooms", room, answer), {})
        federation.settle()
        assert alice.membership_of(room, bella) == answer
        assert room in (bella.sync().left if answer == "leave" else bella.sync().joined)


def test_who_accepts_an_invite_to_a_direct_chat_still_knows_that_it_was_one(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(invite=[bob.user_id], is_direct=True)
    federation.settle()
    invite = bob.sync().invite_state(room)["m.room.member", bob.user_id]
    assert invite["content"]["is_direct"] is True
    federation.join(bob, room, via="one")
    federation.settle()
    (joined,) = [event for event in bob.sync().timeline(room) if event.get("state_key") == bob.user_id]
    assert joined["content"]["membership"] == "join"
    assert joined["unsigned"]["prev_content"]["is_direct"] is True


# Knocks


def test_a_knock_is_denied_and_told(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="private_chat", initial_state=rules("knock"))
    for _ in range(2):
        bob.ask("POST", path("knock", room), {}, via="one")
        federation.settle()
        assert alice.membership_of(room, bob) == "knock"
        assert room in bob.sync().knocks
        alice.kick(room, bob, reason="no")
        federation.settle()
        left = bob.sync().left[room]
        assert room not in bob.sync(since=None).knocks
        assert [event["content"].get("reason") for event in left["timeline"]["events"]] == ["no"]


def test_who_is_invited_inside_or_banned_does_not_knock(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="private_chat", initial_state=rules("knock"))

    def knock() -> Any:
        pending = bob.start_request("POST", path("knock", room), {}, via="one")
        federation.settle()
        return pending.answer

    alice.invite(room, bob)
    federation.settle()
    assert (knock().status, knock().errcode) == (403, "M_FORBIDDEN")
    federation.join(bob, room, via="one")
    assert (knock().status, knock().errcode) == (403, "M_FORBIDDEN")
    alice.ban(room, bob)
    federation.settle()
    assert (knock().status, knock().errcode) == (403, "M_FORBIDDEN")


# Restricted rooms


def test_a_restricted_room_with_mangled_rules_takes_nobody(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    mangled: tuple[object, ...] = (
        "invalid", [], ["invalid"], [{}], [{"type": "m.room_membership"}],
        [{"type": "org.example", "room_id": room}], [{"type": "m.room_membership", "room_id": 5}],
    )  # fmt: skip
    inner = alice.create_room(preset="private_chat", room_version="10", initial_state=rules("restricted"))
    for allow in mangled:
        content = {"join_rule": "restricted", "allow": allow}
        alice.set_state(inner, "m.room.join_rules", content)
        federation.join(bob, inner, via="one", refused="M_FORBIDDEN")
    alice.set_state(inner, "m.room.join_rules", {"join_rule": "restricted", "allow": [{}, member(room)]})
    federation.join(bob, inner, via="one")


def test_another_server_lets_in_when_the_first_must_not(
    federation: Federation, alice: Person, bob: Person, carol: Person
) -> None:
    """Only Alice's server may invite: Bob's, which is asked first, sends Carol on to it."""
    club = alice.create_room(preset="public_chat", room_version="11")
    federation.join(carol, club, via="one")
    inner = alice.create_room(
        preset="private_chat", room_version="11", initial_state=rules("restricted", member(club))
    )
    alice.invite(inner, bob)
    federation.settle()
    federation.join(bob, inner, via="one")
    federation.settle()
    target = f"{path('join', inner)}?via=two&via=one"
    pending = carol.start_request("POST", target, {})
    federation.settle()
    answer = pending.answer
    assert answer.status == 200, answer.json
    federation.settle()
    content = alice.state_of(inner, "m.room.member", carol.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id
    assert federation.state_of(inner, "one") == federation.state_of(inner, "two")
    assert federation.state_of(inner, "one") == federation.state_of(inner, "three")


# What is told beside events


def test_a_receipt_for_all_and_one_for_a_thread_do_not_hide_each_other(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    root = alice.send(room, "root")
    reply = alice.reply_in_thread(room, root, "reply")
    alice.read(room, reply)
    alice.read(room, reply, thread_id=root)
    federation.time.advance(5)
    federation.settle()
    for person in (alice, bob):
        events = person.sync(since=None).room(room)["ephemeral"]["events"]
        receipts = [event["content"][reply]["m.read"][alice.user_id] for event in events]
        assert {receipt.get("thread_id") for receipt in receipts} == {None, root}, person


def test_who_leaves_types_no_more(federation: Federation, alice: Person, bob: Person, room: str) -> None:
    bob.start_typing(room)
    federation.time.advance(1)
    federation.settle()
    assert alice.sync().typing(room) == {bob.user_id}
    bob.leave(room)
    federation.settle()
    assert alice.sync().ephemeral(room, "m.typing") == {"user_ids": []}


def test_edus_of_users_who_are_not_in_the_room_tell_nothing(
    federation: Federation, alice: Person, bob: Person, bella: Person, room: str
) -> None:
    """Bella is on a server that is in the room, but not in it herself."""
    sent = alice.send(room)
    federation.settle()
    alice.sync()
    typing = bella.request("PUT", path("rooms", room, "typing", bella.user_id), {"typing": True})
    assert typing.status == 403
    assert bella.request("POST", path("rooms", room, "receipt", "m.read", sent), {}).status == 403
    federation.settle()
    assert alice.sync().is_empty


# History


@pytest.mark.parametrize("count", [20, 230])
def test_what_was_said_while_a_server_was_away_is_shown_after_it_came_back(
    federation: Federation, alice: Person, bob: Person, room: str, count: int
) -> None:
    """In order, without a hole between what it knew before and what it missed."""
    before = alice.send_many(room, ["a", "b", "c"])
    federation.settle()
    bob.leave(room)
    federation.settle()
    missed = alice.send_many(room, [f"{number}" for number in range(count)])
    federation.join(bob, room, via="one")
    federation.settle()
    found: list[str] = []
    start = None
    for _ in range(30):
        page = bob.messages(room, limit=50, start=start)
        found += page.ids
        start = page.end
        if start is None:
            break
    assert [event_id for event_id in reversed(found) if event_id in before + missed] == before + missed
    assert len(set(found)) == len(found)


def test_paging_goes_on_from_an_event_of_long_ago(federation: Federation, alice: Person, bob: Person) -> None:
    """Found by its time on another server: before it, and after it, is what was there."""
    room = alice.create_room(preset="public_chat", room_version="11")
    early = alice.send_many(room, [f"early {number}" for number in range(20)])
    federation.time.advance(3600)
    then = federation.time.now_ms()
    federation.time.advance(3600)
    late = alice.send_many(room, [f"late {number}" for number in range(150)])
    federation.join(bob, room, via="one")
    found = bob.ask("GET", f"{V1}{path('rooms', room, 'timestamp_to_event')}", ts=then, dir="f")
    assert found["event_id"] == late[0]
    around = bob.context(room, late[0], limit=0)
    assert bob.messages(room, start=around["start"], limit=5).ids == early[:-6:-1]
    assert bob.messages(room, start=around["end"], dir="f", limit=5).ids == late[1:6]


def test_a_redaction_that_arrives_before_its_event(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    """The message was sent while nobody could hear it; what comes is what is left of it."""
    federation.part("one", "two")
    regretted = alice.send(room, "regretted")
    alice.redact(room, regretted)
    federation.heal()
    event = bob.event(room, regretted)
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["sender"] == alice.user_id
    shown = [event for event in bob.sync().timeline(room) if event["event_id"] == regretted]
    assert [event["content"] for event in shown] == [{}]


def test_who_redacts_what_their_own_server_never_got(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    """Alice was told of it, and may: it is empty where it is, and empty when it comes to her."""
    federation.part("one", "two")
    said = bob.send(room, "spam")
    redaction = alice.redact(room, said)
    federation.heal()
    for person in (alice, bob):
        event = person.event(room, said)
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction


def test_a_room_that_was_forgotten_is_found_again(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    sent = alice.send(room, "remember")
    federation.settle()
    bob.leave(room)
    federation.settle()
    bob.forget(room)
    assert bob.request("GET", path("rooms", room, "messages"), dir="b").status == 403
    assert room not in bob.sync(since=None).left
    federation.join(bob, room, via="one")
    federation.settle()
    assert sent in bob.messages(room, limit=50).ids


# Coming in


def test_an_alias_in_any_script_leads_to_the_room(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    alias = "#ლ_老虎_Â£я🤨:one"
    alice.ask("PUT", path("directory", "room", alias), {"room_id": room})
    assert bob.ask("GET", path("directory", "room", alias))["room_id"] == room


def test_the_first_sync_after_a_join_has_the_room_whole(
    federation: Federation, alice: Person, bob: Person
) -> None:
    """State, the join as the end of the timeline, and the summary; nothing of it comes a second time."""
    room = alice.create_room(preset="public_chat", name="Den", topic="dens")
    bob.sync()
    federation.join(bob, room, via="one")
    federation.settle()
    synced = bob.sync()
    known = synced.known_state(room)
    assert known["m.room.name", ""]["content"] == {"name": "Den"}
    assert known["m.room.member", alice.user_id]["content"]["membership"] == "join"
    assert synced.timeline(room)[-1]["state_key"] == bob.user_id
    assert synced.summary(room).get("m.joined_member_count", 2) == 2
    assert room not in bob.sync().joined


def test_filtered_out_events_of_others_do_not_hide_state_changes(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    """A gap in the timeline, of messages that the filter leaves out: the state that changed in it is told."""
    filter_ = {"room": {"timeline": {"limit": 1, "not_types": ["m.room.message"]}}}
    bob.sync(filter=filter_)
    federation.part("one", "two")
    alice.send_many(room, ["a", "b"])
    alice.set_state(room, "m.room.topic", {"topic": "changed"})
    alice.send_many(room, ["c", "d"])
    federation.heal()
    synced = bob.sync(filter=filter_)
    assert synced.known_state(room)["m.room.topic", ""]["content"] == {"topic": "changed"}


@pytest.mark.parametrize("version", ["9", "11"])
def test_personal_settings_follow_into_the_new_room(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    """Of Bob, whose server did not upgrade the room: his push rules and tags are there once he comes in."""
    room = alice.create_room(preset="public_chat", room_version=version)
    federation.join(bob, room, via="one")
    federation.settle()
    rule = {"actions": []}
    bob.ask("PUT", f"/pushrules/global/room/{path(room)[1:]}", rule)
    bob.ask("PUT", path("user", bob.user_id, "rooms", room, "tags", "m.favourite"), {"order": 0.5})
    answer = alice.ask("POST", path("rooms", room, "upgrade"), {"new_version": "12"})
    successor = answer["replacement_room"]
    federation.settle()
    assert bob.state_of(room, "m.room.tombstone")["replacement_room"] == successor
    federation.join(bob, successor, via="one")
    federation.settle()
    found = {rule["rule_id"] for rule in bob.ask("GET", "/pushrules/")["global"]["room"]}
    assert found >= {successor}
    tags = bob.ask("GET", path("user", bob.user_id, "rooms", successor, "tags"))["tags"]
    assert tags == {"m.favourite": {"order": 0.5}}


# Going


def test_who_deactivates_their_account_leaves_the_rooms_of_others(
    federation: Federation, alice: Person, bob: Person, room: str
) -> None:
    inner = alice.create_room(invite=[bob.user_id])
    federation.settle()
    identifier = {"type": "m.id.user", "user": bob.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
    first = bob.request("POST", "/account/deactivate", {})
    assert first.status == 401
    auth["session"] = first.json["session"]
    pending = bob.start_request("POST", "/account/deactivate", {"auth": auth})
    federation.settle()
    assert pending.answer.status == 200, pending.answer.json
    federation.settle(30)
    assert alice.membership_of(room, bob) == "leave"
    assert alice.membership_of(inner, bob) == "leave"


def test_a_name_that_is_changed_reaches_every_room_of_every_server(
    federation: Federation, alice: Person, bob: Person, carol: Person, room: str
) -> None:
    other = carol.create_room(preset="public_chat")
    federation.join(bob, other, via="three")
    federation.settle()
    alice.sync()
    carol.sync()
    bob.ask("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Bobby"})
    federation.settle()
    for person, where in ((alice, room), (carol, other)):
        event = person.sync().known_state(where)["m.room.member", bob.user_id]
        assert event["content"]["displayname"] == "Bobby"
        assert event["unsigned"]["prev_content"].get("displayname") != "Bobby"
