"""A state of thousands is verified on other cores, with the same outcome."""

from collections.abc import Mapping, Sequence

import pytest

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_signatures import claims_of, signers_of, verdicts
from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.protocol.signatures import BadSignature, Proof, SigningKey, VerifyKey
from homeserver.services.rooms.receiving.checking import AT_ONCE, PER_JOB, Checking
from tests.support.clock import FakeClock
from tests.support.running import Running

VERSION = room_version("11")
ROOM = RoomId("!room:there")
THERE = ServerName("there")
KEY = SigningKey.generate()
MANY = AT_ONCE + 12 * PER_JOB + 7


class Keys:
    """Knows the key of one server. `are_there_cores`: to verify on, beside the reactor."""

    def __init__(self, *, are_there_cores: bool = True) -> None:
        self._are_there_cores = are_there_cores
        self.checked_here = 0

    def known_key(self, server_name: ServerName, key_id: str, at_ms: int | None) -> VerifyKey | None:
        return KEY.verify_key if server_name == THERE else None

    async def are_good(self, proofs: Sequence[Proof]) -> bool:
        return self._are_there_cores and all(proof.is_good() for proof in proofs)

    async def check_events(
        self, version: RoomVersion, pdus: Sequence[Mapping[str, Json]]
    ) -> list[MatrixError | None]:
        self.checked_here += len(pdus)
        signers = [signers_of(claims_of(version, pdu), self.known_key) for pdu in pdus]
        return verdicts(version, pdus, signers)


def member(number: int) -> Event:
    user = UserId(f"@member{number}:{THERE}")
    draft = Draft(
        type="m.room.member", sender=user, state_key=user, content={"membership": "join"}, room_id=ROOM,
        prev_event_ids=(EventId("$before"),), auth_event_ids=(EventId("$create"),), depth=number + 1,
        origin_server_ts=1_700_000_000_000,
    )  # fmt: skip
    return build(draft, VERSION, THERE, KEY)


@pytest.fixture(scope="module")
def members() -> list[Event]:
    return [member(number) for number in range(MANY)]


def forged(pdu: JsonObject) -> JsonObject:
    signature = SigningKey.generate().sign(b"something else")
    return {**pdu, "signatures": {THERE: {KEY.key_id: signature}}}


def finish(running: Running, time: FakeClock) -> None:
    while not running.is_done:
        time.advance(0)


@pytest.mark.parametrize("are_there_cores", [True, False])
def test_all_good_events_come_in_the_order_given(
    members: list[Event], time: FakeClock, are_there_cores: bool
) -> None:
    keys = Keys(are_there_cores=are_there_cores)
    checking = Running(Checking(keys, time).check(VERSION, ROOM, [event.pdu for event in members]))
    finish(checking, time)
    assert [event.event_id for event in checking.result().events] == [event.event_id for event in members]
    assert checking.result().problems == {}
    assert keys.checked_here == (AT_ONCE if are_there_cores else MANY)


def test_a_forged_one_is_found_and_harms_none_of_those_verified_with_it(
    members: list[Event], time: FakeClock
) -> None:
    pdus = [event.pdu for event in members]
    bad = AT_ONCE + 5 * PER_JOB + 3
    pdus[bad] = forged(pdus[bad])
    keys = Keys()
    checking = Running(Checking(keys, time).check(VERSION, ROOM, pdus))
    finish(checking, time)
    (problem,) = checking.result().problems.values()
    assert isinstance(problem, BadSignature)
    assert list(checking.result().problems) == [members[bad].event_id]
    assert len(checking.result().events) == MANY - 1
    assert keys.checked_here == AT_ONCE + PER_JOB


def test_most_are_used_while_others_are_still_verified_and_none_twice(
    members: list[Event], time: FakeClock
) -> None:
    used: list[EventId] = []

    async def use(events: list[Event]) -> None:
        used.extend(event.event_id for event in events)

    checking = Running(Checking(Keys(), time).check(VERSION, ROOM, [event.pdu for event in members], use))
    finish(checking, time)
    assert len(used) == len(set(used)) > MANY / 2
    assert set(used) <= {event.event_id for event in checking.result().events}
