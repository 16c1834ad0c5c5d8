"""Kill the server with SIGKILL in the middle of its work, many times: nothing answered is lost or doubled.

POSTROOM_KILL_ROUNDS: a number of rounds, or `full` for 50 on SQLite and 20 on PostgreSQL. Without it a few,
bounded in time. POSTROOM_KILL_SEED repeats a run's choices.
"""

import asyncio
import hashlib
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from homeserver.runtime.migrations import DialectName
from tests.support.crash_world import PASSWORD, V3, Person, World, doubled, registration
from tests.support.database import Databases
from tests.support.http_client import HttpClient, Lost
from tests.support.server_process import ServerProcess

FULL_ROUNDS = {"sqlite": 50, "postgresql": 20}
FEW_ROUNDS = {"sqlite": 6, "postgresql": 4}
FEW_ROUNDS_SECONDS = 60
CATCH_UP_SECONDS = 30
SHORTEST_LIFE, LONGEST_LIFE = 0.2, 1.2


def rounds_of(dialect: DialectName) -> tuple[int, float]:
    """How many rounds, and after how many seconds not to begin another."""
    asked = os.environ.get("POSTROOM_KILL_ROUNDS", "")
    if asked == "full":
        return FULL_ROUNDS[dialect], float("inf")
    if asked:
        return int(asked), float("inf")
    return FEW_ROUNDS[dialect], FEW_ROUNDS_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_nothing_answered_is_lost_or_doubled(
    dialect: DialectName, databases: Databases, tmp_path: Path
) -> None:
    url = "sqlite:///homeserver.db" if dialect == "sqlite" else databases.empty("postgresql")
    server = ServerProcess(tmp_path / "server", database=url)
    seed = int(os.environ.get("POSTROOM_KILL_SEED", "1"))
    print(f"seed {seed}; the server's files are in {server.folder}")
    try:
        server.start()
        asyncio.run(live_and_die(server, World(server.port, seed), *rounds_of(dialect)))
    finally:
        server.end()
    assert not server.tracebacks(), server.tracebacks()


async def live_and_die(server: ServerProcess, world: World, rounds: int, seconds: float) -> None:
    began = time.monotonic()
    await world.begin()
    for number in range(rounds):
        if time.monotonic() - began > seconds:
            break
        await one_life(server, world)
        await check(server, world)
        print(f"round {number + 1}: {world.told()}")
    await check_history(world)
    assert min(len(world.ledger.sent), len(world.ledger.uploads), len(world.ledger.accounts)) > 0
    assert server.stop() == 0


async def one_life(server: ServerProcess, world: World) -> None:
    """Work, die, come back."""
    working = asyncio.create_task(world.live())
    await asyncio.sleep(world.random.uniform(SHORTEST_LIFE, LONGEST_LIFE))
    assert not working.done(), "nobody works"
    server.kill()
    await working
    world.drop_connections()
    await asyncio.to_thread(server.start)


async def check(server: ServerProcess, world: World) -> None:
    """Everything the server said yes to is there, once."""
    await retry_unanswered(world)
    await catch_up(world)
    check_timelines(world)
    await check_repeated_transactions(world)
    await check_accounts(world)
    await check_uploads(world)
    await check_rooms(world)
    left_over = [path.name for path in (server.folder / "data" / "media" / "incoming").iterdir()]
    assert left_over == []


async def retry_unanswered(world: World) -> None:
    for sent in world.ledger.sent:
        if sent.event_id is None:
            sent.was_retried = True
            await sent.sender.deliver(sent)


async def catch_up(world: World) -> None:
    """Everybody syncs from their saved token until they have seen one more message in each room."""
    for room_id in world.rooms:
        await world.people[0].send(room_id)
    last = {sent.room_id: sent.event_id for sent in world.ledger.sent[-len(world.rooms) :]}

    async def follow(person: Person) -> None:
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while any(all(event_id != seen for seen, _ in person.seen[r]) for r, event_id in last.items()):
                await person.sync()

    await asyncio.gather(*(follow(person) for person in world.people))


