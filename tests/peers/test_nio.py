"""matrix-nio, an ordinary Python client, against a running server: people chat and come back."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.peers.conftest import missing
from tests.support.pictures import picture
from tests.support.server_process import ServerProcess

try:
    import nio
except ImportError:
    nio = None

PASSWORD = "correct horse battery staple"
PATIENCE_S = 15


@pytest.fixture(autouse=True)
def _nio_is_there() -> None:
    if nio is None:
        missing("matrix-nio: pip install matrix-nio")


class Person:
    """One client that keeps everything its syncs told it."""

    def __init__(self, client: "nio.AsyncClient") -> None:
        self.client = client
        self.seen: list[Any] = []
        self.typing: list[str] = []
        self.receipts: list[tuple[str, str]] = []
        client.add_event_callback(lambda room, event: self.seen.append(event), nio.Event)
        client.add_ephemeral_callback(self._ephemeral, (nio.TypingNoticeEvent, nio.ReceiptEvent))

    @classmethod
    async def register(cls, server: ServerProcess, name: str) -> "Person":
        client = nio.AsyncClient(server.url, name)
        fine(await client.register(name, PASSWORD, device_name=f"{name}'s computer"), nio.RegisterResponse)
        assert client.access_token
        return cls(client)

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    async def sync(self) -> None:
        fine(await self.client.sync(timeout=0), nio.SyncResponse)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Sync, waiting for news, until the condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not (met := condition()):
                fine(await self.client.sync(timeout=1000), nio.SyncResponse)
        return met

    async def until_seen(self, event_id: str) -> Any:
        return await self.until(lambda: next((e for e in self.seen if e.event_id == event_id), None))

    async def send(self, room_id: str, content: dict[str, Any], type: str = "m.room.message") -> str:
        sent = fine(await self.client.room_send(room_id, type, content), nio.RoomSendResponse)
        return str(sent.event_id)

    async def say(self, room_id: str, text: str) -> str:
        return await self.send(room_id, {"msgtype": "m.text", "body": text})

    def members(self, room_id: str) -> set[str]:
        room = self.client.rooms.get(room_id)
        return set() if room is None else set(room.users)

    def count(self, event_id: str) -> int:
        return sum(event.event_id == event_id for event in self.seen)

    def _ephemeral(self, room: Any, event: Any) -> None:
        if isinstance(event, nio.TypingNoticeEvent):
            self.typing = event.users
        else:
            self.receipts += [(receipt.user_id, receipt.event_id) for receipt in event.receipts]


def fine(response: Any, kind: type) -> Any:
    """The response, which must be a success of this kind."""
    assert isinstance(response, kind), response
    return response


async def meet(server: ServerProcess) -> tuple[Person, Person, str]:
    """Alice and Bob in a room of Alice's."""
    alice, bob = await Person.register(server, "alice"), await Person.register(server, "bob")
    created = await alice.client.room_create(name="Tea", topic="Leaves", invite=[bob.user_id])
    room_id = str(fine(created, nio.RoomCreateResponse).room_id)
    await bob.until(lambda: room_id in bob.client.invited_rooms)
    fine(await bob.client.join(room_id), nio.JoinResponse)
    await bob.until(lambda: room_id in bob.client.rooms)
    await alice.until(lambda: {alice.user_id, bob.user_id} <= alice.members(room_id))
    return alice, bob, room_id


async def part(*people: Person) -> None:
    for person in people:
        await person.client.close()


