"""Postroom and Synapse as neighbours: who comes in, who goes, who is put out, whoever hosts the room."""

from typing import Any

import pytest

from tests.peers.federation.people import Neighbour
from tests.peers.federation.sides import VERSIONS, Sides, numbers, of, same_history, same_room, same_state
from tests.support.people import path

pytestmark = [pytest.mark.xdist_group("synapse membership"), pytest.mark.slow]


def join_rule(rule: str, *clubs: str) -> list[dict[str, Any]]:
    """For `initial_state`."""
    content: dict[str, Any] = {"join_rule": rule}
    if clubs:
        content["allow"] = [{"type": "m.room_membership", "room_id": club} for club in clubs]
    return [{"type": "m.room.join_rules", "state_key": "", "content": content}]


def content_of(event_type: str, stripped: Any) -> Any:
    """The content of the one event of a type in a stripped state."""
    (content,) = [event["content"] for event in stripped["events"] if event["type"] == event_type]
    return content


def is_gone_from_sync(person: Neighbour, room: str) -> None:
    """An invite or a knock is no longer shown, neither by the next sync nor by a first one."""
    person.syncs_until(lambda _: room not in {**person.screen.invites, **person.screen.knocks})
    first = person.sync(since=None)
    assert room not in {**first.invites, **first.knocks}


# Invites


@pytest.mark.parametrize("version", VERSIONS)
def test_invites(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", room_version=version, name="Secret", topic="plans")
    sent = anna.send(room, "before")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    bela.sync()
    anna.invite(room, bela, reason="you are wanted")
    stripped = bela.invite_soon(room)["invite_state"]
    assert content_of("m.room.name", stripped) == {"name": "Secret"}
    assert content_of("m.room.join_rules", stripped)["join_rule"] == "invite"
    assert content_of("m.room.create", stripped).get("room_version", "1") == version
    (mine,) = [e for e in stripped["events"] if e["type"] == "m.room.member" and e["state_key"] == str(bela)]
    assert mine["sender"] == anna.user_id
    assert mine["content"]["membership"] == "invite"
    assert mine["content"]["reason"] == "you are wanted"
    sides.enter(room, bela, anna)
    assert sent in same_history(room, anna, bela)
    anna.reads(room, bela.send(room, "thank you"))
    same_room(room, anna, bela)


def test_an_invited_guest_invites_others(sides: Sides) -> None:
    """Of their own server, and of the host's."""
    anna, bela, room = sides.shared_room(
        power_level_content_override={"invite": 0}, preset="private_chat", initial_state=join_rule("public")
    )
    carla, dora = sides.people()
    bela.invite(room, carla)
    carla.invite_soon(room)
    carla.join(room)
    bela.sees_member_soon(room, carla, "join")
    bela.invite(room, dora)
    dora.invite_soon(room)
    dora.join(room)
    anna.sees_member_soon(room, dora, "join")
    same_state(room, anna, bela, carla, dora)


def test_an_invite_is_refused_and_comes_again(sides: Sides) -> None:
    """Three times; at the last it is taken."""
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    for _ in range(2):
        anna.invite(room, bela)
        bela.invite_soon(room)
        bela.leave(room, reason="no time")
        anna.sees_member_soon(room, bela, "leave")
        assert anna.state(room)["m.room.member", bela.user_id]["sender"] == bela.user_id
        is_gone_from_sync(bela, room)
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    same_room(room, anna, bela)


@pytest.mark.parametrize("is_known", [False, True], ids=["to a stranger", "to a neighbour of a member"])
def test_an_invite_is_taken_back(sides: Sides, is_known: bool) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    if is_known:
        carla = sides.another_guest()
        anna.invite(room, carla)
        carla.invite_soon(room)
        sides.enter(room, carla, anna)
    anna.invite(room, bela)
    bela.invite_soon(room)
    anna.kick(room, bela)
    is_gone_from_sync(bela, room)
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")


def test_a_direct_chat_with_its_first_message(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="trusted_private_chat", is_direct=True, invite=[bela.user_id])
    sent = anna.send(room, "hello?")
    events = bela.invite_soon(room)["invite_state"]["events"]
    (mine,) = [e for e in events if e["type"] == "m.room.member" and e["state_key"] == bela.user_id]
    assert mine["content"]["is_direct"] is True
    bela.join(room)
    anna.sees_member_soon(room, bela, "join")
    assert sent in same_history(room, anna, bela)
    joined = bela.state(room)["m.room.member", bela.user_id]
    assert joined["unsigned"]["prev_content"]["is_direct"] is True
    same_room(room, anna, bela)


# Knocks


@pytest.mark.parametrize("version", ["7", *of("9")])
def test_knocks(sides: Sides, version: str) -> None:
    """The first is denied, the second lets in. Synapse neither sends nor takes a denial: it knocks again."""
    anna, bela = sides.people()
    rules = join_rule("knock")
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules, name="Door")
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    for is_last in (False, True):
        bela.knock_from(room, sides.host.name, reason="may I?")
        anna.sees_member_soon(room, bela, "knock")
        assert anna.state(room)["m.room.member", bela.user_id]["content"]["reason"] == "may I?"
        knocked = bela.soon(lambda: bela.sync() and bela.screen.knocks.get(room), "the knock in a sync")
        assert content_of("m.room.name", knocked["knock_state"]) == {"name": "Door"}
        if not is_last:
            anna.kick(room, bela, reason="not now")
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    same_room(room, anna, bela)


