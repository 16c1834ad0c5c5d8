"""What was judged while a room was known in part, once it is known whole."""

from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.ids import RoomId
from homeserver.storage.events import ACCEPTED, REJECTED, SOFT_FAILED
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.partly_known import PartlyKnown
from tests.support.federation import Federation
from tests.support.people import Person, path

CREATE, LEVELS = ("m.room.create", ""), ("m.room.power_levels", "")


class Stage(PartlyKnown):
    """Derek had power and has left, Elsie has some."""

    def __init__(self, federation: Federation) -> None:
        super().__init__(federation, count=20)
        one = federation.all["one"]
        self.derek, self.elsie = one.register("derek"), one.register("elsie")
        self.elsie.join(self.room)
        self.derek.join(self.room)
        self.derek_was_in = self.member(self.derek)
        users = {self.derek.user_id: 60, self.elsie.user_id: 50}
        levels = self.alice.state_of(self.room, "m.room.power_levels")
        self.alice.set_state(
            self.room, "m.room.power_levels", {**levels, "users": {**levels.get("users", {}), **users}}
        )

    def member(self, person: Person) -> str:
        return self.federation.state_of(self.room, "one")["m.room.member", person.user_id]

    def by_derek(self, type_: str, state_key: str, content: dict[str, Any], *keys: tuple[str, str]) -> Event:
        """In the name of his old join."""
        is_v12 = not self.room.partition(":")[2]
        named = [LEVELS, *keys] if is_v12 else [CREATE, LEVELS, *keys]
        return made(
            self.federation, "one", self.room, type_, self.derek.user_id, content, state_key=state_key,
            auth=named, besides=[self.derek_was_in],
        )  # fmt: skip

    def take(self, *events: Event) -> None:
        receive(self.federation, "two", self.room, events, origin="one")

    def status(self, event: Event) -> int:
        return self.federation.events_of(self.room, "two")[event.event_id].status


@pytest.fixture
def stage(federation: Federation) -> Stage:
    return Stage(federation)


def test_what_somebody_did_who_had_left_is_rejected_after_all(stage: Stage) -> None:
    stage.derek.leave(stage.room)
    stage.come_in()
    bad = stage.by_derek("m.room.test", "", {"body": "bad"})
    stage.take(bad)
    assert stage.bob.sync().ids(stage.room) == [bad.event_id]

    stage.complete()

    assert stage.status(bad) == REJECTED
    stage.bob.ask("GET", path("rooms", stage.room, "event", bad.event_id), refused="M_NOT_FOUND")
    assert stage.federation.state_of(stage.room, "two") == stage.federation.state_of(stage.room, "one")
    assert bad.event_id not in stage.federation.heads_of(stage.room, "two")
    stage.bob.send(stage.room, "and on")
    stage.federation.settle()
    assert stage.alice.sync().texts(stage.room)[-1] == "and on"


def test_what_was_rejected_because_of_it_is_taken_in(stage: Stage) -> None:
    stage.derek.leave(stage.room)
    stage.come_in()
    federation, room, elsie = stage.federation, stage.room, stage.elsie
    kick = stage.by_derek(
        "m.room.member", elsie.user_id, {"membership": "leave"}, ("m.room.member", elsie.user_id)
    )
    said = made(
        federation, "one", room, "m.room.test", elsie.user_id, {"body": "good"}, state_key="",
        prev=[kick.event_id], depth=kick.depth + 1,
    )  # fmt: skip
    after = made(
        federation, "one", room, "m.room.message", stage.alice.user_id, {"body": "after"},
        prev=[said.event_id], depth=kick.depth + 2,
    )  # fmt: skip
    stage.take(kick, said, after)
    assert (stage.status(kick), stage.status(said), stage.status(after)) == (ACCEPTED, REJECTED, ACCEPTED)

    stage.complete()

    assert (stage.status(kick), stage.status(said), stage.status(after)) == (REJECTED, ACCEPTED, ACCEPTED)
    state = federation.state_of(room, "two")
    assert state["m.room.test", ""] == said.event_id
    assert state["m.room.member", elsie.user_id] == stage.member(elsie)
    assert stage.bob.membership_of(room, elsie) == "join"


