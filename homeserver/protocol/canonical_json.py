"""The one byte form of a JSON value, over which hashes and signatures are made.

`encode` is strict: what room versions 6 and later and all signed JSON need. `encode_lenient` is for
events of older rooms, which may hold floats and integers of any size.
https://spec.matrix.org/latest/appendices/#canonical-json
"""

import json
import re

import orjson

from homeserver.protocol.errors import BadJson, NotJson
from homeserver.protocol.json_values import Json

MAX_INTEGER = 2**53 - 1
MIN_INTEGER = -MAX_INTEGER
MAX_DEPTH = 254  # what orjson can write

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATACLASS
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_LENIENT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


class NotCanonical(BadJson):
    """No canonical form: a float, a large integer, a lone surrogate, a key that is no string."""


def encode(value: Json) -> bytes:
    """The canonical bytes. Raises NotCanonical."""
    refuse_floats(value)
    return encode_without_floats(value)


def encode_without_floats(value: Json) -> bytes:
    """As `encode`, for a value known to hold no float: the caller built it or has checked it."""
    try:
        return orjson.dumps(value, option=_CANONICAL)
    except (TypeError, RecursionError) as error:
        raise NotCanonical(f"Not canonical JSON: {error}") from error


def encode_lenient(value: Json) -> bytes:
    """The bytes that room versions 1 to 5 sign: floats and big integers are written as Python does."""
    try:
        return _LENIENT.encode(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"Not canonical JSON: {error}") from error


def encode_readable(value: Json) -> bytes:
    """JSON that every reader takes, canonical or not: integers of more than 64 bits become doubles.

    Raises NotCanonical where there are numbers beyond a double, or nesting deeper than MAX_DEPTH.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # a large integer, or what no JSON can hold
        pass
    try:
        return orjson.dumps(orjson.loads(encode_lenient(value)))
    except (TypeError, ValueError) as error:
        raise NotCanonical(f"Not JSON that can be read: {error}") from error


def check(value: Json) -> None:
    """Raise NotCanonical when the value has no canonical form."""
    encode(value)


def refuse_floats(value: Json) -> None:
    """Raise NotCanonical when a float is anywhere inside the value, even an integral one."""
    if holds_float(value):
        raise NotCanonical("Not canonical JSON: a number in it is not an integer")


def holds_float(value: Json) -> bool:
    """Is there a float anywhere inside the value?"""
    if type(value) is float:
        return True
    if not isinstance(value, (dict, list, tuple)):
        return False
    unvisited = [value]
    while unvisited:
        container = unvisited.pop()
        for member in container.values() if isinstance(container, dict) else container:
            kind = type(member)
            if kind is str:
                continue
            if kind is float:
                return True
            if kind is dict or kind is list or kind is tuple:
                unvisited.append(member)
    return False


def decode(data: bytes) -> Json:
    """Read JSON from outside. Raises NotJson for anything malformed, for a key that stands twice in an
    object, for lone surrogates, for numbers beyond a double and for nesting deeper than MAX_DEPTH.

    Floats and big integers are read exactly as they stand: whether they are allowed depends on the room.
    """
    try:
        value: Json = orjson.loads(data)
        # Compact JSON comes back as the same bytes unless a key stood twice or a number was not kept.
        if orjson.dumps(value) == data:
            return value
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not JSON: {error}") from error
    except TypeError as error:
        raise NotJson(f"The JSON is nested too deeply: {error}") from error
    return _decode_carefully(data, value)


def decode_loosely(data: bytes | memoryview) -> Json:
    """As `decode`, but of a key that stands twice the last counts, and depth is not looked at."""
    try:
        value: Json = orjson.loads(data)
        # What it cannot hold it makes a float: where there is none, all numbers are as they stand.
        if not holds_float(value) or _LONG_NUMBER.search(data) is None:
            return value
        exact: Json = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise NotJson(f"This is not JSON: {error}") from error
    return exact


def _decode_carefully(data: bytes, value: Json) -> Json:
    without_strings = _STRING.sub(b"", data)
    if without_strings.count(b":") != _count_keys(value):
        raise NotJson("A key stands twice in an object")
    if _LONG_NUMBER.search(without_strings) is None:
        return value
    try:
        exact: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"The body is not JSON: {error}") from error
    return exact


def _count_keys(value: Json) -> int:
    count = 0
    unvisited = [value]
    while unvisited:
        container = unvisited.pop()
        if isinstance(container, dict):
            count += len(container)
            unvisited.extend(container.values())
        elif isinstance(container, list):
            unvisited.extend(container)
    return count
