"""Three servers in one room: what one of them is not to say, what comes late, what must arrive."""

from typing import Any, NamedTuple

import pytest

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import ServerName
from homeserver.protocol.room_versions import room_version
from tests.support.adversary import V1, V2, VERSIONS, Adversary, View, event_path
from tests.support.federation import Federation
from tests.support.people import Person
from tests.support.running import result


class Village(NamedTuple):
    """Alice on `one` made the rooms; Bob is on `two`, Carol on `three`."""

    federation: Federation
    alice: Person
    bob: Person
    carol: Person
    room: str
    elsewhere: str
    """Where nobody is shut out."""

    def settle(self) -> None:
        self.federation.time.advance(3)


@pytest.fixture
def village(federation: Federation) -> Village:
    one, two, three = federation.servers("one", "two", "three")
    alice, bob, carol = one.register("alice"), two.register("bob"), three.register("carol")
    rooms = [alice.create_room(preset="public_chat", room_version="11") for _ in range(2)]
    for room in rooms:
        federation.join(bob, room, via="one")
    federation.join(carol, rooms[1], via="one")
    return Village(federation, alice, bob, carol, rooms[0], rooms[1])


@pytest.fixture
def shut_out(village: Village) -> Village:
    """Bob's server may not take part in the first room any more; Carol comes in after that."""
    village.alice.set_state(village.room, "m.room.server_acl", {"allow": ["*"], "deny": ["two"]})
    village.settle()
    village.federation.join(village.carol, village.room, via="one")
    village.settle()
    return village


# Who is shut out


def test_events_of_a_server_that_is_shut_out_reach_nobody(shut_out: Village) -> None:
    blocked = shut_out.bob.send(shut_out.room, "I should not be heard")
    heard = shut_out.bob.send(shut_out.elsewhere, "I should")
    shut_out.settle()
    for person in (shut_out.alice, shut_out.carol):
        assert not person.sees(shut_out.room, blocked)
        assert person.sees(shut_out.elsewhere, heard)
        assert person.state(shut_out.room)["m.room.server_acl", ""]["content"]["deny"] == ["two"]


def test_typing_and_receipts_of_a_server_that_is_shut_out_reach_nobody(shut_out: Village) -> None:
    bob = shut_out.bob
    acl = next(event for key, event in bob.state(shut_out.room).items() if key[0] == "m.room.server_acl")
    to_be_read = {shut_out.room: acl["event_id"], shut_out.elsewhere: bob.send(shut_out.elsewhere)}
    for room, event_id in to_be_read.items():
        bob.read(room, event_id)
        bob.start_typing(room)
    shut_out.settle()
    for person in (shut_out.alice, shut_out.carol):
        joined = person.sync(since=None).json["rooms"]["join"]
        told = {
            room: [event["type"] for event in joined[room].get("ephemeral", {"events": []})["events"]]
            for room in (shut_out.room, shut_out.elsewhere)
        }
        assert told[shut_out.room] == []
        assert sorted(told[shut_out.elsewhere]) == ["m.receipt", "m.typing"]


def test_who_is_shut_out_cannot_ask_about_the_room_either(shut_out: Village) -> None:
    denied = shut_out.federation.all["two"]
    client = denied.services.traffic.sender._client
    for ask in (client.state_ids, client.event_auth, client.state):  # type: ignore[attr-defined]
        with pytest.raises(MatrixError):
            result(ask(ServerName("one"), shut_out.room, shut_out.alice.send(shut_out.room)))


# What comes late


def test_who_comes_and_goes_slowly_is_made_known_to_all(village: Village) -> None:
    """The events follow what was the end of the room when their templates were asked for."""
    federation, room = village.federation, village.room
    dora = Adversary(federation.all["one"], "four")
    for membership, make, send in (("join", "make_join", "send_join"), ("leave", "make_leave", "send_leave")):
        template = dora.request("GET", f"{V1}/{make}{event_path(room, dora.user)}?{VERSIONS}").json
        village.alice.send_many(room, ["the room", "goes on"])
        view = View(room, room_version(template["room_version"]))
        pdu = dora.finish(view, template["event"])
        answer = dora.request("PUT", f"{V2}/{send}{event_path(room, view.name(pdu))}", pdu)
        assert answer.status == 200, answer.json
        village.settle()
        assert village.bob.state_of(room, "m.room.member", dora.user)["membership"] == membership
        assert view.name(pdu) not in [view.name(one) for one in dora.received]


