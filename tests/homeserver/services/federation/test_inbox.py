"""What other servers send: kept, answered, handed to the rooms; and what is refused."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import orjson
import pytest

from homeserver.protocol.errors import BadJson, Forbidden, LimitExceeded, MatrixError
from homeserver.protocol.events import Draft, build
from homeserver.protocol.hashes import event_id_of
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.signatures import SigningKey
from homeserver.services.federation import inbox as inbox_module
from homeserver.services.federation import incoming_edus
from homeserver.services.federation.room_intake import RoomIntake
from homeserver.services.rooms.receiving import CannotJudge
from tests.support.destinations import join_from
from tests.support.people import Person
from tests.support.running import Running, result
from tests.support.whole_server import WholeServer

FAR = ServerName("far")
VERSION = room_version("12")
KEY = SigningKey.generate()
_numbers = count(1)


class Rooms:
    """Takes events in place of the rooms, and remembers them. `verdict` decides, by the text of an event."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, str, list[str]]] = []
        self.verdicts: dict[str, MatrixError | Exception] = {}

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Mapping[str, Any]], *, origin: ServerName
    ) -> dict[EventId, MatrixError | None]:
        texts = [pdu["content"]["body"] for pdu in pdus]
        self.batches.append((room_id, origin, texts))
        found: dict[EventId, MatrixError | None] = {}
        for pdu, text in zip(pdus, texts, strict=True):
            verdict = self.verdicts.get(text)
            if verdict is not None and not isinstance(verdict, MatrixError):
                raise verdict
            found[event_id_of(VERSION, pdu)] = verdict
        return found

    @property
    def texts(self) -> list[str]:
        return [text for _, _, texts in self.batches for text in texts]


@pytest.fixture
def rooms(server: WholeServer) -> Rooms:
    """Whatever the server's inbox hands over goes here."""
    return taking(server)


def taking(server: WholeServer, rooms: Rooms | None = None) -> Rooms:
    rooms = rooms or Rooms()
    intake: RoomIntake = server.services.traffic.intake
    intake._receiver = rooms
    return rooms


def pdu(room: str, text: str = "hello", *, sender: str = "@zoe:far", **changes: Any) -> dict[str, Any]:
    draft = Draft(
        type="m.room.message", sender=UserId(sender), content={"body": text, "number": next(_numbers)},
        room_id=RoomId(room), prev_event_ids=(EventId("$before"),), auth_event_ids=(), depth=5,
        origin_server_ts=1_700_000_000_000,
    )  # fmt: skip
    return {**build(draft, VERSION, FAR, KEY).pdu, **changes}


def start(server: WholeServer, body: dict[str, Any], txn: str = "", origin: str = "far") -> Running:
    inbox = server.services.traffic.inbox
    return Running(inbox.take(ServerName(origin), txn or f"txn{next(_numbers)}", body))


def send(
    server: WholeServer, *pdus: Any, edus: Sequence[Any] = (), txn: str = "", origin: str = "far", **more: Any
) -> dict[str, Any]:
    """What each event was answered."""
    running = start(server, {"pdus": list(pdus), "edus": list(edus), **more}, txn, origin)
    answer: dict[str, Any] = orjson.loads(running.result())["pdus"]
    server.time.advance(0.1)
    return answer


