"""YAML to frozen records, with every mistake named by line and key, all of them at once.

A record is a frozen dataclass; its fields are the keys, their defaults the defaults. Types understood:

    bool, int, float, str, Path, date      a scalar; a number is welcome where a str is wanted
    Literal, Enum (by value)               one of some words
    Seconds                                5m, 1h30m, 30d, 500ms; a bare number is seconds
    Bytes                                  50M and 50 MiB are 50 * 1024 * 1024; 50 MB is 50,000,000
    tuple[X, ...], frozenset[X]            a list
    dict[str, X]                           a mapping with free keys
    a dataclass                            a mapping with its fields as keys
    X | None                               also `null`; for a dataclass also `off`
    a NewType of one of these              as the type it stands on

`setting(...)` gives a field a description, a check or a parser of its own. A record may check how its fields
fit together in `__post_init__` and raise `BadSetting(key, message)`.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from homeserver.protocol.errors import MatrixError
from homeserver.runtime.setting_values import (
    TAG,
    Bytes,
    Seconds,
    WrongValue,
    is_null,
    is_off,
    line_of,
    read_scalar,
    text_of,
    told,
)

__all__ = [
    "BadSetting",
    "Bytes",
    "Description",
    "Problem",
    "Seconds",
    "SettingsError",
    "describe",
    "load",
    "setting",
]

T = TypeVar("T")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Problem:
    """One mistake: its line (from 1), its key (`listeners[0].port`; "" is the whole file), what is wrong."""

    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return (
            f"line {self.line}: {self.key}: {self.message}"
            if self.key
            else f"line {self.line}: {self.message}"
        )


class SettingsError(Exception):
    """The text holds mistakes; all of them are in `problems`, in the order of their lines."""

    def __init__(self, source_name: str, problems: Iterable[Problem]) -> None:
        self.source_name = source_name
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{source_name}, {problem}" for problem in self.problems))


class BadSetting(ValueError):
    """Raised by a record's __post_init__: the field `key` does not fit the others."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}")


@dataclass(frozen=True)
class Description:
    """One key of a record or of a record inside it: for a sample file and its test."""

    key: str
    doc: str
    default: object
    is_required: bool


