"""Files of other homeservers: /_matrix/federation/v1/media/download, and the old way for servers without it.

https://spec.matrix.org/latest/server-server-api/#content-repository
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message

from homeserver.protocol.ids import ServerName
from homeserver.remote.errors import RemoteMisbehaved, RemoteRefused, RemoteUnreachable
from homeserver.remote.federation_requests import Effort, SignedRequests, path_of
from homeserver.runtime.http_client import (
    BadRedirect,
    HttpClient,
    HttpFailure,
    HttpRequest,
    OpenAnswer,
    target_of_url,
)

MAX_PART_HEAD_BYTES = 64 * 1024
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)


class RemoteMedia:
    """A file as it comes. Its type is the other server's word; how much to take is the reader's choice."""

    def __init__(
        self, content_type: str, content_disposition: str | None, chunks: AsyncIterator[bytes]
    ) -> None:
        self.content_type = content_type
        self.content_disposition = content_disposition
        self.chunks = chunks


@asynccontextmanager
async def download(
    requests: SignedRequests,
    http: HttpClient,
    destination: ServerName,
    media_id: str,
    *,
    timeout_ms: int,
) -> AsyncIterator[RemoteMedia]:
    """Raises RemoteUnreachable, RemoteRefused and RemoteMisbehaved; so may reading the chunks."""
    effort = Effort(timeout_s=30.0 + timeout_ms / 1000)
    path = path_of("/_matrix/federation/v1/media/download/{}", media_id)
    is_old = False
    try:
        query = {"timeout_ms": timeout_ms}
        async with (
            requests.stream(destination, path, query=query, effort=effort) as answer,
            _from_multipart(http, answer) as media,
        ):
            yield media
    except RemoteRefused as refusal:
        if not refusal.is_unknown_endpoint:
            raise
        is_old = True
    if is_old:
        async with _old_download(requests, destination, media_id, effort, timeout_ms) as media:
            yield media


@asynccontextmanager
async def _old_download(
    requests: SignedRequests, destination: ServerName, media_id: str, effort: Effort, timeout_ms: int
) -> AsyncIterator[RemoteMedia]:
    path = path_of("/_matrix/media/v3/download/{}/{}", destination, media_id)
    query = {"allow_remote": False, "timeout_ms": timeout_ms}
    async with requests.stream(destination, path, query=query, effort=effort, is_signed=False) as answer:
        yield _plain(answer)


@asynccontextmanager
async def _from_multipart(http: HttpClient, answer: OpenAnswer) -> AsyncIterator[RemoteMedia]:
    boundary = boundary_of(answer.headers.get("content-type", ""))
    parts = _Parts(answer.chunks(), boundary)
    await parts.skip_first()
    head = await parts.head()
    location = head.get("location")
    if location is None:
        yield RemoteMedia(
            head.get("content-type", "application/octet-stream"),
            head.get("content-disposition"),
            parts.body(),
        )
        return
    async with _redirected(http, location) as redirected:
        yield _plain(redirected)


@asynccontextmanager
async def _redirected(http: HttpClient, url: str) -> AsyncIterator[OpenAnswer]:
    """Files kept elsewhere: the URL is a stranger's word, so its address is checked like any other."""
    try:
        for _ in range(MAX_REDIRECTS):
            target, path = target_of_url(url)
            async with http.open(HttpRequest("GET", path), [target], timeout_s=30.0) as answer:
                if answer.status == 200:
                    yield answer
                    return
                location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                raise RemoteMisbehaved(f"The file's own address answers with status {answer.status}")
            url = location
        raise RemoteMisbehaved(f"More than {MAX_REDIRECTS} redirects")
    except BadRedirect as error:
        raise RemoteMisbehaved(str(error)) from error
    except HttpFailure as failure:
        raise RemoteUnreachable(f"The file's own address cannot be reached: {failure}") from failure


def _plain(answer: OpenAnswer) -> RemoteMedia:
    return RemoteMedia(
        answer.headers.get("content-type", "application/octet-stream"),
        answer.headers.get("content-disposition"),
        answer.chunks(),
    )


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart/mixed answer. Raises RemoteMisbehaved."""
    message = Message()
    message["content-type"] = content_type
    try:
        boundary = message.get_boundary()
    except (ValueError, LookupError):  # in a character set that is none
        boundary = None
    if message.get_content_maintype() != "multipart" or not boundary or len(boundary) > 200:
        raise RemoteMisbehaved(f"The file came as {content_type[:100]!r}, not as multipart/mixed")
    return boundary.encode("latin-1", "replace")


class _Parts:
    """Reads the parts of a multipart body in turn (RFC 2046), holding back only what may be a boundary."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # the first boundary may stand at the very beginning

    async def skip_first(self) -> None:
        """Go to the beginning of the second part. The first holds metadata, so far none."""
        await self._until(self._delimiter)
        await self._until(b"\r\n")
        await self._until(self._delimiter)
        if (await self._until(b"\r\n")).startswith(b"--"):
            raise RemoteMisbehaved("The file is missing from the answer")

    async def head(self) -> dict[str, str]:
        """The headers of the part."""
        self._buffer = b"\r\n" + self._buffer  # a part without headers begins with the empty line
        raw = await self._until(b"\r\n\r\n")
        head: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                head[name.strip().lower()] = value.strip()
        return head

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes up to the next boundary. Raises RemoteMisbehaved when they end without one."""
        while True:
            end = self._buffer.find(self._delimiter)
            ready = end if end >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
            done, self._buffer = self._buffer[:ready], self._buffer[ready:]
            if done:
                yield done
            if end >= 0:
                return
            await self._more()

    async def _until(self, mark: bytes) -> bytes:
        """What stands before the mark; the mark is consumed."""
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_PART_HEAD_BYTES:
                raise RemoteMisbehaved("The head of the file is too large")
            await self._more()
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._chunks)
        except StopAsyncIteration:
            raise RemoteMisbehaved("The file ends early") from None
