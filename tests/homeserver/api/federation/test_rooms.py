"""make_*, send_* and invite, asked by a server that does as it likes: what is refused, and how."""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.protocol.room_versions import ROOM_VERSIONS, room_version
from homeserver.protocol.signatures import sign_event
from tests.support.adversary import V1, V2, VERSIONS, Adversary, View, event_path
from tests.support.clock import FakeClock
from tests.support.people import Person
from tests.support.whole_server import WholeServer, limiting

Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def evil(server: WholeServer) -> Adversary:
    return Adversary(server)


def make(evil: Adversary, what: str, room: str, user: str | None = None, query: str = VERSIONS) -> Any:
    return evil.request("GET", f"{V1}/make_{what}{event_path(room, user or evil.user)}?{query}")


def hand_in(
    evil: Adversary, what: str, room: str, pdu: dict[str, Any], *, name: str = "", query: str = ""
) -> Any:
    version = V1 if what == "send_knock" else V2
    return evil.request("PUT", f"{version}/{what}{event_path(room, name or '$none')}{query}", pdu)


def completed(evil: Adversary, room: str, what: str = "join") -> tuple[View, dict[str, Any]]:
    answer = make(evil, what, room)
    assert answer.status == 200, answer.json
    view = View(room, room_version(answer.json["room_version"]))
    return view, evil.finish(view, answer.json["event"])


# Templates


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_a_template_is_that_of_the_join_that_was_asked_for(
    alice: Person, evil: Adversary, version: str
) -> None:
    room = alice.create_room(preset="public_chat", room_version=version)
    answer = make(evil, "join", room)
    assert answer.json["room_version"] == version
    event = answer.json["event"]
    assert (event["type"], event["room_id"], event["sender"], event["state_key"]) == (
        "m.room.member", room, evil.user, evil.user,
    )  # fmt: skip
    assert event["content"] == {"membership": "join"}
    assert event["origin"] == "test"  # the resident, as the specification has it
    assert not {"hashes", "signatures", "event_id"} & set(event)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_template_of_an_early_version_gives_the_hashes_of_what_it_names(
    alice: Person, evil: Adversary, version: str
) -> None:
    room = alice.create_room(preset="public_chat", room_version=version)
    event = make(evil, "join", room).json["event"]
    for name in ("prev_events", "auth_events"):
        assert event[name]
        assert all(list(hashes) == ["sha256"] for _, hashes in event[name]), event[name]


