"""Last known presence as rows."""

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.storage.presence import LastPresence, PresenceStore
from tests.support.running import result

ALICE, BOB = UserId("@alice:here"), UserId("@bob:here")


def test_the_newest_replaces_what_was_known(database: Database) -> None:
    store = PresenceStore()
    result(
        database.write(store.put, [LastPresence(ALICE, True, 5, "here"), LastPresence(BOB, True, 6, None)])
    )
    result(database.write(store.put, [LastPresence(ALICE, False, 7, None)]))
    assert result(database.read(store.of_users, [ALICE, UserId("@nobody:here")])) == [
        LastPresence(ALICE, False, 7, None)
    ]
    assert result(database.read(store.who_was_online)) == [LastPresence(BOB, True, 6, None)]
    assert result(database.read(store.of_users, [])) == []
