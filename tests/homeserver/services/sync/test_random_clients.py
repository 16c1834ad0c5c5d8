"""Clients that follow by sync alone end up knowing what the server knows, whatever happened.

Random people do random things; each client keeps timeline and state as the specification tells it to, filling
gaps from /messages. In the end its view is held against /state and /messages.
"""

from random import Random
from typing import Any

import pytest

from tests.support.people import Person, path
from tests.support.sync_answers import SyncAnswer
from tests.support.whole_server import WholeServer

STEPS = 120
VISIBILITIES = ("shared", "joined", "invited", "world_readable")


class RoomView:
    """A joined room as a client knows it."""

    def __init__(self) -> None:
        self.state: dict[tuple[str, str], str] = {}
        self.timeline: list[str] = []


class Client:
    """A device that does nothing but sync."""

    def __init__(self, person: Person, random: Random, *, state_after: bool) -> None:
        self.person = person
        self.random = random
        self.state_after = state_after
        self.rooms: dict[str, RoomView] = {}
        self.invites: set[str] = set()

    def sync(self) -> None:
        limit = self.random.choice((1, 2, 3, 5, 20))
        before = self.person.next_batch
        answer = self.person.sync(
            filter={"room": {"timeline": {"limit": limit}}}, use_state_after=self.state_after
        )
        for room in (*answer.left, *answer.invites):  # put out and asked back in is asked in
            self.rooms.pop(room, None)
        self.invites -= set(answer.joined) | set(answer.left)
        self.invites |= set(answer.invites)
        for room in answer.joined:
            self._take(answer, room, before)

    def _take(self, answer: SyncAnswer, room: str, before: str | None) -> None:
        events = answer.timeline(room)
        known = self.rooms.get(room)
        if known is not None and {event["event_id"] for event in events} & set(known.timeline):
            known = None  # out and in again since the last sync: the room comes as a new one
        is_new = known is None
        view = self.rooms[room] = known or RoomView()
        if is_new or answer.is_limited(room):
            stop = None if is_new else before
            events = [*self._gap(room, answer.prev_batch(room), stop), *events]
        view.timeline += [event["event_id"] for event in events]
        if self.state_after:
            state = answer.state_after(room)
            view.state |= {key: event["event_id"] for key, event in state.items()}
            return
        view.state |= {key: event["event_id"] for key, event in answer.state(room).items()}
        for event in answer.timeline(room):
            if "state_key" in event:
                view.state[event["type"], event["state_key"]] = event["event_id"]

    def _gap(self, room: str, start: str, stop: str | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token: str | None = start
        while token is not None:
            page = self.person.messages(room, start=token, stop=stop, limit=7)
            found += page.events
            token = page.end
        return found[::-1]


class Story:
    """People, rooms, and a random thing to do."""

    def __init__(self, server: WholeServer, seed: int) -> None:
        self.random = Random(seed)
        self.server = server
        self.people = [server.register(name) for name in ("alice", "bob", "carol", "dave")]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}
        self.clients = [
            Client(server.log_in(person.user_id[1:].partition(":")[0]), self.random, state_after=state_after)
            for person in self.people
            for state_after in (False, True)
        ]

    def step(self) -> None:
        choose = self.random.choice
        if not self.rooms or self.random.random() < 0.04:
            self.create()
            return
        person, other, room = choose(self.people), choose(self.people), choose(self.rooms)
        base = path("rooms", room)
        act = choose(
            ("send",) * 8
            + ("state", "name", "profile", "invite", "join", "join", "leave", "kick", "redact", "ban")
        )
        number = self.random.randint(0, 10**9)
        if act == "send":
            answer = person.request("PUT", f"{base}/send/m.room.message/{number}", {"body": str(number)})
            if answer.status == 200:
                self.sent.setdefault(room, []).append(answer.json["event_id"])
        elif act == "state":
            person.request("PUT", f"{base}/state/org.example/{number % 4}", {"n": number})
        elif act == "name":
            person.request("PUT", f"{base}/state/m.room.name", {"name": str(number)})
        elif act == "profile":
            content = {"membership": "join", "displayname": str(number)}
            if person.user_id in self.members(room):
                person.request("PUT", f"{base}/state/m.room.member/{person.user_id}", content)
        elif act == "redact" and self.sent.get(room):
            person.request("PUT", f"{base}/redact/{choose(self.sent[room])}/{number}", {})
        elif act in ("invite", "kick", "ban"):
            if person is not other:
                person.request("POST", f"{base}/{act}", {"user_id": other.user_id})
            if act == "ban":
                person.request("POST", f"{base}/unban", {"user_id": other.user_id})
        else:
            person.request("POST", f"{base}/{act}", {})

    def create(self) -> None:
        visibility = {"history_visibility": self.random.choice(VISIBILITIES)}
        creator = self.random.choice(self.people)
        self.rooms.append(
            creator.create_room(
                preset=self.random.choice(("public_chat", "private_chat")),
                initial_state=[{"type": "m.room.history_visibility", "content": visibility}],
                power_level_content_override={"state_default": 0},
            )
        )

    def members(self, room: str) -> set[str]:
        """Who is joined, as somebody in the room sees it."""
        for person in self.people:
            if room in person.joined_rooms():
                return {user for user, value in person.members(room).items() if value == "join"}
        return set()

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
            if self.random.random() < 0.4:
                self.random.choice(self.clients).sync()
            if self.random.random() < 0.02:
                self.server.restart()
                self.server.time.advance(1)
            if self.random.random() < 0.2:
                self.server.time.advance(self.random.choice((0.001, 1, 60)))


@pytest.mark.parametrize("seed", range(12))
def test_clients_know_what_the_server_knows(server: WholeServer, seed: int) -> None:
    story = Story(server, seed)
    story.run()
    for client in story.clients:
        client.sync()
        person = client.person
        assert set(client.rooms) == person.joined_rooms()
        assert client.invites == set(person.sync(since=None).invites)
        for room, view in client.rooms.items():
            state = {key: event["event_id"] for key, event in person.state(room).items()}
            assert view.state == state, (room, client.state_after)
            assert len(view.timeline) == len(set(view.timeline)), "An event came twice"
            visible = person.messages(room, dir="f", limit=1000).ids
            assert view.timeline == visible, (room, client.state_after)
