"""Reports: who may make which, and what operators see of them."""

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

REPORTS = "/_postroom/admin/v1/reports"


@pytest.fixture
def server(each_server: WholeServer) -> WholeServer:
    """On each kind of database."""
    return each_server


@pytest.fixture
def room(alice: Person, bob: Person) -> str:
    return alice.create_room(members=[bob])


def report_event(
    person: Person, room: str, event_id: str, *, refused: str | None = None, **body: Any
) -> None:
    person.ask("POST", path("rooms", room, "report", event_id), body, refused=refused)


def report_room(person: Person, room: str, *, refused: str | None = None, **body: Any) -> None:
    person.ask("POST", path("rooms", room, "report"), body, refused=refused)


def report_user(person: Person, whom: str, *, refused: str | None = None, **body: Any) -> None:
    person.ask("POST", path("users", whom, "report"), body, refused=refused)


def reports(root: Person, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = root.ask("GET", REPORTS, **query)["reports"]
    return found


def test_only_administrators_see_reports(alice: Person, root: Person, room: str) -> None:
    report_room(alice, room, reason="noise")
    number = reports(root)[0]["id"]
    for method, where in (
        ("GET", REPORTS),
        ("GET", f"{REPORTS}/{number}"),
        ("DELETE", f"{REPORTS}/{number}"),
    ):
        alice.ask(method, where, refused="M_FORBIDDEN")


def test_a_reported_event_is_shown_as_it_was(alice: Person, bob: Person, root: Person, room: str) -> None:
    event_id = alice.send(room, "rude")
    report_event(bob, room, event_id, reason="this makes me sad")
    alice.redact(room, event_id)

    (listed,) = reports(root)
    one = root.ask("GET", f"{REPORTS}/{listed['id']}")

    about = {"room_id": room, "event_id": event_id, "user_id": alice.user_id}
    assert listed == {**listed, **about, "reporter": bob.user_id, "reason": "this makes me sad"}
    assert "event" not in listed
    assert one["event"]["content"]["body"] == "rude"


def test_an_event_may_be_reported_without_a_reason(
    alice: Person, bob: Person, root: Person, room: str
) -> None:
    """As older clients do, who say how bad they find it instead."""
    report_event(bob, room, alice.send(room), score=-100)
    assert [report["reason"] for report in reports(root)] == [""]


def test_events_are_reported_by_members_who_see_them(
    server: WholeServer, alice: Person, bob: Person, root: Person, room: str
) -> None:
    carol = server.register("carol")
    event_id = alice.send(room)
    report_event(carol, room, event_id, reason="", refused="M_NOT_FOUND")
    bob.leave(room)
    report_event(bob, room, event_id, reason="", refused="M_NOT_FOUND")
    other = alice.create_room()
    report_event(alice, other, event_id, reason="", refused="M_NOT_FOUND")
    report_event(alice, "!nowhere:test", event_id, reason="", refused="M_NOT_FOUND")
    assert reports(root) == []


def test_rooms_and_people_are_reported_by_anybody(
    server: WholeServer, alice: Person, root: Person, room: str, time: FakeClock
) -> None:
    carol = server.register("carol")
    report_room(carol, room, reason="spam")
    time.advance(1)
    report_user(carol, alice.user_id, reason="")

    person, place = reports(root)
    assert (place["room_id"], place["reason"]) == (room, "spam")
    assert "user_id" not in place
    assert person["user_id"] == alice.user_id
    assert "room_id" not in person
    assert person["received_ts"] == place["received_ts"] + 1000


def test_nobody_learns_from_reporting_what_there_is(alice: Person, root: Person) -> None:
    report_room(alice, "!nowhere:test", reason="seen in a list elsewhere")
    report_user(alice, "@nobody:test", reason="")
    report_user(alice, "@somebody:elsewhere", reason="")
    assert len(reports(root)) == 3


def test_reports_about_rooms_and_people_have_a_reason(alice: Person, room: str) -> None:
    report_room(alice, room, refused="M_BAD_JSON")
    report_user(alice, alice.user_id, refused="M_BAD_JSON")
    report_room(alice, room, reason=7, refused="M_BAD_JSON")
    report_room(alice, room, reason="x" * 8_193, refused="M_TOO_LARGE")
    report_user(alice, "alice", reason="", refused="M_INVALID_PARAM")


def test_any_text_can_be_a_reason(alice: Person, root: Person, room: str) -> None:
    report_room(alice, room, reason="a\0b \N{PILE OF POO}")
    assert reports(root)[0]["reason"] == "a\N{REPLACEMENT CHARACTER}b \N{PILE OF POO}"


def test_reports_come_in_pages_with_the_newest_first(alice: Person, root: Person) -> None:
    for number in range(5):
        report_user(alice, f"@{number}:test", reason=str(number))
    first = root.ask("GET", REPORTS, limit=3)
    rest = root.ask("GET", REPORTS, limit=3, **{"from": first["next"]})
    assert [report["reason"] for report in (*first["reports"], *rest["reports"])] == list("43210")
    assert "next" not in rest


def test_reports_are_found_by_what_they_are_about(
    alice: Person, bob: Person, root: Person, room: str
) -> None:
    report_event(bob, room, alice.send(room), reason="event")
    report_room(alice, room, reason="room")
    report_user(bob, alice.user_id, reason="user")

    def reasons(**query: Any) -> list[str]:
        return [report["reason"] for report in reports(root, **query)]

    assert reasons(room=room) == ["room", "event"]
    assert reasons(user=alice.user_id) == ["user", "event"]
    assert reasons(reporter=bob.user_id) == ["user", "event"]
    assert reasons(room=room, reporter=alice.user_id) == ["room"]


def test_a_report_that_was_dealt_with_is_deleted(alice: Person, root: Person, room: str) -> None:
    report_room(alice, room, reason="noise")
    where = f"{REPORTS}/{reports(root)[0]['id']}"
    assert root.ask("DELETE", where) == {}
    assert reports(root) == []
    for method in ("GET", "DELETE"):
        root.ask(method, where, refused="M_NOT_FOUND")
        root.ask(method, f"{REPORTS}/many", refused="M_NOT_FOUND")


def test_who_reports_again_replaces_what_they_said(
    alice: Person, bob: Person, root: Person, room: str
) -> None:
    event_id = alice.send(room)
    for reason in ("hm", "rude"):
        report_event(bob, room, event_id, reason=reason)
        report_room(bob, room, reason=reason)
    report_room(alice, room, reason="hm")
    assert [report["reason"] for report in reports(root)] == ["hm", "rude", "rude"]


def test_of_each_reporter_the_newest_are_kept(
    alice: Person, bob: Person, root: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.reports.MOST_OF_REPORTER", 2)
    report_user(bob, "@other:test", reason="bob's")
    for number in range(4):
        report_user(alice, f"@{number}:test", reason=str(number))
    assert [report["reason"] for report in reports(root)] == ["3", "2", "bob's"]


def test_guests_report_nothing(server: WholeServer, room: str) -> None:
    report_room(server.register_guest(), room, reason="noise", refused="M_GUEST_ACCESS_FORBIDDEN")
