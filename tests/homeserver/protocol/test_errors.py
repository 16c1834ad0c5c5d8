"""Errors: each class is one errcode, and its body is what the client is told."""

import inspect

import pytest

from homeserver.protocol import errors
from homeserver.protocol.errors import (
    AuthFailure,
    BadStatus,
    Forbidden,
    IncompatibleRoomVersion,
    LimitExceeded,
    MatrixError,
    NotFound,
    UnknownToken,
    UserLocked,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MatrixError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_an_errcode_a_status_and_a_sentence(kind: type[MatrixError]) -> None:
    assert kind.errcode.startswith("M_")
    assert 400 <= kind.status < 600
    assert len(kind.default) > 8


def test_an_error_says_its_default_or_what_was_wrong() -> None:
    assert NotFound().body() == {"errcode": "M_NOT_FOUND", "error": "Not found"}
    assert NotFound("No such room").body()["error"] == "No such room"
    assert str(NotFound("No such room")) == "No such room"


def test_extra_fields_go_into_the_body() -> None:
    assert Forbidden("no", additional=1).body() == {"errcode": "M_FORBIDDEN", "error": "no", "additional": 1}
    assert LimitExceeded(retry_after_ms=2000).body()["retry_after_ms"] == 2000
    assert UnknownToken(soft_logout=True).body()["soft_logout"] is True
    assert UserLocked().body()["soft_logout"] is True
    assert IncompatibleRoomVersion(room_version="12").body()["room_version"] == "12"
    assert BadStatus(remote_status=403, remote_body="no").body()["status"] == 403


def test_an_auth_failure_is_a_forbidden_with_the_rule_it_broke() -> None:
    failure = AuthFailure("4.3.1", "not invited")
    assert isinstance(failure, Forbidden)
    assert failure.rule == "4.3.1"
    assert failure.body() == {"errcode": "M_FORBIDDEN", "error": "not invited"}
