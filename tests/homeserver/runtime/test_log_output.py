"""Log lines: for people or for collectors, to a file or to standard error, with who is at work."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from twisted.logger import Logger as TwistedLogger

from homeserver.runtime import log_context
from homeserver.runtime.log_output import lead_in_twisted, open_log

logger = logging.getLogger("homeserver.test_log_output")


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Whatever a test opens is closed again."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    for name in ("twisted", logger.name):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def file(tmp_path: Path, clean_logging: None) -> Path:
    return tmp_path / "postroom.log"


def open_file(
    file: Path, *, level: str = "info", levels: Mapping[str, str] | None = None, json: bool = False
) -> logging.Handler:
    return open_log(file, level=level, levels=levels or {}, as_json=json)


def log_straight(output: logging.Handler, message: str, *args: str, failure: Exception | None = None) -> None:
    """Past the test runner, which keeps what is logged and cannot pass on halves of characters."""
    exc_info = None if failure is None else (type(failure), failure, failure.__traceback__)
    output.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 1, message, args, exc_info))


def test_a_line_says_when_how_bad_who_where_and_what(file: Path) -> None:
    open_file(file)
    with log_context.named("PUT-17"):
        logger.warning("The %s is full", "moon")
    line = file.read_text()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z WARNING PUT-17 homeserver\.test_log_output: The moon is full\n",
        line,
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_what_others_say_stays_in_its_line(file: Path, as_json: bool) -> None:
    """Errors of other servers are quoted: they must not make up lines, nor move a cursor."""
    said = "no\n2026-01-01T00:00:00.000Z ERROR - all is lost\r\x1b[2J\u202e\ud800"
    log_straight(open_file(file, json=as_json), "evil.example says: %s", said)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert "all is lost" in lines[0]
    assert not {"\x1b", "\r"} & set(lines[0])


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_that_quotes_half_a_character_is_logged(file: Path, as_json: bool) -> None:
    output = open_file(file, json=as_json)
    try:
        raise ValueError("half of a pair: \ud800")
    except ValueError as error:
        log_straight(output, "Failed", failure=error)
    assert "ValueError: half of a pair" in file.read_text(encoding="utf-8")


def test_nobody_at_work_is_a_dash(file: Path) -> None:
    open_file(file)
    logger.info("Hello")
    assert " INFO    - homeserver.test_log_output: Hello" in file.read_text()


def test_json_is_one_object_a_line(file: Path) -> None:
    open_file(file, json=True)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("Failed")
    line = json.loads(file.read_text())
    assert (line["level"], line["logger"], line["message"]) == ("error", logger.name, "Failed")
    assert "ValueError: two\nlines" in line["traceback"]


def test_what_is_below_the_level_is_dropped(file: Path) -> None:
    open_file(file, level="warning")
    logger.info("too much")
    assert file.read_text() == ""


def test_one_part_may_say_more(file: Path) -> None:
    open_file(file, level="warning", levels={logger.name: "debug"})
    logger.debug("in detail")
    assert "in detail" in file.read_text()


def test_a_file_that_was_moved_away_is_opened_anew(file: Path) -> None:
    open_file(file)
    logger.info("before")
    file.rename(file.with_suffix(".1"))
    logger.info("after")
    assert "after" in file.read_text()
    assert "before" not in file.read_text()


def test_without_a_file_lines_go_to_standard_error(
    capsys: pytest.CaptureFixture[str], clean_logging: None
) -> None:
    open_log(None, level="info", levels={}, as_json=False)
    logger.info("to the terminal")
    assert "to the terminal" in capsys.readouterr().err


def test_twisted_logs_through_it_when_it_matters(file: Path) -> None:
    open_file(file)
    lead_in_twisted()
    TwistedLogger("twisted.test").info("chatter")
    TwistedLogger("twisted.test").error("something broke")
    assert "something broke" in file.read_text()
    assert "chatter" not in file.read_text()