def staged(server: WholeServer) -> int:
    count: int = result(server.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM staged_events")))
    return count


def receipts_in(server: WholeServer, room: str) -> dict[RoomId, Any]:
    return result(server.services.receipts.changed_in([RoomId(room)], 0, UserId("@alice:test")))


def test_events_are_answered_then_handed_to_their_rooms_in_order(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    second = alice.create_room()
    events = [pdu(room, "a"), pdu(second, "x"), pdu(room, "b")]
    answer = send(server, *events)
    assert answer == {event_id_of(VERSION, event): {} for event in events}
    assert sorted(rooms.batches) == sorted([(room, "far", ["a", "b"]), (second, "far", ["x"])])
    assert staged(server) == 0


def test_the_same_transaction_again_is_answered_alike_and_taken_once(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    event = pdu(room, "once")
    first = send(server, event, txn="t1")
    assert send(server, event, txn="t1") == first
    server.restart()
    rooms = taking(server, rooms)
    assert send(server, event, txn="t1") == first
    assert rooms.texts == ["once"]


def test_two_servers_may_use_the_same_transaction_id(server: WholeServer, room: str, rooms: Rooms) -> None:
    send(server, pdu(room, "a"), txn="t1", origin="far")
    send(server, pdu(room, "b"), txn="t1", origin="near")
    assert rooms.texts == ["a", "b"]


def test_malformed_events_never_harm_the_others(server: WholeServer, room: str, rooms: Rooms) -> None:
    good = pdu(room, "good")
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    bad = [
        None, 7, "text", [], {}, {"room_id": room}, {"room_id": 5}, {"room_id": "!\0"},
        pdu(room, prev_events="none"), pdu(room, depth=1.5), pdu(room, depth=-1), pdu(room, sender="zoe"),
        pdu(room, content=["no"]), pdu(room, content={"body": 0.5}), pdu(room, content={"body": 2**60}),
        pdu(room, content={"body": deep}), pdu(room, content={"body": "x" * 70_000}),
        pdu(room, auth_events=[["old", {}]]), pdu(room, type=None), pdu(room, hashes=None),
        pdu(room, signatures={"far": 3}), pdu(room, state_key=7), pdu(room, content={"body": "\ud800"}),
    ]  # fmt: skip
    answer = send(server, *bad[:10], good, *bad[10:])
    assert answer.pop(event_id_of(VERSION, good)) == {}
    assert all(set(one) == {"error"} for one in answer.values())
    assert all(name.startswith("$") for name in answer)
    assert rooms.texts == ["good"]


def test_an_event_of_a_room_we_are_not_in_is_refused(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    left = alice.create_room()
    alice.leave(left)
    answer = send(server, pdu("!" + "x" * 43), pdu(left), pdu(room, "good"))
    assert [("error" in one) for one in answer.values()] == [True, True, False]
    assert rooms.texts == ["good"]


@pytest.mark.parametrize("reload", [False, True])
def test_a_server_that_is_shut_out_cannot_send_events_or_edus(
    server: WholeServer, alice: Person, room: str, rooms: Rooms, reload: bool
) -> None:
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["FAR"]})
    if reload:
        loaded = result(server.services.rooms.rooms.load(RoomId(room)))
        server.services.rooms.rooms.discard(loaded)
    typing = {"edu_type": "m.typing", "content": {"room_id": room, "user_id": "@zoe:far", "typing": True}}
    (answer,) = send(server, pdu(room), edus=[typing]).values()
    assert "shut out" in answer["error"]
    assert rooms.batches == []
    assert server.services.typing_notifications.users(RoomId(room)) == []
    assert send(server, pdu(room, "from near"), origin="near").popitem()[1] == {}


def test_too_many_events_or_edus_are_refused(server: WholeServer, room: str, rooms: Rooms) -> None:
    for body in ({"pdus": [{}] * 51}, {"edus": [{}] * 101}, {"pdus": {}}, {"edus": 3}):
        with pytest.raises(BadJson):
            start(server, body).result()  # type: ignore[arg-type]
    send(server, *[{}] * 50, edus=[{}] * 100)
    assert rooms.batches == []


def test_a_body_of_another_origin_is_refused(server: WholeServer, room: str) -> None:
    with pytest.raises(Forbidden):
        start(server, {"origin": "near", "pdus": []}).result()


def test_what_waits_is_handed_over_after_a_restart(server: WholeServer, room: str, rooms: Rooms) -> None:
    rooms.verdicts["later"] = CannotJudge()
    send(server, pdu(room, "now"), pdu(room, "later"))
    assert staged(server) == 1
    server.restart()
    rooms = taking(server)
    server.time.advance(1)
    assert rooms.texts == ["later"]
    assert staged(server) == 0


def test_what_a_killed_process_took_in_is_not_lost(server: WholeServer, room: str, rooms: Rooms) -> None:
    start(server, {"pdus": [pdu(room, "committed")]}).result()
    assert staged(server) == 1  # answered, and the process dies before the room is handed anything
    server.restart()
    assert taking(server).texts == []
    server.time.advance(1)
    assert staged(server) == 0


def test_what_cannot_be_judged_yet_is_tried_again_more_and_more_seldom_and_then_given_up(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    rooms.verdicts["hard"] = CannotJudge()
    send(server, pdu(room, "hard"), pdu(room, "easy"))
    assert rooms.texts == ["hard", "easy"]
    server.time.advance(4)  # a short outage is soon over
    assert rooms.texts == ["hard", "easy", "hard"]
    server.time.advance(8 * 3600)
    assert rooms.texts.count("hard") == 13
    assert rooms.texts.count("easy") == 1
    assert staged(server) == 0


def test_one_event_over_which_the_room_stumbles_does_not_harm_the_others(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    rooms.verdicts["poison"] = RuntimeError("a mistake of ours")
    send(server, pdu(room, "a"), pdu(room, "poison"), pdu(room, "b"))
    assert [texts for _, _, texts in rooms.batches] == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]
    assert staged(server) == 1
    server.time.advance(8 * 3600)
    assert staged(server) == 0


def test_an_event_that_waits_already_is_not_taken_twice(server: WholeServer, room: str, rooms: Rooms) -> None:
    event = pdu(room, "twice")
    start(server, {"pdus": [event]}).result()
    start(server, {"pdus": [event]}).result()
    server.time.advance(1)
    assert rooms.texts == ["twice"]


def test_a_copy_that_another_server_spoilt_does_not_take_the_place_of_the_event(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    event = pdu(room, "as it was made")
    spoilt = {**event, "content": {**event["content"], "body": "as it was not"}}
    unsigned = {**event, "signatures": {"far": {}}}
    assert event_id_of(VERSION, spoilt) == event_id_of(VERSION, unsigned) == event_id_of(VERSION, event)
    (verdict,) = send(server, spoilt, origin="near").values()
    assert "content hash" in verdict["error"]
    start(server, {"pdus": [unsigned]}, origin="near").result()
    send(server, event)
    assert rooms.texts == ["as it was made"] * 2
    assert [origin for _, origin, _ in rooms.batches] == ["near", "far"]


def test_more_than_memory_holds_goes_through_the_database_in_order(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    texts = [str(number) for number in range(450)]
    for begin in range(0, 450, 50):
        start(server, {"pdus": [pdu(room, text) for text in texts[begin : begin + 50]]}).result()
    server.time.advance(1)
    assert rooms.texts == texts
    assert staged(server) == 0
    assert server.services.traffic.intake.waiting_of(FAR).events == 0


def test_a_server_of_which_too_much_waits_is_told_to_come_back(
    server: WholeServer, room: str, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_WAITING", 60)
    start(server, {"pdus": [pdu(room) for _ in range(40)]}).result()
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room) for _ in range(40)]}).result()
    start(server, {"edus": [{}]}).result()
    start(server, {"pdus": [pdu(room) for _ in range(40)]}, origin="near").result()
    server.time.advance(1)
    send(server, *[pdu(room) for _ in range(40)])


def test_a_server_sends_only_so_much_before_it_hears_an_answer(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    server.database.hold_writes()
    waiting = [start(server, {"pdus": [pdu(room)]}) for _ in range(inbox_module.MOST_UNSEEN)]
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room)]}).result()
    other = start(server, {"pdus": [pdu(room)]}, origin="near")
    server.database.release()
    for one in (*waiting, other, start(server, {"pdus": [pdu(room)]})):
        one.result()


