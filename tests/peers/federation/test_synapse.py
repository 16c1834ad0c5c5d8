"""Postroom and Synapse as neighbours: what people of the two do together works, whoever hosts the room."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.peers.federation.people import Neighbour, Outside, eventually
from tests.support.people import V1, path
from tests.support.pictures import picture

pytestmark = [pytest.mark.xdist_group("synapse"), pytest.mark.slow]

VERSIONS = ["6", "9", "10", "11", "12"]
_numbers = count(1)


@dataclass(frozen=True)
class Sides:
    """Who hosts the room, and who joins from elsewhere."""

    host: Outside
    guest: Outside

    def people(self) -> tuple[Neighbour, Neighbour]:
        """One of each: Anna of the host, Bela of the guest."""
        number = next(_numbers)
        return self.host.register(f"anna{number}"), self.guest.register(f"bela{number}")

    def shared_room(self, **wishes: Any) -> tuple[Neighbour, Neighbour, str]:
        """Both are in a room."""
        anna, bela = self.people()
        room = anna.create_room(**{"preset": "public_chat", **wishes})
        bela.join_from(room, self.host.name)
        anna.sees_member_soon(room, bela, "join")
        return anna, bela, room


@pytest.fixture(params=["postroom hosts", "synapse hosts"])
def sides(request: pytest.FixtureRequest, postroom: Outside, synapse: Outside) -> Sides:
    return Sides(postroom, synapse) if request.param == "postroom hosts" else Sides(synapse, postroom)


def same_state(room: str, *people: Neighbour, within: float = 20) -> None:
    """Every server has the same event for each state key."""

    def differences() -> object:
        first, *others = [person.state_ids(room) for person in people]
        for other in others:
            keys = {key for key in first.keys() | other.keys() if first.get(key) != other.get(key)}
            assert not keys, f"the state differs in {keys}"
        return True

    people[0].soon(differences, "the same state", within=within)


def make_peace(room: str, anna: Neighbour, bela: Neighbour) -> None:
    """Each says something that rests on what both did: then nothing is left in which they may differ.

    Until then they may: what came too late for one server's present is no part of the other's yet.
    """
    for one, other in ((anna, bela), (bela, anna), (anna, bela)):
        other.sees_soon(room, one.send(room, "peace"))
    same_state(room, anna, bela)


def at_once(*deeds: Callable[[], object]) -> None:
    """Do all of them at the same time."""
    threads = [threading.Thread(target=deed) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Each version of rooms


@pytest.mark.parametrize("version", VERSIONS)
def test_people_talk(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", room_version=version, name="Kitchen")
    before = anna.send_many(room, ["one", "two", "three"])
    bela.join_from(room, sides.host.name)
    same_state(room, anna, bela)
    assert bela.state_of(room, "m.room.create").get("room_version", "1") == version
    sent = []
    for number in range(3):
        sent.append(anna.send(room, f"anna {number}"))
        bela.sees_soon(room, sent[-1])
        sent.append(bela.send(room, f"bela {number}"))
        anna.sees_soon(room, sent[-1])
    for person in (anna, bela):
        ids = [event["event_id"] for event in person.history(room)]
        assert [event_id for event_id in ids if event_id in before + sent] == before + sent, person


@pytest.mark.parametrize("version", VERSIONS)
def test_state_and_power(sides: Sides, version: str) -> None:
    anna, bela, room = sides.shared_room(room_version=version)
    bela.set_state(room, "m.room.topic", {"topic": "mutiny"}, refused="M_FORBIDDEN")
    levels = anna.state_of(room, "m.room.power_levels")
    levels.setdefault("users", {})[bela.user_id] = 50
    anna.set_state(room, "m.room.power_levels", levels)
    bela.soon(lambda: bela.state_of(room, "m.room.power_levels")["users"].get(bela.user_id) == 50)
    bela.set_state(room, "m.room.topic", {"topic": "soup"})
    anna.soon(lambda: anna.state_of(room, "m.room.topic")["topic"] == "soup")
    anna.set_state(room, "m.room.name", {"name": "Kitchen"})
    bela.soon(lambda: bela.state_of(room, "m.room.name")["name"] == "Kitchen")
    same_state(room, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_redactions(sides: Sides, version: str) -> None:
    anna, bela, room = sides.shared_room(room_version=version)
    by_anna, by_bela = anna.send(room, "regretted by Anna"), bela.send(room, "regretted by Bela")
    bela.sees_soon(room, by_anna)
    anna.sees_soon(room, by_bela)
    anna.redact(room, by_bela)  # she is an administrator
    anna.redact(room, by_anna)
    for event_id in (by_anna, by_bela):
        bela.soon(lambda event_id=event_id: bela.event(room, event_id)["content"] == {}, "a redaction")
    mine = bela.send(room, "regretted by Bela himself")
    anna.sees_soon(room, mine)
    bela.redact(room, mine)
    anna.soon(lambda: anna.event(room, mine)["content"] == {}, "a redaction")


@pytest.mark.parametrize("version", VERSIONS)
def test_power_is_fought_over(sides: Sides, version: str) -> None:
    """Both change what the other may do, at the same moment: whoever wins, wins on both servers."""
    anna, bela, room = sides.shared_room(room_version=version)
    levels = anna.state_of(room, "m.room.power_levels")
    levels.setdefault("users", {})[bela.user_id] = 90
    anna.set_state(room, "m.room.power_levels", levels)
    bela.soon(lambda: bela.state_of(room, "m.room.power_levels")["users"].get(bela.user_id) == 90)
    demoted = {**levels, "users": {**levels["users"], bela.user_id: 0}}
    softened = {**levels, "state_default": 40}
    target = path("rooms", room, "state", "m.room.power_levels", "")
    for number, hers in enumerate(({**levels, "invite": 1}, {**levels, "invite": 2}, demoted)):
        at_once(
            partial(anna.request, "PUT", target, hers),
            partial(bela.request, "PUT", target, {**softened, "kick": 51 + number}),
        )
        bela.request("PUT", path("rooms", room, "state", "m.room.topic", ""), {"topic": f"{number}"})
        make_peace(room, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_leaving_and_coming_back(sides: Sides, version: str) -> None:
    anna, bela, room = sides.shared_room(room_version=version)
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    missed = anna.send_many(room, [f"missed {number}" for number in range(5)])
    anna.set_state(room, "m.room.name", {"name": "While you were away"})
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    assert bela.state_of(room, "m.room.name")["name"] == "While you were away"
    bela.soon(lambda: set(missed) <= {event["event_id"] for event in bela.history(room)}, "what was missed")
    anna.sees_soon(room, bela.send(room, "I am back"))
    same_state(room, anna, bela)


# Coming in


@pytest.mark.parametrize("version", VERSIONS)
def test_invites(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", room_version=version, name="Secret")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    anna.invite(room, bela)
    stripped = bela.invite_soon(room)["invite_state"]["events"]
    assert any(event["type"] == "m.room.name" and event["content"]["name"] == "Secret" for event in stripped)
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    anna.sees_soon(room, bela.send(room, "thank you"))
    same_state(room, anna, bela)


def test_an_invited_guest_invites_others(sides: Sides) -> None:
    """Of their own server, and of the host's."""
    anna, bela, room = sides.shared_room(
        power_level_content_override={"invite": 0},
        preset="private_chat",
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "public"}}],
    )
    carla, dora = sides.people()
    bela.invite(room, carla)
    carla.invite_soon(room)
    carla.join(room)
    bela.sees_member_soon(room, carla, "join")
    bela.invite(room, dora)
    dora.join(room)
    anna.sees_member_soon(room, dora, "join")
    same_state(room, anna, bela)


