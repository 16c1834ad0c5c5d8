import logging

from homeserver.runtime import log_context


def test_nobody_is_at_work_by_default() -> None:
    assert log_context.current() == log_context.NOBODY


def test_a_name_stands_for_a_block() -> None:
    with log_context.named("outer"):
        with log_context.named("inner"):
            assert log_context.current() == "inner"
        assert log_context.current() == "outer"
    assert log_context.current() == log_context.NOBODY


def test_every_record_bears_the_name() -> None:
    record = logging.LogRecord("x", logging.INFO, "file", 1, "message", None, None)
    with log_context.named("GET /sync"):
        assert log_context.AddLogContext().filter(record)
    assert record.__dict__["context"] == "GET /sync"
