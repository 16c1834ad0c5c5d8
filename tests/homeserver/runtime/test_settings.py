from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType

import pytest

from homeserver.protocol.errors import InvalidParam
from homeserver.runtime.settings import (
    BadSetting,
    Bytes,
    Description,
    Problem,
    Seconds,
    SettingsError,
    describe,
    load,
    setting,
)

Name = NewType("Name", str)


class Colour(Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Limit:
    per_second: float
    burst: int = 10


@dataclass(frozen=True)
class Listener:
    port: int = setting(doc="Where to listen.")
    apis: tuple[Literal["client", "federation"], ...] = ("client",)

    def __post_init__(self) -> None:
        if not 0 < self.port < 65_536:
            raise BadSetting("port", f"{self.port} is no port: 1 to 65535")
        if not self.apis:
            raise ValueError("a listener that answers nothing")


def short(value: str) -> None:
    if len(value) > 10:
        raise ValueError("is longer than 10 characters")


def shout(text: str) -> str:
    if text == "forbidden":
        raise InvalidParam("may not be said")
    return text.upper()


@dataclass(frozen=True)
class Media:
    max_upload: Bytes = Bytes(50)
    keep: Seconds | None = None
    path: Path = Path("media")
    before: date | None = None


@dataclass(frozen=True)
class Everything:
    name: Name = setting(doc="The only key that must be set.", check=short)
    is_on: bool = True
    count: int = 1
    ratio: float = 0.5
    note: str | None = None
    colour: Colour = Colour.RED
    mode: Literal["open", "closed"] = "closed"
    shouted: str = setting("QUIET", parse=shout)
    listeners: tuple[Listener, ...] = (Listener(8008),)
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    levels: dict[str, Literal["info", "debug"]] = field(default_factory=dict)
    logins: Limit | None = Limit(1)
    media: Media = Media()


def read(text: str) -> Everything:
    return load(Everything, text, "test.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def one_problem(text: str) -> str:
    (problem,) = problems(text)
    return problem


def test_defaults_stand_for_what_is_not_said() -> None:
    assert read("name: a") == Everything(Name("a"))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("is_on: false", "is_on", False),
        ("is_on: no", "is_on", False),
        ("count: 50_000", "count", 50_000),
        ("count: -3", "count", -3),
        ("ratio: 2", "ratio", 2.0),
        ("ratio: 0.25", "ratio", 0.25),
        ("note: text", "note", "text"),
        ("note: 12", "note", "12"),
        ("note: 012", "note", "012"),
        ("note: 2026-01-31", "note", "2026-01-31"),
        ("note: 'yes'", "note", "yes"),
        ("note: null", "note", None),
        ("note:", "note", None),
        ("note: ''", "note", ""),
        ("colour: green", "colour", Colour.GREEN),
        ("mode: open", "mode", "open"),
        ("shouted: hello", "shouted", "HELLO"),
        ("pair: [7, b]", "pair", (7, "b")),
        ("tags: [x, y, x]", "tags", frozenset({"x", "y"})),
        ("levels: {a: info, b: debug}", "levels", {"a": "info", "b": "debug"}),
        ("listeners: []", "listeners", ()),
        ("listeners: [{port: 1}, {port: 2, apis: [federation]}]", "listeners",
         (Listener(1), Listener(2, ("federation",)))),
        ("logins: {per_second: 3}", "logins", Limit(3.0)),
        ("logins: off", "logins", None),
        ("logins: null", "logins", None),
        ("media:", "media", Media()),
        ("media: {max_upload: 10 GiB}", "media", Media(max_upload=Bytes(10 * 1024**3))),
        ("media: {keep: 30d, path: /srv}", "media", Media(keep=Seconds(2_592_000), path=Path("/srv"))),
        ("media: {before: 2026-01-31}", "media", Media(before=date(2026, 1, 31))),
    ],
)  # fmt: skip
def test_values(line: str, key: str, value: object) -> None:
    assert getattr(read(f"name: a\n{line}"), key) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5", 1.5), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5_400), ("1h 30m", 5_400),
     ("2d", 172_800), ("1w", 604_800), ("1y", 31_536_000)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert read(f"name: a\nmedia: {{keep: {text}}}").media.keep == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 100), ("1.5K", 1_536), ("50M", 52_428_800), ("50 MiB", 52_428_800), ("50 MB", 50_000_000),
     ("10 GiB", 10_737_418_240), ("1t", 1_099_511_627_776), ("7 B", 7), ("1kb", 1_000)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert read(f"name: a\nmedia: {{max_upload: {text}}}").media.max_upload == size


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("is_on: 1", "line 2: is_on: must be true or false, not 1"),
        ("is_on: maybe", "line 2: is_on: must be true or false, not maybe"),
        ("count: 1.5", "line 2: count: must be a whole number, not 1.5"),
        ("count: '1'", "line 2: count: must be a whole number, not '1'"),
        ("count: 1:30", "line 2: count: must be a whole number, not 1:30"),
        ("count:", "line 2: count: has no value: it must be a whole number"),
        ("count: [1]", "line 2: count: must be a whole number, not a list"),
        ("ratio: much", "line 2: ratio: must be a number, not much"),
        ("note: yes", "line 2: note: write it in quotes: 'yes'"),
        ("colour: gren", "line 2: colour: must be one of red, green, not gren; did you mean 'green'?"),
        ("mode: ajar", "line 2: mode: must be one of open, closed, not ajar"),
        ("shouted: forbidden", "line 2: shouted: may not be said"),
        ("pair: [1]", "line 2: pair: must have 2 items, not 1"),
        ("pair: [a, b]", "line 2: pair[0]: must be a whole number, not a"),
        ("tags: x", "line 2: tags: must be a list, for example [x]"),
        ("levels: {a: loud}", "line 2: levels.a: must be one of info, debug, not loud"),
        ("levels: [a]", "line 2: levels: must be a section of `key: value` lines, not a list"),
        ("logins: 3", "line 2: logins: must be a section of `key: value` lines, not 3"),
        ("logins: {burst: 3}", "line 2: logins.per_second: is missing: it must be set"),
        ("listeners: [{port: 70000}]", "line 2: listeners[0].port: 70000 is no port: 1 to 65535"),
        ("listeners: [{port: 1, apis: []}]", "line 2: listeners[0]: a listener that answers nothing"),
        ("media: {keep: soon}", "line 2: media.keep: 'soon' is not a duration: write 30s, 5m, 1h30m or 30d"),
        ("media: {keep: 5 mm}", "line 2: media.keep: '5 mm' is not a duration: write 30s, 5m, 1h30m or 30d"),
        ("media: {max_upload: x}", "line 2: media.max_upload: 'x' is not a size: write 512K, 50M or 10 GiB"),
        ("media: {before: now}", "line 2: media.before: must be a date like 2026-01-31, not now"),
        ("cuont: 1", "line 2: cuont: unknown key; did you mean 'count'?"),
        ("max_uploads: 1", "line 2: max_uploads: unknown key; did you mean 'media.max_upload'?"),
        ("zzz: 1", "line 2: zzz: unknown key"),
        ("media: {pth: x}", "line 2: media.pth: unknown key; did you mean 'path'?"),
        ("name: b", "line 2: name: is there twice: also in line 1"),
    ],
)  # fmt: skip
def test_one_mistake(line: str, problem: str) -> None:
    assert one_problem(f"name: a\n{line}") == problem


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    found = problems("count: x\nnam: a\nmedia:\n  path: p\n  keep: soon\nlisteners:\n  - port: 0\n  - {}\n")
    assert [problem.partition(": ")[0] for problem in found] == [
        "line 1", "line 1", "line 2", "line 5", "line 7", "line 8",
    ]  # fmt: skip
    assert "line 1: name: is missing: it must be set" in found


