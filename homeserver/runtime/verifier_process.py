"""A program of its own that verifies ed25519 signatures: `verifiers` starts it and says what it is told.

Reads frames until its input ends, and answers each with one byte for each signature: 1 if it is good, else 0.
It imports nothing of this package, so that it starts in a few milliseconds.
"""

import signal
import struct
import sys
from typing import BinaryIO

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

SIGNATURE_BYTES = 64
KEY_BYTES = 32
LENGTH = struct.Struct(">I")
"""Of a frame, and of each message in it. A message is preceded by its signature and the key."""


def verdicts(frame: bytes) -> bytes:
    """One byte for each signature in the frame."""
    found = bytearray()
    start = 0
    while start < len(frame):
        (length,) = LENGTH.unpack_from(frame, start)
        signature = start + LENGTH.size
        key = signature + SIGNATURE_BYTES
        message = key + KEY_BYTES
        start = message + length
        found.append(_is_good(frame[signature:key] + frame[message:start], frame[key:message]))
    return bytes(found)


def _is_good(signed: bytes, key: bytes) -> bool:
    try:
        crypto_sign_open(signed, key)
    except (CryptoError, ValueError):
        return False
    return True


def answer_all(source: BinaryIO, sink: BinaryIO) -> None:
    """Until the input ends, as it does when who started this program is gone."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        sink.write(verdicts(source.read(*LENGTH.unpack(head))))
        sink.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes: who started this one decides
    answer_all(sys.stdin.buffer, sys.stdout.buffer)
