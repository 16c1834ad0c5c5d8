"""EDUs in the name of others, and such as make no sense."""

from typing import Any

import pytest

from tests.support.adversary import Adversary, View
from tests.support.people import Person


def test_typing_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    bob.join(room)
    bob.sync()
    for user in (alice.user_id, "@somebody:innocent.example"):
        content = {"room_id": room, "user_id": user, "typing": True}
        mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert bob.sync().typing(room) == set()
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert bob.sync().typing(room) == {mallory.user}


def test_receipts_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    """CVE-2023-42453."""
    event_id = alice.send(room, "read me")
    bob.join(room)
    alice.sync()

    def receipt(user: str) -> dict[str, Any]:
        read = {"m.read": {user: {"data": {"ts": 1}, "event_ids": [event_id]}}}
        return {"edu_type": "m.receipt", "content": {room: read}}

    mallory.send(edus=[receipt(bob.user_id), receipt("@somebody:innocent.example")])
    assert alice.sync().receipts(room) == {}
    mallory.send(edus=[receipt(mallory.user)])
    assert mallory.user in alice.sync().receipts(room)[event_id]["m.read"]


def test_presence_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    bob.join(room)
    alice.sync()
    entries = [
        {"user_id": user, "presence": "online", "status_msg": "pwned"}
        for user in (bob.user_id, "@somebody:innocent.example")
    ]
    mallory.send(edus=[{"edu_type": "m.presence", "content": {"push": entries}}])
    assert "pwned" not in str(alice.sync().json)


@pytest.mark.parametrize(
    "type_", ["m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.odd", "", 5, None]
)
@pytest.mark.parametrize(
    "content", [{}, [], None, "x", {"push": 5}, {"room_id": 5}, {"!r:x": {"m.read": []}}]
)
def test_edus_that_make_no_sense(
    alice: Person, room: str, view: View, mallory: Adversary, type_: Any, content: Any
) -> None:
    event = mallory.event(view, "beside nonsense")
    answer = mallory.send([event], [{"edu_type": type_, "content": content}, content])
    assert answer.status == 200, answer.json
    assert alice.sees(room, view.name(event))


def test_edus_of_a_server_that_the_room_shuts_out(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    alice.sync()
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["evil.example"]})
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert alice.sync().typing(room) == set()


def test_typing_in_a_room_that_its_server_is_not_in(alice: Person, mallory: Adversary) -> None:
    room = alice.create_room()
    alice.sync()
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert alice.sync().typing(room) == set()


@pytest.mark.parametrize("number", [2**53, 2**63, 2**64, 2**200, -(2**63), -(2**200)])
def test_numbers_in_edus_that_nobody_can_keep(
    alice: Person, room: str, view: View, mallory: Adversary, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback, nothing lost of what comes with them, and syncs go on."""
    name = alice.send(room, "read me")
    read = {mallory.user: {"data": {"ts": number}, "event_ids": [name]}}
    presence = {"user_id": mallory.user, "presence": "online", "last_active_ago": number}
    event = mallory.event(view, "beside numbers")
    edus = [
        {"edu_type": "m.receipt", "content": {room: {"m.read": read}}},
        {"edu_type": "m.presence", "content": {"push": [presence]}},
        {"edu_type": "m.typing", "content": {"room_id": room, "user_id": mallory.user, "typing": True}},
    ]
    assert mallory.send([event], edus).status == 200
    assert alice.sees(room, view.name(event))
    assert alice.sync(since=None).typing(room) == {mallory.user}
    alice.ask("GET", f"/presence/{mallory.user}/status")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("thread", ["main", "$unknown", "", "x" * 60_000, "\x00", 5])
def test_receipts_in_threads_that_are_none(
    alice: Person, room: str, view: View, mallory: Adversary, thread: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = alice.send(room, "read me")
    read = {mallory.user: {"data": {"ts": 1, "thread_id": thread}, "event_ids": [name, 5, "", "\x00"]}}
    mallory.send(edus=[{"edu_type": "m.receipt", "content": {room: {"m.read": read}}}])
    assert alice.sync(since=None).next_batch
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x00", "\u202e"])
def test_presence_that_says_too_much(
    alice: Person, room: str, view: View, mallory: Adversary, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody who shares a room gets it with every sync."""
    presence = {"user_id": mallory.user, "presence": "online", "status_msg": text}
    mallory.send(edus=[{"edu_type": "m.presence", "content": {"push": [presence]}}])
    assert len(str(alice.sync(since=None).json)) < 500_000
    assert "Traceback" not in caplog.text


def test_users_that_there_cannot_be(
    alice: Person, room: str, view: View, mallory: Adversary, caplog: pytest.LogCaptureFixture
) -> None:
    """Names end where the domain begins, and a port is part of it."""
    for user in (
        "@alice:test:evil.example", "@:evil.example", "@x:evil.example:8448", "@x:EVIL.example",
        "evil.example", "@x", f"@{'x' * 300}:evil.example", "@x\x00:evil.example", "@x:evil.example\n",
    ):  # fmt: skip
        for content, type_ in (
            ({"room_id": room, "user_id": user, "typing": True}, "m.typing"),
            ({"push": [{"user_id": user, "presence": "online", "status_msg": "pwned"}]}, "m.presence"),
        ):
            mallory.send(edus=[{"edu_type": type_, "content": content}])
    synced = alice.sync(since=None)
    assert synced.typing(room) == set()
    assert "Traceback" not in caplog.text
