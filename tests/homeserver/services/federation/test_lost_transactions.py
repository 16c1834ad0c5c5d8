"""Transactions that never came are fetched from who sent them; what they answer may be anything."""

from typing import Any

import pytest

from homeserver.protocol.errors import BadJson, LimitExceeded
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteError, RemoteUnreachable
from homeserver.runtime.tasks import Tasks
from homeserver.services.federation.lost_transactions import LostTransactions
from tests.support.whole_server import WholeServer

FAR = ServerName("far")


class Far:
    """Another Postroom, asked for what it sent; and what became of that here."""

    def __init__(self, server: WholeServer) -> None:
        self.log = {"one": "two", "two": "three"}
        self.error: Exception | None = None
        self.taken: list[str] = []
        self.asked = 0
        ground = server.services.traffic.ground
        stores = ground.stores.destinations
        self.lost = LostTransactions(ground.database, stores, self, Tasks(server.time), self.take)
        self.refusal: Exception | None = None

    async def pull(self, destination: ServerName, txn_id: str) -> JsonObject:
        self.asked += 1
        if self.error is not None:
            raise self.error
        later = self.log.get(txn_id)
        return {"transactions": [{"txn_id": later, "body": {}}] if later else []}

    async def take(self, origin: ServerName, txn_id: str, body: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(txn_id)


@pytest.fixture
def other(server: WholeServer) -> Far:
    return Far(server)


def test_all_since_the_last_known_are_taken(other: Far) -> None:
    other.lost.note(FAR, "one")
    assert other.taken == ["two", "three"]


@pytest.mark.parametrize("when", ["they are away", "too much waits here"])
def test_what_could_not_be_had_now_is_fetched_after_the_next(other: Far, when: str) -> None:
    if when == "they are away":
        other.error = RemoteUnreachable("far does not answer")
    else:
        other.refusal = LimitExceeded(retry_after_ms=1)
    other.lost.note(FAR, "one")
    other.error = other.refusal = None

    other.lost.note(FAR, None)
    other.lost.note(FAR, None)

    assert other.taken == ["two", "three"]


def test_who_answers_nonsense_is_not_asked_again(other: Far, caplog: pytest.LogCaptureFixture) -> None:
    other.refusal = BadJson("pdus and edus of a transaction are lists")
    for _ in range(3):
        other.lost.note(FAR, "one")
    assert other.asked == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_who_cannot_answer_is_not_asked_again(other: Far) -> None:
    other.error = RemoteError("M_UNRECOGNIZED")
    for _ in range(3):
        other.lost.note(FAR, "one")
    assert other.asked == 1