def test_two_people_meet_and_talk(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        room = bob.client.rooms[room_id]
        assert (room.name, room.topic) == ("Tea", "Leaves")
        assert set(room.users) == {alice.user_id, bob.user_id}

        hello = await alice.say(room_id, "Hello Bob")
        assert (await bob.until_seen(hello)).body == "Hello Bob"
        answer = await bob.say(room_id, "Hello Alice")
        assert (await alice.until_seen(answer)).body == "Hello Alice"

        await alice.sync()
        assert (alice.count(hello), alice.count(answer)) == (1, 1)
        await part(alice, bob)

    asyncio.run(scenario())


def test_a_picture_arrives_byte_for_byte(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        data = picture(640, 400, "JPEG", quality=90)
        uploaded, _ = await alice.client.upload(
            BytesIO(data), content_type="image/jpeg", filename="tea.jpg", filesize=len(data)
        )
        uri = fine(uploaded, nio.UploadResponse).content_uri
        sent = await alice.send(room_id, {"msgtype": "m.image", "body": "tea.jpg", "url": uri})

        shown = await bob.until_seen(sent)
        got = fine(await bob.client.download(shown.url), nio.MemoryDownloadResponse)
        assert (got.body, got.content_type, got.filename) == (data, "image/jpeg", "tea.jpg")

        server_name, media_id = shown.url.removeprefix("mxc://").split("/")
        small = await bob.client.thumbnail(server_name, media_id, 32, 32, nio.ResizingMethod.crop)
        with Image.open(BytesIO(fine(small, nio.ThumbnailResponse).body)) as image:
            assert image.size == (32, 32)
        await part(alice, bob)

    asyncio.run(scenario())


def test_edit_reply_react_redact(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        first = await alice.say(room_id, "Green tae?")
        edit = await alice.send(
            room_id,
            {
                "msgtype": "m.text",
                "body": "* Green tea?",
                "m.new_content": {"msgtype": "m.text", "body": "Green tea?"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": first},
            },
        )
        await bob.until_seen(edit)
        reply = await bob.send(
            room_id,
            {"msgtype": "m.text", "body": "Yes", "m.relates_to": {"m.in_reply_to": {"event_id": first}}},
        )
        reaction = await bob.send(
            room_id,
            {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "🍵"}},
            "m.reaction",
        )
        assert (await alice.until_seen(reply)).source["content"]["m.relates_to"]["m.in_reply_to"]
        reacted = await alice.until_seen(reaction)
        assert isinstance(reacted, nio.ReactionEvent)
        assert (reacted.reacts_to, reacted.key) == (first, "🍵")

        redacted = fine(await bob.client.room_redact(room_id, reply, "Coffee!"), nio.RoomRedactResponse)
        seen = await alice.until_seen(redacted.event_id)
        assert isinstance(seen, nio.RedactionEvent)
        assert (seen.redacts, seen.reason) == (reply, "Coffee!")
        gone = fine(await alice.client.room_get_event(room_id, reply), nio.RoomGetEventResponse).event
        assert isinstance(gone, nio.RedactedEvent)
        await part(alice, bob)

    asyncio.run(scenario())


def test_typing_and_receipts(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        event_id = await alice.say(room_id, "Are you there?")
        await bob.until_seen(event_id)

        fine(await bob.client.room_typing(room_id, True, timeout=20_000), nio.RoomTypingResponse)
        await alice.until(lambda: alice.typing == [bob.user_id])
        fine(await bob.client.room_typing(room_id, False), nio.RoomTypingResponse)
        await alice.until(lambda: alice.typing == [])

        fine(await bob.client.update_receipt_marker(room_id, event_id), nio.UpdateReceiptMarkerResponse)
        await alice.until(lambda: (bob.user_id, event_id) in alice.receipts)
        fine(await bob.client.room_read_markers(room_id, event_id, event_id), nio.RoomReadMarkersResponse)
        await bob.until(lambda: bob.client.rooms[room_id].fully_read_marker == event_id)
        await part(alice, bob)

    asyncio.run(scenario())


def test_paging_through_history(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        sent = [await alice.say(room_id, f"message {number}") for number in range(45)]

        found: list[str] = []
        start = ""
        while True:
            page = await bob.client.room_messages(room_id, start or None, limit=10)
            page = fine(page, nio.RoomMessagesResponse)
            found += [event.event_id for event in page.chunk if isinstance(event, nio.RoomMessageText)]
            if not page.end:
                break
            start = page.end

        assert found == sent[::-1]
        await part(alice, bob)

    asyncio.run(scenario())


def test_going_on_after_a_restart(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice, bob, room_id = await meet(server)
        before = await alice.say(room_id, "Before")
        await bob.until_seen(before)
        saved = (bob.client.user_id, bob.client.device_id, bob.client.access_token, bob.client.next_batch)
        missed = await alice.say(room_id, "While you were away")
        await part(bob)

        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.to_thread(server.start)

        client = nio.AsyncClient(server.url)
        client.restore_login(*saved[:3])
        client.next_batch = saved[3]
        again = Person(client)
        after = await alice.say(room_id, "After")
        await again.until_seen(after)
        assert [event.event_id for event in again.seen] == [missed, after]
        await alice.until_seen(after)
        assert [alice.count(one) for one in (before, missed, after)] == [1, 1, 1]
        await part(alice, again)

    asyncio.run(scenario())


def test_stopping_does_not_wait_for_long_polls(server: ServerProcess) -> None:
    async def scenario() -> None:
        alice = await Person.register(server, "alice")
        await alice.sync()
        waiting = asyncio.create_task(alice.client.sync(timeout=30_000))
        await asyncio.sleep(0.3)

        assert await asyncio.to_thread(server.stop, within=5.0) == 0
        waiting.cancel()
        await part(alice)

    asyncio.run(scenario())
