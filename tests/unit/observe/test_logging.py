import io
import json
import logging

import pytest

from penstock.observe.logging import ForwardingHandler, make_logger, make_silent_logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_json_where_no_one_watches() -> None:
    stream = io.StringIO()
    make_logger("auto", "info", stream).info("listening", port=7419)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["port"]) == ("listening", "info", 7419)
    assert line["timestamp"].endswith("Z")


def test_lines_are_for_people_on_a_terminal() -> None:
    stream = Terminal()
    make_logger("auto", "info", stream).info("listening", port=7419)
    assert "listening" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(("style", "is_json"), [("json", True), ("console", False)])
def test_the_format_can_be_chosen(style: str, is_json: bool) -> None:
    stream = Terminal()
    make_logger(style, "info", stream).info("listening")
    assert stream.getvalue().startswith("{") == is_json


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    log = make_logger("json", "warning", stream)
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_a_value_that_json_does_not_know_is_written_as_text() -> None:
    stream = io.StringIO()
    make_logger("json", "info", stream).info("event", path=io)
    assert "module" in json.loads(stream.getvalue())["path"]


def test_an_exception_is_one_line_of_json() -> None:
    stream = io.StringIO()
    make_logger("json", "info", stream).error("failed", exc_info=ValueError("boom"))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: boom" in json.loads(line)["exception"]


def test_a_silent_logger_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log = make_silent_logger()
    log.debug("no")
    log.critical("no")
    assert capfd.readouterr() == ("", "")


def test_the_standard_library_s_warnings_come_out_of_the_same_logger() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("penstock.test.forwarding")
    logger.propagate = False
    logger.addHandler(ForwardingHandler(make_logger("json", "info", stream)))
    logger.info("not this")
    logger.warning("executing %s took long", "callback")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line) | {"timestamp": ""} == {
        "event": "executing callback took long",
        "level": "warning",
        "logger": "penstock.test.forwarding",
        "timestamp": "",
    }
