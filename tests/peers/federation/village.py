"""Servers with wires between them that can be cut, and rooms that people of all of them are in.

The servers run in network namespaces where the machine allows them, else behind proxies; POSTROOM_NETWORK
(`namespaces` or `proxies`) insists on one.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.peers.federation import namespaces
from tests.peers.federation.namespaces import Namespaces
from tests.peers.federation.people import Neighbour, Outside, eventually
from tests.peers.federation.proxies import Proxies
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer, Verdict
from tests.peers.federation.wires import Wires
from tests.support.certificates import Authority
from tests.support.http import Answer
from tests.support.people import path

PATIENCE_S = 120.0
MOST_IN_A_SYNC = 1_000
UNANSWERED = Answer(0, b"{}", {})
"""What somebody gets whose server is gone, or does not answer in time."""


def lay_wires() -> Wires:
    """Namespaces where they work."""
    wanted = os.environ.get("POSTROOM_NETWORK", "")
    assert wanted in ("", "namespaces", "proxies"), f"POSTROOM_NETWORK: {wanted}?"
    if wanted == "namespaces":
        assert not namespaces.why_not(), namespaces.why_not()
    return Proxies() if wanted == "proxies" or namespaces.why_not() else Namespaces()


@dataclass
class Village:
    """The servers, and two people on each: one who lives now, and one who reads it all later."""

    wires: Wires
    servers: list[Outside]
    people: list[Neighbour] = field(default_factory=list)
    late: list[Neighbour] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = [server.register(f"p{number}") for number, server in enumerate(self.servers)]
        self.late = [server.register(f"late{number}") for number, server in enumerate(self.servers)]

    @property
    def peers(self) -> list[Peer]:
        return [server.process for server in self.servers]  # type: ignore[misc]

    def start_all(self) -> None:
        """Those that are down."""
        for server in self.servers:
            self.start(server)

    def start(self, server: Outside) -> None:
        if not server.process.is_running:
            server.process.start()

    def kill(self, server: Outside) -> None:
        """SIGKILL."""
        server.process.kill()
        server.hang_up()

    def meet(self, **wishes: Any) -> "Gathering":
        """A new room with everybody in it, of the first server unless `host` says which."""
        gathering = Gathering(self, wishes.pop("host", 0))
        gathering.begin(**wishes)
        return gathering


@contextmanager
def settled(folder: Path, authority: Authority, kinds: Sequence[str], **more: str) -> Iterator[Village]:
    """A village of `postroom` (on SQLite), `postgresql` (one on that, at `postgresql_url`) and `synapse`."""
    wires = lay_wires()
    try:
        for number, kind in enumerate(kinds):
            make: type[Peer] = SynapsePeer if kind == "synapse" else PostroomPeer
            settings = {"database": more["postgresql_url"]} if kind == "postgresql" else {}
            wires.add(make, folder / f"{number}-{kind}", authority, **settings).start()
        yield Village(wires, [Outside(peer) for peer in wires.peers])
    finally:
        for peer in wires.peers:
            peer.end()
        wires.stop()
    for peer in wires.peers:
        if isinstance(peer, PostroomPeer):
            assert not peer.tracebacks(), peer.tracebacks()


@dataclass
class Diary:
    """What one client's syncs showed of a room, in their order, from when the room began.

    Who comes back is shown again what they saw before they left: that is a new page.
    """

    person: Neighbour
    room: str
    since: str
    pages: list[list[str]] = field(default_factory=lambda: [[]])

    @property
    def seen(self) -> list[str]:
        return self.pages[-1]

    def write(self) -> None:
        """One more sync. Nothing happens if the server does not answer."""
        wishes = {"rooms": [self.room], "timeline": {"limit": MOST_IN_A_SYNC}}
        try:
            answer = self.person.sync(since=self.since, filter={"room": wishes, "presence": {"types": []}})
        except (OSError, HTTPException):
            return
        self.since = answer.next_batch
        came_back = any(event.get("state_key") == self.person.user_id for event in answer.timeline(self.room))
        if came_back and set(answer.ids(self.room)) & set(self.seen):
            self.pages.append([])
        self.seen.extend(answer.ids(self.room))

    def check(self) -> None:
        for page in self.pages:
            twice = [event_id for event_id, times in Counter(page).items() if times > 1]
            assert not twice, f"{self.person}'s syncs show {twice} twice"


@dataclass
class Gathering:
    """A room and what happened in it.

    `said`: by event, the server that said yes to it. `texts`: what must be there at most once. `unanswered`:
    who said what and heard neither yes nor no.
    """

    village: Village
    host: int = 0
    room: str = ""
    said: dict[str, str] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    unanswered: list[tuple[Neighbour, str]] = field(default_factory=list)
    diaries: list[Diary] = field(default_factory=list)

    @property
    def people(self) -> list[Neighbour]:
        return self.village.people

    def begin(self, *, powers: Sequence[int] = (), absent: int = 0, **wishes: Any) -> None:
        """Everybody comes into one room, but for the people of so many servers. Who lives now has power."""
        village = self.village
        first = self.people[self.host]
        everybody = [*self.people, *village.late]
        away = [server for server in village.servers if server is not first.server][:absent]
        before = {person.user_id: person.sync(since=None).next_batch for person in everybody}
        wishes = {"preset": "public_chat", "room_version": "11", **wishes}
        given = powers or [100] * len(self.people)
        levels = {person.user_id: power for person, power in zip(self.people, given, strict=True)}
        if wishes["room_version"] == "12":
            del levels[first.user_id]  # whose power is endless
        else:
            levels[first.user_id] = 100
        self.room = first.create_room(power_level_content_override={"users": levels}, **wishes)
        present = [person for person in everybody if person.server not in away]
        half, host = len(present) // 2, village.servers[self.host].name
        # A Synapse may still try connections to a server that was killed before.
        for group in (present[:half], present[half:]):  # once all servers know of each other, the late ones
            for person in group:
                if person is not first:
                    eventually(partial(person.join_from, self.room, host), what="a join", every=0.5)
            for person in present[:half]:
                for other in group:
                    person.sees_member_soon(self.room, other, "join")
        self.diaries = [Diary(person, self.room, before[person.user_id]) for person in everybody]

    # Deeds

    def say(self, person: Neighbour, text: str) -> None:
        """The server must say yes."""
        self.texts.add(text)
        self.said[person.send(self.room, text)] = server_of(person).name

    def utter(self, person: Neighbour, text: str) -> None:
        """Say it to a server that may be gone, or may refuse."""
        self.texts.add(text)
        target = path("rooms", self.room, "send", "m.room.message", f"{self.room}{text}")
        answer = ask(person, "PUT", target, {"msgtype": "m.text", "body": text})
        if answer.status == 200:
            self.said[answer.json["event_id"]] = server_of(person).name
        elif answer.status == 0 or answer.status >= 500:
            self.unanswered.append((person, text))

    def repeat_unanswered(self) -> None:
        """As clients do, with the same transaction id."""
        unanswered, self.unanswered = self.unanswered, []
        for person, text in unanswered:
            self.utter(person, text)
        assert not self.unanswered, f"no answer again: {self.unanswered}"

    def kill_while_busy(self, server: Outside, text: str, *, after_s: float) -> None:
        """SIGKILL, while people of all servers speak."""
        dies = threading.Timer(after_s, server.process.kill)
        dies.start()
        turn = 0
        while dies.is_alive():
            theirs = [person for person in self.people if server_of(person) is server]
            for person in (*theirs, self.people[turn % len(self.people)]):
                self.utter(person, f"{text}, {turn}, {person}")
            turn += 1
        dies.join()
        server.hang_up()

    def write_diaries(self, *, late: bool = False) -> None:
        """Those who live now sync; with `late` the others do."""
        for diary in self.diaries:
            if (diary.person in self.village.late) == late:
                diary.write()

    # What came of it

    def is_one_again(self, *, within: float = PATIENCE_S) -> float:
        """All have the same state and everything that was said, once: the seconds that took."""
        began = time.monotonic()
        self.converges(self.people, within=within)
        took = time.monotonic() - began
        for person in self.people:
            self.say(person, f"{person} is here {len(self.said)}")
        self.converges(self.people, within=within)
        for person in self.people:
            self.check_history(person)
        self.check_diaries()
        return took

    def converges(self, people: Sequence[Neighbour], *, within: float = PATIENCE_S) -> None:
        """Soon each of them sees everything that was said, and all the same state."""
        deadline = time.monotonic() + within
        last = {server: event_id for event_id, server in self.said.items()}
        for person in people:
            left = max(5.0, deadline - time.monotonic())
            person.sees_soon(self.room, *last.values(), within=left)
        for condition in (self.has_seen_all, self.has_same_state):
            for person in people:
                left = max(5.0, deadline - time.monotonic())
                person.soon(partial(condition, person), condition.__name__, every=0.2, within=left)

    def has_seen_all(self, person: Neighbour) -> bool:
        """By the server's database: paging through everything is for the end.

        A Synapse with many events in hand drops most of them, and gets them when somebody reads there.
        """
        unseen = self.said.keys() - self.accepted_by(person)
        if unseen and server_of(person).kind == "synapse":
            person.history(self.room)
            unseen = self.said.keys() - self.accepted_by(person)
        assert not unseen, f"{len(unseen)} of {len(self.said)} events are not there"
        return True

    def accepted_by(self, person: Neighbour) -> set[str]:
        kept = peer_of(person).kept(self.room)
        return {event_id for event_id, one in kept.items() if one.verdict is Verdict.ACCEPTED}

    def has_same_state(self, person: Neighbour) -> bool:
        return self.have_same_state([self.people[self.host], person])

    def have_same_state(self, people: Iterable[Neighbour]) -> bool:
        first, *others = ((person, person.state_ids(self.room)) for person in people)
        for person, state in others:
            differing = {key for key, _ in state.items() ^ first[1].items()}
            assert not differing, f"{person} and {first[0]} differ in {differing}"
        return True

    def check_history(self, person: Neighbour) -> None:
        """Paging back shows all that was said, and nothing twice."""
        history = person.history(self.room)
        shown = [event["event_id"] for event in history]
        assert len(shown) == len(set(shown)), f"{person} is shown an event twice"
        unseen = self.said.keys() - set(shown)
        assert not unseen, f"{person} is not shown {len(unseen)} of {len(self.said)} events"
        self.check_texts(person, history)

    def check_texts(self, person: Neighbour, history: Sequence[dict[str, Any]]) -> None:
        said = Counter(event["content"].get("body") for event in history)
        twice = [text for text in self.texts if said[text] > 1]
        assert not twice, f"said once, and {person} is shown it twice: {twice}"

    def check_diaries(self) -> None:
        """No sync showed an event twice, and all clients of a Postroom saw the same order.

        A Synapse shows what was before a join in another order than what came live.
        """
        self.write_diaries()
        self.write_diaries(late=True)
        for diary in self.diaries:
            diary.check()
        half = len(self.diaries) // 2
        for soon, late in zip(self.diaries[:half], self.diaries[half:], strict=True):
            if server_of(soon.person).kind == "synapse":
                continue
            both = set(soon.seen) & set(late.seen)
            orders = [[event_id for event_id in diary.seen if event_id in both] for diary in (soon, late)]
            assert orders[0] == orders[1], f"{soon.person} and {late.person} saw different orders"


def ask(person: Neighbour, method: str, target: str, body: Any = None) -> Answer:
    """The answer, or UNANSWERED."""
    if not server_of(person).process.is_running:
        return UNANSWERED
    try:
        return person.request(method, target, body)
    except (OSError, HTTPException):
        return UNANSWERED


def server_of(person: Neighbour) -> Outside:
    server: Outside = person.server  # type: ignore[assignment]
    return server


def peer_of(person: Neighbour) -> Peer:
    peer: Peer = server_of(person).process  # type: ignore[assignment]
    return peer
