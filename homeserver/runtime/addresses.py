"""Which addresses this server may connect to on somebody else's word.

Names of servers, redirects and URLs come from strangers. An address inside our own network must not be
reached through them (server-side request forgery), however it is written: what is checked is the address that
is then connected to.
"""

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

_PRIVATE_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by customers of a provider; cloud metadata at some
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
"""Everything else is reserved, local, multicast, or wraps an IPv4 address."""
_PRIVATE_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo and ORCHID among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "3ffe::/16",  # the abandoned 6bone
    )
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddress(Exception):
    """The address is not one of the public Internet."""


class AddressGuard:
    """Says whether an address may be connected to."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self.allow_private = allow_private

    def check(self, address: str) -> None:
        """Raise PrivateAddress unless the IP address (not a name) may be connected to."""
        if not self.allow_private and not is_public(address):
            raise PrivateAddress(f"{address} is a private address")


@lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """Is this IP address of the public Internet? False for what is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    return _is_public_v6(parsed)


def is_ip_address(text: str) -> bool:
    """Is this an IPv4 or IPv6 address as it stands, without brackets and port?"""
    try:
        ip_network(text)
    except ValueError:
        return False
    return "/" not in text


@lru_cache(maxsize=4096)
def network_of(ip: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ip  # a Unix socket has none
    if not isinstance(address, IPv6Address):
        return ip
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _PRIVATE_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _NAT64:  # a translator turns it into the IPv4 address in its last four bytes
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address in _SIX_TO_FOUR:
        return _is_public_v4(IPv4Address(int(address) >> 80 & 0xFFFF_FFFF))
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    return address in _PUBLIC_V6 and not any(address in network for network in _PRIVATE_V6)
