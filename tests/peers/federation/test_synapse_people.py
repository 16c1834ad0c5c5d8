"""Postroom and Synapse as neighbours: what people show, send beside events, and find of each other."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.peers.federation.people import Neighbour, eventually
from tests.peers.federation.sides import Sides, numbers, same_room, same_state
from tests.support.people import V1, path
from tests.support.pictures import picture

pytestmark = [pytest.mark.xdist_group("synapse people"), pytest.mark.slow]


def both(anna: Neighbour, bela: Neighbour) -> tuple[tuple[Neighbour, Neighbour], ...]:
    return (anna, bela), (bela, anna)


# Beside events


def test_typing(sides: Sides) -> None:
    """Several at once, each until they stop; nobody types who has left."""
    anna, bela, room = sides.shared_room()
    for one, other in both(anna, bela):
        other.sync()
        one.start_typing(room)
        other.syncs_until(lambda answer, one=one: answer.typing(room) == {one.user_id})
        other.start_typing(room)
        one.syncs_until(lambda answer, two={anna.user_id, bela.user_id}: answer.typing(room) == two)
        one.stop_typing(room)
        other.syncs_until(lambda answer, other=other: answer.typing(room) == {other.user_id})
        other.stop_typing(room)
        one.syncs_until(lambda answer: answer.ephemeral(room, "m.typing") == {"user_ids": []})


def receipt_of(answer: Any, room: str, person: Neighbour) -> dict[str, Any]:
    """{event id: the person's public receipt}."""
    receipts = answer.receipts(room)
    return {
        event_id: kinds["m.read"][person.user_id]
        for event_id, kinds in receipts.items()
        if person.user_id in kinds.get("m.read", {})
    }


def test_receipts(sides: Sides) -> None:
    """With their time; also in a thread; private ones stay at home."""
    anna, bela, room = sides.shared_room()
    for one, other in both(anna, bela):
        root = one.send(room, "read this")
        threaded = one.reply_in_thread(room, root, "and this")
        secret = one.send(room, "and this in private")
        other.reads(room, root, threaded, secret)
        one.sync()
        other.read(room, secret, receipt="m.read.private")
        other.read(room, root, thread_id="main")
        told = one.syncs_until(lambda answer, o=other: receipt_of(answer, room, o))
        assert set(told) == {root}
        assert told[root]["thread_id"] == "main"
        assert abs(told[root]["ts"] - one.event(room, root)["origin_server_ts"]) < 60_000
        other.read(room, threaded, thread_id=root)
        told = one.syncs_until(lambda answer, o=other: receipt_of(answer, room, o))
        assert told[threaded]["thread_id"] == root
        unthreaded = one.send(room, "all of it")
        other.reads(room, unthreaded)
        other.read(room, unthreaded)
        told = one.syncs_until(lambda answer, o=other: receipt_of(answer, room, o))
        assert "thread_id" not in told[unthreaded]


def test_presence(sides: Sides) -> None:
    """With the words somebody puts to it, until they are gone; told by sync, and when asked."""
    anna, bela, _ = sides.shared_room()

    def told(one: Neighbour, other: Neighbour, **wanted: Any) -> None:
        def is_told(answer: Any) -> bool:
            contents = [event["content"] for event in answer.json.get("presence", {}).get("events", [])
                        if event["sender"] == one.user_id]  # fmt: skip
            return any(wanted.items() <= content.items() for content in contents)

        other.syncs_until(is_told)
        answer = other.ask("GET", path("presence", one.user_id, "status"))
        assert wanted.items() <= answer.items()

    for one, other in both(anna, bela):
        other.sync()
        for presence in ("online", "unavailable"):
            status = {"presence": presence, "status_msg": f"cooking {next(numbers)}"}
            one.ask("PUT", path("presence", one.user_id, "status"), status)
            told(one, other, **status)
        one.ask("PUT", path("presence", one.user_id, "status"), {"presence": "offline"})
        told(one, other, presence="offline")


def test_presence_of_strangers_is_not_told(sides: Sides) -> None:
    anna, bela = sides.people()
    assert bela.request("GET", path("presence", anna.user_id, "status")).status == 403


# Media


def upload(person: Neighbour, data: bytes, content_type: str, filename: str) -> str:
    """Its server and name, as in a path."""
    answer = person.request(
        "POST", "/_matrix/media/v3/upload", data, content_type=content_type, filename=filename
    )
    return str(answer.json["content_uri"]).removeprefix("mxc://")


@pytest.mark.parametrize("size", [(64, 48), (1600, 1200)])
def test_pictures(sides: Sides, size: tuple[int, int]) -> None:
    anna, bela = sides.people()
    data = picture(*size)
    for one, other in both(anna, bela):
        address = upload(one, data, "image/png", "cat.png")
        found = other.request("GET", f"{V1}/media/download/{address}")
        assert found.status == 200, found.body[:300]
        assert found.body == data
        assert found.headers["Content-Type"] == "image/png"
        assert "cat.png" in found.headers["Content-Disposition"]
        again = other.request("GET", f"{V1}/media/download/{address}/dog.png")
        assert again.body == data
        assert "dog.png" in again.headers["Content-Disposition"]
        for wish in ("method=crop&width=32&height=32", "method=scale&width=320&height=240"):
            small = other.request("GET", f"{V1}/media/thumbnail/{address}?{wish}")
            assert small.status == 200, small.body[:300]
            assert small.headers["Content-Type"] in ("image/png", "image/jpeg", "image/webp")
            mine = one.request("GET", f"{V1}/media/thumbnail/{address}?{wish}")
            width, height = pixels(small.body)
            if wish.startswith("method=crop"):
                assert (width, height) == pixels(mine.body) == (32, 32)
            else:
                assert (width, height) == pixels(mine.body)
                assert abs(width / height - size[0] / size[1]) < 0.05
        absent = f"{address.partition('/')[0]}/AbsentAbsentAbsentAbsent"
        gone = other.request("GET", f"{V1}/media/download/{absent}")
        assert (gone.status, gone.errcode) == (404, "M_NOT_FOUND")


def pixels(data: bytes) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(BytesIO(data)) as image:
        return image.size


@pytest.mark.parametrize(
    ("content_type", "filename", "disposition"),
    [("text/plain", "note.txt", "inline"), ("image/svg+xml", "draw.svg", "attachment"),
     ("text/html", "page.html", "attachment"), ("application/pdf", "Übung ☕.pdf", "attachment"),
     ("application/octet-stream", "", "attachment")],
)  # fmt: skip
def test_files(sides: Sides, content_type: str, filename: str, disposition: str) -> None:
    """What a browser might run is never shown as if it were ours; names survive in every alphabet."""
    anna, bela = sides.people()
    data = bytes(range(256)) * 400
    for one, other in both(anna, bela):
        address = upload(one, data, content_type, filename)
        found = other.request("GET", f"{V1}/media/download/{address}")
        assert found.status == 200, found.body[:300]
        assert found.body == data
        assert found.headers["Content-Type"].startswith(content_type)
        told = found.headers["Content-Disposition"]
        assert told.startswith(disposition)
        if filename.isascii():
            assert filename in told
        else:
            assert "utf-8''%C3%9Cbung%20%E2%98%95.pdf" in told
        assert found.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_media_needs_an_account(sides: Sides) -> None:
    anna, bela = sides.people()
    address = upload(anna, picture(8, 8), "image/png", "dot.png")
    assert bela.server.request("GET", f"{V1}/media/download/{address}").status == 401
    old = bela.server.request("GET", f"/_matrix/media/v3/download/{address}")
    assert (old.status, old.errcode) == (404, "M_NOT_FOUND")


# Profiles


def test_profiles(sides: Sides) -> None:
    anna, bela = sides.people()
    for one, other in both(anna, bela):
        for name in ("Cook", "Chef ☕"):
            one.ask("PUT", path("profile", one.user_id, "displayname"), {"displayname": name})
            one.ask("PUT", path("profile", one.user_id, "avatar_url"), {"avatar_url": "mxc://a/b"})
            profile = {"displayname": name, "avatar_url": "mxc://a/b"}
            if one.server is not other.server and name == "Cook":
                assert profile.items() <= other.ask("GET", path("profile", one.user_id)).items()
        assert set(other.ask("GET", path("profile", one.user_id, "displayname"))) == {"displayname"}
        nobody = one.user_id.replace("anna", "nobody").replace("bela", "nobody")
        missing = other.request("GET", path("profile", nobody))
        assert (missing.status, missing.errcode) == (404, "M_NOT_FOUND")


def test_a_changed_name_shows_in_the_room(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    for one, other in both(anna, bela):
        other.sync()
        one.ask("PUT", path("profile", one.user_id, "displayname"), {"displayname": "Chef"})
        key = ("m.room.member", one.user_id)
        other.syncs_until(
            lambda _, o=other, k=key: o.screen.states[room][k]["content"].get("displayname") == "Chef"
        )
        one.ask("PUT", path("profile", one.user_id, "avatar_url"), {"avatar_url": "mxc://a/b"})
        other.syncs_until(
            lambda _, o=other, k=key: o.screen.states[room][k]["content"].get("avatar_url") == "mxc://a/b"
        )
        members = other.ask("GET", path("rooms", room, "joined_members"))["joined"]
        assert members[one.user_id]["display_name"] == "Chef"
    same_room(room, anna, bela)


# Finding rooms


def test_aliases(sides: Sides) -> None:
    """They lead to the room, in every alphabet."""
    anna, bela = sides.people()
    local = f"küche{next(numbers)}"
    room = anna.create_room(preset="public_chat", room_alias_name=local)
    alias = f"#{local}:{sides.host.name}"
    found = bela.ask("GET", path("directory", "room", alias))
    assert found["room_id"] == room
    assert sides.host.name in found["servers"]
    bela.ask("GET", path("directory", "room", f"#nowhere:{sides.host.name}"), refused="M_NOT_FOUND")
    assert bela.join(alias)["room_id"] == room
    anna.sees_member_soon(room, bela, "join")
    assert bela.state_of(room, "m.room.canonical_alias") == {"alias": alias}


def test_an_alias_that_has_moved(sides: Sides) -> None:
    """Ours remembers for a minute where another server's alias led; who did not ask before is led right."""
    anna, bela = sides.people()
    local = f"kitchen{next(numbers)}"
    alias = f"#{local}:{sides.host.name}"
    anna.create_room(preset="public_chat", room_alias_name=local)
    anna.ask("DELETE", path("directory", "room", alias))
    room = anna.create_room(preset="public_chat", room_alias_name=local)
    assert bela.join(alias)["room_id"] == room
    anna.sees_member_soon(room, bela, "join")


def test_a_knock_by_alias(sides: Sides) -> None:
    anna, bela = sides.people()
    local = f"door{next(numbers)}"
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room = anna.create_room(preset="private_chat", room_alias_name=local, initial_state=rules)
    answer = bela.request("POST", path("knock", f"#{local}:{sides.host.name}"), {})
    assert answer.json == {"room_id": room}
    anna.sees_member_soon(room, bela, "knock")


def test_public_rooms(sides: Sides) -> None:
    """All that is told of a room; found by words; in pages; no more once it is no longer public."""
    anna, bela = sides.people()
    name = f"Market{next(numbers)}"
    wishes = {"visibility": "public", "topic": "apples"}
    rooms = [anna.create_room(preset="public_chat", name=f"{name} {place}", **wishes) for place in range(3)]

    def listed(**query: Any) -> Any:
        wish = {"filter": {"generic_search_term": name}, **query}
        return bela.ask("POST", f"/publicRooms?server={sides.host.name}", wish)

    eventually(lambda: {entry["room_id"] for entry in listed(limit=5)["chunk"]} == set(rooms))
    (entry,) = [entry for entry in listed(limit=5)["chunk"] if entry["room_id"] == rooms[0]]
    assert entry["name"] == f"{name} 0"
    assert entry["topic"] == "apples"
    assert entry["num_joined_members"] == 1
    assert entry["world_readable"] is False
    assert entry["guest_can_join"] is False
    assert entry["join_rule"] == "public"
    first = listed(limit=2)
    second = listed(limit=2, since=first["next_batch"])
    pages = [entry["room_id"] for entry in (*first["chunk"], *second["chunk"])]
    assert sorted(pages) == sorted(rooms)
    whole = bela.ask("GET", "/publicRooms", server=sides.host.name, limit=200)["chunk"]
    assert set(rooms) <= {entry["room_id"] for entry in whole}
    anna.ask("PUT", path("directory", "list", "room", rooms[0]), {"visibility": "private"})
    eventually(lambda: {entry["room_id"] for entry in listed(limit=5)["chunk"]} == set(rooms[1:]))


def test_spaces(sides: Sides) -> None:
    """The hierarchy of a space holds rooms that only the other server knows, two levels deep."""
    anna, bela = sides.people()
    grandchild = anna.create_room(preset="public_chat", name="Grandchild")
    child = anna.create_room(preset="public_chat", name="Child", creation_content={"type": "m.space"})
    anna.set_state(child, "m.space.child", {"via": [sides.host.name]}, state_key=grandchild)
    secret = anna.create_room(preset="private_chat", name="Secret")
    space = bela.create_room(preset="public_chat", name="Space", creation_content={"type": "m.space"})
    for order, room in (("a", child), ("b", secret)):
        bela.set_state(space, "m.space.child", {"via": [sides.host.name], "order": order}, state_key=room)
    rooms = bela.ask("GET", f"{V1}{path('rooms', space, 'hierarchy')}")["rooms"]
    assert [room["room_id"] for room in rooms] == [space, child, grandchild]
    assert [room["name"] for room in rooms] == ["Space", "Child", "Grandchild"]
    assert rooms[1]["room_type"] == "m.space"
    assert [event["state_key"] for event in rooms[1]["children_state"]] == [grandchild]
    flat = bela.ask("GET", f"{V1}{path('rooms', space, 'hierarchy')}", max_depth=1)["rooms"]
    assert [room["room_id"] for room in flat] == [space, child]


def test_a_space_with_a_room_for_its_members(sides: Sides) -> None:
    anna, bela, space = sides.shared_room(creation_content={"type": "m.space"})
    allow = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": allow}]
    room = anna.create_room(preset="private_chat", name="For members", initial_state=rules)
    child = anna.set_state(space, "m.space.child", {"via": [sides.host.name]}, state_key=room)
    bela.reads(space, child)
    rooms = bela.ask("GET", f"{V1}{path('rooms', space, 'hierarchy')}")["rooms"]
    assert [found["room_id"] for found in rooms] == [space, room]
    assert rooms[1]["join_rule"] == "restricted"
    stranger = sides.another_guest("stranger")
    assert stranger.request("GET", f"{V1}{path('room_summary', room)}?via={sides.host.name}").status in (
        403,
        404,
    )
    bela.join_from(room, *rooms and [sides.host.name])
    anna.sees_member_soon(room, bela, "join")


def test_a_summary_of_a_room_elsewhere(sides: Sides) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", name="Elsewhere", topic="far")
    answer = bela.request("GET", f"{V1}{path('room_summary', room)}?via={sides.host.name}")
    assert answer.status == 200, answer.json
    assert answer.json["name"] == "Elsewhere"
    assert answer.json["topic"] == "far"
    assert answer.json["num_joined_members"] == 1
    assert answer.json["join_rule"] == "public"


def test_devices_and_keys_of_others(sides: Sides) -> None:
    """Asked for, even while nobody has any."""
    anna, bela, room = sides.shared_room()
    for one, other in both(anna, bela):
        answer = one.request("POST", "/keys/query", {"device_keys": {other.user_id: []}})
        if answer.status != 404:  # the end-to-end encryption endpoints come later
            assert answer.status == 200, answer.json
            assert not answer.json.get("failures"), answer.json
    same_state(room, anna, bela)
