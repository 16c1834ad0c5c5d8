"""Push rules, pushers and notifications over HTTP."""

from typing import Any

import pytest

from tests.support.personal import ALICE, BOB, House
from tests.support.personal_api import Person

RULES = "/pushrules/global"
CAKE: dict[str, Any] = {"pattern": "cake*lie", "actions": ["notify"]}


def ids(alice: Person, kind: str = "content") -> list[str]:
    return [rule["rule_id"] for rule in alice.get(f"{RULES}/")[kind]]


def test_everybody_has_the_predefined_rules(alice: Person) -> None:
    rules = alice.get("/pushrules/")
    assert rules["global"] == alice.get(f"{RULES}/")
    assert set(rules["global"]) == {"override", "underride", "content", "room", "sender"}
    mention = alice.get(f"{RULES}/override/.m.rule.is_user_mention")
    assert mention["conditions"][0]["value"] == ALICE


def test_a_rule_is_made_and_read(alice: Person, bob: Person) -> None:
    assert alice.put(f"{RULES}/content/nocake", CAKE) == {}
    assert alice.get(f"{RULES}/content/nocake") == {
        "rule_id": "nocake",
        "pattern": "cake*lie",
        "actions": ["notify"],
        "enabled": True,
        "default": False,
    }
    assert bob.refused("GET", f"{RULES}/content/nocake") == (404, "M_NOT_FOUND")


def test_rules_are_put_before_and_after_others(alice: Person) -> None:
    for rule_id in ("c", "a"):
        alice.put(f"{RULES}/content/{rule_id}", CAKE)
    alice.put(f"{RULES}/content/b", CAKE, after="a")
    alice.put(f"{RULES}/content/b2", CAKE, before="c")
    assert ids(alice) == ["a", "b", "b2", "c"]
    assert alice.refused("PUT", f"{RULES}/content/d", CAKE, before="nowhere") == (400, "M_UNKNOWN")


def test_a_rule_is_removed(alice: Person) -> None:
    alice.put(f"{RULES}/room/!room:here", {"actions": []})
    alice.delete(f"{RULES}/room/!room:here")
    assert ids(alice, "room") == []
    assert alice.refused("DELETE", f"{RULES}/room/!room:here") == (404, "M_NOT_FOUND")
    assert alice.refused("DELETE", f"{RULES}/underride/.m.rule.message")[0] == 400


def test_rules_are_switched_and_their_actions_changed(alice: Person) -> None:
    rule = f"{RULES}/underride/.m.rule.message"
    assert alice.get(f"{rule}/enabled") == {"enabled": True}
    alice.put(f"{rule}/enabled", {"enabled": False})
    assert alice.get(f"{rule}/enabled") == {"enabled": False}
    alice.put(f"{rule}/actions", {"actions": ["notify", {"set_tweak": "highlight"}, "dont_notify"]})
    assert alice.get(f"{rule}/actions") == {"actions": ["notify", {"set_tweak": "highlight"}]}
    assert alice.get(rule)["enabled"] is False


@pytest.mark.parametrize("part", ["", "/enabled", "/actions"])
def test_what_is_not_there_is_not_found(alice: Person, part: str) -> None:
    for rule in ("content/none", "nonsense/none"):
        assert alice.refused("GET", f"{RULES}/{rule}{part}") == (404, "M_NOT_FOUND")
    bodies = {"/enabled": {"enabled": True}, "/actions": {"actions": []}}
    if part:
        path = f"{RULES}/content/none{part}"
        assert alice.refused("PUT", path, bodies[part]) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("content/.m.mine", CAKE, "M_INVALID_PARAM"),
        ("content/a%2Fb", CAKE, "M_INVALID_PARAM"),
        ("content/x", {"actions": ["notify"]}, "M_MISSING_PARAM"),
        ("content/x", {"pattern": "x"}, "M_MISSING_PARAM"),
        ("content/x", {"pattern": "x", "actions": "notify"}, "M_BAD_JSON"),
        ("nonsense/x", CAKE, "M_INVALID_PARAM"),
        ("override/x", {"actions": [], "conditions": {}}, "M_BAD_JSON"),
        ("content/x/enabled", {"enabled": "yes"}, "M_BAD_JSON"),
        ("content/x/actions", {}, "M_BAD_JSON"),
    ],
)
def test_what_is_wrong_is_refused(alice: Person, path: str, body: Any, errcode: str) -> None:
    assert alice.refused("PUT", f"{RULES}/{path}", body) == (400, errcode)


def test_pushers_are_set_and_listed(alice: Person) -> None:
    pusher = {
        "app_id": "org.example.app",
        "pushkey": "key",
        "kind": "http",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": {"url": "https://push.example.org/_matrix/push/v1/notify"},
    }
    assert alice.get("/pushers") == {"pushers": []}
    assert alice.post("/pushers/set", pusher) == {}
    assert alice.get("/pushers") == {"pushers": [pusher]}
    assert alice.post("/pushers/set", {"app_id": "org.example.app", "pushkey": "key", "kind": None}) == {}
    assert alice.get("/pushers") == {"pushers": []}
    assert alice.refused("POST", "/pushers/set", {"kind": "http"}) == (400, "M_MISSING_PARAM")


def test_notifications_are_listed_in_pages(house: House, bob: Person) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, ALICE), house.send(room, ALICE)
    house.read(room, BOB, first)
    page = bob.get("/notifications", limit=1)
    assert page["notifications"] == [
        {
            "actions": ["notify"],
            "event": {"event_id": second},
            "read": False,
            "room_id": room,
            "ts": house.time.now_ms(),
        }
    ]
    (entry,) = bob.get("/notifications", **{"from": page["next_token"]})["notifications"]
    assert (entry["event"], entry["read"]) == ({"event_id": first}, True)
    assert bob.get("/notifications", only="highlight") == {"notifications": []}
    assert bob.refused("GET", "/notifications", limit="many") == (400, "M_INVALID_PARAM")
