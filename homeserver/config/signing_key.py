"""The file with the server's signing key, in signedjson's format."""

import os
from pathlib import Path

from homeserver.protocol.signatures import SigningKey


class UnusableSigningKey(Exception):
    """The file is there and holds no key."""


def read_signing_key(path: Path) -> SigningKey:
    """Raises OSError or UnusableSigningKey."""
    try:
        return SigningKey.from_line(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise UnusableSigningKey(f"{path}: {error}") from error


def make_signing_key(path: Path) -> SigningKey:
    """A new key in a new file that only this account can read.

    Raises FileExistsError: a key is never overwritten.
    """
    key = SigningKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(key.to_line() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key