def test_what_is_wrong_by_itself_stays_rejected(stage: Stage) -> None:
    stage.come_in()
    stranger = stage.federation.all["one"].register("stranger")
    stranger.join(stage.room)
    stage.federation.settle()
    bad = made(
        stage.federation, "one", stage.room, "m.room.test", stranger.user_id, {"body": "bad"}, state_key=""
    )
    stage.take(bad)
    assert stage.status(bad) == REJECTED

    stage.complete()

    assert stage.status(bad) == REJECTED
    assert stage.federation.state_of(stage.room, "two") == stage.federation.state_of(stage.room, "one")


class Kicked:
    """Derek, who had left, kicks Elsie in a room that knows it only afterwards."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.derek.leave(stage.room)
        stage.come_in()
        self.heads = stage.federation.heads_of(stage.room, "one")
        elsie = stage.elsie.user_id
        self.kick = stage.by_derek("m.room.member", elsie, {"membership": "leave"}, ("m.room.member", elsie))

    def beside_it(self, type_: str, content: dict[str, Any], **more: Any) -> Event:
        """By Elsie, who has not heard of it."""
        stage = self.stage
        elsie = stage.elsie.user_id
        return made(stage.federation, "one", stage.room, type_, elsie, content, prev=self.heads, **more)


def test_what_was_soft_failed_because_of_it_is_taken_in(stage: Stage) -> None:
    kicked = Kicked(stage)
    topic = kicked.beside_it("m.room.topic", {"topic": "hers"}, state_key="")
    said = kicked.beside_it("m.room.message", {"msgtype": "m.text", "body": "hers"})
    stage.take(kicked.kick)
    stage.take(topic, said)
    assert (stage.status(topic), stage.status(said)) == (SOFT_FAILED, SOFT_FAILED)

    stage.complete()

    assert (stage.status(topic), stage.status(said)) == (ACCEPTED, ACCEPTED)
    assert stage.federation.state_of(stage.room, "two")["m.room.topic", ""] == topic.event_id
    heads = stage.federation.heads_of(stage.room, "two")
    assert {topic.event_id, said.event_id} <= set(heads)
    assert (
        stage.bob.ask("GET", path("rooms", stage.room, "event", said.event_id))["content"]["body"] == "hers"
    )


def test_what_is_not_allowed_by_the_room_as_it_is_stays_soft_failed(stage: Stage) -> None:
    stage.come_in()
    heads = stage.federation.heads_of(stage.room, "one")
    said = made(stage.federation, "one", stage.room, "m.room.message", stage.derek.user_id, {}, prev=heads)
    stage.derek.leave(stage.room)
    stage.federation.settle()
    stage.take(said)
    assert stage.status(said) == SOFT_FAILED

    stage.complete()

    assert stage.status(said) == SOFT_FAILED


# Redactions


def shown_body(stage: Stage, event_id: str) -> Any:
    return stage.bob.ask("GET", path("rooms", stage.room, "event", event_id))["content"].get("body")


def by_derek_redacted(stage: Stage) -> str:
    """What Alice said, and Derek takes back in the name of his old join."""
    said = stage.alice.send(stage.room, "stays")
    stage.federation.settle()
    stage.bob.sync()
    is_v12 = not stage.room.partition(":")[2]
    redaction = made(
        stage.federation, "one", stage.room, "m.room.redaction", stage.derek.user_id, {}, redacts=said,
        auth=[LEVELS] if is_v12 else [CREATE, LEVELS], besides=[stage.derek_was_in],
    )  # fmt: skip
    stage.take(redaction)
    assert stage.status(redaction) == ACCEPTED
    assert shown_body(stage, said) is None
    return said


def test_what_is_taken_back_by_somebody_who_had_left_is_shown_again(stage: Stage) -> None:
    stage.derek.leave(stage.room)
    stage.come_in()
    said = by_derek_redacted(stage)

    stage.complete()

    assert shown_body(stage, said) == "stays"
    assert "redacted_because" not in str(stage.bob.ask("GET", path("rooms", stage.room, "event", said)))
    assert stage.federation.pdu(said, "two") == stage.federation.pdu(said, "one")


def test_but_not_if_somebody_else_took_it_back_too(stage: Stage) -> None:
    stage.derek.leave(stage.room)
    stage.come_in()
    said = by_derek_redacted(stage)
    stage.alice.redact(stage.room, said)
    stage.federation.settle()

    stage.complete()

    assert shown_body(stage, said) is None
    shown = stage.bob.ask("GET", path("rooms", stage.room, "event", said))
    assert shown["unsigned"]["redacted_because"]["sender"] == stage.alice.user_id


def test_the_originals_are_gone_from_the_database_once_the_room_is_whole(stage: Stage) -> None:
    stage.come_in()
    said = stage.alice.send(stage.room, "oops")
    stage.federation.settle()
    stage.alice.redact(stage.room, said)
    stage.federation.settle()
    two = stage.federation.all["two"]
    assert shown_body(stage, said) is None

    def originals() -> Any:
        return stage.federation.read(two, lambda txn: txn.value("SELECT COUNT(*) FROM redacted_originals"))

    assert originals() == 1
    stage.complete()
    assert originals() == 0
    assert shown_body(stage, said) is None


def test_a_redaction_that_is_taken_in_after_all_empties_what_it_names(stage: Stage) -> None:
    kicked = Kicked(stage)
    said = stage.alice.send(stage.room, "oops")
    stage.federation.settle()
    redaction = kicked.beside_it("m.room.redaction", {}, redacts=said)
    stage.take(kicked.kick)
    stage.take(redaction)
    assert stage.status(redaction) == SOFT_FAILED
    assert shown_body(stage, said) == "oops"

    stage.complete()

    assert stage.status(redaction) == ACCEPTED
    assert shown_body(stage, said) is None


def test_a_fork_that_knows_an_older_membership_does_not_bring_it_back(stage: Stage) -> None:
    """What it tells of a member is resolved with what is learned, as if both had been known all along."""
    federation, room = stage.federation, stage.room
    (three,) = federation.servers("three")
    dave = three.register("dave")
    federation.join(dave, room, via="one")
    federation.settle()
    federation.part("three")
    dave.send(room, "beside all that")
    stage.derek.leave(room)
    federation.settle()
    stage.come_in()
    federation.heal(after_s=600)
    stage.alice.send(room, "after both")
    federation.settle()
    assert federation.all["two"].services.rooms.receiving.is_partial(RoomId(room))
    assert "after both" in stage.bob.sync().texts(room)

    stage.complete()

    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    assert stage.bob.membership_of(room, stage.derek) == "leave"


def test_many_changes_on_both_sides_meet(stage: Stage) -> None:
    federation, room = stage.federation, stage.room
    (three,) = federation.servers("three")
    dave = three.register("dave")
    federation.join(dave, room, via="one")
    federation.settle()
    federation.part("three")
    dave.ask("PUT", path("profile", dave.user_id, "displayname"), {"displayname": "Dave there"})
    stage.derek.leave(room)
    federation.settle()
    stage.come_in()
    for number in range(6):
        stage.alice.set_state(room, "m.room.topic", {"topic": f"topic {number}"})
        stage.elsie.send(room, f"elsie {number}")
        stage.bob.send(room, f"bob {number}")
    federation.heal(after_s=600)
    stage.bob.ask("PUT", path("profile", stage.bob.user_id, "displayname"), {"displayname": "Robert"})
    dave.send(room, "back")
    stage.elsie.leave(room)
    federation.settle()

    stage.complete()
    federation.settle()

    states = [federation.state_of(room, name) for name in ("one", "two", "three")]
    assert states[0] == states[1] == states[2]
    assert set(federation.heads_of(room, "two")) == set(federation.heads_of(room, "one"))
    stage.bob.send(room, "on")
    federation.settle()
    assert stage.alice.sync().texts(room)[-1] == "on"
