"""What differs between room versions, as another server meets it: each both ways of its line."""

from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import SigningKey
from tests.peers.federation.adversary.hostile import host, is_hidden, join_hosted, still_works
from tests.support.adversary import V1, V2, Adversary, View, event_path
from tests.support.people import Person
from tests.support.whole_server import WholeServer

ALL = sorted(ROOM_VERSIONS, key=int)
CREATE, LEVELS = ("m.room.create", ""), ("m.room.power_levels", "")


def versions(first: int = 1, last: int = 12) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def shared_room(alice: Person, mallory: Adversary, version: str, **more: Any) -> View:
    """A room of the victim in which Mallory has as much power as can be given."""
    users = {mallory.user: 100} if version == "12" else {alice.user_id: 100, mallory.user: 100}
    override = {"users": users, **more}
    room = alice.create_room(
        preset="public_chat", room_version=version, power_level_content_override=override
    )
    return mallory.join(room)


def is_taken(alice: Person, mallory: Adversary, view: View, pdu: Any) -> bool:
    """Send it; the room goes on in any case."""
    mallory.send([pdu])
    mallory.settle(5)
    taken = alice.sees(view.room_id, view.name(pdu))
    assert taken or is_hidden(alice, view.room_id, view, pdu)
    if taken:
        view.take(pdu)
    assert still_works(alice, view.room_id, view, mallory)
    return taken


@pytest.mark.parametrize("version", ALL)
def test_a_room_of_ours(alice: Person, mallory: Adversary, version: str) -> None:
    """Messages, state and redactions, both ways, also after a restart."""
    view = shared_room(alice, mallory, version)
    room = view.room_id
    said = mallory.say(view, "said")
    mallory.say(view, {"name": "Named"}, type_="m.room.name", state_key="")
    where = {"redacts": said}
    fields = {"redacts": said} if int(version) < 11 else {}
    mallory.say(view, where if int(version) >= 11 else {}, type_="m.room.redaction", **fields)
    assert alice.event(room, said)["content"] == {}
    assert alice.state_of(room, "m.room.name")["name"] == "Named"
    mine = alice.send(room, "mine")
    alice.server.restart()
    mallory.settle()
    pdu = next(pdu for pdu in mallory.received if view.name(pdu) == mine)
    assert ("event_id" in pdu) is (version in ("1", "2"))
    assert all(isinstance(link, list) for link in pdu["prev_events"]) is (version in ("1", "2"))
    assert (view.name(view.state[CREATE]) in pdu["auth_events"]) is (version not in ("1", "2", "12"))
    mallory.catch_up(view)
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("version", ALL)
def test_a_room_of_theirs(alice: Person, mallory: Adversary, version: str) -> None:
    view = host(mallory, version)
    assert join_hosted(alice, mallory, view).status == 200
    mallory.say(view, "welcome")
    said = alice.send(view.room_id, "thanks")
    alice.server.restart()
    mallory.settle()
    assert alice.messages(view.room_id).texts == ["thanks", "welcome"]
    assert any(view.name(pdu) == said for pdu in mallory.received)
    assert still_works(alice, view.room_id, view, mallory)


@pytest.mark.parametrize("version", ALL)
def test_forks_come_together(alice: Person, mallory: Adversary, version: str) -> None:
    """By the algorithm of the version: 1, 2 or 2.1."""
    view = shared_room(alice, mallory, version)
    names = [mallory.event(view, {"name": f"{n}"}, type_="m.room.name", state_key="") for n in range(3)]
    mallory.send(names)
    mallory.settle(5)
    assert alice.state_of(view.room_id, "m.room.name")["name"] in ("0", "1", "2")
    alice.send(view.room_id, "after all of them")
    state = {key: event["event_id"] for key, event in alice.state(view.room_id).items()}
    alice.server.restart()
    assert state == {key: event["event_id"] for key, event in alice.state(view.room_id).items()}


