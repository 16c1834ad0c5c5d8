"""Large files through a running server: streamed both ways, so its memory does not grow with them."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.support.crash_world import V3, registration
from tests.support.http_client import HttpClient
from tests.support.server_process import ServerProcess

MIB = 1024 * 1024
SIZE = 20 * MIB
UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download"


def memory_of(server: ServerProcess) -> int:
    """Resident bytes at their highest since the server started."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def signed_in(server: ServerProcess) -> HttpClient:
    http = HttpClient("127.0.0.1", server.port)
    http.token = (await http.ok("POST", f"{V3}/register", registration("alice")))["access_token"]
    return http


def test_memory_does_not_grow_with_the_file(server: ServerProcess) -> None:
    async def scenario() -> None:
        http = await signed_in(server)
        headers = {"Content-Type": "application/octet-stream"}
        await http.ok("POST", UPLOAD, os.urandom(MIB), headers=headers)
        before = memory_of(server)
        files = [os.urandom(SIZE) for _ in range(2)]
        uploaded = [await http.ok("POST", UPLOAD, data, headers=headers) for data in files]
        for data, answer in zip(files, uploaded, strict=True):
            path = f"{DOWNLOAD}/{answer['content_uri'].removeprefix('mxc://')}"
            got = await http.request("GET", path)
            assert got.status == 200
            assert hashlib.sha256(got.body).digest() == hashlib.sha256(data).digest()
            part = await http.request("GET", path, headers={"Range": f"bytes={SIZE - 10}-"})
            assert (part.status, part.body) == (206, data[-10:])
        assert memory_of(server) - before < 8 * MIB
        http.close()

    asyncio.run(scenario())


def test_a_slow_reader_does_not_fill_the_memory(server: ServerProcess) -> None:
    async def scenario() -> None:
        http = await signed_in(server)
        answer = await http.ok("POST", UPLOAD, os.urandom(SIZE))
        before = memory_of(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65_536)
        address = answer["content_uri"].removeprefix("mxc://")
        head = f"GET {DOWNLOAD}/{address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {http.token}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(1)
        assert memory_of(server) - before < 8 * MIB
        writer.close()
        http.close()

    asyncio.run(scenario())


def test_an_upload_that_is_broken_off_leaves_nothing(server: ServerProcess) -> None:
    async def scenario() -> None:
        http = await signed_in(server)
        incoming = server.folder / "data" / "media" / "incoming"
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {http.token}\r\n"
        writer.write(f"{head}Content-Length: {SIZE}\r\n\r\n".encode() + os.urandom(2 * MIB))
        await writer.drain()
        await _until(lambda: any(incoming.iterdir()))
        writer.close()
        await _until(lambda: not any(incoming.iterdir()))
        http.close()

    asyncio.run(scenario())


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(server: ServerProcess) -> None:
    async def scenario() -> None:
        http = await signed_in(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {http.token}\r\n"
        writer.write(f"{head}Content-Length: {1024 * MIB}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(65_536), 10)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"M_TOO_LARGE" in answer
        writer.close()
        http.close()

    asyncio.run(scenario())


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("waited in vain")
