"""Lazily loaded members: who speaks, told once to each device, and again where it may have been lost.

https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members
"""

from typing import Any

import pytest

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.services.rooms.told_members import MOST_STREAMS_OF_DEVICE, ToldMembers
from tests.support.people import Person
from tests.support.whole_server import WholeServer

LAZY: dict[str, Any] = {"room": {"state": {"lazy_load_members": True}}}
PAGES: dict[str, Any] = {"lazy_load_members": True}


def lazy(limit: int, **also: Any) -> dict[str, Any]:
    return {"room": {"state": {"lazy_load_members": True, **also}, "timeline": {"limit": limit}}}


def rename(person: Person, name: str) -> None:
    person.ask("PUT", f"/profile/{person.user_id}/displayname", {"displayname": name})


@pytest.fixture
def room(alice: Person, bob: Person, carol: Person) -> str:
    """Of alice and bob, who speak, and of carol, who reads."""
    return alice.create_room(members=[bob, carol])


def test_lazy_members_are_those_who_spoke_and_oneself(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    alice.send_many(room, "abc")
    bob.send(room, "d")
    assert carol.sync(filter=lazy(1)).members(room) == {bob.user_id, carol.user_id}
    assert carol.sync(since=None, filter=lazy(2)).members(room) == {alice.user_id, bob.user_id, carol.user_id}


def test_members_of_the_timeline_need_not_come_as_state(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    alice.sync(filter=LAZY)
    bob.join(room)
    bob.send(room)
    synced = alice.sync(filter=LAZY)
    assert bob.user_id not in synced.members(room)
    assert ("m.room.member", bob.user_id) in synced.known_state(room)


def test_lazy_loading_leaves_other_state_alone(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den")
    synced = bob.sync(filter=lazy(1))
    assert ("m.room.name", "") in synced.state(room)
    assert ("m.room.power_levels", "") in synced.state(room)


def test_a_member_is_told_once_however_often_they_speak(
    alice: Person, bob: Person, carol: Person, room: str
) -> None:
    start = carol.sync(filter={}).next_batch
    alice.send(room)
    assert carol.sync(since=start, filter=LAZY).members(room) == {alice.user_id}
    bob.send(room)
    alice.send(room)
    assert carol.sync(filter=LAZY).members(room) == {bob.user_id}
    alice.send(room)
    bob.send(room)
    assert carol.sync(filter=LAZY).members(room) == set()


def test_whoever_wants_them_gets_them_again(alice: Person, carol: Person, room: str) -> None:
    redundant = lazy(1, include_redundant_members=True)
    for _ in range(2):
        alice.send(room)
        assert alice.user_id in carol.sync(filter=redundant).members(room)


def test_an_answer_that_was_lost_is_made_good(alice: Person, bob: Person, carol: Person, room: str) -> None:
    """The client asks again from the token that it has; what it does with that may be lost as well."""
    start = carol.sync(filter=lazy(1)).next_batch
    alice.send(room)
    assert carol.sync(filter=lazy(1)).members(room) == {alice.user_id}
    bob.send(room)

    assert carol.sync(since=start, filter=lazy(1)).members(room) == {bob.user_id}
    alice.send(room)
    assert carol.sync(filter=lazy(1)).members(room) == {alice.user_id}


def test_a_client_that_begins_anew_knows_nobody(alice: Person, carol: Person, room: str) -> None:
    alice.send(room)
    for _ in range(2):
        assert carol.sync(since=None, filter=lazy(1)).members(room) == {alice.user_id, carol.user_id}


def test_what_a_client_knew_before_it_began_anew_does_not_count(
    alice: Person, bob: Person, carol: Person, room: str
) -> None:
    alice.send(room)
    assert alice.user_id in carol.sync(since=None, filter=lazy(1)).members(room)
    bob.send(room)
    assert alice.user_id not in carol.sync(since=None, filter=lazy(1)).members(room)
    alice.send(room)
    assert carol.sync(filter=lazy(1)).members(room) == {alice.user_id}


def test_each_device_is_told(server: WholeServer, alice: Person, carol: Person, room: str) -> None:
    laptop = server.log_in("carol")
    for device in (carol, laptop):
        device.sync(filter=lazy(0))
    alice.send(room)
    for device in (carol, laptop):
        assert device.sync(filter=lazy(1)).members(room) == {alice.user_id}


def test_each_filter_is_told(alice: Person, carol: Person, room: str) -> None:
    """A device may run two syncs, such as one for notifications in the background."""
    start = carol.sync(filter=lazy(0)).next_batch
    alice.send(room)
    assert carol.sync(since=start, filter=lazy(1)).members(room) == {alice.user_id}
    assert carol.sync(since=start, filter=lazy(2)).members(room) == {alice.user_id}


def test_a_member_is_told_again_after_a_restart(each_server: WholeServer) -> None:
    alice, carol = each_server.register("alice"), each_server.register("carol")
    room = alice.create_room(members=[carol])
    alice.send(room)
    carol.sync(filter=lazy(1))
    each_server.restart()
    alice.send(room)
    assert carol.sync(filter=lazy(1)).members(room) == {alice.user_id}


def test_a_new_name_is_told(alice: Person, carol: Person, room: str) -> None:
    alice.send(room)
    carol.sync(filter=lazy(1))
    rename(alice, "Alice")
    alice.send_many(room, "ab")
    synced = carol.sync(filter=lazy(1))
    assert synced.is_limited(room)
    assert synced.state(room)["m.room.member", alice.user_id]["content"]["displayname"] == "Alice"
    alice.send(room)
    assert carol.sync(filter=lazy(1)).members(room) == set()


def test_who_changes_their_name_after_speaking_is_told_as_they_spoke(
    alice: Person, carol: Person, room: str
) -> None:
    carol.sync(filter=lazy(0))
    alice.send(room)
    rename(alice, "Alice")
    synced = carol.sync(filter=lazy(5))
    assert synced.state(room)["m.room.member", alice.user_id]["content"].get("displayname") != "Alice"
    assert synced.known_state(room)["m.room.member", alice.user_id]["content"]["displayname"] == "Alice"


def test_all_members_that_changed_in_a_gap_are_told(
    server: WholeServer, alice: Person, bob: Person, carol: Person
) -> None:
    """A client may keep the whole list of members: syncs keep it true."""
    dave = server.register("dave")
    room = alice.create_room(members=[bob, carol], preset="public_chat")
    carol.sync(filter=lazy(1))
    dave.join(room)
    alice.send_many(room, "abc")
    bob.send(room, "d")
    synced = carol.sync(filter=lazy(1))
    assert synced.is_limited(room)
    assert synced.members(room) == {bob.user_id, dave.user_id}


def test_members_are_told_in_the_state_after_the_timeline(
    alice: Person, bob: Person, carol: Person, room: str
) -> None:
    carol.sync(filter=lazy(0), use_state_after="true")
    bob.send(room)
    alice.kick(room, bob)
    state = carol.sync(filter=lazy(5), use_state_after="true").state_after(room)
    told = {key: event["content"]["membership"] for (type_, key), event in state.items() if "member" in type_}
    assert told == {alice.user_id: "join", bob.user_id: "leave"}
    alice.send(room)
    assert carol.sync(filter=lazy(5), use_state_after="true").state_after(room) == {}


# Pages of history


def test_a_page_tells_only_of_members_that_those_before_did_not(
    alice: Person, bob: Person, carol: Person, room: str
) -> None:
    for text in "ab":
        alice.send(room, text)
        bob.send(room, text)
    first = carol.messages(room, limit=1, filter=PAGES)
    second = carol.messages(room, limit=1, filter=PAGES, start=first.end)
    third = carol.messages(room, limit=2, filter=PAGES, start=second.end)
    assert [page.members for page in (first, second, third)] == [{bob.user_id}, {alice.user_id}, set()]


def test_a_page_asked_for_again_tells_the_same(alice: Person, bob: Person, carol: Person, room: str) -> None:
    alice.send(room)
    bob.send(room)
    first = carol.messages(room, limit=1, filter=PAGES)
    for _ in range(2):
        page = carol.messages(room, limit=1, filter=PAGES, start=first.end)
        assert page.members == {alice.user_id}
    redundant = carol.messages(
        room, limit=3, filter={**PAGES, "include_redundant_members": True}, start=page.end
    )
    assert {bob.user_id, carol.user_id} <= redundant.members


def test_a_page_need_not_tell_of_members_whom_the_syncs_told(
    alice: Person, bob: Person, carol: Person, room: str
) -> None:
    alice.send(room)
    bob.send(room)
    synced = carol.sync(filter=lazy(1))
    before = synced.prev_batch(room)
    assert carol.messages(room, limit=1, filter=PAGES).members == {bob.user_id}, "It may not have arrived"
    carol.sync(filter=lazy(1))
    assert carol.messages(room, limit=1, filter=PAGES).members == set()
    assert carol.messages(room, limit=1, filter=PAGES, start=before).members == {alice.user_id}


# Bounds


class Device:
    def __init__(self, name: str) -> None:
        self.user_id = UserId("@carol:test")
        self.device_id = DeviceId(name)


def test_the_devices_that_synced_longest_ago_are_forgotten_first() -> None:
    told = ToldMembers(most_in_all=120)
    devices = [Device(str(number)) for number in range(4)]
    streams = [told.begin(device, "all", 1) for device in devices]
    for device, stream in zip(devices, streams, strict=True):
        told.note(device, stream, range(30), 2)
    known = [told.begin(device, "all", 2).has(7, 2) for device in reversed(devices)]
    assert known == [True, True, True, False]


def test_a_device_has_only_so_many_filters() -> None:
    told = ToldMembers()
    device = Device("phone")
    first = told.begin(device, "0", 1)
    told.note(device, first, [7], 2)
    for number in range(1, MOST_STREAMS_OF_DEVICE + 1):
        told.begin(device, str(number), 1)
    told.note(device, first, [8], 2)
    assert not told.begin(device, "0", 2).has(7, 2)
