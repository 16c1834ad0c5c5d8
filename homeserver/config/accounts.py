"""Who may make an account, and what a password costs to check."""

from dataclasses import dataclass
from typing import Literal


RegistrationMode = Literal["closed", "token", "open"]


@dataclass(frozen=True)
class Registration:
    mode: RegistrationMode = "closed"
    shared_secret: str | None = None
    guests: bool = False


@dataclass(frozen=True)
class Passwords:
    """argon2id: the defaults are OWASP's, about 10 ms of one core."""

    min_length: int = 8
    hash_passes: int = 2
    hash_memory_kib: int = 19_456


@dataclass(frozen=True)
class Sessions:
    """How long tokens live. Only clients that ask for refresh tokens get access tokens that expire."""

    access_token_minutes: int = 60
    refresh_token_days: int = 180
