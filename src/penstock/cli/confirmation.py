"""Asking before something that cannot be undone."""

import sys

import typer

from penstock.cli.exits import CommandError, ExitCode


def require_yes(question: str, *, yes: bool) -> None:
    """Return when `yes` was said, as an option or at the terminal; otherwise end the command."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(ExitCode.USAGE, "nobody at a terminal to ask", f"Say --yes if you mean it: {question}")
    if not typer.confirm(question, err=True):
        raise typer.Exit(ExitCode.OK)
