"""Histories of rooms on servers that are processes, made from a seed: three Postrooms, one of them on
PostgreSQL, and a Synapse. People talk, quarrel, come and go, while links fail in every way and servers are
killed.

`python -m tests.peers.federation.real_histories --histories 200` runs that many one after the other, says
which ended badly and how long they took to heal, and exits non-zero if one did. A seed makes the same people
do the same things; what comes of it depends on the network too.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.peers.federation.people import Neighbour, Outside, eventually
from tests.peers.federation.servers import Kept, Verdict
from tests.peers.federation.village import Gathering, Village, ask, peer_of, server_of, settled
from tests.peers.federation.wires import Fault
from tests.support.certificates import Authority
from tests.support.database import Databases
from tests.support.people import path

VERSIONS = tuple(str(number) for number in range(1, 13))
KINDS = ("postroom", "postgresql", "postroom", "synapse")
SERVER_ACL = "m.room.server_acl"
STEPS = 20
IMPATIENCE_S = 6.0
BY_ITSELF_S = 15.0
AFTER_WORDS_S = 75.0
SLOW_S = 15.0


@dataclass
class Outcome:
    """`healed_s`: from the end of all faults until the servers agreed; `by_itself`: before anybody spoke."""

    healed_s: float = 0.0
    by_itself: bool = True
    servers: int = 0
    events: int = 0
    kills: int = 0

    def __str__(self) -> str:
        when = "" if self.by_itself else ", after somebody spoke"
        told = f"{self.servers} servers inside, {self.events} events, {self.kills} kills"
        return f"healed in {self.healed_s:.1f} s{when}; {told}"


@dataclass
class History:
    """One room on all servers of a village; `told` is what happened, to read."""

    village: Village
    seed: int
    club: str
    steps: int = STEPS
    told: list[str] = field(default_factory=list)
    sacred: set[str] = field(default_factory=set)
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.version = VERSIONS[self.seed % len(VERSIONS)]
        self.gathering = Gathering(self.village, self.seed % len(self.village.servers))

    @property
    def room(self) -> str:
        return self.gathering.room

    @property
    def people(self) -> list[Neighbour]:
        return self.gathering.people

    def run(self) -> Outcome:
        """Raises AssertionError if it does not end well."""
        self.begin()
        for server in self.village.servers:
            server.patience_s = IMPATIENCE_S
            server.hang_up()
        try:
            for number in range(self.steps):
                self.step(number)
        finally:
            self.mend()
        self.end()
        self.check()
        return self.outcome

    def mend(self) -> None:
        """Everything works again."""
        self.village.wires.heal()
        self.village.start_all()
        for server in self.village.servers:
            server.patience_s = 60.0
            server.hang_up()

    def begin(self) -> None:
        powers = [self.random.choice((0, 50, 50, 100)) for _ in self.people]
        absent = self.random.choice((0, 0, 1))
        self.gathering.begin(room_version=self.version, powers=powers, absent=absent)

    # What happens

    def step(self, number: int) -> None:
        deeds: dict[Callable[[Neighbour, int], None], int] = {
            self.say: 30, self.rename: 8, self.change_power: 6, self.act_on_somebody: 10, self.come: 8,
            self.go: 3, self.change_rules: 4, self.change_acl: 3, self.redact: 4, self.part_two: 5,
            self.part_one_way: 4, self.part_one: 4, self.part_halves: 3, self.flap: 3, self.slow_down: 3,
            self.heal: 6, self.kill: 7, self.restart: 3, self.wait: 8,
        }  # fmt: skip
        (deed,) = self.random.choices(list(deeds), list(deeds.values()))
        deed(self.random.choice([*self.people, *self.village.late]), number)
        if self.random.random() < 0.3:
            self.gathering.write_diaries()

    def note(self, what: str) -> None:
        self.told.append(what)

    def say(self, person: Neighbour, number: int) -> None:
        for burst in range(self.random.choice((1, 2, 5))):
            text = f"{self.seed}.{number}.{burst}"
            self.gathering.utter(person, text)
        self.note(f"{person} says {number}")

    def put_state(self, person: Neighbour, type_: str, content: dict[str, Any]) -> None:
        answer = ask(person, "PUT", path("rooms", self.room, "state", type_, ""), content)
        if answer.status == 200:
            self.gathering.said[answer.json["event_id"]] = server_of(person).name
            if type_ == SERVER_ACL:  # redacted it would shut out everybody
                self.sacred.add(answer.json["event_id"])
        self.note(f"{person} sets {type_} {str(content)[:80]}: {answer.status}")

    def rename(self, person: Neighbour, number: int) -> None:
        type_ = self.random.choice(("m.room.name", "m.room.topic"))
        self.put_state(person, type_, {type_.removeprefix("m.room."): str(number)})

    def change_power(self, person: Neighbour, number: int) -> None:
        answer = ask(person, "GET", path("rooms", self.room, "state", "m.room.power_levels", ""))
        if answer.status == 200:
            other = self.random.choice(self.people).user_id
            users = {**answer.json.get("users", {}), other: self.random.choice((0, 10, 50, 100))}
            self.put_state(person, "m.room.power_levels", {**answer.json, "users": users})

    def act_on_somebody(self, person: Neighbour, number: int) -> None:
        act = self.random.choice(("kick", "ban", "unban", "invite"))
        other = self.random.choice([*self.people, *self.village.late])
        answer = ask(person, "POST", path("rooms", self.room, act), {"user_id": other.user_id})
        self.note(f"{person} {act}s {other}: {answer.status}")

    def come(self, person: Neighbour, number: int) -> None:
        via = self.random.choice(self.village.servers).name
        for way in ("join", "knock"):
            answer = ask(person, "POST", f"{path(way, self.room)}?via={via}&server_name={via}", {})
            self.note(f"{person} {way}s by {via}: {answer.status}")
            if answer.status != 403:
                break

    def go(self, person: Neighbour, number: int) -> None:
        answer = ask(person, "POST", path("rooms", self.room, "leave"), {})
        self.note(f"{person} leaves: {answer.status}")

    def change_rules(self, person: Neighbour, number: int) -> None:
        version = int(self.version)
        kinds = ["public", "invite"] + ["knock"] * (version >= 7) + ["restricted"] * (version >= 8)
        rule: dict[str, Any] = {"join_rule": self.random.choice(kinds)}
        if rule["join_rule"] == "restricted":
            rule["allow"] = [{"type": "m.room_membership", "room_id": self.club}]
        self.put_state(person, "m.room.join_rules", rule)

    def change_acl(self, person: Neighbour, number: int) -> None:
        denied = self.random.choice([None, *self.village.peers])
        hosts = [denied.host] if denied and denied is not server_of(person).process else []
        self.put_state(person, SERVER_ACL, {"allow": ["*"], "deny": hosts, "allow_ip_literals": True})

    def redact(self, person: Neighbour, number: int) -> None:
        if self.gathering.said.keys() - self.sacred:
            event_id = self.random.choice(sorted(self.gathering.said.keys() - self.sacred))
            target = path("rooms", self.room, "redact", event_id, f"{self.seed}r{number}")
            answer = ask(person, "PUT", target, {})
            self.note(f"{person} redacts {event_id}: {answer.status}")

    # What befalls them

    def fault(self) -> Fault:
        return self.random.choice((Fault.HANGS, Fault.HANGS, Fault.REFUSED))

    def part_two(self, person: Neighbour, number: int) -> None:
        one, other = self.random.sample(self.village.peers, 2)
        fault = self.fault()
        self.village.wires.cut(one, other, fault)
        self.note(f"{one.name} and {other.name} are parted: {fault.value}")

    def part_one_way(self, person: Neighbour, number: int) -> None:
        one, other = self.random.sample(self.village.peers, 2)
        self.village.wires.cut(one, other, one_way=True)
        self.note(f"nothing gets from {one.name} to {other.name}")

    def part_one(self, person: Neighbour, number: int) -> None:
        peer, fault = self.random.choice(self.village.peers), self.fault()
        self.village.wires.isolate(peer, fault)
        self.note(f"{peer.name} is cut off: {fault.value}")

    def part_halves(self, person: Neighbour, number: int) -> None:
        peers = self.random.sample(self.village.peers, len(self.village.peers))
        half, fault = len(peers) // 2, self.fault()
        for one in peers[:half]:
            for other in peers[half:]:
                self.village.wires.cut(one, other, fault)
        self.note(f"halves: {[peer.name for peer in peers[:half]]}: {fault.value}")

    def flap(self, person: Neighbour, number: int) -> None:
        one, other = self.random.sample(self.village.peers, 2)
        for turn in range(3):
            self.village.wires.cut(one, other, self.fault())
            self.gathering.utter(person, f"{self.seed}.{number}.flap{turn}")
            self.village.wires.heal()
        self.note(f"the link between {one.name} and {other.name} comes and goes")

    def slow_down(self, person: Neighbour, number: int) -> None:
        peer = self.random.choice(self.village.peers)
        self.village.wires.slow_down(peer)
        self.note(f"{peer.name} has a bad line")

    def heal(self, person: Neighbour, number: int) -> None:
        self.village.wires.heal()
        self.note("the network is whole")

    def kill(self, person: Neighbour, number: int) -> None:
        """While its people, and others, speak."""
        server = server_of(person)
        if not server.process.is_running:
            return
        after_s = self.random.choice((0, 0.02, 0.1, 0.3))
        self.gathering.kill_while_busy(server, f"{self.seed}.{number}", after_s=after_s)
        self.outcome.kills += 1
        self.note(f"{server.name} is killed")
        if self.random.random() < 0.5:
            self.restart(person, number)

    def restart(self, person: Neighbour, number: int) -> None:
        """Start those that are down; if none is, somebody's owner does it properly."""
        down = [server for server in self.village.servers if not server.process.is_running]
        if not down and server_of(person).kind == "postroom":
            server_of(person).process.stop()
            down = [server_of(person)]
        for server in down:
            server.hang_up()
            self.village.start(server)
            self.note(f"{server.name} starts")

    def wait(self, person: Neighbour, number: int) -> None:
        time.sleep(self.random.choice((0.1, 0.5, 2.0)))

    # The end

    def end(self) -> None:
        """The servers agree by themselves, or at least as soon as everybody has said something."""
        began = time.monotonic()
        self.gathering.repeat_unanswered()
        self.lift_acl()
        try:
            eventually(self.is_settled, within=BY_ITSELF_S, every=0.3)
        except AssertionError as error:
            self.outcome.by_itself = False
            self.note(f"not by itself: {str(error)[:300]}")
            for turn in range(3):
                for index, person in enumerate([*self.people, *self.village.late]):
                    self.gathering.utter(person, f"{self.seed}.end{turn}.{index}")
                time.sleep(1)
            eventually(self.is_settled, within=AFTER_WORDS_S, every=0.5)
        self.outcome.healed_s = time.monotonic() - began

    def lift_acl(self) -> None:
        """If there is one. Whoever may do it."""
        nobody = {"allow": ["*"], "deny": [], "allow_ip_literals": True}
        for person in self.people:
            target = path("rooms", self.room, "state", SERVER_ACL, "")
            answer = ask(person, "GET", target)
            if answer.status == 200 and answer.json != nobody:
                self.put_state(person, SERVER_ACL, nobody)

    def is_settled(self) -> bool:
        """Those in the room have one state, and each knows all that another accepted."""
        inside = self.inside()
        kept = {name: peer_of(person).kept(self.room) for name, person in inside.items()}
        if inside:
            self.gathering.have_same_state(inside.values())
        for name, events in kept.items():
            for other, theirs in kept.items():
                unknown = self.unknown(events, server_of(inside[other]), theirs)
                if unknown:
                    inside[other].history(self.room)  # what is older than its join comes when it is read
                assert not unknown, f"{other} lacks {unknown[:5]} of {len(unknown)} that {name} has"
        self.outcome.servers = len(inside)
        self.outcome.events = max((len(events) for events in kept.values()), default=0)
        return True

    def unknown(self, known: dict[str, Kept], server: Outside, to: dict[str, Kept]) -> list[str]:
        """What one server accepted and another lacks.

        A Synapse may lack what was before it came: it gives up where the first server it asks has no more.
        """
        came = [one.depth for one in to.values() if one.sender.endswith(f":{server.name}")]
        first = min(came, default=0) if server.kind == "synapse" else 0
        there = {event_id for event_id, one in to.items() if one.verdict is not Verdict.OUTLIER}
        return [
            event_id
            for event_id, one in known.items()
            if one.verdict is Verdict.ACCEPTED and one.depth >= first and event_id not in there
        ]

    def inside(self) -> dict[str, Neighbour]:
        """A person of each server that is in the room by the view of all that are.

        Two that have put each other out at the same time go on alone: nobody sends to them, rightly.
        """
        views = {server.name: self.view(server) for server in self.village.servers}
        members = {name for name, view in views.items() if name in view.servers}
        agreed = {name for name in members if all(name in views[other].servers for other in members)}
        denied = {host for name in agreed for host in views[name].denied}
        found = {name: views[name].person for name in sorted(agreed) if name.partition(":")[0] not in denied}
        return {name: person for name, person in found.items() if person is not None}

    def view(self, server: Outside) -> "View":
        """The room as its people see it."""
        view = View()
        for person in [*self.people, *self.village.late]:
            if server_of(person) is not server:
                continue
            answer = ask(person, "GET", path("rooms", self.room, "state"))
            if answer.status != 200:
                continue
            state = {(event["type"], event["state_key"]): event["content"] for event in answer.json}
            if state.get(("m.room.member", person.user_id), {}).get("membership") == "join":
                view.person = person
                acl = state.get((SERVER_ACL, ""), {})
                view.denied = set(acl.get("deny", ()))
                view.servers = {
                    key.partition(":")[2]
                    for (type_, key), content in state.items()
                    if type_ == "m.room.member" and content.get("membership") == "join"
                }
                break
        return view

    def check(self) -> None:
        """Nothing said yes to is lost, nothing is there twice, nobody's syncs contradict another's."""
        for server in self.village.servers:
            kept = server.process.kept(self.room)  # type: ignore[attr-defined]
            mine = [event_id for event_id, name in self.gathering.said.items() if name == server.name]
            lost = [event_id for event_id in mine if event_id not in kept]
            assert not lost, f"{server.name} said yes to {lost} and does not have it"
        for person in self.inside().values():
            history = person.history(self.room)
            times = Counter(event["event_id"] for event in history)
            assert max(times.values()) == 1, f"{person} is shown an event twice"
            self.gathering.check_texts(person, history)
        self.gathering.check_diaries()


