"""A request to another server, where it goes, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as whom the other side must prove itself.

    `host` is a name or an IP address without brackets. `tls_name` is what the certificate must be for (a
    name or an IP address); None means plain HTTP. `host_header` is what the Host header says.
    """

    host: str
    port: int
    tls_name: str | None
    host_header: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` is percent-encoded and carries the query. Host and Content-Length are added.

    `is_repeatable`: may it be sent again when a connection that was kept open turns out to have been closed?
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_repeatable: bool = True

    def encoded(self, host_header: str) -> bytes:
        """The bytes to send. Raises ValueError for a header or path that would break out of its line."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host_header}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        body = self.body
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or " " in self.path:
            raise ValueError(f"A line break or space where none may be: {lines[0][:200]!r}")
        encoded = head.encode("latin-1") + b"\r\n\r\n"
        return encoded if body is None else encoded + body


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer. Header names are in lower case; values that came twice are joined by ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes
