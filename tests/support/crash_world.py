"""People who keep a server busy, and a ledger of everything it said yes to.

Each person sends, uploads and syncs at the same time, as a phone does. When the server is killed they
stop; when it is back they send again what was not answered, under the same transaction IDs, and go on
syncing from where they were.
"""

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from tests.support.http_client import HttpClient, Lost

V3 = "/_matrix/client/v3"
PASSWORD = "correct horse battery staple"
FILTER = '{"room":{"timeline":{"limit":10}},"presence":{"types":[]}}'


@dataclass
class Sent:
    """One message; `event_id` is None until the server said yes."""

    sender: "Person"
    room_id: str
    txn_id: str
    text: str
    event_id: str | None = None
    was_retried: bool = False


@dataclass
class Ledger:
    """What was asked, and what was answered."""

    sent: list[Sent] = field(default_factory=list)
    uploads: dict[str, str] = field(default_factory=dict)  # mxc address -> SHA-256
    accounts: dict[str, str] = field(default_factory=dict)  # name -> access token
    unanswered_accounts: list[str] = field(default_factory=list)
    joins: list[tuple[str, str]] = field(default_factory=list)  # room, name
    rooms: list[tuple["Person", str]] = field(default_factory=list)


class Person:
    """One account with one device."""

    def __init__(self, name: str, port: int, ledger: Ledger, random: Random) -> None:
        self.name = name
        self.http = HttpClient("127.0.0.1", port)
        self.ledger = ledger
        self.random = random
        self.since: str | None = None
        self.seen: dict[str, list[tuple[str, str]]] = {}
        """Per room the events that came down the sync, as (event ID, body), in order."""
        self.gaps = 0
        self._txns = 0

    async def register(self) -> None:
        answer = await self.http.ok("POST", f"{V3}/register", registration(self.name))
        self.http.token = answer["access_token"]

    async def send(self, room_id: str) -> None:
        """Send one message, note it, and note the answer if one comes. Raises Lost."""
        self._txns += 1
        sent = Sent(self, room_id, f"txn{self._txns}", f"{self.name} says {self._txns}")
        self.ledger.sent.append(sent)
        await self.deliver(sent)

    async def deliver(self, sent: Sent) -> None:
        """(Again) PUT a message under its transaction ID."""
        path = f"{V3}/rooms/{quote(sent.room_id)}/send/m.room.message/{sent.txn_id}"
        answer = await self.http.ok("PUT", path, {"msgtype": "m.text", "body": sent.text})
        assert sent.event_id in (None, answer["event_id"]), f"{sent.text} has two event IDs"
        sent.event_id = answer["event_id"]

    async def upload(self) -> None:
        data = self.random.randbytes(self.random.choice((10, 5_000, 400_000)))
        headers = {"Content-Type": "application/octet-stream"}
        answer = await self.http.ok("POST", "/_matrix/media/v3/upload", data, headers=headers)
        address = answer["content_uri"].removeprefix("mxc://")
        self.ledger.uploads[address] = hashlib.sha256(data).hexdigest()

    async def create_room(self) -> None:
        answer = await self.http.ok("POST", f"{V3}/createRoom", {"name": f"A room of {self.name}"})
        self.ledger.rooms.append((self, answer["room_id"]))

    async def sync(self, *, timeout_ms: int = 1000) -> None:
        """One sync from the saved token; the token moves only when the answer was taken in whole."""
        query: dict[str, str | int] = {"filter": FILTER, "timeout": timeout_ms}
        if self.since is not None:
            query["since"] = self.since
        answer = await self.http.ok("GET", f"{V3}/sync", query=query)
        taken = {}
        for room_id, room in answer.get("rooms", {}).get("join", {}).items():
            events = room.get("timeline", {}).get("events", [])
            if room["timeline"].get("limited") and self.since is not None and room_id in self.seen:
                events = await self._fill_gap(room_id, room["timeline"]["prev_batch"]) + events
            taken[room_id] = [_seen(event) for event in events]
        for room_id, events in taken.items():
            self.seen.setdefault(room_id, []).extend(events)
        self.since = answer["next_batch"]

    async def _fill_gap(self, room_id: str, prev_batch: str) -> list[dict[str, Any]]:
        """What lies between the last event seen and `prev_batch`, oldest first."""
        self.gaps += 1
        known = {event_id for event_id, _ in self.seen[room_id]}
        missing: list[dict[str, Any]] = []
        position: str | None = prev_batch
        while position is not None:
            query = {"dir": "b", "from": position, "limit": 100}
            page = await self.http.ok("GET", f"{V3}/rooms/{quote(room_id)}/messages", query=query)
            for event in page["chunk"]:
                if event["event_id"] in known:
                    return missing[::-1]
                missing.append(event)
            position = page.get("end")
        return missing[::-1]

    async def history(self, room_id: str) -> list[tuple[str, str]]:
        """The whole room by paging, oldest first."""
        found: list[tuple[str, str]] = []
        position = ""
        while True:
            query: dict[str, str | int] = {"dir": "f", "limit": 500}
            if position:
                query["from"] = position
            page = await self.http.ok("GET", f"{V3}/rooms/{quote(room_id)}/messages", query=query)
            found += [_seen(event) for event in page["chunk"]]
            if "end" not in page:
                return found
            position = page["end"]