@dataclass
class View:
    """As a server has it: somebody of it who is in the room, members' servers, hosts that the ACL denies."""

    person: Neighbour | None = None
    servers: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)


def found_club(village: Village) -> str:
    """A room whose members are let into others: the first person of each server."""
    host, *others = village.people
    club = host.create_room(preset="public_chat", room_version="10")
    for person in others:
        person.join_from(club, server_of(host).name)
    return club


def summary(outcomes: Iterable[Outcome]) -> str:
    """Figures."""
    found = list(outcomes)
    times = sorted(outcome.healed_s for outcome in found)
    return (
        f"{len(found)} histories, {sum(one.kills for one in found)} kills, {sum(one.events for one in found)}"
        f" events; {sum(one.servers for one in found) / len(found):.1f} servers inside in the end; healed in"
        f" {median(times):.1f} s (median), {times[-1]:.1f} s (longest),"
        f" {sum(one.by_itself for one in found)} before anybody spoke"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tell", action="store_true", help="print what happened in those that end badly")
    parser.add_argument("--keep", type=Path, help="where the servers' files go, and stay")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave nothing behind
    random.seed(wanted.first)
    began, failed, outcomes = time.monotonic(), [], []
    folder = wanted.keep or Path(tempfile.mkdtemp(prefix="postroom-histories-"))
    databases = Databases(folder)
    try:
        url = databases.empty("postgresql")
        with settled(folder, Authority(folder / "ca"), KINDS, postgresql_url=url) as village:
            print(f"through {village.wires.kind}; files in {folder}", flush=True)
            club = found_club(village)
            for seed in range(wanted.first, wanted.first + wanted.histories):
                history = History(village, seed, club, steps=wanted.steps)
                start = time.monotonic()
                try:
                    outcomes.append(history.run())
                except Exception as error:  # whatever it is, the other seeds are run too
                    failed.append(seed)
                    print(f"seed {seed} (version {history.version}): {error!r}"[:2000], flush=True)
                if wanted.tell and (seed in failed or history.outcome.healed_s > SLOW_S):
                    print("\n".join(history.told), flush=True)
                print(f"{seed}: {time.monotonic() - start:.1f} s; {history.outcome}", flush=True)
    finally:
        databases.stop()
    if outcomes:
        print(summary(outcomes))
    print(f"{time.monotonic() - began:.0f} s; ended badly: {failed or 'none'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
