"""Who may make an account, what a password costs to check, and how long a session lasts."""

from dataclasses import dataclass
from typing import Literal

from homeserver.config import checks
from homeserver.config.secrets import secret
from homeserver.runtime.settings import setting

RegistrationMode = Literal["closed", "token", "open"]


@dataclass(frozen=True)
class Registration:
    mode: RegistrationMode = "closed"
    shared_secret: str | None = secret(None, check=checks.secret)
    guests: bool = False


@dataclass(frozen=True)
class Passwords:
    """argon2id: the defaults are OWASP's, about 10 ms of one core."""

    min_length: int = setting(8, check=checks.between(1, 128))
    hash_passes: int = setting(2, check=checks.between(1, 100))
    hash_memory_kib: int = setting(19_456, check=checks.between(8, 4_194_304))


@dataclass(frozen=True)
class Sessions:
    """How long tokens live. Only clients that ask for refresh tokens get access tokens that expire."""

    access_token_minutes: int = setting(60, check=checks.at_least(1))
    refresh_token_days: int = setting(180, check=checks.at_least(1))
