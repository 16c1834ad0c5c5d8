"""Histories of a room on several servers, made from a seed: people talk, quarrel, come and go, while the
network fails, loses requests and answers, and servers crash. In the end everybody can be reached again.

`python -m tests.peers.federation.scenarios --first 1 --histories 200` runs that many in memory, says which
ended badly, and exits non-zero if one did; the tests run a few. A seed tells the same history again.
"""

import argparse
import logging
import os
import random
import sys
import tempfile
import time as wall_clock
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from homeserver.runtime.http_client import Unreachable
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.federation import Federation
from tests.support.http import Answer
from tests.support.network import Network
from tests.support.people import Person, path
from tests.support.running import result
from tests.support.whole_server import PacedDatabase, WholeServer

VERSIONS = tuple(str(number) for number in range(1, 13))
NAMES = ("one", "two", "three")


class LossyNetwork(Network):
    """Loses requests on the way there, and answers on the way back. `loss`: how many of each, from 0 to 1."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.loss = 0.0

    def find(self, origin: str, host: str) -> Any:
        if self.loss and self.random.random() < self.loss:
            raise Unreachable("lost on the way")
        return super().find(origin, host)

    def heal(self) -> None:
        super().heal()
        self.loss = 0.0


class Crashed(RuntimeError):
    """Whatever it was about to do, it does no more."""


class Gone:
    """The database of a server that has crashed."""

    def __getattr__(self, name: str) -> Any:
        raise Crashed("this server has crashed")


class Fuse:
    """A database that is gone at one of the next writes: just before that is done, or just after."""

    def __init__(
        self, server: WholeServer, writes: int, *, is_after: bool, burnt: Callable[[], None]
    ) -> None:
        self._paced = server.database
        self._database = server.database._database
        self._writes = writes
        self._is_after = is_after
        self._burnt = burnt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self._writes -= 1
        if self._writes > 0:
            return await self._database.write(work, *args, **more)
        if self._is_after:
            await self._database.write(work, *args, **more)
        _end(self._paced)
        self._burnt()
        raise Crashed("this server has crashed")


def crash(server: WholeServer) -> None:
    """Nothing is finished, nothing is saved: a new process begins from what the database holds."""
    _end(server.database)
    server._start()


def _end(paced: PacedDatabase) -> None:
    with suppress(Exception):
        result(paced._database.stop())
    paced._database = Gone()  # type: ignore[assignment]


@dataclass
class Sent:
    """A message the server said yes to."""

    server: str
    event_id: str
    text: str


@dataclass
class Scenario:
    """One room, `people_each` on every server, and what they did; `told` is the history, to read."""

    federation: Federation
    seed: int
    steps: int = 60
    people_each: int = 2
    people: list[Person] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unanswered: list[tuple[Person, str]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.version = VERSIONS[self.seed % len(VERSIONS)]
        self.network = LossyNetwork(Random(self.seed + 1))
        self.federation.network = self.network

    def run(self) -> None:
        """The whole history. Raises AssertionError if it does not end well."""
        self.begin()
        for number in range(self.steps):
            self.step(number)
        self.end()
        self.check()

    # The beginning

    def begin(self) -> None:
        """Everybody is in the room; many have some power, so that they can fight."""
        for name, server in zip(NAMES, self.federation.servers(*NAMES), strict=True):
            self.people += [server.register(f"p{number}-{name}") for number in range(self.people_each)]
        creator, *others = self.people
        self.room = creator.create_room(preset="public_chat", room_version=self.version)
        self.club = creator.create_room(preset="public_chat", room_version="10")
        absent = self.random.choice((None, None, "three"))
        for person in others:
            if person.user_id.startswith("@p0"):
                person.ask("POST", path("join", self.club), {}, via=NAMES[0])
            if server_of(person) != absent:
                person.ask("POST", path("join", self.room), {}, via=NAMES[0])
                self.federation.settle(self.random.choice((0, 1, 1)))
        users = {person.user_id: self.random.choice((0, 50, 50, 100)) for person in others}
        if self.version != "12":
            users[creator.user_id] = 100
        self.put_state(creator, "m.room.power_levels", {"users": users, "state_default": 50})
        self.federation.settle(2)

    # What happens

    def step(self, number: int) -> None:
        deeds = {
            self.say: 40, self.rename: 10, self.change_power: 6, self.act_on_somebody: 12, self.come: 9,
            self.go: 3, self.change_rules: 4, self.change_acl: 2, self.redact: 4, self.look_back: 2,
            self.part: 4, self.part_two: 4, self.lose: 3, self.heal: 5, self.crash: 2, self.light: 4,
            self.restart: 1, self.wait: 6,
        }  # fmt: skip
        for name in sorted(self.dead):
            if self.random.random() < 0.4:
                self.revive(name)
        (deed,) = self.random.choices(list(deeds), list(deeds.values()))
        deed(self.random.choice(self.people), number)
        self.federation.time.advance(self.random.choice((0, 0, 0.1, 1, 5)))

    def note(self, what: str) -> None:
        self.told.append(what)

    def say(self, person: Person, number: int) -> None:
        for burst in range(self.random.choice((1, 1, 3, 10))):
            text = f"{self.seed}.{number}.{burst}"
            self.utter(person, text)
        self.note(f"{person} says {number}")

    def utter(self, person: Person, text: str) -> None:
        """What is not answered is said again in the end, as clients do."""
        content = {"msgtype": "m.text", "body": text}
        answer = self.put(person, f"/send/m.room.message/{text}", content)
        if answer.status == 200:
            self.sent.append(Sent(server_of(person), answer.json["event_id"], text))
        elif answer.status >= 500:
            self.unanswered.append((person, text))

    def rename(self, person: Person, number: int) -> None:
        type_ = self.random.choice(("m.room.name", "m.room.topic"))
        self.put_state(person, type_, {type_.removeprefix("m.room."): str(number)})

    def change_power(self, person: Person, number: int) -> None:
        answer = person.request("GET", path("rooms", self.room, "state", "m.room.power_levels", ""))
        if answer.status == 200:
            other = self.random.choice(self.people).user_id
            users = {**answer.json.get("users", {}), other: self.random.choice((0, 10, 50, 100))}
            self.put_state(person, "m.room.power_levels", {**answer.json, "users": users})

    def act_on_somebody(self, person: Person, number: int) -> None:
        act = self.random.choice(("kick", "ban", "unban", "invite"))
        other = self.random.choice(self.people)
        answer = person.request("POST", path("rooms", self.room, act), {"user_id": other.user_id})
        self.note(f"{person} {act}s {other}: {answer.status}")

    def come(self, person: Person, number: int) -> None:
        """By anybody, who may be gone before all of the room has been told."""
        via = self.random.choice(NAMES)
        for way in ("join", "knock"):
            pending = person.start_request("POST", path(way, self.room), {}, via=via)
            self.federation.settle(self.random.choice((0, 0.1, 2)))
            status = pending.answer.status if pending.is_done else "waits"
            self.note(f"{person} {way}s by {via}: {status}")
            if status != 403:
                break

    def go(self, person: Person, number: int) -> None:
        pending = person.start_request("POST", path("rooms", self.room, "leave"), {})
        self.federation.settle(1)
        self.note(f"{person} leaves: {pending.answer.status if pending.is_done else 'waits'}")

    def change_rules(self, person: Person, number: int) -> None:
        version = int(self.version)
        kinds = ["public", "invite"] + ["knock"] * (version >= 7) + ["restricted"] * (version >= 8)
        kinds += ["knock_restricted"] * (version >= 10)
        rule: dict[str, Any] = {"join_rule": self.random.choice(kinds)}
        if rule["join_rule"].endswith("restricted"):
            rule["allow"] = [{"type": "m.room_membership", "room_id": self.club}]
        self.put_state(person, "m.room.join_rules", rule)

    def change_acl(self, person: Person, number: int) -> None:
        denied = self.random.choice(
            ["nobody.example", *(name for name in NAMES if name != server_of(person))]
        )
        self.put_state(person, "m.room.server_acl", {"allow": ["*"], "deny": [denied]})

    def look_back(self, person: Person, number: int) -> None:
        self.read_back(person)
        self.note(f"{person} reads what was")

    def redact(self, person: Person, number: int) -> None:
        if self.sent:
            event_id = self.random.choice(self.sent).event_id
            self.put(person, f"/redact{path(event_id, f'r{number}')}", {})

    def part(self, person: Person, number: int) -> None:
        self.federation.part(server_of(person))
        self.note(f"{server_of(person)} is cut off")

    def part_two(self, person: Person, number: int) -> None:
        one, other = self.random.sample(NAMES, 2)
        self.network.cut(one, other)
        self.note(f"{one} and {other} are parted")

    def lose(self, person: Person, number: int) -> None:
        self.network.loss = self.random.choice((0.05, 0.3))
        self.note(f"{self.network.loss} of everything is lost")

    def heal(self, person: Person, number: int) -> None:
        self.network.heal()
        self.network.down |= self.dead
        self.note("the network is whole")

    def crash(self, person: Person, number: int) -> None:
        name = server_of(person)
        crash(self.federation.all[name])
        self.revived(name)
        self.note(f"{name} crashes")

    def light(self, person: Person, number: int) -> None:
        """The server will die at one of its next writes."""
        name = server_of(person)
        server = self.federation.all[name]
        writes, is_after = self.random.choice((1, 1, 2, 3, 5, 10)), self.random.random() < 0.5

        def burnt() -> None:
            self.dead.add(name)
            self.network.down.add(name)
            self.note(f"{name} dies {'after' if is_after else 'before'} a write")

        if name not in self.dead:
            fuse = Fuse(server, writes, is_after=is_after, burnt=burnt)
            server.database._database = fuse  # type: ignore[assignment]

    def restart(self, person: Person, number: int) -> None:
        name = server_of(person)
        if name not in self.dead:
            with suppress(Crashed):  # its fuse burnt while it stopped
                self.federation.all[name].restart()
                self.note(f"{name} is restarted")

    def revive(self, name: str) -> None:
        self.federation.all[name]._start()
        self.revived(name)
        self.note(f"{name} is there again")

    def revived(self, name: str) -> None:
        self.dead.discard(name)
        self.network.down.discard(name)

    def wait(self, person: Person, number: int) -> None:
        self.federation.time.advance(self.random.choice((10, 60, 600)))

    def put(self, person: Person, target: str, body: dict[str, Any]) -> Answer:
        return person.request("PUT", path("rooms", self.room) + target, body)

    def put_state(self, person: Person, type_: str, content: dict[str, Any]) -> Answer:
        answer = self.put(person, path("state", type_, ""), content)
        self.note(f"{person} sets {type_}: {answer.status}")
        return answer

    # The end

    def end(self) -> None:
        """Everybody hears everybody, and says something that rests on all of it."""
        for name in NAMES:
            crash(self.federation.all[name])  # no fuse burns any more
            self.revived(name)
        self.federation.heal()
        unanswered, self.unanswered = self.unanswered, []
        for person, text in unanswered:
            self.utter(person, text)
        self.lift_acl()
        for round_ in range(2):
            for index, person in enumerate(self.people):
                self.utter(person, f"end{round_}.{index}")
                self.federation.settle(3)
        self.federation.heal(after_s=600)
        for person in self.people:
            self.read_back(person)

    def lift_acl(self) -> None:
        for person in self.people:
            if (
                person.request("GET", path("rooms", self.room, "state", "m.room.server_acl", "")).status
                == 200
            ):
                self.put_state(person, "m.room.server_acl", {"allow": ["*"]})

    def read_back(self, person: Person) -> list[str]:
        """The IDs of all that paging shows: what a server missed while nobody of it was there is fetched."""
        found: list[str] = []
        query: dict[str, Any] = {"dir": "b", "limit": 100}
        while True:
            pending = person.start_request("GET", path("rooms", self.room, "messages"), **query)
            self.federation.settle(5)
            if not pending.is_done or pending.answer.status != 200:
                return found
            page = pending.answer.json
            found += [event["event_id"] for event in page["chunk"]]
            if page.get("end") in (None, query.get("from")):
                return found
            query["from"] = page["end"]

    def inside(self) -> dict[str, list[Person]]:
        """Who is in the room, by server: those servers that all of them take to be in it.

        Two that have put each other out at the same time go on alone: nobody sends to them, rightly.
        """
        views = {name: self.joined_by(name) for name in NAMES}
        members = {name for name in NAMES if any(server_of(person) == name for person in views[name])}
        agreed = {
            name
            for name in members
            if all(any(server_of(person) == name for person in views[other]) for other in members)
        }
        for name in list(agreed):
            agreed -= self.denied_by(name)
        return {name: [p for p in views[name] if server_of(p) == name] for name in sorted(agreed)}

    def denied_by(self, name: str) -> set[str]:
        """Whom the server hears no more: nobody there could lift its ACL."""
        acl = self.federation.state_of(self.room, name).get(("m.room.server_acl", ""))
        return set(self.federation.pdu(acl, name)["content"].get("deny", ())) if acl else set()

    def joined_by(self, name: str) -> list[Person]:
        """Who is joined, as a server has it."""
        state = self.federation.state_of(self.room, name)
        keys = {("m.room.member", person.user_id): person for person in self.people}
        return [
            person
            for key, person in keys.items()
            if key in state and self.federation.pdu(state[key], name)["content"]["membership"] == "join"
        ]

    def check(self) -> None:
        """All in the room have one state; nothing that one accepted is unknown to another, or there twice."""
        inside = self.inside()
        states = {name: self.federation.state_of(self.room, name) for name in inside}
        for name, people in inside.items():
            self.federation.check_memory(self.room, name)
            self.check_timeline(people[0], name)
            for other in inside:
                differing = {key for key, _ in states[name].items() ^ states[other].items()}
                assert not differing, f"{name} and {other} differ in {differing}"
                unknown = (
                    self.federation.accepted(self.room, name)
                    - self.federation.events_of(self.room, other).keys()
                )
                assert not unknown, f"{other} lacks {len(unknown)} events that {name} has"

    def check_timeline(self, person: Person, name: str) -> None:
        shown = Counter(self.read_back(person))
        assert shown, f"{person} sees nothing"
        twice = [event_id for event_id, count in shown.items() if count > 1]
        assert not twice, f"{person} sees {twice} twice"
        kept = self.federation.events_of(self.room, name)
        said = Counter(self.bodies(name))
        again = [text for text, count in said.items() if count > 1]
        assert not again, f"{again} was said once, and {name} has it more often"
        lost = [sent.text for sent in self.sent if sent.server == name and sent.event_id not in kept]
        assert not lost, f"{name} said yes to {lost} and does not have it"

    def bodies(self, name: str) -> list[str]:
        """Of all messages that the server accepted."""
        pdus = (self.federation.pdu(id_, name) for id_ in self.federation.accepted(self.room, name))
        return [pdu["content"]["body"] for pdu in pdus if "body" in pdu["content"]]


def server_of(person: Person) -> str:
    return person.user_id.partition(":")[2]


@contextmanager
def in_memory(seed: int, databases: Databases, folder: Path, **settings: Any) -> Iterator[Scenario]:
    """Servers that live in this process, and as fast as they can."""
    federation = Federation(FakeClock(), lambda: databases.fresh("sqlite"), folder)
    with no_chance(seed):
        try:
            yield Scenario(federation, seed, **settings)
        finally:
            federation.stop()


@contextmanager
def no_chance(seed: int) -> Iterator[None]:
    """Keys, IDs and pauses follow from the seed. (The order of sets needs PYTHONHASHSEED besides.)"""
    source = Random(seed)
    random.seed(seed)
    with (
        mock.patch("secrets.token_bytes", lambda size=32: source.randbytes(size or 32)),
        mock.patch("homeserver.protocol.signatures.random_bytes", source.randbytes),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tell", action="store_true", help="print what happened in those that end badly")
    wanted = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})
    logging.disable(logging.CRITICAL)
    began, failed = wall_clock.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="postroom-histories-") as folder:
        databases = Databases(Path(folder))
        for seed in range(wanted.first, wanted.first + wanted.histories):
            place = Path(folder) / str(seed)
            place.mkdir()
            with in_memory(seed, databases, place, steps=wanted.steps) as scenario:
                try:
                    scenario.run()
                except Exception as error:  # whatever it is, the other seeds are run too
                    failed.append(seed)
                    print(f"seed {seed} (version {scenario.version}): {error!r}"[:600], flush=True)
                    if wanted.tell:
                        print("\n".join(scenario.told), flush=True)
    seconds = wall_clock.monotonic() - began
    print(f"{wanted.histories} histories in {seconds:.0f} s; ended badly: {failed or 'none'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
