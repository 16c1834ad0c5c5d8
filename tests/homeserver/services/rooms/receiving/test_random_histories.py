"""Whatever people do on servers that lose sight of one another: in the end all have the same room."""

import random
from typing import Any

import pytest

from tests.support.federation import Federation
from tests.support.http import Answer
from tests.support.people import Person, path

SEEDS = range(12)


class History:
    """People of several servers in one room, doing what comes to mind; refusals are part of it."""

    def __init__(self, federation: Federation, seed: int, names: list[str], version: str) -> None:
        self.random = random.Random(seed)
        self.federation = federation
        self.names = names
        self.people: list[Person] = []
        for name, server in zip(names, federation.servers(*names), strict=True):
            self.people += [server.register(f"{who}-{name}") for who in ("ann", "ben")]
        self.creator = self.people[0]
        self.room = self.creator.create_room(preset="public_chat", room_version=version)
        for person in self.people[1:]:
            person.request("POST", path("join", self.room), {}, via=names[0])
            federation.settle(1)
        users = {person.user_id: self.random.choice((0, 50, 50, 100)) for person in self.people[1:]}
        if version != "12":
            users[self.creator.user_id] = 100
        self.put(self.creator, "m.room.power_levels", {"users": users, "state_default": 50})
        federation.settle(2)

    def put(self, person: Person, type_: str, content: dict[str, Any]) -> Answer:
        return person.request("PUT", path("rooms", self.room, "state", type_, ""), content)

    def step(self, number: int) -> None:
        choice = self.random.random()
        person, other = self.random.choice(self.people), self.random.choice(self.people)
        rooms = path("rooms", self.room)
        if choice < 0.35:
            person.request("PUT", f"{rooms}/send/m.room.message/{number}", {"body": f"message {number}"})
        elif choice < 0.5:
            self.put(person, "m.room.topic", {"topic": str(number)})
        elif choice < 0.6:
            self.change_power(person, other)
        elif choice < 0.8:
            act = self.random.choice(("kick", "ban", "unban", "invite"))
            person.request("POST", f"{rooms}/{act}", {"user_id": other.user_id})
        elif choice < 0.87:
            person.request("POST", path("join", self.room), {}, via=self.random.choice(self.names))
        elif choice < 0.9:
            person.request("POST", f"{rooms}/leave", {})
        elif choice < 0.93:
            rule = self.random.choice(("public", "invite"))
            self.put(person, "m.room.join_rules", {"join_rule": rule})
        elif choice < 0.94:
            self.federation.all[self.random.choice(self.names)].restart()
        elif choice < 0.97:
            self.federation.part(self.random.choice(self.names))
        else:
            self.federation.network.heal()
        self.federation.time.advance(self.random.choice((0, 0.1, 0.1, 5)))

    def change_power(self, person: Person, other: Person) -> None:
        answer = person.request("GET", path("rooms", self.room, "state", "m.room.power_levels", ""))
        if answer.status != 200:
            return
        users = {**answer.json["users"], other.user_id: self.random.choice((0, 10, 50, 100))}
        self.put(person, "m.room.power_levels", {**answer.json, "users": users})

    def end(self) -> None:
        """Everybody hears everybody, and says something after it all."""
        self.federation.heal()
        for round_ in range(2):
            for index, person in enumerate(self.people):
                transaction = f"end{round_}.{index}"
                body = {"body": transaction}
                person.request("PUT", path("rooms", self.room, "send", "m.room.message", transaction), body)
                self.federation.settle(3)
        self.federation.heal(after_s=600)
        for person in self.people:
            self.read_back(person)

    def read_back(self, person: Person) -> None:
        """All of the history, so that what a server missed while nobody of it was there is fetched."""
        query: dict[str, Any] = {"dir": "b", "limit": 50}
        while True:
            answer = person.request("GET", path("rooms", self.room, "messages"), **query)
            if answer.status != 200 or answer.json.get("end") in (None, query.get("from")):
                return
            query["from"] = answer.json["end"]

    def in_it(self) -> list[str]:
        """The servers that are in the room, by their own word and that of all the others.

        Who was put out without having heard of it goes on alone: nobody sends to them.
        """
        views = {name: self.joined_servers(name) for name in self.names}
        members = [name for name in self.names if name in views[name]]
        return [name for name in members if all(name in views[other] for other in members)]

    def joined_servers(self, name: str) -> set[str]:
        """The servers with joined members, as one of them sees it."""
        state = self.federation.state_of(self.room, name)
        return {
            user.partition(":")[2]
            for (type_, user), event_id in state.items()
            if type_ == "m.room.member"
            and self.federation.pdu(event_id, name)["content"]["membership"] == "join"
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_all_servers_end_with_the_same_room(federation: Federation, seed: int) -> None:
    names = ["one", "two", "three"][: 2 + seed % 2]
    version = ("11", "12", "6", "10")[seed // 2 % 4]
    history = History(federation, seed, names, version)
    for number in range(60):
        history.step(number)
    history.end()

    servers = history.in_it()
    states = {name: federation.state_of(history.room, name) for name in servers}
    for name in servers:
        federation.check_memory(history.room, name)
        for other in servers:
            differing = dict(states[name].items() ^ states[other].items())
            assert not differing, (name, other)
            theirs = federation.events_of(history.room, other).keys()
            missing = federation.accepted(history.room, name) - theirs
            assert not missing, f"{other} lacks what {name} has"
