"""Account data, tags and filters over HTTP."""

import pytest

from tests.support.personal_api import Person

MINE = "/user/@alice:here"
ROOM = f"{MINE}/rooms/!room:here"


@pytest.mark.parametrize("place", [MINE, ROOM])
def test_account_data_is_put_and_got(alice: Person, place: str) -> None:
    path = f"{place}/account_data/org.example"
    assert alice.refused("GET", path) == (404, "M_NOT_FOUND")
    assert alice.put(path, {"a": [1.5, "ü", None]}) == {}
    assert alice.get(path) == {"a": [1.5, "ü", None]}


@pytest.mark.parametrize("place", [MINE, ROOM])
@pytest.mark.parametrize("type_", ["m.fully_read", "m.push_rules"])
def test_what_the_server_keeps_is_not_written(alice: Person, place: str, type_: str) -> None:
    assert alice.refused("PUT", f"{place}/account_data/{type_}", {}) == (405, "M_BAD_JSON")


def test_push_rules_can_be_read_as_account_data(alice: Person) -> None:
    assert "global" in alice.get(f"{MINE}/account_data/m.push_rules")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{MINE}/account_data/x"),
        ("PUT", f"{MINE}/account_data/x"),
        ("GET", f"{ROOM}/account_data/x"),
        ("PUT", f"{ROOM}/account_data/x"),
        ("GET", f"{ROOM}/tags"),
        ("PUT", f"{ROOM}/tags/x"),
        ("DELETE", f"{ROOM}/tags/x"),
        ("POST", f"{MINE}/filter"),
        ("GET", f"{MINE}/filter/x"),
    ],
)
def test_it_is_nobody_elses_business(bob: Person, method: str, path: str) -> None:
    assert bob.refused(method, path, {} if method in ("PUT", "POST") else None) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode"), [(b"no json", "M_NOT_JSON"), (b"", "M_NOT_JSON"), ([], "M_BAD_JSON")]
)
def test_content_is_a_json_object(alice: Person, body: bytes, errcode: str) -> None:
    assert alice.refused("PUT", f"{MINE}/account_data/x", body) == (400, errcode)


def test_deep_and_large_content_is_refused(alice: Person) -> None:
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    assert alice.refused("PUT", f"{MINE}/account_data/x", deep) == (400, "M_BAD_JSON")
    assert alice.refused("PUT", f"{MINE}/account_data/x", {"a": "x" * 66_000}) == (413, "M_TOO_LARGE")


def test_a_room_id_must_be_one(alice: Person) -> None:
    path = f"{MINE}/rooms/room/account_data/x"
    assert alice.refused("PUT", path, {}) == (400, "M_INVALID_PARAM")


def test_tags_come_and_go(alice: Person) -> None:
    assert alice.get(f"{ROOM}/tags") == {"tags": {}}
    alice.put(f"{ROOM}/tags/m.favourite", {"order": 0.1})
    alice.put(f"{ROOM}/tags/u.a%2Fb")
    assert alice.get(f"{ROOM}/tags") == {"tags": {"m.favourite": {"order": 0.1}, "u.a/b": {}}}
    assert alice.get(f"{ROOM}/account_data/m.tag")["tags"]["m.favourite"] == {"order": 0.1}
    alice.delete(f"{ROOM}/tags/m.favourite")
    assert alice.get(f"{ROOM}/tags") == {"tags": {"u.a/b": {}}}
    assert alice.refused("PUT", f"{ROOM}/tags/x", {"order": "high"}) == (400, "M_INVALID_PARAM")


def test_a_filter_is_uploaded_and_downloaded(alice: Person) -> None:
    definition = {"room": {"timeline": {"limit": 10}}, "event_fields": ["type"]}
    filter_id = alice.post(f"{MINE}/filter", definition)["filter_id"]
    assert alice.get(f"{MINE}/filter/{filter_id}") == definition
    assert alice.refused("GET", f"{MINE}/filter/other") == (404, "M_NOT_FOUND")
    assert alice.refused("POST", f"{MINE}/filter", {"room": 1}) == (400, "M_BAD_JSON")
