"""Which queue is to be looked at when: one heap for all that have something waiting for its time."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol


class Waiting(Protocol):
    """What of a queue waits for its time, and when ``Timers`` knows that it is to be looked at."""

    timer_ms: int | None

    def next_ms(self) -> int | None:
        """When to look at it again; None when nothing waits."""
        ...


class Timers:
    """Queues by the time of their next look. Outdated entries are skipped as they come up."""

    __slots__ = ("heap",)

    def __init__(self) -> None:
        self.heap: list[tuple[int, int]] = []
        """(ms, queue number); empty while nothing waits, which every turn asks."""

    def set(self, queue: int, waiting: Waiting) -> None:
        """What waits in a queue changed."""
        timer_ms = waiting.next_ms()
        if timer_ms is not None and timer_ms != waiting.timer_ms:
            waiting.timer_ms = timer_ms
            heappush(self.heap, (timer_ms, queue))

    def pop(self, now_ms: int) -> tuple[int, int] | None:
        """Take the first timer (time, queue number) that is not later than ``now_ms``."""
        return heappop(self.heap) if self.heap and self.heap[0][0] <= now_ms else None

    def next_ms(self) -> int | None:
        """When to look again; a little early where the timer is outdated."""
        return self.heap[0][0] if self.heap else None
