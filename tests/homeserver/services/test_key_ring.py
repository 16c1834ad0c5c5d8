"""Keys at a time: remembered, stored, fetched from servers or notaries, never believed without proof."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_signatures import KeyUnknown, Wanted
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.server_keys import LONGEST_VALIDITY_MS, OldKey
from homeserver.protocol.signatures import BadSignature, SigningKey, sign_event, sign_json
from homeserver.remote.errors import RemoteUnreachable
from homeserver.runtime.database import Database
from homeserver.runtime.threads import Threads
from homeserver.services import key_ring as module
from homeserver.services.key_ring import KeyRing, OwnKeys
from homeserver.storage.server_keys import ServerKeyStore
from tests.support.clock import FakeClock
from tests.support.running import Running, result

US = ServerName("us.example")
THEM = ServerName("them.example")
NOTARY = ServerName("notary.example")
DAY_MS = 86_400_000
OLD_ROOM, NEW_ROOM = room_version("4"), room_version("11")


def key_named(name: str) -> SigningKey:
    return SigningKey(name, name.encode().ljust(32, b".")[:32])


OUR_KEY = key_named("ours")
OUR_OLD_KEY = key_named("ours_before")
THEIR_KEY = key_named("theirs")


class World:
    """Servers and what they say of their keys. `asked` is who was asked: a server, or (notary, servers)."""

    def __init__(self, time: FakeClock) -> None:
        self._time = time
        self.documents: dict[str, JsonObject] = {}
        self.notaries: dict[str, dict[str, JsonObject]] = {}
        self.asked: list[Any] = []
        self.pause: Deferred[None] | None = None
        self.hanging: set[str] = set()
        self.release: Deferred[None] = Deferred()

    def publish(
        self,
        *keys: SigningKey,
        server: ServerName = THEM,
        valid_ms: int = DAY_MS,
        old: Mapping[SigningKey, int] | None = None,
    ) -> JsonObject:
        """Let the server have these keys from now on, each signing for itself."""
        document: JsonObject = {
            "server_name": server,
            "valid_until_ts": self._time.now_ms() + valid_ms,
            "verify_keys": {key.key_id: {"key": key.verify_key.to_base64()} for key in keys},
            "old_verify_keys": {
                key.key_id: {"key": key.verify_key.to_base64(), "expired_ts": expired}
                for key, expired in (old or {}).items()
            },
        }
        for key in keys:
            document = sign_json(document, server, key)
        self.documents[server] = document
        return document

    def notarise(self, notary: ServerName, key: SigningKey, document: JsonObject) -> None:
        """Let the notary have the document, with its signature."""
        about = self.notaries.setdefault(notary, {})
        about[str(document["server_name"])] = sign_json(document, notary, key)

    async def direct(self, server_name: ServerName) -> JsonObject:
        self.asked.append(server_name)
        if self.pause is not None:
            await self.pause
        await self._hang(server_name)
        if server_name not in self.documents:
            raise RemoteUnreachable(f"{server_name} does not answer")
        return self.documents[server_name]

    async def from_notary(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[str, int]]
    ) -> list[JsonObject]:
        self.asked.append((notary, sorted(wanted)))
        await self._hang(notary)
        if notary not in self.notaries:
            raise RemoteUnreachable(f"{notary} does not answer")
        return list(self.notaries[notary].values())

    async def _hang(self, server_name: ServerName) -> None:
        if server_name in self.hanging and not self.release.called:
            waiting: Deferred[None] = Deferred(lambda _: None)
            self.release.addCallback(lambda _: None if waiting.called else waiting.callback(None))
            await waiting


class ThreadsHere:
    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, function: Any, *args: Any) -> Any:
        self.jobs += 1
        return function(*args)


@pytest.fixture
def world(time: FakeClock) -> World:
    return World(time)


@pytest.fixture
def threads() -> ThreadsHere:
    return ThreadsHere()


def ring_of(
    world: World,
    database: Database,
    time: FakeClock,
    threads: ThreadsHere | None = None,
    *notaries: ServerName,
) -> KeyRing:
    own = OwnKeys(US, OUR_KEY, [OldKey(OUR_OLD_KEY.verify_key, time.now_ms() - DAY_MS)])
    return KeyRing(
        own, world, database, ServerKeyStore(), time, notaries=notaries, threads=cast(Threads | None, threads)
    )


@pytest.fixture
def ring(world: World, sqlite_database: Database, time: FakeClock, threads: ThreadsHere) -> KeyRing:
    return ring_of(world, sqlite_database, time, threads, NOTARY)


def find(ring: KeyRing, key: SigningKey, at_ms: int | None, server: ServerName = THEM) -> bytes:
    return result(ring.verify_key(server, key.key_id, at_ms)).key


def event(*keys: SigningKey, version: Any = NEW_ROOM, at_ms: int = 0, **changes: Any) -> JsonObject:
    """By @a:them.example, signed in THEIR name with these keys."""
    pdu: JsonObject = {
        "type": "m.room.message", "sender": "@a:them.example", "room_id": "!r:them.example",
        "content": {"body": "x"}, "origin_server_ts": at_ms, "depth": 1, "prev_events": [], "auth_events": [],
        "hashes": {"sha256": "x"}, **changes,
    }  # fmt: skip
    for key in keys:
        pdu = sign_event(version, pdu, THEM, key)
    return pdu


# Where keys come from


def test_a_key_is_fetched_once_and_kept(
    ring: KeyRing, world: World, sqlite_database: Database, time: FakeClock
) -> None:
    world.publish(THEIR_KEY)
    for _ in range(3):
        assert find(ring, THEIR_KEY, time.now_ms()) == THEIR_KEY.verify_key.key
    assert world.asked == [THEM]
    after_restart = ring_of(world, sqlite_database, time)
    assert find(after_restart, THEIR_KEY, time.now_ms()) == THEIR_KEY.verify_key.key
    assert world.asked == [THEM]


def test_known_keys_are_there_at_once(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY)
    assert ring.known_key(THEM, THEIR_KEY.key_id, None) is None
    find(ring, THEIR_KEY, None)
    known = ring.known_key(THEM, THEIR_KEY.key_id, time.now_ms())
    assert known is not None
    assert known.key == THEIR_KEY.verify_key.key


def test_our_own_keys_need_nobody(ring: KeyRing, world: World, time: FakeClock) -> None:
    now_ms = time.now_ms()
    assert find(ring, OUR_KEY, now_ms + 365 * DAY_MS, US) == OUR_KEY.verify_key.key
    assert find(ring, OUR_OLD_KEY, now_ms - 2 * DAY_MS, US) == OUR_OLD_KEY.verify_key.key
    with pytest.raises(KeyUnknown):
        find(ring, OUR_OLD_KEY, now_ms, US)
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, now_ms, US)
    assert world.asked == []


def test_many_who_want_one_server_s_key_ask_once(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY)
    world.pause = Deferred()
    waiting = [Running(ring.verify_key(THEM, THEIR_KEY.key_id, time.now_ms())) for _ in range(5)]
    assert not any(one.is_done for one in waiting)
    world.pause.callback(None)
    assert {one.result().key for one in waiting} == {THEIR_KEY.verify_key.key}
    assert world.asked == [THEM]


def test_a_server_that_does_not_answer_is_asked_again_later(
    ring: KeyRing, world: World, time: FakeClock
) -> None:
    for _ in range(3):
        with pytest.raises(KeyUnknown, match=r"them\.example"):
            find(ring, THEIR_KEY, time.now_ms())
    assert world.asked.count(THEM) == 1
    world.publish(THEIR_KEY)
    time.advance(module.ASK_AGAIN_S + 1)
    assert find(ring, THEIR_KEY, time.now_ms()) == THEIR_KEY.verify_key.key


def test_silent_servers_are_asked_less_often_but_never_given_up(
    ring: KeyRing, world: World, time: FakeClock
) -> None:
    for _ in range(360):
        with pytest.raises(KeyUnknown):
            find(ring, THEIR_KEY, time.now_ms())
        time.advance(10)
    assert 12 <= world.asked.count(THEM) <= 16


def test_made_up_key_names_do_not_make_us_ask_again_and_again(
    ring: KeyRing, world: World, time: FakeClock
) -> None:
    world.publish(THEIR_KEY)
    for number in range(50):
        with pytest.raises(KeyUnknown):
            find(ring, key_named(f"made_up_{number}"), time.now_ms())
    assert world.asked.count(THEM) == 1


# Validity


def test_a_key_is_good_until_its_server_says(ring: KeyRing, world: World, time: FakeClock) -> None:
    now_ms = time.now_ms()
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    find(ring, THEIR_KEY, now_ms + DAY_MS)
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, now_ms + DAY_MS + 1)
    find(ring, THEIR_KEY, now_ms - 10 * 365 * DAY_MS)
    find(ring, THEIR_KEY, None)


def test_but_not_for_more_than_seven_days(ring: KeyRing, world: World, time: FakeClock) -> None:
    now_ms = time.now_ms()
    world.publish(THEIR_KEY, valid_ms=365 * DAY_MS)
    find(ring, THEIR_KEY, now_ms + LONGEST_VALIDITY_MS)
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, now_ms + LONGEST_VALIDITY_MS + 1)


def test_an_expired_key_is_asked_for_again(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    find(ring, THEIR_KEY, time.now_ms())
    time.advance(2 * 86_400)
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    find(ring, THEIR_KEY, time.now_ms())
    assert world.asked == [THEM, THEM]


def test_old_keys_are_good_for_old_events_only(ring: KeyRing, world: World, time: FakeClock) -> None:
    old, retired_ms = key_named("old"), time.now_ms() - 30 * DAY_MS
    world.publish(THEIR_KEY, old={old: retired_ms})
    find(ring, old, retired_ms)
    with pytest.raises(KeyUnknown):
        find(ring, old, retired_ms + 1)
    find(ring, old, None)


def test_a_key_may_be_retired_before_its_time(ring: KeyRing, world: World, time: FakeClock) -> None:
    stolen, begin_ms = key_named("stolen"), time.now_ms()
    world.publish(stolen, valid_ms=DAY_MS)
    find(ring, stolen, begin_ms)
    time.advance(120)
    world.publish(THEIR_KEY, old={stolen: begin_ms})
    find(ring, THEIR_KEY, time.now_ms())
    with pytest.raises(KeyUnknown):
        find(ring, stolen, time.now_ms())
    find(ring, stolen, begin_ms)


# Lying servers


@pytest.mark.parametrize("lie", ["another name", "not signed", "signed by another"])
def test_servers_that_lie_are_not_believed(ring: KeyRing, world: World, time: FakeClock, lie: str) -> None:
    document = world.publish(THEIR_KEY)
    if lie == "another name":
        world.documents[THEM] = world.publish(THEIR_KEY, server=ServerName("victim.example"))
        del world.documents["victim.example"]
    elif lie == "not signed":
        world.documents[THEM] = {**document, "signatures": {}}
    else:
        world.documents[THEM] = sign_json({**document, "signatures": {}}, THEM, key_named("another"))
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms())
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms(), ServerName("victim.example"))


# Notaries


@pytest.fixture
def notary_key(world: World) -> SigningKey:
    """Of a notary that can be asked for its own keys."""
    key = key_named("notary")
    world.publish(key, server=NOTARY)
    return key


def test_a_notary_is_asked_when_the_server_does_not_answer(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    world.notarise(NOTARY, notary_key, world.publish(THEIR_KEY))
    del world.documents[THEM]
    assert find(ring, THEIR_KEY, time.now_ms()) == THEIR_KEY.verify_key.key
    assert world.asked == [THEM, (NOTARY, [THEM]), NOTARY]


def test_or_does_not_know_the_key_any_more(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    lost = key_named("lost")
    world.notarise(NOTARY, notary_key, world.publish(lost))
    world.publish(THEIR_KEY)
    assert find(ring, lost, time.now_ms()) == lost.verify_key.key


def test_but_not_to_make_a_key_valid_for_longer(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms() + 2 * DAY_MS)
    assert world.asked == [THEM]


@pytest.mark.parametrize(
    "lie", ["not signed by the notary", "signed with a stranger's key", "not signed", "changed"]
)
def test_notaries_are_not_believed_without_both_signatures(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey, lie: str
) -> None:
    document = world.publish(THEIR_KEY)
    del world.documents[THEM]
    forged = {
        "not signed by the notary": document,
        "signed with a stranger's key": sign_json(document, NOTARY, SigningKey("notary", b"?" * 32)),
        "not signed": sign_json({**document, "signatures": {}}, NOTARY, notary_key),
        "changed": sign_json({**document, "valid_until_ts": 2**50}, NOTARY, notary_key),
    }[lie]
    world.notaries[NOTARY] = {THEM: forged}
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms())


def test_a_notary_cannot_speak_of_servers_it_was_not_asked_about(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    victim = ServerName("victim.example")
    world.notarise(NOTARY, notary_key, world.publish(THEIR_KEY, server=victim))
    world.documents.clear()
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms())
    assert ring.known_key(victim, THEIR_KEY.key_id, None) is None


def test_hearsay_does_not_replace_what_is_good_for_longer(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    world.notarise(NOTARY, notary_key, world.publish(THEIR_KEY, key_named("lost"), valid_ms=1_000))
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    find(ring, key_named("lost"), None)
    find(ring, THEIR_KEY, time.now_ms() + DAY_MS)


def test_the_next_notary_is_asked_when_one_is_silent(
    world: World, sqlite_database: Database, time: FakeClock, notary_key: SigningKey
) -> None:
    ring = ring_of(world, sqlite_database, time, None, ServerName("silent.example"), NOTARY)
    world.notarise(NOTARY, notary_key, world.publish(THEIR_KEY))
    del world.documents[THEM]
    find(ring, THEIR_KEY, time.now_ms())


def test_notaries_whose_keys_are_unknown_do_not_ask_each_other_for_ever(
    world: World, sqlite_database: Database, time: FakeClock
) -> None:
    ring = ring_of(world, sqlite_database, time, None, ServerName("one.example"), ServerName("two.example"))
    for name in ("one.example", "two.example"):
        document = world.publish(THEIR_KEY)
        world.notarise(ServerName(name), key_named("n"), document)
    world.documents.clear()
    with pytest.raises(KeyUnknown):
        find(ring, THEIR_KEY, time.now_ms())
    assert len(world.asked) < 12


def test_for_many_servers_a_notary_is_asked_first(
    ring: KeyRing, world: World, time: FakeClock, notary_key: SigningKey
) -> None:
    servers = [ServerName(f"s{number}.example") for number in range(250)]
    for server in servers[:240]:
        world.notarise(NOTARY, notary_key, world.publish(THEIR_KEY, server=server))
        del world.documents[server]
    for server in servers[240:]:
        world.publish(THEIR_KEY, server=server)
    result(ring.find(Wanted(server, THEIR_KEY.key_id, time.now_ms()) for server in servers))
    assert all(ring.known_key(server, THEIR_KEY.key_id, time.now_ms()) for server in servers)
    batches = [asked[1] for asked in world.asked if isinstance(asked, tuple)]
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert sorted(asked for asked in world.asked if not isinstance(asked, tuple)) == sorted(
        [NOTARY, *servers[240:]]
    )


# Events


def test_an_event_signed_by_its_server(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY)
    result(ring.check_event(NEW_ROOM, event(THEIR_KEY, at_ms=time.now_ms())))


@pytest.mark.parametrize(
    ("days", "version", "good"), [(1, NEW_ROOM, True), (8, NEW_ROOM, False), (8, OLD_ROOM, True)]
)
def test_validity_counts_in_rooms_that_enforce_it(
    ring: KeyRing, world: World, time: FakeClock, days: int, version: Any, good: bool
) -> None:
    world.publish(THEIR_KEY, valid_ms=DAY_MS)
    pdu = event(THEIR_KEY, version=version, at_ms=time.now_ms() + days * DAY_MS)
    if good:
        result(ring.check_event(version, pdu))
    else:
        with pytest.raises(KeyUnknown):
            result(ring.check_event(version, pdu))


def test_events_that_are_not_signed_as_they_must_be(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY)
    good = event(THEIR_KEY)
    stranger = SigningKey("theirs", b"?" * 32)
    pdus: list[JsonObject] = [
        good,
        event(),
        {**good, "signatures": []},
        {**good, "signatures": {THEM: {THEIR_KEY.key_id: 5}}},
        {**good, "signatures": {THEM: {THEIR_KEY.key_id: "AAAA"}}},
        {**good, "depth": 2},
        event(stranger),
        event(key_named("unknown")),
        {**good, "content": {"body": "changed: the hash tells, not the signature"}},
        {**good, "unsigned": {"anything": 1}},
    ]
    verdicts = result(ring.check_events(NEW_ROOM, pdus))
    kinds = [type(verdict) for verdict in verdicts]
    bad = BadSignature
    nothing = type(None)
    assert kinds == [nothing, bad, bad, bad, bad, bad, bad, KeyUnknown, nothing, nothing]


def test_one_good_signature_of_a_server_is_enough(ring: KeyRing, world: World) -> None:
    world.publish(THEIR_KEY)
    result(ring.check_event(NEW_ROOM, event(key_named("unknown"), THEIR_KEY)))


def test_an_authorised_join_needs_both_servers(ring: KeyRing, world: World) -> None:
    world.publish(THEIR_KEY)
    friend, key = ServerName("friend.example"), key_named("friend")
    world.publish(key, server=friend)
    join = event(
        THEIR_KEY, type="m.room.member", state_key="@a:them.example",
        content={"membership": "join", "join_authorised_via_users_server": "@f:friend.example"},
    )  # fmt: skip
    with pytest.raises(BadSignature, match=r"friend\.example"):
        result(ring.check_event(NEW_ROOM, join))
    result(ring.check_event(NEW_ROOM, sign_event(NEW_ROOM, join, friend, key)))


def test_many_events_are_checked_in_threads(ring: KeyRing, world: World, threads: ThreadsHere) -> None:
    world.publish(THEIR_KEY)
    pdus = [event(THEIR_KEY, depth=number) for number in range(250)]
    pdus[130] = {**pdus[130], "depth": 5_000}
    verdicts = result(ring.check_events(NEW_ROOM, pdus))
    assert [index for index, verdict in enumerate(verdicts) if verdict is not None] == [130]
    assert threads.jobs == 3
    assert world.asked == [THEM]


def test_no_events(ring: KeyRing) -> None:
    assert result(ring.check_events(NEW_ROOM, [])) == []


def test_a_storm_of_servers_is_found_in_one_go(ring: KeyRing, world: World, time: FakeClock) -> None:
    """None of a batch's keys is forgotten before the batch has been checked."""
    pdus = []
    for number in range(100):
        server = ServerName(f"s{number}.example")
        world.publish(THEIR_KEY, server=server)
        pdu = event(sender=f"@a:{server}", at_ms=time.now_ms())
        pdus.append(sign_event(NEW_ROOM, pdu, server, THEIR_KEY))
    assert set(result(ring.check_events(NEW_ROOM, pdus))) == {None}