# 1 and 2: event IDs are chosen


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_event_id_in_the_name_of_another_server(alice: Person, mallory: Adversary, version: str) -> None:
    """The server in it has to sign, too."""
    view = shared_room(alice, mallory, version)
    for domain in ("innocent.example", "test"):
        pdu = mallory.event(view, "stolen", event_id=f"$stolen:{domain}")
        mallory.send([pdu])
        mallory.settle(5)
        assert is_hidden(alice, view.room_id, view, pdu)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "event_id", [None, 5, "x", "$", "$x", "$\x00:evil.example", f"${'x' * 300}:evil.example"]
)
def test_event_ids_that_are_none(alice: Person, mallory: Adversary, version: str, event_id: Any) -> None:
    view = shared_room(alice, mallory, version)
    pdu = {**mallory.event(view, "nameless"), "event_id": event_id}
    assert mallory.send([pdu]).status == 200
    mallory.settle(5)
    assert "nameless" not in alice.messages(view.room_id, limit=100).texts
    assert still_works(alice, view.room_id, view, mallory)


# 3 and 4: event IDs are hashes, in either alphabet


@pytest.mark.parametrize("version", ["3", "4"])
def test_hashes_in_paths(alice: Person, mallory: Adversary, version: str) -> None:
    view = shared_room(alice, mallory, version)
    marks = {"3": "/+", "4": "_-"}[version]
    for _ in range(50):
        name = alice.send(view.room_id, "hash")
        if all(mark in name for mark in marks):
            break
    assert not set(name) & set({"3": "_-", "4": "/+"}[version])
    answer = mallory.request("GET", f"{V1}/event{event_path(name)}")
    assert view.name(answer.json["pdus"][0]) == name
    assert alice.event(view.room_id, name)["content"]["body"] == "hash"


# 5: keys are good for a time


@pytest.mark.parametrize("version", ALL)
def test_a_key_that_had_expired(server: WholeServer, alice: Person, mallory: Adversary, version: str) -> None:
    view = shared_room(alice, mallory, version)
    old = SigningKey("old", b"o" * 32)
    entry = {"key": old.verify_key.to_base64(), "expired_ts": server.time.now_ms() - 3_600_000}
    mallory.key_document = lambda: mallory.honest_keys(old_verify_keys={old.key_id: entry})
    server.time.advance(7_200)
    late = mallory.finish(view, mallory.event(view, "late"), key=old)
    assert is_taken(alice, mallory, view, late) is (int(version) < 5)


# 6: numbers are whole, aliases are nothing special


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("number", [1.5, 2**53])
def test_numbers(alice: Person, mallory: Adversary, version: str, number: Any) -> None:
    view = shared_room(alice, mallory, version)
    pdu = mallory.event(view, {"msgtype": "m.text", "body": "x", "number": number})
    assert is_taken(alice, mallory, view, pdu) is (int(version) < 6)


@pytest.mark.parametrize("version", ALL)
def test_aliases_of_another_server(alice: Person, mallory: Adversary, version: str) -> None:
    view = shared_room(alice, mallory, version)
    own = mallory.event(view, {"aliases": []}, type_="m.room.aliases", state_key=mallory.name)
    assert is_taken(alice, mallory, view, own)
    theirs = mallory.event(view, {"aliases": []}, type_="m.room.aliases", state_key="test")
    assert is_taken(alice, mallory, view, theirs) is (int(version) >= 6)


# 7: knocking


@pytest.mark.parametrize("version", ALL)
def test_knocking(alice: Person, third: Adversary, version: str) -> None:
    room = alice.create_room(room_version=version)
    alice.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    template = third.request("GET", f"{V1}/make_knock{event_path(room, third.user)}?ver={version}")
    if int(version) < 7:
        assert template.status == 403, template.json
        return
    view = View(room, ROOM_VERSIONS[version])
    pdu = third.finish(view, template.json["event"])
    answer = third.request("PUT", f"{V1}/send_knock{event_path(room, view.name(pdu))}", pdu)
    assert answer.status == 200, answer.json
    assert alice.state_of(room, "m.room.member", third.user)["membership"] == "knock"