def test_large_events_of_one_server_do_not_fill_the_disk(
    server: WholeServer, room: str, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_WAITING_BYTES", 300_000)
    large = {"pdus": [pdu(room, str(number) * 50_000) for number in range(7)]}
    start(server, large).result()
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room)]}).result()
    server.restart()  # it is known from the database, too
    rooms = taking(server)
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room)]}).result()
    server.time.advance(1)
    assert len(rooms.texts) == 7
    assert server.services.traffic.intake.waiting_bytes == 0
    start(server, {"pdus": [pdu(room)]}).result()


def test_when_many_servers_fill_the_disk_those_who_sent_little_are_still_heard(
    server: WholeServer, room: str, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_BYTES_IN_ALL", 300_000)
    monkeypatch.setattr(inbox_module, "SMALL_SHARE_BYTES", 10_000)
    for number in range(7):
        start(server, {"pdus": [pdu(room, "x" * 50_000)]}, origin=f"full{number}").result()
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room)]}, origin="full1").result()
    for number in range(5):
        start(server, {"pdus": [pdu(room, "x" * 50_000)]}, origin=f"new{number}").result()
    with pytest.raises(LimitExceeded):
        start(server, {"pdus": [pdu(room)]}, origin="late").result()


# EDUs


def typing(room: str, user: str, is_typing: bool = True) -> dict[str, Any]:
    return {"edu_type": "m.typing", "content": {"room_id": room, "user_id": user, "typing": is_typing}}


