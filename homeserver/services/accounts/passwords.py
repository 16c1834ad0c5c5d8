"""Passwords: argon2id, on threads, as dear as the operator wants.

The parameters stand in each hash, so they may change: a password whose hash was made with others is hashed
anew when it is next seen.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from nacl.exceptions import InvalidkeyError
from nacl.pwhash import argon2id

from homeserver.protocol.errors import InvalidParam, WeakPassword

P = ParamSpec("P")
T = TypeVar("T")

MAX_BYTES = 1024
"""Longer passwords are refused: hashing must not cost more than the parameters say."""


class Cost(NamedTuple):
    """What one hash costs: passes over so much memory. The least libsodium takes is 1 pass over 8 KiB."""

    passes: int = 2
    memory_kib: int = 19_456


class Workers(Protocol):
    """Runs blocking work on threads: `runtime.threads.Threads`."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns, once a thread is free."""


class Passwords:
    """Makes and checks hashes. At most as many at a time as `threads` has."""

    def __init__(self, threads: Workers, cost: Cost, *, min_length: int = 8) -> None:
        self._threads = threads
        self._cost = cost
        self._min_length = min_length
        self._prefix = f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p=1$"

    def check_strength(self, password: str) -> None:
        """May it be chosen? Raises WeakPassword or InvalidParam."""
        if len(password) < self._min_length:
            raise WeakPassword(f"A password has at least {self._min_length} characters")
        if len(_bytes(password)) > MAX_BYTES:
            raise InvalidParam(f"A password has at most {MAX_BYTES} bytes")

    async def hashed(self, password: str) -> str:
        """A new hash of it."""
        return await self._threads.run(_hash, _bytes(password), self._cost)

    async def is_right(self, password: str, password_hash: str | None) -> bool:
        """Is it the one of this hash? None, for an account without or no account, takes as long to say no."""
        if len(password) > MAX_BYTES:
            return False
        right = await self._threads.run(_verify, _bytes(password), password_hash or self._nobody())
        return right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Was it made at another cost than is wanted now?"""
        return not password_hash.startswith(self._prefix)

    def _nobody(self) -> str:
        """A hash that no password has."""
        salt, digest = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
        return f"{self._prefix}{salt}${digest}"


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _hash(password: bytes, cost: Cost) -> str:
    made: bytes = argon2id.str(password, opslimit=cost.passes, memlimit=cost.memory_kib * 1024)
    return made.rstrip(b"\0").decode()


def _verify(password: bytes, password_hash: str) -> bool:
    try:
        return bool(argon2id.verify(password_hash.encode(), password))
    except InvalidkeyError:
        return False
