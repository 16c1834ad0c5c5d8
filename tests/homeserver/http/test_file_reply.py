"""Files over HTTP: ranges, validators, file names."""

import re
from collections.abc import AsyncIterator
from email.message import Message
from urllib.parse import unquote

import pytest

from homeserver.http import file_reply as module
from homeserver.http.file_reply import Part, Unsatisfiable, content_disposition, file_reply, range_of
from homeserver.http.reply import Reply, Stream
from tests.support.http import request_of
from tests.support.running import result

DATA = bytes(range(256)) * 4096  # 1 MiB


class InMemory:
    async def read(self, start: int, length: int) -> bytes:
        return DATA[start : start + length]

    async def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        for at in range(start, start + length, 100_000):
            yield DATA[at : min(at + 100_000, start + length)]


def get(method: str = "GET", size: int = len(DATA), **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = request_of(method, "/file", sent)
    return result(file_reply(request, InMemory(), size=size, etag="abc", headers={"Content-Type": "x/y"}))


def body_of(reply: Reply) -> bytes:
    async def read(stream: Stream) -> bytes:
        return b"".join([piece async for piece in stream.chunks])

    return result(read(reply.body)) if isinstance(reply.body, Stream) else reply.body


def test_the_whole_file() -> None:
    reply = get()

    assert (reply.status, body_of(reply)) == (200, DATA)
    assert reply.body.length == len(DATA)
    assert reply.headers == {"Content-Type": "x/y", "ETag": '"abc"', "Accept-Ranges": "bytes"}


def test_a_small_file_is_no_stream() -> None:
    assert get(size=1000).body == DATA[:1000]


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 9), (1000, 999_999), (1_048_575, 1_048_575)])
def test_a_range(start: int, end: int) -> None:
    reply = get(Range=f"bytes={start}-{end}")

    assert (reply.status, body_of(reply)) == (206, DATA[start : end + 1])
    assert reply.headers["Content-Range"] == f"bytes {start}-{end}/1048576"


def test_a_range_behind_the_end() -> None:
    reply = get(Range="bytes=1048576-")

    assert (reply.status, reply.headers["Content-Range"]) == (416, "bytes */1048576")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-", Part(0, 100)),
        ("bytes=90-200", Part(90, 10)),
        ("bytes=-10", Part(90, 10)),
        ("bytes=-1000", Part(0, 100)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_what_a_range_header_asks_for(header: str, part: Part | None) -> None:
    assert range_of(header, 100) == part


def test_the_last_nothing_cannot_be_given() -> None:
    with pytest.raises(Unsatisfiable):
        range_of("bytes=-0", 100)
    with pytest.raises(Unsatisfiable):
        range_of("bytes=0-", 0)


def test_a_range_of_another_version_is_the_whole_file() -> None:
    assert get(Range="bytes=0-9", If_Range='"other"').status == 200
    assert get(Range="bytes=0-9", If_Range='"abc"').status == 206


@pytest.mark.parametrize("tags", ['"abc"', 'W/"abc"', '"x", "abc"', "*"])
def test_a_client_that_has_it_is_told_so(tags: str) -> None:
    reply = get(If_None_Match=tags)
    assert (reply.status, reply.body) == (304, b"")


def test_a_client_that_has_something_else_gets_it() -> None:
    assert get(If_None_Match='"abcd"').status == 200


@pytest.mark.parametrize(
    "name",
    [
        "cat.png",
        "my cat.png",
        "Grüße.png",
        'a"b\\c.png',
        "x\r\nSet-Cookie: y=z",
        "猫.png",
        "100%.txt",
        "a;b=c",
        "a\udc80b",
    ],
)
def test_file_names_arrive_and_cannot_break_out(name: str) -> None:
    header = content_disposition("attachment", name)

    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    exact = re.search(r"; filename\*=utf-8''([^;]+)$", header)
    found = unquote(exact[1]) if exact else message.get_filename()
    assert found == name.replace("\udc80", "?")


def test_no_name_no_parameter() -> None:
    assert content_disposition("inline", None) == "inline"
    assert content_disposition("inline", "") == "inline"


def test_the_first_piece_is_read_before_the_answer_begins() -> None:
    assert len(DATA) > module.FIRST_PIECE