def receipt(room: str, user: str, event_id: str, kind: str = "m.read", **data: Any) -> dict[str, Any]:
    content = {room: {kind: {user: {"event_ids": [event_id], "data": data}}}}
    return {"edu_type": "m.receipt", "content": content}


def test_typing_of_the_origins_users_is_shown_for_a_minute(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    send(server, edus=[typing(room, "@zoe:far")])
    assert alice.sync().typing(room) == {"@zoe:far"}
    server.time.advance(61)
    assert alice.sync().typing(room) == set()


def test_a_server_speaks_only_for_its_own_users(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    join_from(server, room, ["near"])
    event_id = alice.send(room)
    forged = ["@zoe:near", "@alice:test", "@x:far:near", "zoe:far", "@zoe:FAR", "@zoe"]
    edus = [typing(room, user) for user in forged] + [receipt(room, user, event_id) for user in forged]
    send(server, edus=edus)
    synced = alice.sync()
    assert synced.typing(room) == set()
    assert receipts_in(server, room) == {}


def test_receipts_of_other_servers_are_shown_with_their_own_time(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    event_id = alice.send(room)
    alice.sync()
    send(server, edus=[receipt(room, "@zoe:far", event_id, ts=1234, thread_id="main")])
    (content,) = result(server.services.receipts.changed_since(RoomId(room), 1, UserId("@alice:test")))
    assert content == {event_id: {"m.read": {"@zoe:far": {"ts": 1234, "thread_id": "main"}}}}


def test_private_receipts_and_those_of_strangers_are_not_believed(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    event_id = alice.send(room)
    private = receipt(room, "@zoe:far", event_id, kind="m.read.private")
    stranger = receipt(room, "@stranger:far", event_id)
    send(server, edus=[private, stranger, receipt(room, "@zoe:far", "$unknown")])
    assert receipts_in(server, room) == {}


def test_malformed_edus_never_harm_the_others(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    bad = [
        None, 3, {}, {"edu_type": 3}, {"edu_type": "m.typing"}, {"edu_type": "m.typing", "content": []},
        {"edu_type": "m.typing", "content": {"room_id": 1, "user_id": "@zoe:far", "typing": True}},
        {"edu_type": "m.receipt", "content": {room: {"m.read": {"@zoe:far": 5}}}},
        {"edu_type": "m.receipt", "content": {room: []}},
        {"edu_type": "m.presence", "content": {"push": [3]}},
        {"edu_type": "org.unknown", "content": {}},
    ]  # fmt: skip
    send(server, edus=[*bad, typing(room, "@zoe:far")])
    assert alice.sync().typing(room) == {"@zoe:far"}


def test_a_lasting_edu_is_dealt_with_before_the_answer(server: WholeServer, room: str, rooms: Rooms) -> None:
    got: list[tuple[str, Any]] = []

    async def receive(origin: ServerName, content: Any) -> None:
        got.append((origin, content))

    server.services.traffic.incoming.register("m.direct_to_device", receive)
    edu = {"edu_type": "m.direct_to_device", "content": {"message_id": "m1"}}
    start(server, {"pdus": [], "edus": [edu]}).result()
    assert got == [("far", {"message_id": "m1"})]


def test_a_lasting_edu_that_cannot_be_kept_makes_the_other_server_send_again(
    server: WholeServer, room: str, rooms: Rooms
) -> None:
    failures: list[Exception] = [RuntimeError("the disk is full")]
    got: list[Any] = []

    async def receive(origin: ServerName, content: Any) -> None:
        if failures:
            raise failures.pop()
        got.append(content)

    server.services.traffic.incoming.register("m.direct_to_device", receive)
    body = {"pdus": [], "edus": [{"edu_type": "m.direct_to_device", "content": {"n": 1}}]}
    with pytest.raises(RuntimeError):
        start(server, body, "t1").result()
    start(server, body, "t1").result()
    assert got == [{"n": 1}]


def test_one_malformed_receipt_never_harms_the_others_of_its_edu(
    server: WholeServer, alice: Person, room: str, rooms: Rooms
) -> None:
    join_from(server, room, ["far"], user="yan")
    event_id = alice.send(room)
    good = {"event_ids": [event_id], "data": {"ts": 5}}
    readers = {"@a:far": None, "@b:far": {"event_ids": "x"}, "@c:far": {"event_ids": [5]}, "@zoe:far": good}
    readers |= {"@d:far": {**good, "data": {"ts": 1.5}}, "@yan:far": good}
    send(server, edus=[{"edu_type": "m.receipt", "content": {room: {"m.read": readers}}}])
    (content,) = result(server.services.receipts.changed_since(RoomId(room), 1, UserId("@alice:test")))
    assert set(content[event_id]["m.read"]) == {"@zoe:far", "@yan:far"}


class Crowd:
    """Takes presence and remembers whose; as slow as a test likes."""

    def __init__(self, server: WholeServer, pause_s: float = 0.0) -> None:
        self.heard: list[str] = []
        self._clock, self._pause_s = server.services.clock, pause_s
        server.services.traffic.incoming._presence = self

    async def hear(self, user_id: UserId, state: Any, **_: Any) -> None:
        self.heard.append(user_id)
        if self._pause_s:
            await self._clock.sleep(self._pause_s)


def presence(*users: str, **more: Any) -> dict[str, Any]:
    push = [{"user_id": user, "presence": "online", **more} for user in users]
    return {"edu_type": "m.presence", "content": {"push": push}}


def test_one_malformed_presence_never_harms_the_others_of_its_edu(server: WholeServer, room: str) -> None:
    crowd = Crowd(server)
    edu = presence("@a:far", "@b:near", "no user", "@c:far")
    edu["content"]["push"][1:1] = [None, 5, {}, {"user_id": "@d:far", "presence": "asleep"}]
    send(server, edus=[edu])
    assert crowd.heard == ["@a:far", "@c:far"]


def test_a_flood_of_presence_is_bounded(server: WholeServer, room: str) -> None:
    crowd = Crowd(server, pause_s=1.0)
    many = [presence(*(f"@u{number}_{edu}:far" for number in range(200))) for edu in range(20)]
    for _ in range(30):
        start(server, {"edus": many}).result()
    server.time.advance(5_000)
    assert len(crowd.heard) == incoming_edus.MOST_BATCHES * incoming_edus.MOST_PRESENCES
    send(server, edus=[presence("@later:far")])
    assert crowd.heard[-1] == "@later:far"


def test_old_transactions_are_forgotten(server: WholeServer, room: str, rooms: Rooms) -> None:
    send(server, txn="t1")
    server.time.advance(26 * 3600)
    count = result(server.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM received_transactions")))
    assert count == 0


def test_of_many_transactions_of_one_server_only_the_newest_are_remembered(
    server: WholeServer, room: str, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_REMEMBERED", 5)
    monkeypatch.setattr(inbox_module, "COUNTED", 10)
    event = pdu(room, "once")
    send(server, txn="other", origin="near")
    for number in range(37):
        send(server, event, txn=f"t{number}")
    read = "SELECT txn_id FROM received_transactions WHERE origin = %s"
    kept = {
        origin: set(result(server.database.read(lambda txn, of=origin: txn.column(read, (of,)))))
        for origin in ("far", "near")
    }
    assert kept["near"] == {"other"}
    assert kept["far"] >= {f"t{number}" for number in range(32, 37)}
    assert len(kept["far"]) <= 15
