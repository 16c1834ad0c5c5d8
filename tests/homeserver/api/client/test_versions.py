"""Versions and the well-known documents."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homeserver.api.client.routes.server import SERVER_DISCOVERY
from homeserver.http.routing import Router
from homeserver.services.discovery import Discovery
from tests.support.http import Answer, dispatch

NOT_SERVED = Path(__file__).resolve().parents[3] / "spec" / "not_served.txt"
SUPPORT: dict[str, Any] = {"contacts": [{"email_address": "a@example.org", "role": "m.role.admin"}]}


def ask(path: str, public_url: str | None = "https://matrix.example.org/", support: Any = None) -> Answer:
    services = SimpleNamespace(discovery=Discovery(public_url=public_url, support=support))
    return dispatch(Router(services, SERVER_DISCOVERY, authenticate=lambda request, route: None), "GET", path)


def test_the_versions_are_those_of_the_specification() -> None:
    answer = ask("/_matrix/client/versions").json
    assert {"v1.1", "v1.11"} <= set(answer["versions"])
    assert answer["versions"] == [f"v1.{minor}" for minor in range(1, len(answer["versions"]) + 1)]
    assert answer["unstable_features"] == {"uk.tcpip.msc4133.stable": True}


@pytest.mark.parametrize(
    ("version", "operation"),
    [
        ("v1.2", "GET /_matrix/client/v1/register/m.login.registration_token/validity"),
        ("v1.3", "POST /_matrix/client/v3/refresh"),
        ("v1.4", "GET /_matrix/client/v1/rooms/{roomId}/threads"),
        ("v1.6", "GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event"),
        ("v1.7", "POST /_matrix/media/v1/create"),
        ("v1.10", "GET /.well-known/matrix/support"),
        ("v1.11", "GET /_matrix/client/v1/media/download/{serverName}/{mediaId}"),
        ("v1.13", "POST /_matrix/client/v3/rooms/{roomId}/report"),
        ("v1.14", "POST /_matrix/client/v3/users/{userId}/report"),
        ("v1.15", "GET /_matrix/client/v1/room_summary/{roomIdOrAlias}"),
        ("v1.16", "DELETE /_matrix/client/v3/profile/{userId}/{keyName}"),
        ("v1.18", "PUT /_matrix/client/v1/admin/lock/{userId}"),
        ("v1.19", "GET /_matrix/client/v1/mutual_rooms"),
    ],
)
def test_a_version_is_told_just_when_what_it_added_is_served(version: str, operation: str) -> None:
    """Fails when a version has become true, too: then tell it."""
    told = ask("/_matrix/client/versions").json["versions"]
    assert (version in told) is (operation not in NOT_SERVED.read_text().splitlines())


def test_clients_find_the_server() -> None:
    assert ask("/.well-known/matrix/client").json == {
        "m.homeserver": {"base_url": "https://matrix.example.org"}
    }


@pytest.mark.parametrize(
    ("public_url", "server"),
    [
        ("https://matrix.example.org", "matrix.example.org:443"),
        ("https://matrix.example.org:8448/", "matrix.example.org:8448"),
        ("http://localhost", "localhost:80"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
    ],
)
def test_servers_find_the_server(public_url: str, server: str) -> None:
    assert ask("/.well-known/matrix/server", public_url).json == {"m.server": server}


@pytest.mark.parametrize("path", ["/.well-known/matrix/client", "/.well-known/matrix/server"])
def test_a_server_that_does_not_know_its_url_says_so(path: str) -> None:
    answer = ask(path, public_url=None)
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_people_find_support_where_there_is_some() -> None:
    assert ask("/.well-known/matrix/support", support=SUPPORT).json == SUPPORT
    assert ask("/.well-known/matrix/support").errcode == "M_NOT_FOUND"