def test_only_so_many_servers_stay_in_memory(
    world: World, sqlite_database: Database, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SERVERS_IN_MEMORY", 20)
    ring = ring_of(world, sqlite_database, time)
    for number in range(100):
        server = ServerName(f"s{number}.example")
        world.publish(THEIR_KEY, server=server)
        find(ring, THEIR_KEY, time.now_ms(), server)
    assert len(ring._known) <= 20
    find(ring, OUR_KEY, None, US)
    find(ring, THEIR_KEY, None, ServerName("s0.example"))
    assert len(world.asked) == 100


def test_json_of_servers(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.publish(THEIR_KEY)
    signed = sign_json({"a": 1}, THEM, THEIR_KEY)
    result(ring.check_json(signed, THEM, at_ms=time.now_ms()))
    problems: list[tuple[JsonObject, type[MatrixError]]] = [
        ({"a": 1}, BadSignature),
        ({**signed, "a": 2}, BadSignature),
        (sign_json({"a": 1}, THEM, key_named("unknown")), KeyUnknown),
    ]
    for obj, kind in problems:
        with pytest.raises(kind):
            result(ring.check_json(obj, THEM, at_ms=time.now_ms()))


# Our own document


def test_our_document_is_made_anew_every_hour(ring: KeyRing, time: FakeClock) -> None:
    first = ring.own_document()
    assert first["valid_until_ts"] == time.now_ms() + DAY_MS
    time.advance(3_599)
    assert ring.own_document() is first
    time.advance(2)
    assert ring.own_document()["valid_until_ts"] == time.now_ms() + DAY_MS


@pytest.mark.parametrize(
    "name", ["s{}.evil.example", "{}.s.evil.example:8448", "10.0.0.{}", "[2001:db8::{}]"]
)
def test_names_that_hang_do_not_keep_others_waiting(ring: KeyRing, world: World, name: str) -> None:
    """Anybody may have any number of names whose servers take their time."""
    world.hanging = {name.format(number) for number in range(200)}
    searches = [ring.find([Wanted(ServerName(hanging), "ed25519:x", None)]) for hanging in world.hanging]
    running = [Running(search) for search in searches]
    world.publish(THEIR_KEY)
    asking = Running(ring.verify_key(THEM, THEIR_KEY.key_id, None))
    assert asking.is_done
    assert len(world.asked) <= 60
    world.release.callback(None)
    assert all(search.is_done for search in running)


def test_a_search_ends_although_nobody_answers(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.hanging = {THEM, NOTARY}
    asking = Running(ring.verify_key(THEM, THEIR_KEY.key_id, None))
    time.advance(2 * module.SEARCH_S)
    with pytest.raises(KeyUnknown):
        asking.result()


def test_what_a_search_has_found_counts_when_it_ends_early(
    ring: KeyRing, world: World, time: FakeClock
) -> None:
    """One server of a room cannot keep the events of others waiting for ever."""
    other, key = ServerName("other.example"), key_named("other")
    world.hanging = {THEM, NOTARY}
    world.publish(key, server=other)
    wanted = [Wanted(THEM, THEIR_KEY.key_id, None), Wanted(other, key.key_id, None)]
    search = Running(ring.find(wanted))
    assert not search.is_done
    time.advance(2 * module.SEARCH_S)
    assert search.is_done
    assert find(ring, key, None, other) == key.verify_key.key
    assert world.asked.count(other) == 1


def test_a_search_for_many_servers_has_more_time(ring: KeyRing, world: World, time: FakeClock) -> None:
    world.hanging = {NOTARY, *(f"s.{number}.example" for number in range(1_000))}
    search = Running(ring.find(Wanted(ServerName(name), "ed25519:x", None) for name in world.hanging))
    time.advance(2 * module.SEARCH_S)
    assert not search.is_done
    time.advance(1_000 * module.SEARCH_S_PER_SERVER)
    assert search.is_done
