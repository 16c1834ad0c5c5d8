"""What may go wrong with a call, and what is noted of the server then."""

from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.remote.errors import (
    RemoteBackingOff,
    RemoteError,
    RemoteMisbehaved,
    RemoteNotAllowed,
    RemoteRefused,
    RemoteUnreachable,
)
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_requests import Effort
from homeserver.remote.server_discovery import ServerDiscovery
from homeserver.runtime.concurrency import CancelledError
from tests.homeserver.remote.federation.other import THEM, US, USER, Other, Watch
from tests.support.clock import FakeClock
from tests.support.network import Network
from tests.support.running import Running, result


@pytest.mark.parametrize(
    ("status", "body", "errcode", "unknown"),
    [
        (404, {"errcode": "M_NOT_FOUND", "error": "gone"}, "M_NOT_FOUND", False),
        (404, {"errcode": "M_UNRECOGNIZED"}, "M_UNRECOGNIZED", True),
        (404, b"<html>", "", True),
        (405, {"errcode": "M_UNRECOGNIZED"}, "M_UNRECOGNIZED", True),
        (403, {"errcode": 5, "error": []}, "", False),
        (302, b"", "", False),
        (201, b"{}", "", False),
        (500, b"", "", False),
    ],
)
def test_refusals(
    client: FederationClient, them: Other, watch: Watch, status: int, body: Any, errcode: str, unknown: bool
) -> None:
    them.will(body, status)
    with pytest.raises(RemoteRefused) as refused:
        result(client.profile(THEM, USER))
    error = refused.value
    assert (error.remote_status, error.remote_errcode, error.is_unknown_endpoint) == (
        status,
        errcode,
        unknown,
    )
    assert (error.status, error.errcode) == (502, "M_UNKNOWN")
    assert watch.notes == ["failure" if status >= 500 else "success"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait_ms"),
    [
        (429, {"retry_after": "5"}, {"retry_after_ms": 1}, 5_000),
        (429, {}, {"retry_after_ms": 1500}, 1_500),
        (429, {}, {"retry_after_ms": 1500.2}, 1_501),
        (429, {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        (429, {}, {"retry_after_ms": -1}, None),
        (503, {"retry_after": "9"}, {}, 9_000),
        (403, {"retry_after": "9"}, {}, None),
    ],
)
def test_being_asked_to_wait(
    client: FederationClient,
    them: Other,
    status: int,
    headers: dict[str, str],
    body: Any,
    wait_ms: int | None,
) -> None:
    them.will(body, status, **headers)
    with pytest.raises(RemoteRefused) as refused:
        result(client.profile(THEM, USER))
    assert refused.value.retry_after_ms == wait_ms


def test_a_server_that_cannot_be_reached(client: FederationClient, watch: Watch) -> None:
    with pytest.raises(RemoteUnreachable, match=r"nobody\.example"):
        result(client.profile(ServerName("nobody.example"), USER))
    assert watch.notes == ["failure"]


def test_an_answer_that_is_too_large(client: FederationClient, them: Other, watch: Watch) -> None:
    them.will({"x": "x" * 2_000})
    with pytest.raises(RemoteMisbehaved):
        result(client.request(THEM, "GET", "/x", effort=Effort(max_bytes=1_000)))
    assert watch.notes == ["success"]


def test_finding_the_server_is_part_of_the_time(
    network: Network, time: FakeClock, watch: Watch, client: FederationClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(discovery: object, destination: object) -> None:
        await time.sleep(1_000)

    monkeypatch.setattr(ServerDiscovery, "targets", never)
    running = Running(client.profile(THEM, USER))
    time.advance(16)
    with pytest.raises(RemoteUnreachable):
        running.result()
    assert watch.notes == ["failure"]


def test_cancelling_is_no_failure_of_theirs(
    client: FederationClient, watch: Watch, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(discovery: object, destination: object) -> None:
        await time.sleep(1_000)

    monkeypatch.setattr(ServerDiscovery, "targets", never)
    running = Running(client.profile(THEM, USER))
    running.cancel()
    with pytest.raises(CancelledError):
        running.result()
    assert watch.notes == []


def test_a_server_that_is_left_alone(client: FederationClient, them: Other, watch: Watch) -> None:
    watch.blocked = True
    them.will({})
    with pytest.raises(RemoteBackingOff):
        result(client.profile(THEM, USER))
    assert them.asked == []
    result(client.send_transaction(THEM, "1", {}))
    assert len(them.asked) == 1


@pytest.mark.parametrize("name", ["a.evil.example", "A.EVIL.example", "b.evil.example:8448"])
def test_a_server_that_is_not_allowed(client: FederationClient, network: Network, name: str) -> None:
    with pytest.raises(RemoteNotAllowed):
        result(client.send_transaction(ServerName(name), "1", {}))
    assert network.sent == []


def test_no_requests_to_ourselves(client: FederationClient, network: Network) -> None:
    network.add(US, Other())
    with pytest.raises(RemoteError, match="this server"):
        result(client.profile(US, USER))
    assert network.sent == []
