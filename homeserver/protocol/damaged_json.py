"""JSON in which something has no canonical form, taken apart so that what is wrong harms only itself.

A transaction is signed as a whole, while each of its entries is judged alone. An entry with half a surrogate
pair, bytes that are not UTF-8, a number beyond a double, or thousands of brackets inside one another keeps a
JSON reader from reading any of it: so it is cut along its brackets first, and each entry read apart.

What this cannot help: brackets or quotes that do not pair, so that nobody can tell where an entry ends; and a
signature over other bytes than those that were sent, in a form that is not among `signed_forms`.
https://spec.matrix.org/latest/server-server-api/#transactions
"""

import json
import re
from collections.abc import Collection, Iterator

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.errors import NotJson
from homeserver.protocol.json_values import Json, JsonObject

MOST_TOKENS = 250_000
MOST_REWRITTEN_BYTES = 4 * 1024 * 1024

_WHITESPACE = b" \t\r\n"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_NAMED = re.compile(rb'\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:\s*+', re.DOTALL)
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}
_QUOTE, _COMMA = ord('"'), ord(",")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def read_entries(data: bytes, lists: Collection[str]) -> JsonObject:
    """The object, with None for each entry of the named lists that is not JSON as it should be.

    Raises NotJson when anything else in it is not, or where it cannot be seen at which bracket an entry ends.
    """
    found: JsonObject = {}
    for piece in _split(data.strip(_WHITESPACE), "{"):
        match = _NAMED.match(piece)
        if match is None:
            raise NotJson("The body is not a JSON object")
        name = canonical_json.decode(match[1])
        value = piece[match.end() :].strip(_WHITESPACE)
        if not isinstance(name, str) or name in found:
            raise NotJson("A key stands twice in an object")
        if name in lists and value[:1] == b"[":
            found[name] = [_entry(each) for each in _split(value, "[")]
        else:
            found[name] = canonical_json.decode(value)
    return found


def check_whole(data: bytes) -> None:
    """Raise NotJson unless this is one pair of braces with whatever inside, and nothing after it."""
    _split(data.strip(_WHITESPACE), "{")


def signed_forms(data: bytes) -> Iterator[bytes]:
    """What the sender of an object without a canonical form may have signed, but for the object as it came.

    Half a surrogate pair is written as the replacement character (as in Go), as an escape (as in JavaScript)
    or as if it were a character. Nothing where Python cannot read the object either.
    """
    if len(data) > MOST_REWRITTEN_BYTES:
        return
    try:
        text = json.dumps(
            json.loads(data), ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )  # keys that stand twice: the last counts, as everywhere
    except (ValueError, TypeError, RecursionError):
        return
    yield _HALF_PAIR.sub("\ufffd", text).encode()
    if _HALF_PAIR.search(text) is not None:
        yield _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()
        yield text.encode("utf-8", "surrogatepass")


def _split(data: bytes, opening: str) -> list[bytes]:
    """The pieces between the commas of a list or object. Raises NotJson unless all brackets pair."""
    if data[:1] != opening.encode():
        raise NotJson("The body is not JSON of the right form")
    if sum(data.count(mark) for mark in (b"[", b"{", b",", b'"')) > MOST_TOKENS:
        raise NotJson("The body is not JSON, and too long to look for the place")
    awaited = bytearray()
    pieces: list[bytes] = []
    begin = 1
    for mark, place in _marks(data):
        if mark in _CLOSING:
            awaited.append(_CLOSING[mark])
        elif mark == _COMMA:
            if len(awaited) == 1:
                pieces.append(data[begin:place])
                begin = place + 1
        elif awaited.pop() != mark or (not awaited and place != len(data) - 1):
            raise NotJson("The body is not JSON: its brackets do not pair")
    if awaited:
        raise NotJson("The body is not JSON: it ends too early")
    last = data[begin:-1]
    return [*pieces, last] if pieces or last.strip(_WHITESPACE) else []


def _marks(data: bytes) -> Iterator[tuple[int, int]]:
    """Brackets and commas outside strings, and where they stand. Raises NotJson for a string without end."""
    for match in _TOKEN.finditer(data):
        place = match.start()
        if data[place] != _QUOTE:
            yield data[place], place
        elif match.end() == place + 1:
            raise NotJson("The body is not JSON: a string does not end")


def _entry(data: bytes) -> Json:
    try:
        return canonical_json.decode(data)
    except NotJson:
        pass
    try:
        value: Json = orjson.loads(data)  # of a key that stands twice the last counts; depth is judged later
    except ValueError:
        return None
    return value
