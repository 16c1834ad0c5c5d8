"""Postroom and Dendrite as neighbours: a second implementation that grew without regard to Synapse's.

Runs where POSTROOM_DENDRITE names the folder of its programs: no registry has it, so nothing requires it.
"""

import pytest

from tests.peers.federation.conftest import Start
from tests.peers.federation.dendrite import NoDendrite, dendrite_programs
from tests.peers.federation.people import Outside
from tests.peers.federation.sides import (
    Sides,
    both_ways,
    numbers,
    same_history,
    same_state,
)
from tests.support.people import V1, path
from tests.support.pictures import picture

pytestmark = [pytest.mark.xdist_group("dendrite"), pytest.mark.slow]

VERSIONS = [str(number) for number in range(1, 13)]


@pytest.fixture(scope="module")
def dendrite(start: Start) -> Outside:
    try:
        dendrite_programs()
    except NoDendrite as error:
        pytest.skip(f"needs {error}")
    return start("dendrite")


@pytest.fixture(params=both_ways("postroom", "dendrite"))
def sides(request: pytest.FixtureRequest, dendrite: Outside, postroom: Outside) -> Sides:
    return Sides(postroom, dendrite) if request.param == "postroom" else Sides(dendrite, postroom)


@pytest.mark.parametrize("version", VERSIONS)
def test_people_talk(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", room_version=version, name="Kitchen")
    sent = anna.send_many(room, ["one", "two", "three"])
    sides.enter(room, bela, anna)
    for number in range(3):
        for one, other in ((anna, bela), (bela, anna)):
            sent.append(one.send(room, f"{number} ☕"))
            (event,) = other.reads(room, sent[-1])
            assert event["content"] == {"msgtype": "m.text", "body": f"{number} ☕"}
    same_state(room, anna, bela)
    ids = same_history(room, anna, bela)
    assert [event_id for event_id in ids if event_id in sent] == sent


@pytest.mark.parametrize("version", VERSIONS)
def test_state_power_and_redactions(sides: Sides, dendrite: Outside, version: str) -> None:
    """Dendrite does not see what redactions of versions 11 and 12 redact, unless they say it as before."""
    anna, bela, room = sides.shared_room(room_version=version)
    bela.set_state(room, "m.room.topic", {"topic": "mutiny"}, refused="M_FORBIDDEN")
    sides.power(room, anna, bela, 50)
    topic = bela.set_state(room, "m.room.topic", {"topic": "soup"})
    anna.reads(room, topic)
    is_new = version in ("11", "12")
    for one, other in ((anna, bela), (bela, anna)):
        regretted = one.send(room, "regretted")
        other.reads(room, regretted)
        if is_new and other.server is dendrite:
            continue
        redaction = one.redact(room, regretted, reason="rude")
        other.reads(room, redaction)
        other.soon(lambda o=other, e=regretted: o.event(room, e)["content"] == {}, "the redaction")
    if not is_new or bela.server is not dendrite:
        by_bela = bela.send(room, "regretted by Anna")
        anna.reads(room, by_bela)
        anna.redact(room, by_bela)
        bela.soon(lambda: bela.event(room, by_bela)["content"] == {}, "the redaction")
    same_state(room, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_invites_leaving_and_coming_back(sides: Sides, version: str) -> None:
    """Dendrite describes rooms of version 12 by events that nobody can check: that is no invite any more."""
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", room_version=version, name="Secret")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    if version == "12" and sides.host.kind == "dendrite":
        anna.invite(room, bela, refused="M_FORBIDDEN")
        return
    anna.invite(room, bela)
    events = bela.invite_soon(room)["invite_state"]["events"]
    assert {"name": "Secret"} in [event["content"] for event in events]
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    anna.reads(room, bela.send(room, "thank you"))
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    missed = anna.send_many(room, ["missed", "missed too"])
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    bela.soon(lambda: set(missed) <= {event["event_id"] for event in bela.history(room)}, "what was missed")
    anna.reads(room, bela.send(room, "I am back"))
    same_state(room, anna, bela)


@pytest.mark.parametrize("version", ["8", "10", "12"])
def test_restricted_rooms(sides: Sides, version: str) -> None:
    anna, bela, club = sides.shared_room(room_version=version)
    allow = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": allow}]
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules)
    sides.enter(room, bela, anna)
    joined = bela.state(room)["m.room.member", bela.user_id]["content"]
    assert joined["join_authorised_via_users_server"] == anna.user_id
    anna.reads(room, bela.send(room, "inside"))
    same_state(room, anna, bela)


@pytest.mark.parametrize("version", ["1", "6", "10", "12"])
def test_history_from_before_the_join(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", room_version=version)
    sent = anna.send_many(room, [f"old {number}" for number in range(120)])
    sides.enter(room, bela, anna)
    ids = same_history(room, anna, bela)
    assert [event_id for event_id in ids if event_id in sent] == sent


def test_kicks_and_bans(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    anna.kick(room, bela)
    bela.soon(lambda: room not in bela.joined_rooms(), "kicked")
    sides.enter(room, bela, anna)
    anna.ban(room, bela)
    bela.soon(lambda: room not in bela.joined_rooms(), "banned")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    anna.unban(room, bela)
    sides.enter(room, bela, anna)
    same_state(room, anna, bela)


def test_typing(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        other.sync()
        one.start_typing(room)
        other.syncs_until(lambda answer, one=one: one.user_id in answer.typing(room))
        one.stop_typing(room)
        other.syncs_until(lambda answer: answer.ephemeral(room, "m.typing") == {"user_ids": []})


def test_receipts(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        event_id = one.send(room, "read this")
        other.reads(room, event_id)
        one.sync()
        other.read(room, event_id)
        one.syncs_until(
            lambda answer, event_id=event_id, other=other: (
                other.user_id in answer.receipts(room).get(event_id, {}).get("m.read", {})
            )
        )


def test_presence(sides: Sides) -> None:
    anna, bela, _ = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        other.sync()
        status = {"presence": "online", "status_msg": f"cooking {next(numbers)}"}
        one.ask("PUT", path("presence", one.user_id, "status"), status)
        other.syncs_until(
            lambda answer, one=one, status=status: any(
                event["sender"] == one.user_id and event["content"].get("status_msg") == status["status_msg"]
                for event in answer.json.get("presence", {}).get("events", [])
            )
        )


def test_media(sides: Sides) -> None:
    anna, bela = sides.people()
    data = picture(320, 200)
    for one, other in ((anna, bela), (bela, anna)):
        answer = one.request(
            "POST", "/_matrix/media/v3/upload", data, content_type="image/png", filename="cat.png"
        )
        address = answer.json["content_uri"].removeprefix("mxc://")
        found = other.request("GET", f"{V1}/media/download/{address}")
        assert found.status == 200, found.body[:300]
        assert found.body == data
        small = other.request("GET", f"{V1}/media/thumbnail/{address}?method=crop&width=32&height=32")
        assert small.status == 200, small.body[:300]


def test_profiles_aliases_and_public_rooms(sides: Sides) -> None:
    anna, bela = sides.people()
    anna.ask("PUT", path("profile", anna.user_id, "displayname"), {"displayname": "Cook"})
    assert bela.ask("GET", path("profile", anna.user_id))["displayname"] == "Cook"
    local = f"kitchen{next(numbers)}"
    wishes = {"room_alias_name": local, "visibility": "public", "name": f"Market {local}"}
    room = anna.create_room(preset="public_chat", **wishes)
    alias = f"#{local}:{sides.host.name}"
    assert bela.ask("GET", path("directory", "room", alias))["room_id"] == room
    bela.soon(lambda: room in [entry["room_id"] for entry in
              bela.ask("GET", "/publicRooms", server=sides.host.name)["chunk"]])  # fmt: skip
    assert bela.join(alias)["room_id"] == room
    anna.sees_member_soon(room, bela, "join")


def test_each_restarts_in_the_middle(sides: Sides) -> None:
    """Dendrite must have shown the room: of what it has not when it stops, it shows nothing afterwards."""
    anna, bela, room = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        other.reads(room, one.send(room, "until soon"))
        server = other.server
        assert isinstance(server, Outside)
        server.process.stop()
        server.hang_up()
        missed = one.send_many(room, [f"missed {number}" for number in range(12)])
        server.process.start()
        one.send(room, "awake?")
        other.soon(lambda o=other, m=missed: set(m) <= {event["event_id"] for event in o.history(room)},
                   "everything missed", within=60)  # fmt: skip
        one.reads(room, other.send(room, "awake"), within=60)
    same_state(room, anna, bela)