def setting(
    default: Any = MISSING,
    *,
    doc: str = "",
    check: Callable[[Any], object] | None = None,
    parse: Callable[[str], object] | None = None,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A dataclass field with a description.

    `check` is given the value; `parse`, the text of a scalar, in place of what the type would do. Both raise
    ValueError or a MatrixError with a message for the operator.
    """
    metadata = {"doc": doc, "check": check, "parse": parse}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def load(record_type: type[T], text: str, source_name: str) -> T:
    """The record that the YAML text describes. Raises SettingsError with everything that is wrong."""
    reading = _Reading(record_type)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SettingsError(source_name, [_syntax_problem(error)]) from error
    record = reading.record(record_type, root or yaml.MappingNode(TAG + "map", []), "")
    if reading.problems or record is _WRONG:
        raise SettingsError(source_name, reading.problems)
    return cast(T, record)


def describe(record_type: type[Any], prefix: str = "") -> list[Description]:
    """All keys, those of sections after the section itself; inside a list they are `listeners[].port`."""
    found = []
    hints = get_type_hints(record_type)
    for each in fields(record_type):
        key = prefix + each.name
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        is_required = default is MISSING
        found.append(
            Description(key, each.metadata.get("doc", ""), None if is_required else default, is_required)
        )
        wanted, mark = _inner_record(hints[each.name])
        if wanted is not None:
            found += describe(wanted, f"{key}{mark}.")
    return found


_WRONG: Any = object()
"""Stands for a value with a mistake, which has been noted."""


class _Reading:
    """One pass over one document."""

    def __init__(self, record_type: type[Any]) -> None:
        self.problems: list[Problem] = []
        self._root = record_type

    def record(self, record_type: type[Any], node: yaml.Node, key: str) -> Any:
        """The record a mapping describes, or _WRONG."""
        pairs = self._pairs(node, key)
        if pairs is None:
            return _WRONG
        known = {each.name: each for each in fields(record_type) if each.init}
        hints = get_type_hints(record_type)
        values: dict[str, Any] = {}
        for name, (line, value_node) in pairs.items():
            path = f"{key}.{name}" if key else name
            if name in known:
                values[name] = self._field(known[name], hints[name], value_node, path)
            else:
                self._note(line, path, f"unknown key{self._suggestion(name, known)}")
        for name, each in known.items():
            if name not in pairs and each.default is MISSING and each.default_factory is MISSING:
                path = f"{key}.{name}" if key else name
                self._note(line_of(node), path, "is missing: it must be set")
                values[name] = _WRONG
        if any(value is _WRONG for value in values.values()):
            return _WRONG
        return self._build(record_type, values, {name: line for name, (line, _) in pairs.items()}, node, key)

    def _build(
        self, record_type: type[Any], values: dict[str, Any], lines: dict[str, int], node: yaml.Node, key: str
    ) -> Any:
        try:
            return record_type(**values)
        except BadSetting as error:
            path = f"{key}.{error.key}" if key else error.key
            self._note(lines.get(error.key, line_of(node)), path, error.message)
        except (ValueError, MatrixError) as error:
            self._note(line_of(node), key, str(error))
        return _WRONG

    def _field(self, each: "Field[Any]", wanted: Any, node: yaml.Node, key: str) -> Any:
        check, parse = each.metadata.get("check"), each.metadata.get("parse")
        try:
            if parse is not None and isinstance(node, yaml.ScalarNode) and not is_null(node):
                value = parse(text_of(node))
            else:
                value = self._value(wanted, node, key)
            if check is not None and value is not _WRONG and value is not None:
                check(value)
        except (ValueError, MatrixError) as error:
            self._note(line_of(node), key, str(error))
            return _WRONG
        return value

    def _value(self, wanted: Any, node: yaml.Node, key: str) -> Any:
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin in (Union, UnionType):
            return self._optional(arguments, node, key)
        if origin is tuple or origin is frozenset or origin is list:
            return self._sequence(origin, arguments, node, key)
        if origin is dict:
            return self._mapping(arguments[1], node, key)
        if is_dataclass(wanted):
            return self.record(cast(type[Any], wanted), node, key)
        try:
            return read_scalar(wanted, node)
        except WrongValue as error:
            self._note(line_of(node), key, str(error))
            return _WRONG

    def _optional(self, choices: tuple[Any, ...], node: yaml.Node, key: str) -> Any:
        wanted = [choice for choice in choices if choice is not NoneType]
        if len(wanted) != 1:
            raise TypeError(f"{key}: a union is understood only as X | None")
        is_none = is_null(node) or (is_dataclass(wanted[0]) and is_off(node))
        return None if is_none else self._value(wanted[0], node, key)

    def _sequence(self, kind: type[Any], arguments: tuple[Any, ...], node: yaml.Node, key: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            self._note(line_of(node), key, f"must be a list, for example [{told(node)}]")
            return _WRONG
        if kind is tuple and arguments[-1] is not Ellipsis:
            if len(node.value) != len(arguments):
                self._note(line_of(node), key, f"must have {len(arguments)} items, not {len(node.value)}")
                return _WRONG
            types = arguments
        else:
            types = (arguments[0],) * len(node.value)
        values = [
            self._value(wanted, item, f"{key}[{index}]")
            for index, (wanted, item) in enumerate(zip(types, node.value, strict=True))
        ]
        return _WRONG if any(value is _WRONG for value in values) else kind(values)

    def _mapping(self, wanted: Any, node: yaml.Node, key: str) -> Any:
        pairs = self._pairs(node, key)
        if pairs is None:
            return _WRONG
        values = {name: self._value(wanted, item, f"{key}.{name}") for name, (_, item) in pairs.items()}
        return _WRONG if any(value is _WRONG for value in values.values()) else values

    def _pairs(self, node: yaml.Node, key: str) -> dict[str, tuple[int, yaml.Node]] | None:
        """The mapping's keys with their lines and values; None (and noted) if it is no mapping."""
        if is_null(node):
            return {}  # a section whose keys are all commented out
        if not isinstance(node, yaml.MappingNode):
            self._note(line_of(node), key, f"must be a section of `key: value` lines, not {told(node)}")
            return None
        pairs: dict[str, tuple[int, yaml.Node]] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if name in pairs:
                path = f"{key}.{name}" if key else name
                self._note(line_of(key_node), path, f"is there twice: also in line {pairs[name][0]}")
            else:
                pairs[name] = (line_of(key_node), value_node)
        return pairs

    def _suggestion(self, name: str, known: Iterable[str]) -> str:
        here = get_close_matches(name, known, n=1, cutoff=0.6)
        if here:
            return f"; did you mean {here[0]!r}?"
        everywhere = {each.key.rpartition(".")[2]: each.key for each in reversed(describe(self._root))}
        elsewhere = get_close_matches(name, everywhere, n=1, cutoff=0.75)
        return f"; did you mean {everywhere[elsewhere[0]]!r}?" if elsewhere else ""

    def _note(self, line: int, key: str, message: str) -> None:
        self.problems.append(Problem(line, key, message))


def _inner_record(wanted: Any) -> tuple[type[Any] | None, str]:
    """The dataclass a key holds, and the mark of a list or free mapping around it."""
    if is_dataclass(wanted):
        return cast(type[Any], wanted), ""
    origin = get_origin(wanted)
    for argument in get_args(wanted):
        if is_dataclass(argument):
            return cast(type[Any], argument), "" if origin in (Union, UnionType) else "[]"
    return None, ""


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    return Problem(
        1 if mark is None else mark.line + 1, "", f"not YAML: {f'{context}: ' if context else ''}{said}"
    )