def test_what_was_said_during_a_partition_comes_after_what_was_seen_meanwhile(village: Village) -> None:
    """A client that pages back from a gappy sync meets every event once, whenever it came."""
    alice, bob, federation, room = village.alice, village.bob, village.federation, village.room
    dora = federation.all["one"].register("dora")
    dora.join(room)
    dora.sync()
    federation.network.cut("one", "two")
    late = bob.send(room, "said in the dark")
    early = alice.send_many(room, "1234")
    federation.network.heal()
    result(federation.all["two"].services.traffic.destinations.reset(ServerName("one")))
    village.settle()
    seen_upto = alice.sync().next_batch
    last = alice.send_many(room, "567")
    timeline = dora.sync(filter={"room": {"timeline": {"limit": 4}}}).json["rooms"]["join"][room]["timeline"]
    assert [event["event_id"] for event in timeline["events"]] == [late, *last]
    before = dora.messages(room, start=timeline["prev_batch"], limit=5)
    since = dora.messages(room, start=seen_upto, limit=5)
    assert set(since.ids) == {late, *early}
    assert set(before.ids) - {late} == set(early)


def test_an_event_that_could_not_be_judged_appears_when_it_can(village: Village) -> None:
    alice, federation = village.alice, village.federation
    far = Adversary(federation.all["one"], "far.example")
    view: View = far.join(village.room)
    first = far.event(view, "A")
    view.take(first)
    second = far.event(view, "B")
    far.send([second])  # what it follows is not told
    assert not alice.sees(village.room, view.name(second))
    far.send([first])
    assert alice.sees(village.room, view.name(first))
    alice.sync()
    far.send([second])
    assert view.name(second) in [
        event["event_id"] for event in alice.sync().json["rooms"]["join"][village.room]["timeline"]["events"]
    ]


def test_it_appears_by_itself_too_when_the_other_server_is_asked_again(village: Village) -> None:
    alice, federation = village.alice, village.federation
    far = Adversary(federation.all["one"], "far.example")
    view = far.join(village.room)
    first = far.event(view, "A")
    view.take(first)
    second = far.event(view, "B")
    far.send([second])
    far.send([first])
    federation.time.advance(60)
    assert alice.sees(village.room, view.name(second))


# What must arrive


def got_by(federation: Federation, name: str) -> list[Any]:
    """The numbers of the lasting EDUs that come to a server, each once: known by their message IDs."""
    seen: dict[str, int] = {}

    async def receive(origin: ServerName, content: Any) -> None:
        seen.setdefault(content["message_id"], content["n"])

    federation.all[name].services.traffic.incoming.register("m.direct_to_device", receive)
    return [seen]


def message(federation: Federation, name: str, number: int, to: str = "two") -> None:
    server = federation.all[name]
    server_names = [ServerName(to)]
    content = {"message_id": f"m{number}", "n": number}
    result(
        server.database.write(
            server.services.traffic.sender.append_edu, server_names, "m.direct_to_device",
            key=f"m{number}", content=content,
        )
    )  # fmt: skip


@pytest.mark.parametrize("trouble", ["none", "away", "restart while away", "answer lost", "killed"])
def test_messages_to_devices_arrive_once_and_in_order(village: Village, trouble: str) -> None:
    federation = village.federation
    one = federation.all["one"]
    (seen,) = got_by(federation, "two")
    message(federation, "one", 0)
    village.settle()
    if trouble != "none":
        federation.network.down.add("two")
    if trouble == "answer lost":
        federation.network.heal()
        lose_one_answer(federation, "one", "two")
    for number in range(1, 150):
        message(federation, "one", number)
    village.settle()
    if trouble == "killed":
        one = one.twin()  # the first one is never heard of again
        federation.all["one"] = one
        federation.time.advance(1)
    if trouble == "restart while away":
        one.restart()
        federation.time.advance(1)
    federation.network.heal()
    federation.time.advance(60)
    assert list(seen.values()) == list(range(150))
    left = result(one.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM outgoing_edus")))
    assert left == 0
    if trouble == "killed":
        one.stop()


def lose_one_answer(federation: Federation, origin: str, host: str) -> None:
    """The next transaction arrives; what is answered does not."""
    server = federation.network.servers[host]
    find = federation.network.find
    lost = []

    def finding(asking: str, asked: str) -> Any:
        if asking == origin and asked == host:
            lost.append(asked)
            if len(lost) == 2:  # looked for a second time when the answer comes
                federation.network.find = find  # type: ignore[method-assign]
                federation.network.down.add(host)
                try:
                    return find(asking, asked)
                finally:
                    federation.network.heal()
        return find(asking, asked)

    assert server is not None
    federation.network.find = finding  # type: ignore[method-assign]
