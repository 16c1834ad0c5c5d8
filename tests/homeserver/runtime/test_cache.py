import pytest

from homeserver.runtime.cache import ENTRY_BYTES, ByteCache


@pytest.fixture
def cache() -> ByteCache[str, str]:
    """Room for ten values of 100 bytes."""
    return ByteCache(10 * (100 + ENTRY_BYTES))


def fill(cache: ByteCache[str, str], names: str) -> None:
    for name in names:
        cache.put(name, f"value of {name}", 100)


def test_what_was_put_is_found(cache: ByteCache[str, str]) -> None:
    fill(cache, "a")
    assert cache.get("a") == "value of a"
    assert cache.get("b") is None
    assert (cache.hits, cache.misses) == (1, 1)
    assert "a" in cache
    assert len(cache) == 1


def test_what_was_used_longest_ago_makes_room(cache: ByteCache[str, str]) -> None:
    fill(cache, "abcdefghij")
    cache.get("a")
    fill(cache, "kl")
    assert "a" in cache
    assert "b" not in cache
    assert "c" not in cache
    assert len(cache) == 10
    assert cache.bytes == cache.max_bytes


def test_putting_again_replaces(cache: ByteCache[str, str]) -> None:
    fill(cache, "a")
    cache.put("a", "new", 50)
    assert cache.get("a") == "new"
    assert cache.bytes == 50 + ENTRY_BYTES


def test_what_is_too_large_is_not_kept(cache: ByteCache[str, str]) -> None:
    fill(cache, "ab")
    cache.put("a", "large", cache.max_bytes // 8)
    assert "a" not in cache
    assert "b" in cache


def test_forgetting(cache: ByteCache[str, str]) -> None:
    fill(cache, "ab")
    cache.discard("a")
    cache.discard("x")
    assert cache.bytes == 100 + ENTRY_BYTES
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)
