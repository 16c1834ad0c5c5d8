"""Two servers in one room, in memory: what one does reaches the other, and what got lost is fetched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from homeserver.protocol.ids import RoomId, ServerName
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.destinations import FEDERATING
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer

WITH_PRESENCE = FEDERATING.replace("presence: {enabled: false}", "presence: {enabled: true}").replace(
    "federation: {", "federation: {presence: true, "
)


@pytest.fixture
def other(
    databases: Databases, time: FakeClock, tmp_path: Path, settings: str, server: WholeServer
) -> Iterator[WholeServer]:
    settings = settings.replace("server_name: test", "server_name: other")
    folder = tmp_path / "other"
    folder.mkdir()
    made = WholeServer(
        databases.fresh("sqlite"), time, settings=settings, folder=folder, network=server.network
    )
    yield made
    made.stop()


@pytest.fixture
def olga(other: WholeServer) -> Person:
    return other.register("olga")


@pytest.fixture
def shared(server: WholeServer, alice: Person, olga: Person) -> str:
    """Alice's room, which Olga of the other server has joined."""
    room = alice.create_room(preset="public_chat", room_alias_name="shared")
    joining = olga.start_request("POST", "/join/%23shared%3Atest", {})
    server.time.advance(5)
    assert joining.answer.status == 200, joining.answer.json
    server.time.advance(5)
    return room


def texts(person: Person, room: str) -> list[str]:
    return person.messages(room, limit=100).texts[::-1]


def test_messages_go_both_ways(server: WholeServer, alice: Person, olga: Person, shared: str) -> None:
    alice.send(shared, "from here")
    server.time.advance(3)
    olga.send(shared, "from there")
    server.time.advance(3)
    assert texts(alice, shared)[-2:] == texts(olga, shared)[-2:] == ["from here", "from there"]


def test_typing_and_receipts_go_over(server: WholeServer, alice: Person, olga: Person, shared: str) -> None:
    event_id = alice.send(shared, "hello")
    server.time.advance(3)
    olga.start_typing(shared)
    olga.read(shared, event_id)
    server.time.advance(3)
    synced = alice.sync()
    assert synced.typing(shared) == {"@olga:other"}
    assert "@olga:other" in orjson.dumps(synced.json["rooms"]["join"][shared]["ephemeral"]).decode()


def test_a_server_that_was_away_catches_up_on_everything(
    server: WholeServer, other: WholeServer, alice: Person, olga: Person, shared: str
) -> None:
    server.network.down.add("other")
    sent = [f"message {number}" for number in range(150)]
    alice.send_many(shared, sent)
    server.time.advance(3600)
    server.network.heal()
    server.time.advance(2 * 3600)
    assert texts(olga, shared)[-100:] == sent[-100:]
    olga.send(shared, "and back")
    server.time.advance(3)
    assert texts(alice, shared)[-1] == "and back"


@pytest.mark.parametrize("outage_s", [5, 30, 120])
def test_after_a_short_partition_both_sides_have_everything_within_seconds(
    server: WholeServer, alice: Person, olga: Person, shared: str, outage_s: int
) -> None:
    server.network.cut("test", "other")
    for number in range(5):
        alice.send(shared, f"here {number}")
        olga.send(shared, f"there {number}")
        server.time.advance(outage_s / 5)
    server.network.heal()
    server.time.advance(3 + outage_s)  # no pause is longer than the outage, and one side's ends first
    assert set(texts(alice, shared)) == set(texts(olga, shared)) >= {"here 4", "there 4"}


def test_the_first_word_after_a_partition_brings_everything(
    server: WholeServer, alice: Person, olga: Person, shared: str
) -> None:
    """However long it was: whoever gets through wakes the other."""
    server.network.cut("test", "other")
    alice.send(shared, "here")
    olga.send(shared, "there")
    server.time.advance(6 * 3600)
    server.network.heal()
    result(server.services.traffic.destinations.reset(ServerName("other")))
    server.time.advance(3)
    assert texts(alice, shared)[-2:] in (["here", "there"], ["there", "here"])
    assert set(texts(alice, shared)) == set(texts(olga, shared))


def test_a_transaction_that_got_lost_is_noticed_and_fetched(
    server: WholeServer, other: WholeServer, alice: Person, olga: Person, shared: str
) -> None:
    alice.send(shared, "one")
    server.time.advance(3)
    olga.send(shared, "now they know each other for Postrooms")
    server.time.advance(3)
    got: list[Any] = []

    async def receive(origin: str, content: Any) -> None:
        got.append(content["n"])

    other.services.traffic.incoming.register("m.direct_to_device", receive)
    for number in (1, 2, 3):
        append(server, number)
        server.time.advance(3)
        if number == 2:
            forget_last(other)
            got.remove(2)
    assert sorted(got) == [1, 2, 3]


def append(server: WholeServer, number: int) -> None:
    sender = server.services.traffic.sender
    result(
        server.database.write(
            sender.append_edu, ["other"], "m.direct_to_device", key=str(number), content={"n": number}
        )
    )


def forget_last(other: WholeServer) -> None:
    """As a database does that was restored from a backup."""
    sql = """
        DELETE FROM received_transactions
        WHERE received_ms = (SELECT MAX(received_ms) FROM received_transactions)"""
    result(other.database.write(lambda txn: txn.execute(sql)))


