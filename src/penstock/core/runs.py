"""Outstanding runs: which messages below a group's cursor are not done, and how often each was tried.

A run is a range of consecutive offsets with the same history. Untouched messages need no run at all (they are at or
above the cursor), and neighbours that share attempts, failures, due time and fate are one run, so memory follows the
exceptions, not the backlog. Two parallel sorted lists (first offsets, runs) are searched with bisect.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from penstock.core.ranges import OffsetRange
from penstock.core.values import DYING_EXPIRED


class Run:
    """Offsets ``first`` to ``end`` (exclusive), tried ``attempts`` times, failed ``failures`` times.

    ``dying``: on the way to the dead letters, for this reason (``values``); 0 when not.
    """

    __slots__ = ("attempts", "due_ms", "dying", "end", "failures", "first")

    def __init__(self, first: int, end: int, attempts: int, failures: int, due_ms: int = 0, dying: int = 0) -> None:
        self.first = first
        self.end = end
        self.attempts = attempts
        self.failures = failures
        self.due_ms = due_ms
        self.dying = dying

    def joins(self, other: Run) -> bool:
        """True when ``other`` starts where this ends and has the same history."""
        return (
            self.end == other.first
            and self.attempts == other.attempts
            and self.failures == other.failures
            and self.due_ms == other.due_ms
            and self.dying == other.dying
        )

    def state(self) -> RunState:
        """The run as a comparable value."""
        return RunState(self.first, self.end, self.attempts, self.failures, self.due_ms, self.dying)


class RunState(NamedTuple):
    """A run as a value: in snapshots and fingerprints."""

    first: int
    end: int
    attempts: int
    failures: int
    due_ms: int
    dying: int


class OutstandingRuns:
    """The sorted, disjoint runs of one group."""

    __slots__ = ("_message_count", "firsts", "runs")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.runs: list[Run] = []
        self._message_count = 0

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def message_count(self) -> int:
        """Messages in all runs: counted along, since bounds ask for it with every publish."""
        return self._message_count

    @property
    def end(self) -> int:
        """Where the last run ends; 0 when there is none."""
        return self.runs[-1].end if self.runs else 0

    def find(self, offset: int) -> Run | None:
        """Return the run that holds ``offset``."""
        index = bisect_right(self.firsts, offset) - 1
        if index >= 0 and offset < self.runs[index].end:
            return self.runs[index]
        return None

    def within(self, first: int, end: int) -> list[Run]:
        """Return the runs that have offsets in [first, end)."""
        low = max(bisect_right(self.firsts, first) - 1, 0)
        high = bisect_left(self.firsts, end)
        if low < high and self.runs[low].end <= first:
            low += 1
        return self.runs[low:high]

    def holding_keys(self, first: int, end: int) -> list[OffsetRange]:
        """Return the parts of [first, end) that are in runs, but for what expired: that waits for its burial alone."""
        runs = [run for run in self.within(first, end) if run.dying != DYING_EXPIRED]
        return [(max(run.first, first), min(run.end, end)) for run in runs]

    def count_within(self, first: int, end: int) -> int:
        """How many messages of [first, end) hold their keys."""
        return sum(last - start for start, last in self.holding_keys(first, end))

    def append_fresh(self, first: int, end: int) -> None:
        """Add messages handed out for the first time."""
        runs = self.runs
        if runs:
            last = runs[-1]
            if last.first > first:  # a later one was handed out early
                self.insert_fresh(first, end)
                return
            if last.end == first and last.attempts == 1 and not last.failures and not last.due_ms and not last.dying:
                last.end = end
                self._message_count += end - first
                return
        self.firsts.append(first)
        runs.append(Run(first, end, 1, 0))
        self._message_count += end - first

    def insert_fresh(self, first: int, end: int, attempts: int = 1) -> None:
        """Add messages handed out for the first time, or not at all, out of offset order; none of them is in a run."""
        self._message_count += end - first
        index = bisect_right(self.firsts, first)
        self.firsts.insert(index, first)
        self.runs.insert(index, Run(first, end, attempts, 0))
        self._join(index, index + 1)

    def remove(self, first: int, end: int) -> int:
        """Take the offsets out; return how many of them were there."""
        index = bisect_right(self.firsts, first) - 1
        if index >= 0 and index < len(self.runs):
            run = self.runs[index]
            if run.first == first and end < run.end:  # the common acknowledgement: from the front of one run
                run.first = self.firsts[index] = end
                self._message_count -= end - first
                return end - first
        return self._remove_general(first, end)

    def _remove_general(self, first: int, end: int) -> int:
        low, high = self._isolate(first, end)
        removed = sum(run.end - run.first for run in self.runs[low:high])
        del self.firsts[low:high]
        del self.runs[low:high]
        self._message_count -= removed
        return removed

    def handed_out(self, first: int, end: int) -> None:
        """Count one more attempt."""
        low, high = self._isolate(first, end)
        for run in self.runs[low:high]:
            run.attempts += 1
            run.due_ms = 0
        self._join(low, high)

    def failed(self, first: int, end: int, due_ms: int, dying: int) -> None:
        """Count one more failure; due again at ``due_ms``."""
        low, high = self._isolate(first, end)
        for run in self.runs[low:high]:
            run.failures += 1
            run.due_ms = due_ms
            run.dying = dying
        self._join(low, high)

    def resumed(self, offset: int) -> None:
        """A message that had died is tried again: its failures count from 0."""
        low, high = self._isolate(offset, offset + 1)
        for run in self.runs[low:high]:
            run.failures, run.due_ms, run.dying = 0, 0, 0
        self._join(low, high)

    def condemn(self, first: int, end: int, reason: int) -> None:
        """Have messages go to the dead letters without a failure."""
        low, high = self._isolate(first, end)
        for run in self.runs[low:high]:
            run.due_ms = 0
            run.dying = reason
        self._join(low, high)

    def restore(self, states: list[RunState]) -> None:
        """Replace everything by the runs of a snapshot."""
        self.runs = [Run(*state) for state in states]
        self.firsts = [run.first for run in self.runs]
        self._message_count = sum(run.end - run.first for run in self.runs)

    def states(self) -> list[RunState]:
        """Every run as a value, neighbours with one history joined: the same for the same state."""
        joined: list[Run] = []
        for run in self.runs:
            if joined and joined[-1].joins(run):
                joined[-1].end = run.end
            else:
                joined.append(Run(*run.state()))
        return [run.state() for run in joined]

    def _isolate(self, first: int, end: int) -> tuple[int, int]:
        """Split runs so that [first, end) is covered by whole runs; return their index range."""
        low = self._split_at(first)
        high = self._split_at(end)
        return low, high

    def _split_at(self, offset: int) -> int:
        """Make a run boundary at ``offset``; return the index of the first run at or above it."""
        index = bisect_right(self.firsts, offset) - 1
        if index < 0:
            return 0
        run = self.runs[index]
        if run.first == offset:
            return index
        if run.end > offset:
            self.firsts.insert(index + 1, offset)
            self.runs.insert(index + 1, Run(offset, run.end, run.attempts, run.failures, run.due_ms, run.dying))
            run.end = offset
        return index + 1

    def _join(self, low: int, high: int) -> None:
        """Join neighbours with one history in and around the index range."""
        for index in range(min(high, len(self.runs) - 1), max(low, 1) - 1, -1):
            before, run = self.runs[index - 1], self.runs[index]
            if before.joins(run):
                before.end = run.end
                del self.firsts[index]
                del self.runs[index]