def test_templates_are_for_ones_own_users(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat")
    for what in ("join", "leave", "knock"):
        assert make(evil, what, room, "@somebody:else.example").errcode == "M_FORBIDDEN"
        assert make(evil, what, room, alice.user_id).errcode == "M_FORBIDDEN"
        assert make(evil, what, room, "nobody").errcode == "M_INVALID_PARAM"


def test_rooms_that_are_not_here_have_no_templates(alice: Person, evil: Adversary) -> None:
    left = alice.create_room(preset="public_chat")
    alice.leave(left)
    for room in ("!none:test", left):
        for what in ("join", "leave", "knock"):
            assert make(evil, what, room).errcode == "M_NOT_FOUND"


def test_a_version_that_the_asking_server_does_not_know_is_named(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="10")
    for what, query in (("join", "ver=1&ver=11"), ("join", ""), ("knock", "ver=9")):
        answer = make(evil, what, room, query=query)
        assert answer.errcode == "M_INCOMPATIBLE_ROOM_VERSION"
        assert answer.json["room_version"] == "10"
    assert make(evil, "knock", room, query="").errcode == "M_MISSING_PARAM"


def test_who_may_not_come_gets_no_template(alice: Person, evil: Adversary) -> None:
    closed = alice.create_room()
    assert make(evil, "join", closed).errcode == "M_FORBIDDEN"
    assert make(evil, "knock", closed).errcode == "M_FORBIDDEN"
    assert make(evil, "leave", closed).errcode == "M_FORBIDDEN"
    banned = alice.create_room(preset="public_chat")
    alice.ban(banned, evil.user)
    assert make(evil, "join", banned).errcode == "M_FORBIDDEN"
    home = alice.create_room(preset="public_chat", creation_content={"m.federate": False})
    assert make(evil, "join", home).errcode == "M_FORBIDDEN"


# Access control lists


def test_servers_that_the_room_shuts_out_get_nothing(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    first = alice.send(room)
    acl = {"allow": ["*"], "deny": ["EVIL.*"], "allow_ip_literals": False}
    alice.set_state(room, "m.room.server_acl", acl)
    for what in ("join", "leave", "knock"):
        assert make(evil, what, room).errcode == "M_FORBIDDEN"
    assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"
    for path in (
        f"{V1}/backfill{event_path(room)}?v=%24x&limit=1",
        f"{V1}/state{event_path(room)}?event_id={first}",
        f"{V1}/state_ids{event_path(room)}?event_id={first}",
        f"{V1}/event_auth{event_path(room, first)}",
        f"{V1}/event{event_path(first)}",
        f"{V1}/timestamp_to_event{event_path(room)}?ts=0&dir=f",
    ):
        assert evil.request("GET", path).errcode == "M_FORBIDDEN", path
    body = {"earliest_events": [], "latest_events": [first]}
    assert evil.request("POST", f"{V1}/get_missing_events{event_path(room)}", body).errcode == "M_FORBIDDEN"
    assert evil.request("GET", f"{V1}/hierarchy{event_path(room)}").errcode == "M_NOT_FOUND"


# What is handed in

OTHER = "!other:test"


def fields(**changed: Any) -> Change:
    return lambda pdu: {**pdu, **changed}


BAD_JOINS: dict[str, tuple[Change, str]] = {
    "another room": (fields(room_id=OTHER), "M_INVALID_PARAM"),
    "another type": (fields(type="m.room.message"), "M_INVALID_PARAM"),
    "no membership": (fields(content={}), "M_INVALID_PARAM"),
    "a leave": (fields(content={"membership": "leave"}), "M_INVALID_PARAM"),
    "a message": (lambda pdu: {k: v for k, v in pdu.items() if k != "state_key"}, "M_INVALID_PARAM"),
    "somebody else": (fields(state_key="@other:evil.example"), "M_INVALID_PARAM"),
    "a user elsewhere": (
        fields(sender="@a:else.example", state_key="@a:else.example"), "M_INVALID_PARAM",
    ),
    "our user": (fields(sender="@alice:test", state_key="@alice:test"), "M_INVALID_PARAM"),
    "no depth": (lambda pdu: {k: v for k, v in pdu.items() if k != "depth"}, "M_INVALID_PARAM"),
    "a float": (fields(depth=1.5), "M_INVALID_PARAM"),
    "too many prevs": (fields(prev_events=[f"$e{n}" for n in range(21)]), "M_INVALID_PARAM"),
    "too large": (fields(content={"membership": "join", "x": "x" * 70_000}), "M_TOO_LARGE"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD_JOINS))
def test_a_join_that_is_something_else_is_refused(alice: Person, evil: Adversary, case: str) -> None:
    change, errcode = BAD_JOINS[case]
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    changed = change(pdu)
    bad = changed if changed.get("depth") == 1.5 else evil.finish(view, changed)
    name = "$x" if bad.get("depth") == 1.5 else view.name(bad)
    assert hand_in(evil, "send_join", room, bad, name=name).errcode == errcode
    assert evil.user not in alice.members(room)


def test_the_path_must_name_the_event(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    other = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    assert hand_in(evil, "send_join", room, pdu, name="$other").errcode == "M_INVALID_PARAM"
    assert hand_in(evil, "send_join", other, pdu, name=view.name(pdu)).errcode == "M_INVALID_PARAM"


def test_signatures_and_hashes_are_looked_at(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    unsigned = {**pdu, "signatures": {}}
    forged = {**pdu, "signatures": {evil.name: {evil.key.key_id: "A" * 86}}}
    stranger = sign_event(view.version, unsigned, ServerName("else.example"), evil.key)
    for bad in (unsigned, forged, stranger):
        answer = hand_in(evil, "send_join", room, bad, name=view.name(bad))
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    wrong_hash = evil.finish(view, {**pdu, "content": {"membership": "join", "displayname": "M"}})
    wrong_hash["content"] = {"membership": "join", "displayname": "Another"}
    answer = hand_in(evil, "send_join", room, wrong_hash, name=view.name(wrong_hash))
    assert answer.errcode == "M_INVALID_PARAM"
    assert evil.user not in alice.members(room)


def test_who_was_banned_meanwhile_does_not_come_in(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    alice.ban(room, evil.user)
    assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"
    assert alice.members(room)[evil.user] == "ban"


def test_what_was_refused_or_has_ended_tells_nothing_the_second_time_either(
    alice: Person, evil: Adversary
) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    alice.ban(room, evil.user)
    for _ in range(3):  # soft failed
        assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"
    alice.unban(room, evil.user)
    view, pdu = completed(evil, room)
    assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).status == 200
    alice.ban(room, evil.user)
    assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"
    template = make(evil, "join", room, "@doris:evil.example").json["event"]
    forged = evil.finish(view, {**template, "sender": evil.user, "state_key": evil.user})
    for _ in range(3):  # rejected
        assert hand_in(evil, "send_join", room, forged, name=view.name(forged)).errcode == "M_FORBIDDEN"
    assert alice.members(room)[evil.user] == "ban"


def test_a_knock_that_was_turned_down_describes_the_room_no_more(alice: Person, evil: Adversary) -> None:
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room = alice.create_room(room_version="11", initial_state=[rules], name="The den")
    view, pdu = completed(evil, room, "knock")
    answer = hand_in(evil, "send_knock", room, pdu, name=view.name(pdu))
    assert "m.room.name" in [event["type"] for event in answer.json["knock_room_state"]]
    alice.ban(room, evil.user)
    assert hand_in(evil, "send_knock", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"


@pytest.mark.parametrize(
    ("what", "other"), [("send_join", "leave"), ("send_leave", "join"), ("send_knock", "join")]
)
def test_each_path_takes_its_own_membership(alice: Person, evil: Adversary, what: str, other: str) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    bad = evil.finish(view, {**pdu, "content": {"membership": other}})
    assert hand_in(evil, what, room, bad, name=view.name(bad)).errcode == "M_INVALID_PARAM"


def test_a_second_time_gives_the_same_answer(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view, pdu = completed(evil, room)
    answers = [hand_in(evil, "send_join", room, pdu, name=view.name(pdu)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json


# What send_join tells


@pytest.mark.parametrize("version", ["3", "6", "11", "12"])
def test_the_answer_has_the_state_before_and_all_that_authorised_it(
    alice: Person, bob: Person, evil: Adversary, version: str
) -> None:
    room = alice.create_room(preset="public_chat", name="Den", members=[bob], room_version=version)
    view, pdu = completed(evil, room)
    answer = hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).json
    assert answer["members_omitted"] is False
    assert "servers_in_room" not in answer
    state = {(event["type"], event["state_key"]): event for event in answer["state"]}
    assert {key for type_, key in state if type_ == "m.room.member"} == {alice.user_id, bob.user_id}
    names = {view.name(event) for event in (*answer["state"], *answer["auth_chain"])}
    for event in (*answer["state"], *answer["auth_chain"], answer["event"]):
        ids = [each[0] if isinstance(each, list) else each for each in event["auth_events"]]
        assert set(ids) <= names
    assert alice.members(room)[evil.user] == "join"


def test_members_are_left_out_where_that_was_asked_for(alice: Person, bob: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", name="Den", members=[bob], room_version="11")
    view, pdu = completed(evil, room)
    query = "?omit_members=true"
    answer = hand_in(evil, "send_join", room, pdu, name=view.name(pdu), query=query).json
    assert answer["members_omitted"] is True
    assert answer["servers_in_room"] == ["test"]
    assert not [event for event in answer["state"] if event["type"] == "m.room.member"]
    in_state = {view.name(event) for event in answer["state"]}
    chain = {view.name(event) for event in answer["auth_chain"]}
    assert not in_state & chain
    for event in (*answer["state"], *answer["auth_chain"], answer["event"]):
        assert set(event["auth_events"]) <= in_state | chain


def test_a_nameless_room_is_told_with_those_who_name_it(alice: Person, bob: Person, evil: Adversary) -> None:
    room = alice.create_room(preset="public_chat", members=[bob], room_version="11")
    view, pdu = completed(evil, room)
    answer = hand_in(evil, "send_join", room, pdu, name=view.name(pdu), query="?omit_members=true").json
    told = {event["state_key"] for event in answer["state"] if event["type"] == "m.room.member"}
    assert told == {alice.user_id, bob.user_id}


# Restricted rooms


def restricted(alice: Person, *allowed: str) -> str:
    room = alice.create_room(room_version="11")
    allow = [{"type": "m.room_membership", "room_id": each} for each in allowed]
    alice.set_state(room, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    return room


def test_conditions_that_cannot_be_checked_here(alice: Person, evil: Adversary) -> None:
    unknown = restricted(alice, "!elsewhere:else.example")
    assert make(evil, "join", unknown).errcode == "M_UNABLE_TO_AUTHORISE_JOIN"
    club = alice.create_room(preset="public_chat")
    assert make(evil, "join", restricted(alice, club)).errcode == "M_FORBIDDEN"
    assert make(evil, "join", restricted(alice)).errcode == "M_FORBIDDEN"


def test_nobody_here_may_invite(alice: Person, bob: Person, evil: Adversary) -> None:
    club = alice.create_room(preset="public_chat", room_version="11")
    evil.join(club)
    room = restricted(alice, club)
    levels = alice.state_of(room, "m.room.power_levels")
    alice.set_state(room, "m.room.power_levels", {**levels, "invite": 100, "users": {alice.user_id: 100}})
    assert make(evil, "join", room).status == 200
    alice.invite(room, bob)
    bob.join(room)
    alice.leave(room)
    assert make(evil, "join", room).errcode == "M_UNABLE_TO_GRANT_JOIN"


def test_a_join_is_signed_for_those_only_who_meet_a_condition(alice: Person, evil: Adversary) -> None:
    club = alice.create_room(preset="public_chat", room_version="11")
    room = restricted(alice, club)
    view = View(room, room_version("11"))
    outside = evil.join(club)
    template = make(evil, "join", room).json["event"]
    assert template["content"]["join_authorised_via_users_server"] == alice.user_id
    pdu = evil.finish(view, template)
    leave, left = completed(evil, club, "leave")
    assert hand_in(evil, "send_leave", club, left, name=leave.name(left)).status == 200
    assert hand_in(evil, "send_join", room, pdu, name=view.name(pdu)).errcode == "M_FORBIDDEN"
    assert outside.room_id == club
    evil.join(club)
    answer = hand_in(evil, "send_join", room, pdu, name=view.name(pdu))
    assert answer.status == 200
    assert set(answer.json["event"]["signatures"]) == {"test", evil.name}


# Invites


def invite(evil: Adversary, target: str, version: str = "11", **changed: Any) -> tuple[View, dict[str, Any]]:
    """An invite to a room of the adversary's own."""
    view = View("!room:evil.example", room_version(version))
    pdu = {
        "type": "m.room.member", "room_id": view.room_id, "sender": evil.user, "state_key": target,
        "content": {"membership": "invite"}, "prev_events": ["$p"], "auth_events": ["$a"], "depth": 5,
        "origin_server_ts": 1, **changed,
    }  # fmt: skip
    return view, evil.finish(view, pdu)


def send_invite(evil: Adversary, view: View, pdu: dict[str, Any], **body: Any) -> Any:
    whole = {"room_version": view.version.version, "event": pdu, "invite_room_state": [], **body}
    return evil.request("PUT", f"{V2}/invite{event_path(view.room_id, view.name(pdu))}", whole)


def test_an_invite_comes_back_signed(alice: Person, evil: Adversary) -> None:
    view, pdu = invite(evil, alice.user_id)
    name = {"type": "m.room.name", "state_key": "", "sender": evil.user, "content": {"name": "Trap"}}
    answer = send_invite(evil, view, pdu, invite_room_state=[name, {"type": 5}, {"nonsense": 1}])
    event = answer.json["event"]
    assert set(event.pop("signatures")) == {evil.name, "test"}
    assert event == {key: value for key, value in pdu.items() if key != "signatures"}
    shown = alice.sync().invite_state(view.room_id)
    assert shown["m.room.name", ""]["content"] == {"name": "Trap"}
    assert set(shown) == {("m.room.name", ""), ("m.room.member", alice.user_id)}


INVITE_LIMITS = ["invites_from_server", "invites_into_room", "invites_to_user"]


@pytest.mark.parametrize(
    ("limit", "settings"), [(name, limiting(name, burst=3)) for name in INVITE_LIMITS], ids=INVITE_LIMITS
)
def test_a_flood_of_invites_is_refused(
    server: WholeServer, time: FakeClock, alice: Person, bob: Person, evil: Adversary, limit: str
) -> None:
    other = Adversary(server, "other.example")

    def flood(sender: Adversary, target: Person, room: str = "!same:evil.example") -> list[int]:
        answers = []
        for number in range(4):
            view, pdu = invite(sender, target.user_id, depth=number + 5, room_id=room)
            view.room_id = room
            answers.append(send_invite(sender, view, pdu))
        assert all(answer.json["retry_after_ms"] > 0 for answer in answers if answer.status == 429)
        return [answer.status for answer in answers]

    assert flood(evil, alice) == [200, 200, 200, 429]
    into_another_room = [429] * 4 if limit != "invites_into_room" else [200, 200, 200, 429]
    assert flood(evil, alice, "!another:evil.example") == into_another_room
    to_another_user = [200, 200, 200, 429] if limit == "invites_to_user" else [429] * 4
    assert flood(evil, bob) == to_another_user
    by_another_server = [429] * 4 if limit == "invites_to_user" else [200, 200, 200, 429]
    assert flood(other, alice) == by_another_server
    time.advance(11)
    assert flood(evil, alice)[0] == 200


def test_the_first_version_of_the_endpoint(alice: Person, evil: Adversary) -> None:
    view, pdu = invite(
        evil, alice.user_id, "1", event_id="$inv:evil.example", prev_events=[["$p:x", {}]],
        auth_events=[["$a:x", {}]],
    )  # fmt: skip
    name = {"type": "m.room.name", "state_key": "", "sender": evil.user, "content": {"name": "Old"}}
    body = {**pdu, "unsigned": {"invite_room_state": [name]}}
    answer = evil.request("PUT", f"{V1}/invite{event_path(view.room_id, view.name(pdu))}", body)
    assert answer.json[0] == 200
    assert "test" in answer.json[1]["event"]["signatures"]
    assert ("m.room.name", "") in alice.sync().invite_state(view.room_id)


BAD_INVITES: dict[str, tuple[dict[str, Any], str]] = {
    "another type": ({"type": "m.room.message"}, "M_INVALID_PARAM"),
    "a join": ({"content": {"membership": "join"}}, "M_INVALID_PARAM"),
    "a user elsewhere": ({"state_key": "@x:else.example"}, "M_INVALID_PARAM"),
    "no user": ({"state_key": "alice"}, "M_INVALID_PARAM"),
    "nobody": ({"state_key": "@nobody:test"}, "M_FORBIDDEN"),
    "by another server": ({"sender": "@x:else.example"}, "M_INVALID_PARAM"),
    "by one of ours": ({"sender": "@alice:test"}, "M_INVALID_PARAM"),
    "another room": ({"room_id": "!x:evil.example"}, "M_INVALID_PARAM"),
}


@pytest.mark.parametrize("case", list(BAD_INVITES))
def test_what_is_no_invite_is_not_signed(alice: Person, evil: Adversary, case: str) -> None:
    changed, errcode = BAD_INVITES[case]
    view, pdu = invite(evil, alice.user_id, **changed)
    assert send_invite(evil, view, pdu).errcode == errcode
    assert alice.sync().invites == {}


def test_other_reasons_not_to_sign(alice: Person, evil: Adversary) -> None:
    view, pdu = invite(evil, alice.user_id)
    answer = send_invite(evil, view, pdu, room_version="org.example.99")
    assert (answer.errcode, answer.json["room_version"]) == ("M_INCOMPATIBLE_ROOM_VERSION", "org.example.99")
    unsigned = {**pdu, "signatures": {}}
    assert send_invite(evil, view, unsigned).errcode == "M_INVALID_PARAM"
    many = [{"type": "x", "state_key": str(n), "sender": evil.user, "content": {}} for n in range(51)]
    assert send_invite(evil, view, pdu, invite_room_state=many).errcode == "M_INVALID_PARAM"
    alice.put_account_data("m.invite_permission_config", {"default_action": "block"})
    assert send_invite(evil, view, pdu).errcode == "M_INVITE_BLOCKED"
    assert alice.sync().invites == {}


def test_rooms_of_version_12_are_described_by_whole_events(alice: Person, evil: Adversary) -> None:
    version = room_version("12")
    seed = View("", version)
    create = evil.finish(seed, {
        "type": "m.room.create", "sender": evil.user, "state_key": "", "content": {"room_version": "12"},
        "prev_events": [], "auth_events": [], "depth": 1, "origin_server_ts": 1,
    })  # fmt: skip
    room_id = "!" + seed.name(create)[1:]
    view, pdu = invite(evil, alice.user_id, "12", room_id=room_id)
    view.room_id = room_id
    for described in ([], [{**create, "signatures": {}}], [{"type": "m.room.create", "state_key": ""}]):
        assert send_invite(evil, view, pdu, invite_room_state=described).errcode == "M_INVALID_PARAM"
    many = [
        evil.finish(seed, {**create, "type": "m.room.name", "room_id": room_id, "sender": f"@x:s{n}.example"})
        for n in range(11)
    ]
    assert send_invite(evil, view, pdu, invite_room_state=[create, *many]).errcode == "M_INVALID_PARAM"
    assert not [host for host, _ in evil.victim.network.sent if host.endswith(".example") and host[0] == "s"]
    other = evil.finish(seed, {**create, "origin_server_ts": 2})
    assert send_invite(evil, view, pdu, invite_room_state=[other]).errcode == "M_INVALID_PARAM"
    assert send_invite(evil, view, pdu, invite_room_state=[create]).status == 200
    assert ("m.room.create", "") in alice.sync().invite_state(room_id)


# Third-party invites


def test_only_our_users_third_party_invites_are_completed(alice: Person, evil: Adversary) -> None:
    room = alice.create_room(room_version="11")
    signed = {"mxid": evil.user, "token": "t", "signatures": {}}
    body = {
        "type": "m.room.member", "room_id": room, "sender": alice.user_id, "state_key": evil.user,
        "content": {"membership": "invite", "third_party_invite": {"display_name": "m", "signed": signed}},
    }  # fmt: skip
    path = f"{V1}/exchange_third_party_invite{event_path(room)}"
    for changed, errcode in (
        ({}, "M_FORBIDDEN"),
        ({"room_id": "!x:test"}, "M_INVALID_PARAM"),
        ({"type": "m.room.message"}, "M_INVALID_PARAM"),
        ({"content": {"membership": "invite"}}, "M_INVALID_PARAM"),
        ({"sender": "nobody"}, "M_INVALID_PARAM"),
        ({"sender": "@x:else.example"}, "M_FORBIDDEN"),
        ({"state_key": "@x:else.example"}, "M_FORBIDDEN"),
    ):
        assert evil.request("PUT", path, {**body, **changed}).errcode == errcode, changed
    assert set(alice.members(room)) == {alice.user_id}


def test_what_identity_servers_say_must_make_sense(server: WholeServer, alice: Person) -> None:
    invite = {"room_id": "!room:else.example", "sender": "@x:else.example", "signed": {}}
    body = {"mxid": alice.user_id, "medium": "email", "address": "a@example.org", "invites": [invite]}
    for changed, errcode in (
        ({"invites": []}, None),
        ({}, None),
        ({"mxid": "x"}, "M_INVALID_PARAM"),
        ({"invites": [{**invite, "room_id": "x"}]}, "M_INVALID_PARAM"),
        ({"invites": [{**invite, "sender": "x"}]}, "M_INVALID_PARAM"),
        ({"invites": [{**invite, "signed": "x"}]}, "M_BAD_JSON"),
        ({"invites": [invite] * 51}, "M_INVALID_PARAM"),
    ):
        assert server.request("PUT", f"{V1}/3pid/onbind", {**body, **changed}).errcode == errcode, changed
    assert server.network.sent == []