# 8 to 10: restricted rooms


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
@pytest.mark.parametrize("is_member", [True, False])
def test_restricted_rooms(
    alice: Person, mallory: Adversary, version: str, rule: str, is_member: bool
) -> None:
    """Who is in the other room comes in, by the word of somebody who may invite."""
    club = alice.create_room(preset="public_chat", room_version=version)
    if is_member:
        mallory.join(club)
    room = alice.create_room(room_version=version)
    allow = [{"type": "m.room_membership", "room_id": club}]
    content = {"join_rule": rule, "allow": allow}
    alice.set_state(room, "m.room.join_rules", content)
    path = f"{V1}/make_join{event_path(room, mallory.user)}?ver={version}"
    template = mallory.request("GET", path)
    first = 8 if rule == "restricted" else 10
    if int(version) < first or not is_member:
        assert template.status == 403, template.json
        return
    assert template.json["event"]["content"]["join_authorised_via_users_server"] == alice.user_id
    view = mallory.join(room)
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("version", versions(8))
@pytest.mark.parametrize("lie", ["nobody", "who may not", "a stranger", "unsigned", "forged"])
def test_a_join_authorised_by_nobody(
    alice: Person, mallory: Adversary, third: Adversary, version: str, lie: str
) -> None:
    """Mallory is in the room, without power; she lets a friend in who is not in the other room."""
    room = alice.create_room(
        room_version=version, preset="public_chat", power_level_content_override={"invite": 50}
    )
    view = mallory.join(room)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!club:test"}]}
    alice.set_state(room, "m.room.join_rules", rules)
    mallory.settle()
    mallory.catch_up(view)
    content = {"membership": "join"}
    authoriser = {
        "nobody": None, "who may not": mallory.user, "a stranger": third.user, "unsigned": alice.user_id,
        "forged": alice.user_id,
    }[lie]  # fmt: skip
    if authoriser is not None:
        content["join_authorised_via_users_server"] = authoriser
    friend = "@friend:evil.example"
    pdu = mallory.event(view, content, type_="m.room.member", state_key=friend, sender=friend)
    if lie == "a stranger":
        pdu = {**pdu, "signatures": {**pdu["signatures"], **_signature(third, view, pdu)}}
    if lie == "forged":  # the rules of the room ask for a signature, and see one; it is verified elsewhere
        (own,) = pdu["signatures"]["evil.example"].values()
        (key_id,) = view.state[CREATE]["signatures"]["test"]
        pdu = {**pdu, "signatures": {**pdu["signatures"], "test": {key_id: own}}}
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(room, view.name(pdu))}", pdu)
    assert answer.status in (400, 401, 403, 404), answer.json
    mallory.send([pdu])
    mallory.settle(5)
    assert is_hidden(alice, room, view, pdu)


def _signature(server: Adversary, view: View, pdu: Any) -> Any:
    signed = server.finish(view, pdu)["signatures"]
    return {server.name: signed[server.name]}


@pytest.mark.parametrize("version", ["8", "9", "10"])
def test_who_let_somebody_in_outlives_a_redaction(alice: Person, mallory: Adversary, version: str) -> None:
    """From version 9 on: else the join would not be allowed any more once it is redacted."""
    club = alice.create_room(preset="public_chat", room_version=version)
    mallory.join(club)
    room = alice.create_room(room_version=version)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    alice.set_state(room, "m.room.join_rules", rules)
    view = mallory.join(room)
    alice.redact(room, view.heads[0])
    kept = alice.event(room, view.heads[0])["content"]
    assert kept["membership"] == "join"
    assert ("join_authorised_via_users_server" in kept) is (version != "8")


