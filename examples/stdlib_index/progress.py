"""What the demo shows while it runs: a live display on a terminal, one plain line a second elsewhere."""

import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, NamedTuple, Self

from examples.stdlib_index.check import Verdict
from examples.stdlib_index.pipeline import Collected
from examples.stdlib_index.processes import Worker
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS: Final = 1.0
EVENTS_SHOWN: Final = 6
RATE_WINDOW_SECONDS: Final = 2.0


class Depth(NamedTuple):
    """A queue as the broker last described it, in messages."""

    ready: int
    leased: int
    scheduled: int
    dead: int

    @property
    def empty(self) -> bool:
        return not any(self)


NOT_SEEN: Final = Depth(0, 0, 0, 0)


@dataclass(slots=True)
class State:
    """Where the run is. Filled in by the run, read by the display."""

    files: int
    workers: list[Worker]
    phase: str = "starting"
    broker: str = "starting"
    jobs: Depth = NOT_SEEN
    results: Depth = NOT_SEEN
    compared: int = 0
    collected: Collected = field(default_factory=Collected)


class Rate:
    """Files a second over the last moments."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def update(self, now: float, count: int) -> float:
        """Note the count at a time in seconds; return the rate over the window."""
        self._points.append((now, count))
        while now - self._points[0][0] > RATE_WINDOW_SECONDS:
            self._points.popleft()
        since, before = self._points[0]
        return (count - before) / (now - since) if now > since else 0.0


class Display:
    """Shows a State again and again, and events once."""

    def __init__(self, console: Console, state: State) -> None:
        self._console = console
        self._state = state
        self._began = time.monotonic()
        self._rate = Rate()
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._next_line = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._began

    def event(self, text: str) -> None:
        """Show something that happened. It stays on the screen after the end."""
        line = f"{self.elapsed:5.1f} s  {text}"
        self._events.append(line)
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def update(self) -> None:
        """Show the state as it is now."""
        rate = self._rate.update(self.elapsed, len(self._state.collected.records))
        if self._live is not None:
            self._live.update(self._picture(rate), refresh=True)
        elif self.elapsed >= self._next_line:
            self._next_line = self.elapsed + PLAIN_LINE_SECONDS
            self._console.print(
                f"{self.elapsed:5.1f} s  {self._line(rate)}", highlight=False, markup=False, soft_wrap=True
            )

    def _line(self, rate: float) -> str:
        state, collected = self._state, self._state.collected
        if state.compared:
            return f"{state.phase}: {state.compared:,} of {state.files:,} files"
        return (
            f"{state.phase}: {len(collected.records):,} of {state.files:,} files indexed ({rate:,.0f}/s), "
            f"jobs {state.jobs.ready:,} ready {state.jobs.leased:,} leased, "
            f"results {state.results.ready:,} ready {state.results.leased:,} leased, "
            f"redelivered {collected.jobs_redelivered:,}, duplicates {collected.jobs_repeated:,}"
        )

    def _picture(self, rate: float) -> RenderableType:
        state = self._state
        done = state.compared or len(state.collected.records)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(state.phase, style="bold"),
            ProgressBar(total=state.files, completed=done, width=40),
            f"{done:,} of {state.files:,} files, {rate:,.0f}/s, {self.elapsed:.0f} s",
        )
        return Group(bar, self._queues(), self._workers())

    def _queues(self) -> Table:
        collected = self._state.collected
        table = Table("queue", box=None, header_style="dim")
        for heading in ("ready", "leased", "scheduled", "dead", "redelivered", "duplicates"):
            table.add_column(heading, justify="right")
        again = [
            (collected.jobs_redelivered, collected.jobs_repeated),
            (collected.results_redelivered, collected.results_redelivered),
        ]
        for name, depth, counts in zip(
            ("jobs", "results"), (self._state.jobs, self._state.results), again, strict=True
        ):
            table.add_row(name, *(f"{figure:,}" for figure in (*depth, *counts)))
        return table

    def _workers(self) -> Table:
        table = Table("process", "pid", "state", box=None, header_style="dim")
        table.add_row("broker", "", self._state.broker)
        for worker in self._state.workers:
            doing = "killed" if worker.ended else f"{worker.acked:,} files acknowledged, holds {len(worker.held)}"
            table.add_row(worker.name, str(worker.pid) if worker.process else "", doing)
        return table


def show_outcome(console: Console, state: State, verdicts: list[Verdict]) -> None:
    """Print the totals and the verdicts."""
    collected = state.collected
    records = list(collected.records.values())
    table = Table(box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    by_tokens = sum(record.parsed_by == "tokenize" for record in records)
    for figure, unit in (
        (len(records), f"files, {sum(record.lines for record in records):,} lines"),
        (sum(len(record.definitions) for record in records), "definitions"),
        (len({name for record in records for name in record.imports}), "modules imported"),
        (by_tokens, "files that do not parse, read token by token"),
        (
            collected.jobs_redelivered,
            f"jobs redelivered, {collected.jobs_failed_before:,} of them counted as failed before",
        ),
        (collected.jobs_repeated, "jobs done twice, deduplicated by file"),
        (collected.results_redelivered, "results redelivered, deduplicated by offset"),
    ):
        table.add_row(f"{figure:,}", unit)
    console.print(table, highlight=False)
    for verdict in verdicts:
        mark, style = ("ok    ", "green") if verdict.holds else ("FAILED", "bold red")
        console.print(Text(f"{mark} ", style=style) + Text(f"{verdict.claim}: {verdict.detail}"), soft_wrap=True)
