"""One YAML scalar to one value: numbers, words, paths, durations, sizes.

Works on the text as written rather than on what YAML 1.1 makes of it, so `1:30` is no number of minutes.
"""

import re
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType, get_args, get_origin

import yaml

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)

TAG = "tag:yaml.org,2002:"
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_BINARY = {letter: 1024**power for power, letter in enumerate("kmgt", start=1)}
_DECIMAL = {letter: 1000**power for power, letter in enumerate("kmgt", start=1)}


class WrongValue(ValueError):
    """The scalar does not say what it should."""


def parse_seconds(text: str) -> Seconds:
    """A duration like 1h30m. Raises ValueError."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return Seconds(float(text))
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?) ?(ms|[smhdwy])", text)
    if not parts or re.sub(r"\s", "", text) != "".join(number + unit for number, unit in parts):
        raise ValueError(f"{text!r} is not a duration: write 30s, 5m, 1h30m or 30d")
    return Seconds(sum(float(number) * _UNITS_S[unit] for number, unit in parts))


def parse_bytes(text: str) -> Bytes:
    """A size like 50M. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])(ib|b)?|b)?", text.lower())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 512K, 50M or 10 GiB")
    number, letter, ending = match.groups()
    scale = (_DECIMAL if ending == "b" else _BINARY)[letter] if letter else 1
    return Bytes(int(float(number) * scale))


def read_scalar(wanted: Any, node: yaml.Node) -> Any:
    """The value of type `wanted` that the node stands for. Raises WrongValue."""
    if not isinstance(node, yaml.ScalarNode):
        raise WrongValue(f"must be {_name_of(wanted)}, not {told(node)}")
    if wanted is not str and is_null(node):
        raise WrongValue(f"has no value: it must be {_name_of(wanted)}")
    if get_origin(wanted) is Literal:
        return _choice(dict(zip(map(str, get_args(wanted)), get_args(wanted), strict=True)), node)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _choice({str(member.value): member for member in wanted}, node)
    try:
        while wanted not in _SCALARS and hasattr(wanted, "__supertype__"):
            wanted = wanted.__supertype__
        return _SCALARS[wanted][1](node)
    except WrongValue:
        raise
    except ValueError as error:
        message = f"must be {_name_of(wanted)}, not {told(node)}"
        raise WrongValue(str(error) if wanted in (Seconds, Bytes) else message) from error


def _choice(choices: dict[str, Any], node: yaml.ScalarNode) -> Any:
    if node.value in choices:
        return choices[node.value]
    near = get_close_matches(node.value, choices, n=1)
    raise WrongValue(
        f"must be one of {', '.join(choices)}, not {told(node)}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def text_of(node: yaml.ScalarNode) -> str:
    """The scalar as a text. Raises WrongValue for a bare true, false or nothing."""
    if not node.style and node.tag in (TAG + "bool", TAG + "null"):
        what = "has no value: it must be a text" if not node.value else f"write it in quotes: '{node.value}'"
        raise WrongValue(what)
    return str(node.value)


def _boolean(node: yaml.ScalarNode) -> bool:
    if node.tag != TAG + "bool":
        raise ValueError
    return node.value.lower() in ("true", "yes", "on", "y")


def _integer(node: yaml.ScalarNode) -> int:
    if node.style or not re.fullmatch(r"[-+]?[0-9][0-9_]*", node.value):
        raise ValueError
    return int(node.value)


def _float(node: yaml.ScalarNode) -> float:
    if node.style or not re.fullmatch(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?(e[-+]?[0-9]+)?", node.value):
        raise ValueError
    return float(node.value)


_SCALARS: dict[Any, tuple[str, Callable[[yaml.ScalarNode], Any]]] = {
    bool: ("true or false", _boolean),
    int: ("a whole number", _integer),
    float: ("a number", _float),
    str: ("a text", text_of),
    Path: ("a path", lambda node: Path(text_of(node))),
    date: ("a date like 2026-01-31", lambda node: date.fromisoformat(node.value)),
    Seconds: ("a duration like 30s, 5m or 30d", lambda node: parse_seconds(text_of(node))),
    Bytes: ("a size like 50M or 10 GiB", lambda node: parse_bytes(text_of(node))),
}


def _name_of(wanted: Any) -> str:
    while wanted not in _SCALARS and hasattr(wanted, "__supertype__"):
        wanted = wanted.__supertype__
    return _SCALARS[wanted][0] if wanted in _SCALARS else "one of some words"


def told(node: yaml.Node) -> str:
    """The node, as a message quotes it."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a section"
    is_bare = isinstance(node, yaml.ScalarNode) and not node.style and node.value
    return str(node.value) if is_bare else repr(node.value)


def is_off(node: yaml.Node) -> bool:
    """Is it `off` or another word for false?"""
    return isinstance(node, yaml.ScalarNode) and node.tag == TAG + "bool" and not _boolean(node)


def is_null(node: yaml.Node) -> bool:
    """Is it `null`, `~` or nothing at all?"""
    return bool(node.tag == TAG + "null")


def line_of(node: yaml.Node) -> int:
    """The line it begins in, from 1."""
    return 1 if node.start_mark is None else int(node.start_mark.line) + 1