def test_a_knock_is_taken_back(sides: Sides) -> None:
    """Synapse tells the host nothing of its user's going away again; ours does."""
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", initial_state=join_rule("knock"))
    bela.knock_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "knock")
    bela.leave(room)
    is_gone_from_sync(bela, room)
    if sides.guest.kind != "synapse":
        anna.sees_member_soon(room, bela, "leave")


def test_only_doors_with_a_knocker_are_knocked_at(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    refused = bela.request("POST", f"{path('knock', room)}?via={sides.host.name}", {})
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    room = anna.create_room(preset="private_chat", initial_state=join_rule("knock"))
    anna.ban(room, bela)
    refused = bela.request("POST", f"{path('knock', room)}?via={sides.host.name}", {})
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")


# Restricted rooms


@pytest.mark.parametrize("version", of("9", among=["8", *VERSIONS]))
def test_restricted_rooms(sides: Sides, version: str) -> None:
    """Whoever is in the club may come in; the server that hosts both rooms vouches for it."""
    anna, bela, club = sides.shared_room(room_version=version)
    stranger = sides.another_guest("stranger")
    rules = join_rule("restricted", club)
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules)
    stranger.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    sides.enter(room, bela, anna)
    joined = bela.state(room)["m.room.member", bela.user_id]["content"]
    assert joined["join_authorised_via_users_server"] == anna.user_id
    # Now that the guest's server is in both, it still must ask one whose users may invite.
    carla = sides.another_guest()
    sides.enter(club, carla)
    sides.enter(room, carla, anna)
    anna.reads(room, carla.send(room, "inside"))
    # Who leaves the club stays in the room, but does not come back.
    carla.leave(club)
    anna.sees_member_soon(club, carla, "leave")
    carla.leave(room)
    anna.sees_member_soon(room, carla, "leave")
    carla.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    stranger.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    same_room(room, anna, bela)


@pytest.mark.parametrize("version", of("10"))
def test_restricted_rooms_with_a_knocker(sides: Sides, version: str) -> None:
    """Members of the club come in, all others knock."""
    anna, bela, club = sides.shared_room(room_version=version)
    stranger = sides.another_guest("stranger")
    rules = join_rule("knock_restricted", club)
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=rules)
    stranger.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    sides.enter(room, bela, anna)
    stranger.knock_from(room, sides.host.name)
    anna.sees_member_soon(room, stranger, "knock")
    anna.invite(room, stranger)
    bela.sees_member_soon(room, stranger, "invite")  # to Synapse, the invite alone does not suffice
    stranger.invite_soon(room)
    sides.enter(room, stranger, anna, bela)
    same_state(room, anna, bela, stranger)


def test_a_club_that_only_the_guests_know(sides: Sides) -> None:
    """The host cannot tell who is in it; a guest that may invite vouches for others of their server."""
    anna, bela = sides.people()
    carla = sides.another_guest()
    club = bela.create_room(preset="public_chat")
    carla.join(club)
    room = anna.create_room(
        preset="private_chat", initial_state=join_rule("restricted", club),
        power_level_content_override={"invite": 0},
    )  # fmt: skip
    assert carla.request("POST", f"{path('join', room)}?server_name={sides.host.name}", {}).status in (
        400,
        403,
        502,
    )
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    carla.join_from(room)
    anna.sees_member_soon(room, carla, "join")
    joined = anna.state(room)["m.room.member", carla.user_id]["content"]
    assert joined["join_authorised_via_users_server"] == bela.user_id
    same_room(room, anna, bela)


# Being put out


