"""What every command has: help with an example, usage errors in one line, exit codes. `penstock.cli.main`."""

import subprocess
import sys

import pytest

from penstock.cli.exits import ExitCode
from penstock.cli.main import run_command

COMMANDS = [
    ["serve"],
    ["status"],
    ["queue", "list"],
    ["queue", "declare"],
    ["queue", "show"],
    ["queue", "peek"],
    ["queue", "find"],
    ["queue", "history"],
    ["queue", "purge"],
    ["queue", "delete"],
    ["queue", "redrive"],
    ["publish"],
    ["consume"],
    ["worker"],
    ["bench"],
    ["verify"],
    ["repair"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == ExitCode.OK
    assert f"Example: penstock {' '.join(command)}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_that_prints_data_has_json(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_command([*command, "--help"])
    assert ("--json" in capsys.readouterr().out) == (command not in (["serve"], ["worker"]))


@pytest.mark.parametrize("arguments", [[], ["queue"]])
def test_no_command_shows_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == ExitCode.OK
    assert "Usage: penstock" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sreve"], "penstock: No such command 'sreve'. Did you mean 'serve'? Try \"penstock --help\".\n"),
        (["queue", "show"], "penstock: Missing argument 'QUEUE'. Try \"penstock queue show --help\".\n"),
        (["status", "--jsn"], "penstock: No such option: --jsn (Possible options: --json). "),
        (["publish", "jobs"], "penstock: give either one BODY or more, or --lines FILE\n"),
        (["publish", "jobs", "x", "--header", "kind"], "penstock: --header 'kind' is not NAME=VALUE\n"),
        (["publish", "jobs", "x", "y", "--message-id", "m"], "penstock: --message-id names one message. "),
    ],
)
def test_a_usage_error_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1


def test_an_unforeseen_error_says_how_to_see_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr("penstock.cli.status.run_with_client", fail)
    assert run_command(["status"]) == ExitCode.SOFTWARE
    assert capsys.readouterr().err == (
        "penstock: unexpected error: ValueError: two\\nlines. Run it again with PENSTOCK_DEBUG=1 for a traceback.\n"
    )
    monkeypatch.setenv("PENSTOCK_DEBUG", "1")
    assert run_command(["status"]) == ExitCode.SOFTWARE
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_and_a_refused_question_are_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.cli.status.run_with_client", interrupt)
    assert run_command(["status"]) == ExitCode.INTERRUPTED


@pytest.mark.parametrize("module", ["rich", "typer.rich_utils", "penstock.engine", "matplotlib"])
def test_the_command_line_imports_nothing_that_serve_does_not_need(module: str) -> None:
    code = f"import sys, penstock.cli.main; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