def check_timelines(world: World) -> None:
    """Every client saw every message once, and all saw the same order."""
    for room_id in world.rooms:
        first = world.people[0].seen[room_id]
        assert not doubled([event_id for event_id, _ in first])
        texts = [text for _, text in first if text]
        assert not doubled(texts), f"sent once, there twice: {doubled(texts)[:5]}"
        for person in world.people[1:]:
            assert person.seen[room_id] == first, f"{person.name} saw another order in {room_id}"
        places = {event_id: place for place, (event_id, _) in enumerate(first)}
        answered = [sent for sent in world.ledger.sent if sent.room_id == room_id]
        lost = [sent.text for sent in answered if sent.event_id not in places]
        assert not lost, f"answered and lost: {lost[:5]}"
        for person in world.people:
            in_order = [s for s in answered if s.sender is person and not s.was_retried]
            mine = [places[sent.event_id] for sent in in_order if sent.event_id is not None]
            assert mine == sorted(mine), f"{person.name}'s messages are out of order"


async def check_repeated_transactions(world: World) -> None:
    """A transaction ID answered before the crash still names the same event: `deliver` asserts it."""
    recent = world.ledger.sent[-500:]
    for sent in world.random.sample(recent, min(10, len(recent))):
        await sent.sender.deliver(sent)


async def check_accounts(world: World) -> None:
    ledger = world.ledger
    http = HttpClient("127.0.0.1", world.port)
    for name, token in ledger.accounts.items():
        http.token = token
        whoami = await http.ok("GET", f"{V3}/account/whoami")
        assert whoami["user_id"].startswith(f"@{name}:")
    http.token = None
    for name in ledger.unanswered_accounts:
        await register_again(http, name)
    ledger.unanswered_accounts.clear()
    members = await world.people[0].http.ok("GET", f"{V3}/rooms/{quote(world.rooms[0])}/joined_members")
    joined = {user_id[1:].partition(":")[0] for user_id in members["joined"]}
    assert {name for _, name in ledger.joins} <= joined
    http.close()


async def register_again(http: HttpClient, name: str) -> None:
    """An unanswered registration either did not happen, or made an account that its owner can use."""
    answer = await http.request("POST", f"{V3}/register", registration(name))
    if answer.status != 200:
        assert answer.json["errcode"] == "M_USER_IN_USE"
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        await http.ok("POST", f"{V3}/login", body)


async def check_uploads(world: World) -> None:
    uploads = list(world.ledger.uploads.items())
    http = world.people[0].http
    for address, content_hash in uploads[-100:] + world.random.sample(uploads, min(20, len(uploads))):
        answer = await http.request("GET", f"/_matrix/client/v1/media/download/{address}")
        assert answer.status == 200, f"answered and lost: {address}"
        assert hashlib.sha256(answer.body).hexdigest() == content_hash


async def check_rooms(world: World) -> None:
    if world.ledger.rooms:
        joined = await world.people[0].http.ok("GET", f"{V3}/joined_rooms")
        assert {room_id for _, room_id in world.ledger.rooms} <= set(joined["joined_rooms"])
        person, room_id = world.ledger.rooms[-1]
        state = await person.http.ok("GET", f"{V3}/rooms/{quote(room_id)}/state")
        assert {"m.room.create", "m.room.power_levels", "m.room.name"} <= {event["type"] for event in state}


async def check_history(world: World) -> None:
    """Paging through a room gives what the syncs gave."""
    for room_id in world.rooms:
        paged = await world.people[-1].history(room_id)
        seen = world.people[-1].seen[room_id]
        assert paged[-len(seen) :] == seen
        assert not doubled([event_id for event_id, _ in paged])


def test_a_request_to_nobody_is_lost() -> None:
    with pytest.raises(Lost):
        asyncio.run(HttpClient("127.0.0.1", 1).request("GET", "/"))
