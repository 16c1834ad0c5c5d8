"""Coming and going in rooms whose members are not all known yet."""

from dataclasses import replace
from typing import Any

import pytest

from homeserver.protocol.ids import RoomId
from tests.homeserver.services.rooms.receiving.partly_known import PartlyKnown
from tests.homeserver.services.rooms.receiving.test_partial_joins import Withheld, crowded, members
from tests.support.federation import Federation
from tests.support.people import path


class Lobby(PartlyKnown):
    """Bob has just come."""

    def __init__(self, federation: Federation) -> None:
        super().__init__(federation)
        self.come_in()

    def check(self, count: int) -> None:
        """Both servers agree, and so many are in the room."""
        federation, room = self.federation, self.room
        assert federation.state_of(room, "two") == federation.state_of(room, "one")
        assert members(self.two, room) == count


@pytest.fixture
def lobby(federation: Federation) -> Lobby:
    return Lobby(federation)


def test_a_leave_does_not_wait(lobby: Lobby) -> None:
    lobby.bob.leave(lobby.room)
    lobby.federation.settle()
    assert lobby.is_partial
    assert lobby.room in lobby.bob.sync().left
    assert lobby.alice.membership_of(lobby.room, lobby.bob) == "leave"


def test_a_room_that_all_of_ours_have_left_is_not_completed_any_more(lobby: Lobby) -> None:
    lobby.bob.leave(lobby.room)
    lobby.federation.time.advance(1_300)
    assert not lobby.is_partial
    lobby.two.restart()
    lobby.federation.settle()
    assert not lobby.is_partial


@pytest.mark.parametrize("ending", ["kick", "ban"])
def test_who_is_removed_meanwhile_is_out(lobby: Lobby, ending: str) -> None:
    held = lobby.bob.start_sync()
    (lobby.alice.kick if ending == "kick" else lobby.alice.ban)(lobby.room, lobby.bob)
    lobby.federation.settle()
    assert lobby.is_partial
    assert lobby.room in held.answer.left
    assert lobby.bob.joined_rooms() == set()


@pytest.mark.parametrize("who", ["the same", "another"])
def test_somebody_comes_after_the_first_has_left(lobby: Lobby, who: str) -> None:
    lobby.bob.leave(lobby.room)
    lobby.federation.settle()
    person = lobby.bob if who == "the same" else lobby.two.register("dave")
    lobby.come(person)
    assert person.joined_rooms() == {lobby.room}
    lobby.alice.set_state(lobby.room, "m.room.topic", {"topic": "new"})
    lobby.federation.settle()
    lobby.complete()
    lobby.check(42)
    lobby.alice.send(lobby.room, "welcome")
    lobby.federation.settle()
    assert "welcome" in person.sync().texts(lobby.room)


def test_a_second_one_comes_and_the_first_leaves(lobby: Lobby) -> None:
    dave = lobby.two.register("dave")
    lobby.come(dave)
    dave.sync()
    lobby.bob.leave(lobby.room)
    assert lobby.room in lobby.bob.sync().left
    assert [event["state_key"] for event in dave.sync().timeline(lobby.room)] == [lobby.bob.user_id]
    lobby.complete()
    lobby.check(42)


def test_everybody_leaves_and_nothing_is_asked_any_more(lobby: Lobby) -> None:
    lobby.bob.leave(lobby.room)
    lobby.federation.settle()
    lobby.withheld.is_open = True
    lobby.federation.time.advance(1_300)
    before = len(lobby.federation.network.sent)
    lobby.federation.time.advance(24 * 3600)
    assert len(lobby.federation.network.sent) - before < 5
    lobby.come(lobby.bob)
    lobby.complete()
    lobby.check(42)


def test_the_second_join_brings_everything(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = lobby.two.services.remote
    send_join = client.send_join

    async def whole(*args: Any, omit_members: bool) -> Any:
        return await send_join(*args, omit_members=False)

    lobby.bob.leave(lobby.room)
    lobby.federation.settle()
    monkeypatch.setattr(client, "send_join", whole)
    lobby.come(lobby.bob)
    assert not lobby.is_partial
    lobby.check(42)
    lobby.two.restart()
    lobby.withheld.is_open = True
    lobby.federation.time.advance(1_300)
    assert not lobby.is_partial
    lobby.check(42)


def test_what_is_no_server_is_not_believed_to_be_in_the_room(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob, room = crowded(federation)
    client: Any = federation.all["two"].services.remote
    send_join = client.send_join

    async def inventive(*args: Any, **more: Any) -> Any:
        answer = await send_join(*args, **more)
        names = ["one", "no server", "two\r\nlines", "", "x" * 300, "two"]
        return replace(answer, servers_in_room=names)

    monkeypatch.setattr(client, "send_join", inventive)
    Withheld(federation)
    bob.ask("POST", path("join", room), {}, via="one")
    known = federation.all["two"].services.rooms.rooms.find(RoomId(room))
    assert known is not None
    assert known.other_servers() == {"one"}


def test_a_name_is_changed_meanwhile(lobby: Lobby) -> None:
    lobby.bob.ask("PUT", path("profile", lobby.bob.user_id, "displayname"), {"displayname": "Robert"})
    lobby.federation.settle()
    assert lobby.alice.state_of(lobby.room, "m.room.member", lobby.bob.user_id)["displayname"] == "Robert"
    lobby.complete()
    lobby.check(42)


def test_others_are_not_let_in_by_who_does_not_know_all(lobby: Lobby) -> None:
    carol = lobby.federation.servers("three")[0].register("carol")
    for what in ("join", "knock"):
        body: dict[str, Any] = {}
        carol.ask("POST", path(what, lobby.room), body, via="two", refused="M_NOT_FOUND")
    carol.ask("POST", f"/_matrix/client/v3/join/{lobby.room}?via=two&via=one", {})
    lobby.complete()
    lobby.check(43)