# 10: power levels are numbers


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("level", ["50", " 50 ", "five", 1.5, True])
def test_power_levels_that_are_no_numbers(
    alice: Person, mallory: Adversary, version: str, level: Any
) -> None:
    view = shared_room(alice, mallory, version)
    levels = {**view.state[LEVELS]["content"], "events_default": 0, "kick": level}
    pdu = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    bears = {"50": 9, " 50 ": 9, 1.5: 5}.get(level, 0)
    assert is_taken(alice, mallory, view, pdu) is (int(version) <= bears)


# 11: what a redaction leaves


@pytest.mark.parametrize("version", ALL)
def test_an_event_changed_on_its_way(alice: Person, mallory: Adversary, version: str) -> None:
    """Only what the version's redaction keeps is signed, and stays."""
    view = shared_room(alice, mallory, version)
    levels = {**view.state[LEVELS]["content"], "invite": 77}
    pdu = mallory.event(view, levels, type_="m.room.power_levels", state_key="", origin="evil.example")
    pdu["extra"] = "not signed"
    mallory.send([pdu])
    mallory.settle(5)
    kept = alice.state_of(view.room_id, "m.room.power_levels")
    assert kept["users"][mallory.user] == 100
    assert ("invite" in kept) is (int(version) >= 11)


@pytest.mark.parametrize("version", ["10", "11"])
def test_where_a_redaction_says_what_it_redacts(alice: Person, mallory: Adversary, version: str) -> None:
    view = shared_room(alice, mallory, version)
    top, inside = mallory.say(view, "one"), mallory.say(view, "two")
    mallory.say(view, {"redacts": inside}, type_="m.room.redaction", redacts=top)
    gone, stays = (inside, top) if version == "11" else (top, inside)
    assert alice.event(view.room_id, gone)["content"] == {}
    assert alice.event(view.room_id, stays)["content"] != {}


# 12: the room is its create event, and its creators are above all


def test_a_room_id_that_is_no_hash(alice: Person, mallory: Adversary) -> None:
    view = shared_room(alice, mallory, "12")
    for room_id in (f"{view.room_id}:test", "!lair:evil.example", "!" + "A" * 43):
        pdu = mallory.event(view, "elsewhere", room_id=room_id)
        mallory.send([pdu])
        assert "elsewhere" not in alice.messages(view.room_id).texts
    assert still_works(alice, view.room_id, view, mallory)


def test_a_create_event_that_makes_another_room(alice: Person, mallory: Adversary) -> None:
    """A resident that answers with the create event of a room of its own."""
    view, false = host(mallory, "12"), host(mallory, "12", topic="another")
    assert view.room_id != false.room_id
    mallory.on(
        f"{V1}/make_join", lambda _: (200, {"room_version": "12", "event": _join(mallory, view, alice)})
    )
    false.room_id = view.room_id
    assert join_hosted(alice, mallory, view).status >= 400
    assert alice.joined_rooms() == set()


def _join(server: Adversary, view: View, person: Person) -> Any:
    user = person.user_id
    return server.event(view, {"membership": "join"}, type_="m.room.member", state_key=user, sender=user)


@pytest.mark.parametrize("version", ["11", "12"])
def test_creators(alice: Person, mallory: Adversary, version: str) -> None:
    """In version 12 no power level is theirs, and none is above them."""
    view = shared_room(alice, mallory, version)
    levels = view.state[LEVELS]["content"]
    named = {**levels, "users": {**levels["users"], alice.user_id: 100}}
    pdu = mallory.event(view, named, type_="m.room.power_levels", state_key="")
    assert is_taken(alice, mallory, view, pdu) is (version == "11")
    create = mallory.event(view, "names the create event")
    auth = list(dict.fromkeys([*create["auth_events"], view.name(view.state[CREATE])]))
    pdu = mallory.event(view, "names the create event", auth_events=auth)
    assert is_taken(alice, mallory, view, pdu) is (version == "11")