def presence_of(person: Person, whom: Person) -> dict[str, Any]:
    answer: dict[str, Any] = person.ask("GET", f"/presence/{whom.user_id}/status")
    return answer


class TestPresence:
    @pytest.fixture
    def settings(self) -> str:
        return WITH_PRESENCE

    def test_is_told_shown_and_taken_back(
        self, server: WholeServer, other: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        alice.sync()
        held = alice.start_sync()
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "online", "status_msg": "here"})
        server.time.advance(3)
        (event,) = [one for one in held.answer.json["presence"]["events"] if one["sender"] == "@olga:other"]
        assert event["content"]["presence"] == "online"
        assert event["content"]["status_msg"] == "here"
        assert presence_of(alice, olga)["currently_active"] is True
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "offline"})
        server.time.advance(3)
        assert presence_of(alice, olga)["presence"] == "offline"

    def test_is_not_believed_for_ever(
        self, server: WholeServer, other: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "unavailable"})
        server.time.advance(3)
        assert presence_of(alice, olga)["presence"] == "unavailable"
        server.network.down.add("other")
        server.time.advance(40 * 60)
        assert presence_of(alice, olga)["presence"] == "offline"

    def test_a_server_that_comes_into_a_room_is_told_who_is_there(
        self, server: WholeServer, alice: Person, bob: Person, olga: Person
    ) -> None:
        alice.ask("PUT", f"/presence/{alice.user_id}/status", {"presence": "online", "status_msg": "in"})
        room = alice.create_room(members=[bob], preset="public_chat")
        bob.ask("PUT", f"/presence/{bob.user_id}/status", {"presence": "unavailable"})
        server.time.advance(10)
        joining = olga.start_request("POST", f"/join/{room}", {}, server_name="test")
        server.time.advance(5)
        assert joining.answer.status == 200, joining.answer.json
        assert presence_of(olga, alice)["status_msg"] == "in"
        assert presence_of(olga, bob)["presence"] == "unavailable"
        assert len(presences_sent(server, "other")) == 1

    def test_coming_and_going_does_not_make_it_be_told_again_and_again(
        self, server: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        alice.ask("PUT", f"/presence/{alice.user_id}/status", {"presence": "online"})
        for _ in range(10):
            for act in ("leave", "join"):
                olga.start_request("POST", f"/rooms/{shared}/{act}", {}, server_name="test")
                server.time.advance(2)
        assert len(presences_sent(server, "other")) <= 3

    def test_whom_our_user_meets_in_another_servers_room_is_told(
        self, server: WholeServer, alice: Person, olga: Person
    ) -> None:
        room = olga.create_room(preset="public_chat")
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "online", "status_msg": "there"})
        alice.ask("PUT", f"/presence/{alice.user_id}/status", {"presence": "online", "status_msg": "here"})
        server.time.advance(10)
        joining = alice.start_request("POST", f"/join/{room}", {}, server_name="other")
        server.time.advance(5)
        assert joining.answer.status == 200, joining.answer.json
        assert presence_of(olga, alice)["status_msg"] == "here"
        assert presence_of(alice, olga)["status_msg"] == "there"

    def test_who_does_not_change_for_hours_is_still_there(
        self, server: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "unavailable"})
        held = olga.start_sync(set_presence="unavailable")
        for _ in range(4 * 120):
            server.time.advance(30)
            if held.is_done:
                assert held.answer
                held = olga.start_sync(set_presence="unavailable")
        assert presence_of(alice, olga)["presence"] == "unavailable"

    def test_what_changed_during_a_partition_is_told_afterwards(
        self, server: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        olga.sync()
        server.time.advance(1)
        assert presence_of(alice, olga)["presence"] == "online"
        server.network.cut("test", "other")
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "online", "status_msg": "brb"})
        olga.send(shared, "in the dark")
        server.time.advance(10)
        assert presence_of(alice, olga).get("status_msg") is None
        server.network.heal()
        server.time.advance(15)
        assert presence_of(alice, olga)["status_msg"] == "brb"

    def test_who_left_is_seen_no_more(
        self, server: WholeServer, alice: Person, olga: Person, shared: str
    ) -> None:
        olga.ask("PUT", f"/presence/{olga.user_id}/status", {"presence": "online"})
        server.time.advance(3)
        olga.leave(shared)
        server.time.advance(3)
        assert alice.request("GET", f"/presence/{olga.user_id}/status").status == 403
        assert "@olga:other" not in server.services.presence.visible_in(RoomId(shared))


def presences_sent(server: WholeServer, name: str) -> list[Any]:
    """The m.presence EDUs that went there."""
    bodies = [orjson.loads(request.body) for host, request in server.network.sent if host == name
              and request.method == "PUT" and "/send/" in request.path and request.body]  # fmt: skip
    return [edu for body in bodies for edu in body["edus"] if edu["edu_type"] == "m.presence"]


def test_presence_stays_here_unless_the_operator_wants_it(
    server: WholeServer, alice: Person, olga: Person, shared: str
) -> None:
    alice.send(shared)
    server.time.advance(60)
    for _, request in server.network.sent:
        assert b"m.presence" not in (request.body or b"")
