"""What people and programs read: `penstock.cli.output`, `exits`."""

import json

import pytest

from penstock.cli import output
from penstock.cli.exits import CommandError, ExitCode, exit_for
from penstock_client.wire.errors import ErrorCode


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1234567, "1,234,567"),
        (0.5, "0.50"),
        (1234.5, "1,234"),
        ("plain", "plain"),
        ("bell\x07", "bell\\x07"),
    ],
)
def test_a_cell_shows_a_value_as_people_write_it(value: object, text: str) -> None:
    assert output.cell_text(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (250_000, "250 kB"), (3_200_000_000, "3.2 GB"), (9e15, "9000.0 TB")],
)
def test_a_size_has_a_unit(size_bytes: int, text: str) -> None:
    assert output.bytes_text(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (30_000, "30 s"), (1500, "1.5 s"), (65_000, "1 min 5 s"), (7_500_000, "2 h 5 min")],
)
def test_a_duration_has_its_largest_two_units(duration_ms: int, text: str) -> None:
    assert output.duration_text(duration_ms) == text


def test_the_age_of_nothing_is_a_dash() -> None:
    assert output.age_text(None) == "-"
    assert output.age_text(0) == "0 ms"


def test_an_alarm_says_what_is_at_which_limit() -> None:
    messages = {"what": "messages", "value": 1200, "limit": 1000, "since_ms": 0}
    assert output.alarm_text(messages).startswith("1,200 messages, alarm at 1,000, since 19")
    age = {"what": "age_ms", "value": 65_000, "limit": 60_000, "since_ms": 0}
    assert output.alarm_text(age).startswith("oldest message 1 min 5 s old, alarm at 1 min, since 19")


def test_control_characters_never_reach_a_terminal() -> None:
    assert output.printable("\x1b]0;title\x07\u202eöß日本") == "\\x1b]0;title\\x07\\u202eöß日本"
    assert output.printable("lone \ud800") == "lone \\ud800"


def test_json_is_one_line_of_unescaped_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "größe\n"})
    printed = capsys.readouterr().out
    assert printed == '{"name": "größe\\n"}\n'
    assert json.loads(printed) == {"name": "größe\n"}


def test_a_piped_table_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("queue", "ready"), [("q" * 255, 1_000_000), ("[red]x[/red]", 2)])
    lines = capsys.readouterr().out.splitlines()
    assert "q" * 255 in lines[1]
    assert "1,000,000" in lines[1]
    assert "[red]x[/red]" in lines[2]


def test_an_error_is_one_line_with_its_advice() -> None:
    error = CommandError(ExitCode.UNAVAILABLE, "no broker\nanswers.", "Start one.")
    assert error.line() == "no broker answers. Start one."
    assert CommandError(ExitCode.DATA, "no advice").line() == "no advice"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_has_an_exit_code(code: ErrorCode) -> None:
    exit_code, advice = exit_for(code)
    assert exit_code in ExitCode
    assert exit_code != ExitCode.OK
    assert not advice or advice.endswith((".", "?"))


def test_json_of_what_is_no_unicode_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"key": "\udcff"})
    assert capsys.readouterr().out == '{"key": "\\udcff"}\n'
