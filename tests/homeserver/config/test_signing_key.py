"""The key file: signedjson's format, private, never overwritten."""

import re
from pathlib import Path

import pytest
import signedjson.key

from homeserver.config.signing_key import UnusableSigningKey, make_signing_key, read_signing_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not" / "yet" / "signing.key"


def test_a_new_key_is_private_and_reads_back(path: Path) -> None:
    made = make_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_signing_key(path).key_id == made.key_id
    assert read_signing_key(path).sign(b"x") == made.sign(b"x")


def test_signedjson_reads_it_too(path: Path) -> None:
    made = make_signing_key(path)
    (key,) = signedjson.key.read_signing_keys([path.read_text()])
    assert f"{key.alg}:{key.version}" == made.key_id
    assert re.fullmatch(r"ed25519 a_\w+ [A-Za-z0-9+/]{43}\n", path.read_text())


def test_a_key_is_never_overwritten(path: Path) -> None:
    make_signing_key(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        make_signing_key(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "nonsense", "rsa a_1 AAAA", "ed25519 a_1 AAAA", "\xff"])
def test_a_file_without_a_key_is_named(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UnusableSigningKey, match=r"signing\.key"):
        read_signing_key(path)
