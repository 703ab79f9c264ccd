"""Terms of a queue's messages: until when each may be handed out, and before which others.

A queue has them when it has a time to live of its own, or when some message in it asked for one or for a priority; the
others pay one test a block for them. Due times are durable by being found again: a message's is the time it was
published plus the shorter of its own time to live (an ASKED fact, in snapshots afterwards) and its queue's, rounded up
like lease deadlines, so that neighbours share a span. What is due when is a ``Wheel`` of the spans' first offsets; it
is built anew by a restart, which so finds everything that became due meanwhile.

    published --> untouched, ready, delayed --due--> expired: dropped and counted, or on its way to the dead letters
                     ^                |
                     |          handed out
                     |                v
                     +-- comes back - leased --> done              nothing expires while leased (SEMANTICS 13)

What is due and was not let go of yet is not handed out: ``live_until``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from penstock.core.facts import AskedRun
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.priorities import Priorities
from penstock.core.spans import Spans
from penstock.core.values import DEADLINE_STEP_MS
from penstock.core.wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.core.ranges import OffsetRange

NEVER: Final = (1 << 64) - 1
"""The due time of a message that may wait for ever."""


class Terms:
    """Due times and priorities of the messages of one log. Until it is awake it does not know what is due when."""

    __slots__ = ("_dues", "_wheel", "priorities", "timer_ms", "ttl_ms")

    def __init__(self, ttl_ms: int) -> None:
        """``ttl_ms`` is the queue's own, 0 for none."""
        self.ttl_ms = ttl_ms
        self.priorities: Priorities | None = None
        self.timer_ms: int | None = None
        """When this queue wants to be looked at, as ``Timers`` has it."""
        self._dues = Spans("Q", NEVER)
        self._wheel: Wheel | None = None

    def arrived(self, first: int, end: int, time_ms: int, ttl_ms: int = 0) -> None:
        """Messages entered the log at that time; ``ttl_ms`` is what they asked for, 0 when they did not."""
        limits = [one for one in (ttl_ms, self.ttl_ms) if one]
        if not limits:
            return
        due_ms = -(-(time_ms + min(limits)) // DEADLINE_STEP_MS) * DEADLINE_STEP_MS
        begins = self._dues.put(first, end, due_ms)
        wheel = self._wheel
        if wheel is not None:
            if wheel.next_ms() is None:
                wheel.base_ms = max(wheel.base_ms, time_ms)
            if begins or due_ms <= wheel.base_ms:  # the span may have been let go of before these joined it
                wheel.add(due_ms, first)

    def prioritise(self, first: int, end: int, priority: int) -> None:
        """Messages that just entered the log have a priority."""
        if self.priorities is None:
            self.priorities = Priorities()
        self.priorities.put(first, end, priority)

    def live_until(self, first: int, end: int, now_ms: int) -> int:
        """Return how far messages from ``first`` on, at most to ``end``, may be handed out: up to what is due."""
        if first >= min(end, self._dues.end) or self._dues.lowest(first, end) > now_ms:
            return end
        return next(span.first for span in self._dues.within(first, end) if span.value <= now_ms)

    def due_within(self, first: int, end: int, now_ms: int) -> Iterable[OffsetRange]:
        """The ranges of [first, end) that are due, in order."""
        return ((span.first, span.end) for span in self._dues.within(first, end) if span.value <= now_ms)

    def take_due(self, now_ms: int, moves: int) -> tuple[list[OffsetRange], int]:
        """Return what became due, in about so many moves, and how many moves are left. See ``Wheel.take``."""
        if self._wheel is None:
            return [], moves
        firsts, moves = self._wheel.take(now_ms, moves)
        dues = self._dues
        spans = [dues.span_at(first) for first in firsts if dues.start <= first < dues.end]
        return sorted({(span.first, span.end) for span in spans if span.value <= now_ms}), moves

    def next_ms(self) -> int | None:
        """When to look at it again; None when nothing will be due."""
        return self._wheel.next_ms() if self._wheel is not None else None

    def wake(self) -> None:
        """Find out what is due when, unless that is known: recovery has no use for it."""
        if self._wheel is not None:
            return
        dues = [span for span in self._dues.within(0, self._dues.end) if span.value != NEVER]
        wheel = self._wheel = Wheel(min([span.value for span in dues], default=0))
        for span in dues:
            wheel.add(span.value, span.first)

    def trim(self, start: int) -> bool:
        """Forget what is below ``start``, in its own time; True when no message has a priority of its own any more."""
        self._dues.trim(start)
        if self.priorities is not None and self.priorities.trim(start):
            self.priorities = None
            return True
        return False

    def columns(self, start: int) -> tuple[bytes, bytes, bytes, bytes]:
        """Due times and priorities from offset ``start`` on as bytes, for a snapshot; the latter empty for none."""
        priorities = (b"", b"") if self.priorities is None else self.priorities.spans.columns(start)
        return (*self._dues.columns(start), *priorities)

    def restore(self, columns: tuple[bytes, bytes, bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot."""
        due_firsts, dues, firsts, levels = columns
        self._dues.restore((due_firsts, dues))
        if firsts:
            self.priorities = Priorities()
            self.priorities.restore((firsts, levels))


class ScheduledTerms:
    """What scheduled messages ask for, by their ids: it counts from their entering the log on."""

    __slots__ = ("_priorities", "_ttls")

    def __init__(self) -> None:
        self._ttls = Spans("Q", 0)
        self._priorities = Spans("B", PRIORITY_DEFAULT)

    def note(self, first: int, runs: Iterable[AskedRun]) -> None:
        """Messages at the end of the schedule asked for this."""
        for ttl_ms, count, priority in runs:
            end = first + count
            self._ttls.put(first, end, ttl_ms)
            self._priorities.put(first, end, priority)
            first = end

    def runs(self, first: int, end: int) -> tuple[AskedRun, ...]:
        """Return what messages ask for; empty when none of them asks."""
        runs = [
            AskedRun(by_ttl.value, by_priority.end - by_priority.first, by_priority.value)
            for by_ttl in self._ttls.within(first, end)
            for by_priority in self._priorities.within(by_ttl.first, by_ttl.end)
        ]
        asks = any(run.ttl_ms or run.priority != PRIORITY_DEFAULT for run in runs)
        return tuple(runs) if asks else ()

    def trim(self, start: int) -> None:
        """Forget what is below ``start``, in its own time."""
        self._ttls.trim(start)
        self._priorities.trim(start)

    def columns(self, start: int) -> tuple[bytes, bytes, bytes, bytes]:
        """All of it from id ``start`` on as bytes, for a snapshot."""
        return (*self._ttls.columns(start), *self._priorities.columns(start))

    def restore(self, columns: tuple[bytes, bytes, bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot."""
        self._ttls.restore(columns[:2])
        self._priorities.restore(columns[2:])
