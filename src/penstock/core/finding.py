"""Finding without side effect: which messages of a group are in which state, as runs, looked at and never touched."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from penstock.core.broker import Broker
from penstock.core.group import Group
from penstock.core.ranges import OffsetRange
from penstock.core.runs import Run
from penstock.core.terms import Terms
from penstock.core.values import DYING_EXPIRED

READY: Final = "ready"
SCHEDULED: Final = "scheduled"
LEASED: Final = "leased"
DYING: Final = "dying"
"""On its way to the dead letters: its copy is not written yet."""
HELD: Final = "held"
"""Dead, and kept in its place: what is behind it waits for it to be redriven or skipped."""
EXPIRED: Final = "expired"
"""Its time is over, and it is about to be dropped, or is on its way to the dead letters."""
STATES: Final = frozenset((READY, SCHEDULED, LEASED, DYING, HELD, EXPIRED))
"""What a message that its group is not done with may be."""


class Holding(NamedTuple):
    """Messages ``first`` to ``end`` (exclusive) that a consumer holds until then."""

    first: int
    end: int
    consumer: str
    until_ms: int


class Span(NamedTuple):
    """Messages ``first`` to ``end`` (exclusive) of one state; ``until_ms`` is when a lease or a delay ends, else 0."""

    first: int
    end: int
    state: str
    attempts: int = 0
    failures: int = 0
    consumer: str = ""
    until_ms: int = 0


def holdings(broker: Broker, group: Group) -> list[Holding]:
    """Return who holds which of the group's messages, by offset."""
    return sorted(
        Holding(lease.first, lease.first + lease.count, lease.consumer.name, lease.deadline_ms)
        for session in broker.sessions.values()
        for lease in session.leases
        if lease.consumer.group is group
    )


def next_span(group: Group, offset: int, held: list[Holding], now_ms: int) -> Span | None:
    """Return the first span at or after ``offset`` that the group is not done with; None when there is none."""
    runs = group.outstanding
    index = max(0, bisect_right(runs.firsts, offset) - 1)
    while index < len(runs.runs) and runs.runs[index].end <= offset:
        index += 1
    first, end = _untouched(group, max(offset, group.next_offset))
    if index < len(runs.runs) and (runs.firsts[index] < first or first >= end):
        span = _of_run(group, runs.runs[index], max(offset, runs.firsts[index]), held, now_ms)
    elif first < end:
        span = Span(first, end, READY)
    else:
        return None
    terms, visible = group.queue.terms, group.queue.log.visible
    if terms is None:
        return span
    if span.first >= visible:  # it expired before it was durable
        return None
    span = span._replace(end=min(span.end, visible))
    return _by_time(terms, span, now_ms) if span.state in (READY, SCHEDULED) else span


def _by_time(terms: Terms, span: Span, now_ms: int) -> Span:
    """Return the part of a span of what nobody holds that is expired, or is not."""
    live_end = terms.live_until(span.first, span.end, now_ms)
    if live_end > span.first:
        return span._replace(end=live_end)
    _, end = next(iter(terms.due_within(span.first, span.end, now_ms)))
    return span._replace(end=end, state=EXPIRED, until_ms=0)


def _untouched(group: Group, first: int) -> OffsetRange:
    """Return the first range that nobody was handed, from an offset at or above the cursor on; may be empty."""
    visible = group.queue.log.visible
    return group.passed.first_gap(first, visible) if group.passed.count else (first, visible)


def _of_run(group: Group, run: Run, first: int, held: list[Holding], now_ms: int) -> Span:
    """Return the part of a run from ``first`` on that is in one state."""
    counts = (run.attempts, run.failures)
    if run.dying == DYING_EXPIRED:
        return Span(first, run.end, EXPIRED, *counts)
    if run.dying:
        end = first + 1 if group.held else run.end
        return Span(first, end, HELD if first in group.held else DYING, *counts)
    index = bisect_right(held, (first + 1,)) - 1
    if index >= 0 and first < held[index].end:
        return Span(first, min(run.end, held[index].end), LEASED, *counts, held[index].consumer, held[index].until_ms)
    end = min(run.end, held[index + 1].first) if index + 1 < len(held) else run.end
    if run.due_ms > now_ms:
        return Span(first, end, SCHEDULED, *counts, until_ms=run.due_ms)
    return Span(first, end, READY, *counts)
