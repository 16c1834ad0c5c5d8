"""Whose X-Forwarded-For is believed, and what it says about where a request came from."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
LOOPBACK = "loopback"


def plain_address(text: str) -> str:
    """The address in its shortest spelling; IPv4 inside IPv6 as IPv4; other text as it is."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


class TrustedProxies:
    """Networks (`10.0.0.0/8`), addresses, `loopback` and `unix` (whoever comes through a Unix socket).

    Raises ValueError for anything else.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._unix = False
        self._networks: list[IPv4Network | IPv6Network] = []
        for name in names:
            if name == UNIX:
                self._unix = True
            elif name == LOOPBACK:
                self._networks += [ip_network("127.0.0.0/8"), ip_network("::1")]
            else:
                self._networks.append(ip_network(name, strict=False))

    def trusts(self, address: str) -> bool:
        """Does a proxy of ours have this address? "" is a Unix socket."""
        if not address:
            return self._unix
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: bytes | None) -> str:
        """Who is behind `peer`, a trusted proxy: the last in X-Forwarded-For that is no proxy of ours.

        Each proxy appends the address it was called from, so what stands further left may be invented.
        """
        client = peer
        for entry in reversed((forwarded_for or b"").decode("latin-1").split(",")):
            address = plain_address(_without_port(entry.strip()))
            try:
                ip_address(address)
            except ValueError:
                break
            client = address
            if not self.trusts(address):
                break
        return client


def _without_port(entry: str) -> str:
    """`1.2.3.4:5` and `[::1]:5`, as some proxies write."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