def test_who_is_kicked_and_banned_is_out(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    anna.kick(room, bela, reason="noise")
    bela.syncs_until(lambda answer: room in answer.left)
    assert bela.screen.states[room]["m.room.member", bela.user_id]["content"]["reason"] == "noise"
    assert room not in bela.joined_rooms()
    sides.enter(room, bela, anna)
    anna.ban(room, bela)
    bela.syncs_until(lambda answer: room in answer.left)
    bela.join_from(room, sides.host.name, refused="M_FORBIDDEN")
    anna.unban(room, bela)
    sides.enter(room, bela, anna)
    same_room(room, anna, bela)


def test_somebody_who_was_never_there_is_banned(sides: Sides) -> None:
    """They do not come in, by themselves or by invite, until they are unbanned."""
    anna, bela, room = sides.shared_room()
    carla = sides.another_guest()
    anna.ban(room, carla, reason="well known")
    bela.sees_member_soon(room, carla, "ban")
    assert carla.request("POST", path("join", room)).status == 403
    assert bela.request("POST", path("rooms", room, "invite"), {"user_id": carla.user_id}).status == 403
    anna.unban(room, carla)
    bela.sees_member_soon(room, carla, "leave")  # to Synapse, an invite that comes before this is none
    anna.invite(room, carla)
    bela.sees_member_soon(room, carla, "invite")
    carla.invite_soon(room)
    carla.join(room)
    anna.sees_member_soon(room, carla, "join")
    same_room(room, anna, bela)


def test_a_moderator_of_the_guests(sides: Sides) -> None:
    """With power from the host, they kick and ban people of both servers; theirs is respected on the host."""
    anna, bela, room = sides.shared_room()
    dora = sides.host.register(f"dora{next(numbers)}")
    dora.join(room)
    bela.sees_member_soon(room, dora, "join")
    bela.kick(room, dora, refused="M_FORBIDDEN")
    sides.power(room, anna, bela, 50)
    bela.kick(room, anna, refused="M_FORBIDDEN")
    bela.ban(room, dora, reason="spam")
    dora.syncs_until(lambda answer: room in answer.left)
    assert dora.request("POST", path("join", room)).status == 403
    bela.unban(room, dora)
    anna.sees_member_soon(room, dora, "leave")
    dora.join(room)
    bela.sees_member_soon(room, dora, "join")
    same_room(room, anna, bela)


def test_a_server_that_the_room_does_not_want(sides: Sides) -> None:
    """What people of a denied server say and do stays with them, until the list no longer names it."""
    anna, bela, room = sides.shared_room()
    carla = sides.another_guest()
    everybody = {"allow": ["*"], "deny": [], "allow_ip_literals": True}
    denied = {**everybody, "deny": [sides.guest.name.partition(":")[0]]}
    acl = anna.set_state(room, "m.room.server_acl", denied)
    bela.reads(room, acl)
    anna.sync()
    unheard = bela.send(room, "does anybody hear me?")
    bela.start_typing(room)
    heard = anna.send(room, "so quiet here")
    seen = anna.sync(timeout_ms=1000)
    assert not anna.sees(room, unheard)
    assert not seen.typing(room)
    anna.set_state(room, "m.room.server_acl", everybody)
    anna.reads(room, bela.send(room, "and now?"))
    assert heard in {event["event_id"] for event in anna.history(room)}
    sides.enter(room, carla, anna)


# Going, coming back


def test_several_of_one_server_come_and_go(sides: Sides) -> None:
    """While one of them is in, the room stays known; the last one takes it along."""
    anna, bela, room = sides.shared_room()
    carla = sides.another_guest()
    carla.join_from(room)
    anna.sees_member_soon(room, carla, "join")
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    carla.reads(room, anna.send(room, "still there?"))
    carla.leave(room)
    anna.sees_member_soon(room, carla, "leave")
    quiet = anna.send(room, "alone")
    anna.set_state(room, "m.room.topic", {"topic": "alone"})
    assert not carla.sees(room, quiet)
    dora = sides.another_guest("dora")
    sides.enter(room, dora, anna)
    assert dora.state_of(room, "m.room.topic") == {"topic": "alone"}
    same_history(room, anna, dora)
    same_state(room, anna, dora)


def test_the_host_leaves_and_comes_back_as_a_guest(sides: Sides) -> None:
    """A room lives on without the server that made it."""
    anna, bela, room = sides.shared_room()
    anna.leave(room)
    bela.sees_member_soon(room, anna, "leave")
    sent = bela.send_many(room, [f"{number}" for number in range(12)])
    anna.join_from(room, sides.guest.name)
    bela.sees_member_soon(room, anna, "join")
    assert set(sent) <= set(same_history(room, anna, bela))
    bela.reads(room, anna.send(room, "my house!"))
    same_state(room, anna, bela)


def test_joining_by_way_of_servers_of_which_some_are_gone(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat")
    bela.join_from(room, "127.0.0.1:9", sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    same_room(room, anna, bela)


def test_a_room_with_many_members(sides: Sides) -> None:
    """All of them are known after the join, whether state came at once or later; nobody is doubled."""
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat")
    crowd = [sides.host.register(f"crowd{next(numbers)}") for _ in range(25)]
    for person in crowd:
        person.join(room)
    for person in crowd[:5]:
        person.leave(room)
    bela.join_from(room, sides.host.name)
    anna.sees_member_soon(room, bela, "join")
    expected = anna.members(room)
    assert sorted(expected.values()) == ["join"] * 22 + ["leave"] * 5
    bela.soon(lambda: bela.members(room) == expected, "all the members")
    joined = bela.ask("GET", path("rooms", room, "joined_members"))["joined"]
    assert set(joined) == {user for user, membership in expected.items() if membership == "join"}
    lazy = {"room": {"state": {"lazy_load_members": True}}}
    bela.soon(
        lambda: bela.sync(since=None, filter=lazy).summary(room).get("m.joined_member_count") == 22,
        "22 inside",
    )
    bela.sync(since=None)
    for person in (crowd[7], crowd[9]):
        bela.reads(room, person.send(room, "one of many"))
    same_room(room, anna, bela)
