"""Random tokens, and the only form in which the server keeps them."""

import secrets
from base64 import b32encode
from hashlib import sha256

from homeserver.protocol.ids import DeviceId


def new_token(kind: str) -> str:
    """256 random bits; `kind` starts it, so that people and secret scanners can tell what they found."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def hash_of(token: str) -> bytes:
    """What is stored of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_device_id() -> DeviceId:
    """Ten letters and digits that are not mistaken for each other."""
    return DeviceId(b32encode(secrets.token_bytes(7)).decode()[:10])
