"""A small HTTP/1.1 client on asyncio: keep-alive, and a clear word when the other side breaks off."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


class Lost(Exception):
    """No whole answer came: whether the request took effect is not known."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpClient:
    """Talks to one address: any number of requests at a time, each on a connection of its own."""

    def __init__(self, host: str, port: int, *, token: str | None = None) -> None:
        self._address = (host, port)
        self._idle: list[Connection] = []
        self.token = token

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        within: float = 40.0,
    ) -> Answer:
        """One request, sent once. Raises Lost."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        lines = [f"{method} {target} HTTP/1.1", "Host: test", f"Content-Length: {len(data)}"]
        if self.token is not None:
            lines.append(f"Authorization: Bearer {self.token}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        try:
            async with asyncio.timeout(within):
                return await self._exchange(head + data)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise Lost(f"{method} {path}: {error!r}") from error

    async def ok(
        self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None, **more: Any
    ) -> Any:
        """The JSON of an answer that must be 200."""
        answer = await self.request(method, path, body, **more)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body[:500]!r}"
        return answer.json

    def close(self) -> None:
        """Drop the connections that wait for the next request."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _exchange(self, request: bytes) -> Answer:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        finished = False
        try:
            writer.write(request)
            await writer.drain()
            answer = await _read_answer(reader)
            finished = answer.headers.get("connection", "").lower() != "close"
            return answer
        finally:
            if finished:
                self._idle.append((reader, writer))
            else:
                writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(status_line.split()[1]), headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readline()
    return b"".join(chunks)