def test_an_invite_is_refused(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    anna.invite(room, bela)
    bela.invite_soon(room)
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    bela.soon(lambda: room not in bela.sync(since=None).invites, "the invite is gone")


def test_an_invite_is_taken_back(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    anna.invite(room, bela)
    bela.invite_soon(room)
    anna.kick(room, bela)
    bela.soon(lambda: room not in bela.sync(since=None).invites, "the invite is gone")


def test_a_direct_chat_with_its_first_message(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="trusted_private_chat", is_direct=True, invite=[bela.user_id])
    sent = anna.send(room, "hello?")
    bela.invite_soon(room)
    bela.join(room)
    bela.soon(lambda: sent in {event["event_id"] for event in bela.history(room)}, "the first message")


@pytest.mark.parametrize("version", ["7", "9", "10", "11", "12"])
def test_knocks(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules, name="Door")
    bela.knock_from(room, sides.host.name, reason="may I?")
    anna.sees_member_soon(room, bela, "knock")
    knocked = bela.soon(lambda: bela.sync(since=None).knocks.get(room), "the knock in a sync")
    assert any(event["type"] == "m.room.name" for event in knocked["knock_state"]["events"])
    anna.invite(room, bela)
    bela.invite_soon(room)
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    same_state(room, anna, bela)


def test_a_knock_is_taken_back(sides: Sides) -> None:
    anna, bela = sides.people()
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room = anna.create_room(preset="private_chat", initial_state=rules)
    bela.knock_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "knock")
    bela.leave(room)
    if sides.guest.kind == "synapse":
        return  # it tells nobody that its user has gone away again
    anna.sees_member_soon(room, bela, "leave")


@pytest.mark.parametrize("version", ["9", "10", "11", "12"])
def test_restricted_rooms(sides: Sides, version: str) -> None:
    """Whoever is in the club may come in; the server that hosts both rooms vouches for it."""
    anna, bela, club = sides.shared_room(room_version=version)
    stranger = sides.guest.register(f"stranger{next(_numbers)}")
    allow = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": allow}]
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules)
    stranger.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    joined = bela.state(room)["m.room.member", bela.user_id]["content"]
    assert joined["join_authorised_via_users_server"] == anna.user_id
    # Now that the guest's server is in both, it still must ask one whose users may invite.
    carla = sides.guest.register(f"carla{next(_numbers)}")
    carla.join_from(club, sides.host.name)
    carla.join_from(room, sides.host.name)
    anna.sees_member_soon(room, carla, "join")
    anna.sees_soon(room, carla.send(room, "inside"))
    same_state(room, anna, bela)


