"""Keys of other servers, on both databases."""

from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Database
from homeserver.storage.server_keys import ServerKeyStore, StoredKey
from tests.support.running import result

STORE = ServerKeyStore()
A, B = ServerName("a.example"), ServerName("b.example")


def key(server: ServerName, name: str, valid_until_ms: int, public: bytes = b"\x00\xff" * 16) -> StoredKey:
    return StoredKey(server, f"ed25519:{name}", public, valid_until_ms)


def keep(database: Database, keys: list[StoredKey], document: bytes, at_ms: int) -> None:
    result(database.write(STORE.keep, keys, document, fetched_ms=at_ms))


def test_keys_come_back_as_they_were(database: Database) -> None:
    kept = [key(A, "1", 5), key(A, "2", 2**53), key(B, "1", -1)]
    keep(database, kept[:2], b'{"a":"\xc3\xbc"}', 1)
    keep(database, kept[2:], b"{}", 1)
    assert sorted(result(database.read(STORE.of_servers, [A, B]))) == sorted(kept)
    assert result(database.read(STORE.of_servers, [ServerName("c.example")])) == []
    assert result(database.read(STORE.of_servers, [])) == []


def test_the_newest_word_counts(database: Database) -> None:
    keep(database, [key(A, "1", 100)], b"old", 1)
    keep(database, [key(A, "1", 50, b"\x01" * 32)], b"new", 2)
    assert result(database.read(STORE.of_servers, [A])) == [key(A, "1", 50, b"\x01" * 32)]
    (document,) = result(database.read(STORE.documents_of, [A]))[A]
    assert (document.document, document.valid_until_ms) == (b"new", 50)


def test_documents_newest_first(database: Database) -> None:
    keep(database, [key(A, "1", 100)], b"first", 1)
    keep(database, [key(A, "2", 100)], b"second", 2)
    keep(database, [key(B, "1", 100)], b"of b", 3)
    found = result(database.read(STORE.documents_of, [A, B, ServerName("c.example")]))
    assert {name: [each.document for each in documents] for name, documents in found.items()} == {
        A: [b"second", b"first"],
        B: [b"of b"],
    }


def test_thousands_of_servers(database: Database) -> None:
    names = [ServerName(f"s{number}.example") for number in range(1_200)]
    keep(database, [key(name, "1", 1) for name in names], b"{}", 1)
    assert len(result(database.read(STORE.of_servers, names))) == 1_200
    assert len(result(database.read(STORE.documents_of, names))) == 1_200