def test_a_check_sees_the_value() -> None:
    assert one_problem("name: a-very-long-name") == "line 1: name: is longer than 10 characters"


@pytest.mark.parametrize(
    "text", ["name: [", "a: b: c", "name: a\n\tcount: 1", "name: a\n---\nname: b", "name: @x"]
)
def test_what_is_not_yaml_names_the_line(text: str) -> None:
    assert "not YAML" in one_problem(text)


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "null"])
def test_an_empty_file_lacks_what_must_be_set(text: str) -> None:
    assert one_problem(text) == "line 1: name: is missing: it must be set"


def test_a_file_that_is_no_mapping() -> None:
    assert one_problem("- name: a") == "line 1: must be a section of `key: value` lines, not a list"


def test_the_error_reads_as_a_list_for_the_operator() -> None:
    with pytest.raises(SettingsError) as caught:
        read("count: x\nname: a")
    assert str(caught.value) == "test.yaml, line 1: count: must be a whole number, not x"
    assert caught.value.problems == (Problem(1, "count", "must be a whole number, not x"),)


def test_an_anchor_may_be_used_again() -> None:
    record = read("name: a\nlisteners:\n  - &first {port: 1}\n  - *first\n")
    assert record.listeners == (Listener(1), Listener(1))


def test_a_record_describes_itself() -> None:
    described = {each.key: each for each in describe(Everything)}
    assert described["name"] == Description("name", "The only key that must be set.", None, is_required=True)
    assert described["listeners[].port"].doc == "Where to listen."
    assert described["media.max_upload"].default == 50
    assert described["logins.burst"].default == 10
    assert described["levels"].default == {}


def test_a_union_of_two_kinds_is_a_mistake_of_ours() -> None:
    @dataclass(frozen=True)
    class Unclear:
        value: Any = 0

    Unclear.__annotations__["value"] = int | str
    with pytest.raises(TypeError, match="only as X"):
        load(Unclear, "value: 1", "test.yaml")