def registration(name: str) -> dict[str, Any]:
    """The body of /register."""
    return {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}


class World:
    """Several people in a few rooms."""

    def __init__(self, port: int, seed: int, *, people: int = 5) -> None:
        self.random = Random(seed)
        self.ledger = Ledger()
        self.port = port
        self.people = [
            Person(f"person{number}", port, self.ledger, Random(seed * 100 + number))
            for number in range(people)
        ]
        self.rooms: list[str] = []
        self._accounts = 0

    async def begin(self, *, rooms: int = 3) -> None:
        """Everybody has an account and is in every room, and has synced once."""
        for person in self.people:
            await person.register()
        creator, *others = self.people
        for number in range(rooms):
            body = {"preset": "public_chat", "name": f"Room {number}"}
            room_id = (await creator.http.ok("POST", f"{V3}/createRoom", body))["room_id"]
            for person in others:
                await person.http.ok("POST", f"{V3}/join/{quote(room_id)}", {})
            self.rooms.append(room_id)
        for person in self.people:
            await person.sync(timeout_ms=0)
            person.seen = {room_id: [] for room_id in self.rooms}

    async def live(self) -> None:
        """Everybody at work until the server is gone."""
        async with asyncio.TaskGroup() as group:
            for person in self.people:
                for room_id in self.rooms:
                    group.create_task(_repeat(lambda p=person, r=room_id: p.send(r)))
                group.create_task(_repeat(person.sync))
                group.create_task(_repeat(person.upload, pause=0.02))
            group.create_task(_repeat(self.people[0].create_room, pause=0.1))
            group.create_task(_repeat(self.new_account, pause=0.05))

    async def new_account(self) -> None:
        """Somebody registers and joins the first room."""
        self._accounts += 1
        name = f"newcomer{self._accounts}"
        http = HttpClient("127.0.0.1", self.port)
        try:
            self.ledger.unanswered_accounts.append(name)
            answer = await http.ok("POST", f"{V3}/register", registration(name))
            http.token = answer["access_token"]
            self.ledger.unanswered_accounts.remove(name)
            self.ledger.accounts[name] = answer["access_token"]
            await http.ok("POST", f"{V3}/join/{quote(self.rooms[0])}", {})
            self.ledger.joins.append((self.rooms[0], name))
        finally:
            http.close()

    def told(self) -> str:
        """How much has happened so far."""
        ledger, gaps = self.ledger, sum(person.gaps for person in self.people)
        return (
            f"{len(ledger.sent)} messages, {len(ledger.uploads)} uploads, {len(ledger.accounts)} accounts,"
            f" {len(ledger.rooms)} rooms, {gaps} gaps in timelines"
        )

    def drop_connections(self) -> None:
        for person in self.people:
            person.http.close()


async def _repeat(act: Any, *, pause: float = 0.0) -> None:
    while True:
        try:
            await act()
        except Lost:
            return
        await asyncio.sleep(pause)


def _seen(event: dict[str, Any]) -> tuple[str, str]:
    return event["event_id"], event["content"].get("body", "")


def doubled(values: list[Any]) -> list[Any]:
    """Those that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
