"""What commands print: JSON lines for programs, tables for people, progress on standard error."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from penstock.cli.exits import ExitCode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PIPED_WIDTH_COLUMNS: Final = 10_000
"""Tables that go into a pipe are never cut: their reader has no terminal whose width would matter."""


def standard_output_is_terminal() -> bool:
    """Return True when a person reads what is printed."""
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    """Print one value as one line of JSON; what is no valid Unicode in it is escaped."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, default=str)
    print_text(text)


def print_text(text: str) -> None:
    """Print a line and flush it; a closed pipe ends the process quietly."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        end_on_broken_pipe()


def end_on_broken_pipe() -> NoReturn:
    """End as a process does whose reader went away: quietly, with the exit code of SIGPIPE."""
    silence_standard_output()
    raise typer.Exit(ExitCode.BROKEN_PIPE)


def silence_standard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail on a closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings. Numbers are right-aligned; names are escaped."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    terminal = standard_output_is_terminal()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False)
    kept = [list(row) for row in rows]
    for index, column in enumerate(columns):
        number = any(isinstance(row[index], int | float) for row in kept)
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in kept:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    _print_rich(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(cell_text(value)))
    _print_rich(table)


def print_count(where: dict[str, str], done: str, count: int, *, json: bool) -> None:
    """Print how many messages something was done to."""
    if json:
        print_json({**where, done: count})
    else:
        print_text(f"{'1 message' if count == 1 else f'{count:,} messages'} {done}")


def print_changes(changed: Mapping[str, tuple[object, object]]) -> None:
    """Print what was altered: each setting before and after."""
    for name, (before, after) in changed.items():
        print_text(f"{name}: {cell_text(before)} is now {cell_text(after)}")
    if not changed:
        print_text("nothing changed")


def _print_rich(table: Any) -> None:
    console = make_console()
    try:
        console.print(table)
        sys.stdout.flush()
    except BrokenPipeError:
        end_on_broken_pipe()


def make_console(*, stderr: bool = False) -> "Console":
    """Return a rich console on standard output or standard error."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPED_WIDTH_COLUMNS, highlight=False)


def make_progress(description: str, total: int | None, *, wanted: bool = True) -> "AbstractContextManager[Meter]":
    """Return a meter of `total` steps, drawn on standard error when that is a terminal."""
    if not (wanted and sys.stderr.isatty()):
        return nullcontext(Meter(None, description, total))
    return _DrawnMeter(description, total)


class Meter:
    """How far a command is. Silent without a progress display."""

    def __init__(self, progress: "Progress | None", description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="") if progress else None

    def update(self, completed: int, note: str = "") -> None:
        """Show `completed` steps in all and a note beside the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=completed, note=note)


class _DrawnMeter(AbstractContextManager[Meter]):
    def __init__(self, description: str, total: int | None) -> None:
        from rich import progress

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeElapsedColumn(),
            console=make_console(stderr=True),
            transient=True,
        )
        self._description = description
        self._total = total

    def __enter__(self) -> Meter:
        self._progress.start()
        return Meter(self._progress, self._description, self._total)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def cell_text(value: object) -> str:
    """Return a value as people read it: 1,234,567; yes; escaped text; a dash for nothing."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """Escape what could steer a terminal: control characters, separators, unassigned and private characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def bytes_text(size_bytes: int) -> str:
    """Return a size with a decimal unit: ``1.5 MB``."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def age_text(age_ms: int | None) -> str:
    """Return an age for people; of nothing, a dash."""
    return "-" if age_ms is None else duration_text(age_ms)


def time_text(time_ms: int) -> str:
    """Return a time, ms since 1970, as it is on the clock here."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def breaker_text(breaker: dict[str, Any]) -> str:
    """Return how a breaker fares."""
    if breaker["state"] == "open":
        return f"breaker open until {time_text(breaker['until_ms'])}"
    return f"breaker trying {breaker['size']}" if breaker["state"] == "trial" else "breaker closed"


def alarm_text(alarm: dict[str, Any]) -> str:
    """Return what an alarm says, without its queue."""
    value, limit, since = alarm["value"], alarm["limit"], time_text(alarm["since_ms"])
    if alarm["what"] == "breaker":
        group = printable(alarm["group"]) or "(default)"
        return f"breaker of group {group} open, {value:,} attempts failed, since {since}"
    if alarm["what"] == "age_ms":
        return f"oldest message {duration_text(value)} old, alarm at {duration_text(limit)}, since {since}"
    return f"{value:,} {alarm['what']}, alarm at {limit:,}, since {since}"


def duration_text(duration_ms: int) -> str:
    """Return a duration with its largest two units: ``2 h 5 min``."""
    if duration_ms < 1000:
        return f"{duration_ms} ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1000:g} s"
    minutes = duration_ms // 60_000
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (duration_ms // 1000 % 60, "s")]
    return " ".join(f"{amount} {unit}" for amount, unit in [part for part in parts if part[0]][:2])
