"""Exceptions to what events do, as rows."""

from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Database
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.push_actions import Notification, PersonalAction, PushActionStore, Stay
from homeserver.storage.rooms import Member, RoomStore
from tests.support.running import result

ALICE, BOB = UserId("@alice:here"), UserId("@bob:here")
ROOM, OTHER_ROOM = 7, 8
ROOT = EventId("$root")


class Act(NamedTuple):
    notify: bool
    highlight: bool


class Outcome(NamedTuple):
    personal: dict[UserId, Act]


class World:
    """A store, and the numbers of users."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.identifiers = Identifiers()
        self.store = PushActionStore(self.identifiers)

    def add(
        self, event_nid: int, personal: dict[UserId, Act], *, room: int = ROOM, thread: EventId | None = None
    ) -> None:
        result(self.database.write(self.store.add, room, event_nid, thread, Outcome(personal)))

    def nid(self, user_id: UserId) -> int:
        return result(self.database.write(self.identifiers.user_nid, user_id))

    def after(self, event_nid: int, *, limit: int = 10) -> list[PersonalAction]:
        read = self.database.read(self.store.personal_after, self.nid(BOB), ROOM, event_nid, limit=limit)
        return result(read)

    def notified(self, before: int = 100, *, only_highlights: bool = False) -> list[Notification]:
        return result(
            self.database.read(
                self.store.notifications_before,
                self.nid(BOB),
                before,
                only_highlights=only_highlights,
                limit=10,
            )
        )


def test_an_outcome_without_exceptions_leaves_no_rows(database: Database) -> None:
    world = World(database)
    world.add(1, {})
    assert world.after(0) == []


def test_each_users_exceptions_come_newest_first(database: Database) -> None:
    world = World(database)
    world.add(1, {BOB: Act(True, False), ALICE: Act(True, True)})
    world.add(2, {BOB: Act(False, False)}, thread=ROOT)
    world.add(3, {BOB: Act(True, True)}, room=OTHER_ROOM)
    first, second = PersonalAction(1, None, True, False), PersonalAction(2, ROOT, False, False)
    assert world.after(0) == [second, first]
    assert world.after(0, limit=1) == [second]
    assert world.after(1) == [second]


def test_what_notified_somebody_by_name(database: Database) -> None:
    world = World(database)
    world.add(1, {BOB: Act(True, False)})
    world.add(2, {BOB: Act(False, False)})
    world.add(3, {BOB: Act(True, True)}, room=OTHER_ROOM, thread=ROOT)
    highlight = Notification(3, OTHER_ROOM, ROOT, True)
    assert world.notified() == [highlight, Notification(1, ROOM, None, False)]
    assert world.notified(before=3) == [Notification(1, ROOM, None, False)]
    assert world.notified(only_highlights=True) == [highlight]


def test_what_an_invite_did_is_withdrawn_with_it(database: Database) -> None:
    world = World(database)
    for nid in (1, 2):
        world.add(nid, {BOB: Act(True, False), ALICE: Act(True, False)})
    rooms = RoomStore(world.identifiers)
    result(database.write(rooms.put_member, ROOM, Member(BOB, "invite", 2, 2, True)))
    for _ in range(2):
        result(database.write(world.store.withdraw, ROOM, BOB))
        assert world.notified() == [Notification(1, ROOM, None, False)]
    result(database.write(world.store.withdraw, ROOM, ALICE))
    count = result(database.read(lambda txn: txn.value("SELECT COUNT(*) FROM push_actions")))
    assert count == 3


def test_somebody_who_never_came_stays_since_nothing_in_the_rooms_there_are(database: Database) -> None:
    world = World(database)
    lobby, nowhere = RoomId("!lobby:test"), RoomId("!nowhere:test")
    nid = result(database.write(RoomStore(Identifiers()).create, lobby, "12"))
    stays = result(database.read(world.store.stays, world.nid(BOB), [lobby, nowhere]))
    assert stays == [Stay(lobby, nid, 0, 0)]
    assert result(database.read(world.store.room_ids, [])) == {}