def test_who_is_kicked_and_banned_is_out(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    anna.kick(room, bela)
    bela.soon(lambda: room not in bela.joined_rooms(), "kicked")
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    anna.ban(room, bela)
    bela.soon(lambda: room not in bela.joined_rooms(), "banned")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    anna.unban(room, bela)
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")


def test_several_of_one_server_come_and_go(sides: Sides) -> None:
    """While one of them is in, the room stays known; the last one takes it along."""
    anna, bela, room = sides.shared_room()
    carla = sides.guest.register(f"carla{next(_numbers)}")
    carla.join_from(room)
    anna.sees_member_soon(room, carla, "join")
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    carla.sees_soon(room, anna.send(room, "still there?"))
    carla.leave(room)
    anna.sees_member_soon(room, carla, "leave")


# History


def test_history_from_before_the_join(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat")
    sent = anna.send_many(room, [f"old {number}" for number in range(150)])
    bela.join_from(room, sides.host.name)

    def everything() -> bool:
        ids = [event["event_id"] for event in bela.history(room)]
        return [event_id for event_id in ids if event_id in sent] == sent

    bela.soon(everything, "150 messages in order", every=1)
    assert bela.history(room)[0]["type"] == "m.room.create"


def test_history_that_was_not_for_strangers(sides: Sides) -> None:
    """`joined` history: a newcomer of another server sees nothing from before."""
    anna, bela = sides.people()
    content = {"history_visibility": "joined"}
    setting = {"type": "m.room.history_visibility", "state_key": "", "content": content}
    room = anna.create_room(preset="public_chat", initial_state=[setting])
    secret = anna.send_many(room, ["secret", "very secret"])
    bela.join_from(room, sides.host.name)
    after = anna.send(room, "welcome")
    bela.sees_soon(room, after)
    ids = {event["event_id"] for event in bela.history(room)}
    assert after in ids
    assert not ids & set(secret)
    assert not any(bela.sees(room, event_id) for event_id in secret)


def test_upgrades(sides: Sides) -> None:
    anna, bela, room = sides.shared_room(room_version="10", name="Old house")
    successor = anna.ask("POST", path("rooms", room, "upgrade"), {"new_version": "11"})["replacement_room"]
    bela.soon(
        lambda: bela.state_of(room, "m.room.tombstone")["replacement_room"] == successor, "the tombstone"
    )
    bela.join_from(successor, sides.host.name)
    anna.sees_member_soon(successor, bela, "join")
    assert bela.state_of(successor, "m.room.create")["predecessor"]["room_id"] == room
    assert bela.state_of(successor, "m.room.name")["name"] == "Old house"
    same_state(successor, anna, bela)


# Beside events


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
        other.sees_soon(room, event_id)
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
        status = {"presence": "online", "status_msg": f"cooking {next(_numbers)}"}
        one.ask("PUT", path("presence", one.user_id, "status"), status)

        def told(answer: Any, one: Neighbour = one, status: dict[str, str] = status) -> bool:
            events = answer.json.get("presence", {}).get("events", [])
            return any(
                event["sender"] == one.user_id and event["content"].get("status_msg") == status["status_msg"]
                for event in events
            )

        other.syncs_until(told)


@pytest.mark.parametrize("size", [(64, 48), (1600, 1200)])
def test_media(sides: Sides, size: tuple[int, int]) -> None:
    anna, bela = sides.people()
    data = picture(*size)
    for one, other in ((anna, bela), (bela, anna)):
        answer = one.request(
            "POST", "/_matrix/media/v3/upload", data, content_type="image/png", filename="cat.png"
        )
        address = answer.json["content_uri"].removeprefix("mxc://")
        found = other.request("GET", f"{V1}/media/download/{address}")
        assert found.status == 200, found.body[:300]
        assert found.body == data
        assert found.headers["Content-Type"] == "image/png"
        assert "cat.png" in found.headers["Content-Disposition"]
        small = other.request("GET", f"{V1}/media/thumbnail/{address}", width=32, height=32)
        assert small.status == 200, small.body[:300]
        assert small.headers["Content-Type"].startswith("image/")
        absent = f"{address.partition('/')[0]}/AbsentAbsentAbsentAbsent"
        assert other.request("GET", f"{V1}/media/download/{absent}").status == 404


def test_profiles(sides: Sides) -> None:
    anna, bela = sides.people()
    for one, other in ((anna, bela), (bela, anna)):
        one.ask("PUT", path("profile", one.user_id, "displayname"), {"displayname": "Cook"})
        assert other.ask("GET", path("profile", one.user_id))["displayname"] == "Cook"
        assert other.ask("GET", path("profile", one.user_id, "displayname"))["displayname"] == "Cook"
        nobody = one.user_id.replace("anna", "nobody").replace("bela", "nobody")
        assert other.request("GET", path("profile", nobody)).status == 404


def test_a_changed_name_shows_in_the_room(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        one.ask("PUT", path("profile", one.user_id, "displayname"), {"displayname": "Chef"})
        other.soon(
            lambda one=one, other=other: (
                other.state(room)["m.room.member", one.user_id]["content"].get("displayname") == "Chef"
            )
        )


# Finding


def test_aliases(sides: Sides) -> None:
    anna, bela = sides.people()
    local = f"kitchen{next(_numbers)}"
    room = anna.create_room(preset="public_chat", room_alias_name=local)
    alias = f"#{local}:{sides.host.name}"
    found = bela.ask("GET", path("directory", "room", alias))
    assert found["room_id"] == room
    assert sides.host.name in found["servers"]
    bela.ask("GET", path("directory", "room", f"#nowhere:{sides.host.name}"), refused="M_NOT_FOUND")
    assert bela.join(alias)["room_id"] == room
    anna.sees_member_soon(room, bela, "join")


def test_public_rooms(sides: Sides) -> None:
    anna, bela = sides.people()
    name = f"Market {next(_numbers)}"
    room = anna.create_room(preset="public_chat", visibility="public", name=name, topic="apples")

    def listed() -> bool:
        answer = bela.ask("GET", "/publicRooms", server=sides.host.name, limit=100)
        return any(entry["room_id"] == room and entry["name"] == name for entry in answer["chunk"])

    eventually(listed)
    wish = {"filter": {"generic_search_term": name}, "limit": 5}
    answer = bela.ask("POST", f"/publicRooms?server={sides.host.name}", wish)
    assert [entry["room_id"] for entry in answer["chunk"]] == [room]


def test_spaces(sides: Sides) -> None:
    """The hierarchy of a space holds rooms that only the other server knows."""
    anna, bela = sides.people()
    child = anna.create_room(preset="public_chat", name="Child")
    space = bela.create_room(preset="public_chat", name="Space", creation_content={"type": "m.space"})
    bela.set_state(space, "m.space.child", {"via": [sides.host.name]}, state_key=child)
    rooms = bela.ask("GET", f"{V1}{path('rooms', space, 'hierarchy')}")["rooms"]
    assert [room["room_id"] for room in rooms] == [space, child]
    assert rooms[1]["name"] == "Child"


def test_a_summary_of_a_room_elsewhere(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", name="Elsewhere")
    answer = bela.request("GET", f"{V1}{path('room_summary', room)}?via={sides.host.name}")
    assert answer.status == 200, answer.json
    assert answer.json["name"] == "Elsewhere"


def test_devices_and_keys_of_others(sides: Sides) -> None:
    """Asked for, even while nobody has any."""
    anna, bela, _ = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        answer = one.request("POST", "/keys/query", {"device_keys": {other.user_id: []}})
        if answer.status != 404:  # the end-to-end encryption endpoints come later
            assert answer.status == 200, answer.json
            assert not answer.json.get("failures"), answer.json


def test_a_room_of_many_survives_a_restart_of_the_guest(sides: Sides) -> None:
    """The guest stops for a while: what was said meanwhile arrives, once."""
    anna, bela, room = sides.shared_room()
    process = sides.guest.process
    assert process.stop() in (0, -15)
    sides.guest.hang_up()
    missed = anna.send_many(room, [f"missed {number}" for number in range(60)])
    process.start()
    nudges = [anna.send(room, "awake?")]

    def awake() -> bool:
        nudges.append(anna.send(room, "awake?"))
        return any(bela.sees(room, nudge) for nudge in nudges[-3:-1])

    bela.soon(awake, "awake", every=1, within=40)
    bela.soon(
        lambda: [e["event_id"] for e in bela.history(room) if e["event_id"] in missed] == missed,
        "everything missed, in order", within=40, every=1,
    )  # fmt: skip
