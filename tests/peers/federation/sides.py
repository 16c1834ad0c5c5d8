"""Two servers of different make as neighbours, and what must be the same on both."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from tests.peers.federation.people import Neighbour, Outside

VERSIONS = ["6", "9", "10", "11", "12"]
numbers = count(1)


def of(first: str, *, among: list[str] = VERSIONS) -> list[str]:
    """Those of the versions that are not older than `first`."""
    return [version for version in among if int(version) >= int(first)]


@dataclass(frozen=True)
class Sides:
    """Who hosts the room, and who joins from elsewhere."""

    host: Outside
    guest: Outside

    def people(self) -> tuple[Neighbour, Neighbour]:
        """One of each: Anna of the host, Bela of the guest."""
        number = next(numbers)
        return self.host.register(f"anna{number}"), self.guest.register(f"bela{number}")

    def another_guest(self, name: str = "carla") -> Neighbour:
        return self.guest.register(f"{name}{next(numbers)}")

    def shared_room(self, **wishes: Any) -> tuple[Neighbour, Neighbour, str]:
        """Both are in a room."""
        anna, bela = self.people()
        room = anna.create_room(**{"preset": "public_chat", **wishes})
        self.enter(room, bela, anna)
        return anna, bela, room

    def enter(self, room: str, guest: Neighbour, *watched_by: Neighbour, **body: Any) -> None:
        """A guest joins by way of the host; the others hear of it.

        The guest's server knows all members then. If the room is left before, Synapse (1.163) asks for them
        in vain, and keeps everybody waiting who wants to know anything of that room.
        """
        guest.join_from(room, self.host.name, **body)
        guest.members(room)
        for person in watched_by:
            person.sees_member_soon(room, guest, "join")

    def power(self, room: str, anna: Neighbour, bela: Neighbour, level: int) -> dict[str, Any]:
        """Anna gives Bela a power level, which his server hears of; the content."""
        levels: dict[str, Any] = anna.state_of(room, "m.room.power_levels")
        levels.setdefault("users", {})[bela.user_id] = level
        anna.set_state(room, "m.room.power_levels", levels)
        bela.soon(lambda: bela.state_of(room, "m.room.power_levels")["users"].get(bela.user_id) == level)
        return levels


def both_ways(one: str, other: str) -> "list[Any]":
    """For `params`: each of the two hosts."""
    return [pytest.param(hosts, id=f"{hosts} hosts") for hosts in (one, other)]


SIGNED = ("event_id", "room_id", "type", "state_key", "sender", "content", "origin_server_ts")


def signed_part(event: Mapping[str, Any]) -> dict[str, Any]:
    """What every server must show alike."""
    return {key: event.get(key) for key in SIGNED}


def differing_state(room: str, *people: Neighbour) -> list[Any]:
    """The keys for which servers have different events, and both of these."""
    first, *others = [person.state(room) for person in people]
    return [
        (key, first.get(key), other.get(key))
        for other in others
        for key in first.keys() | other.keys()
        if signed_part(first.get(key, {})) != signed_part(other.get(key, {}))
    ]


def same_state(room: str, *people: Neighbour, within: float = 20) -> None:
    """Every server has the same event for each state key, to the last field that its sender signed."""

    def is_same() -> bool:
        differences = differing_state(room, *people)
        assert not differences, f"the state differs in {differences}"
        return True

    people[0].soon(is_same, "the same state", within=within)


def same_on_screen(room: str, *people: Neighbour) -> None:
    """What syncs told of the state is what /state has."""
    for person in people:

        def is_same(person: Neighbour = person) -> bool:
            person.sync()
            shown = {key: event["event_id"] for key, event in person.screen.states[room].items()}
            known = person.state_ids(room)
            different = {key for key in shown.keys() | known.keys() if shown.get(key) != known.get(key)}
            assert not different, f"syncs told something else of {different}"
            return True

        person.soon(is_same, "the state by sync")


def same_history(room: str, *people: Neighbour, within: float = 20) -> list[str]:
    """Paging back shows all of them the same events in the same order, from the creation on; their ids."""

    def is_same() -> list[str]:
        first, *others = [[signed_part(event) for event in person.history(room)] for person in people]
        ids = [event["event_id"] for event in first]
        assert len(set(ids)) == len(ids), "an event twice"
        assert first[0]["type"] == "m.room.create"
        for person, other in zip(people[1:], others, strict=True):
            theirs = [event["event_id"] for event in other]
            assert set(theirs) == set(ids), f"{person} lacks or has more: {set(theirs) ^ set(ids)}"
            assert theirs == ids, f"{person} has another order"
            assert other == first, f"{person} has the events otherwise"
        return ids

    ids: list[str] = people[0].soon(is_same, "the same history", within=within, every=0.2)
    return ids


def same_room(room: str, *people: Neighbour) -> None:
    """State, history and what clients were told."""
    same_state(room, *people)
    same_history(room, *people)
    same_on_screen(room, *people)


def make_peace(room: str, anna: Neighbour, bela: Neighbour) -> None:
    """Each says something that rests on what both did: then nothing is left in which they may differ.

    Until then they may: what came too late for one server's present is no part of the other's yet.
    """
    for one, other in ((anna, bela), (bela, anna), (anna, bela)):
        other.reads(room, one.send(room, "peace"))
    same_state(room, anna, bela)


def at_once(*deeds: Callable[[], object]) -> None:
    """Do all of them at the same time."""
    threads = [threading.Thread(target=deed) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
